package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

type checkCommand struct{ output }

// Run implements the command.
func (cmd checkCommand) Run(ctx context.Context, c *cli, s streams) error {
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if err := checkPlugins(ctx, conf); err != nil {
		return err
	}
	if _, err := loadCertificates(conf); err != nil {
		return err
	}
	if err := tryPlugins(ctx, conf); err != nil {
		return err
	}
	for _, warning := range conf.Warnings {
		fmt.Fprintln(s.err, "warning:", warning)
	}
	result := struct {
		Config   string `json:"config"` // empty: the built-in defaults
		Services int    `json:"services"`
		Methods  int    `json:"methods"`
		DataDir  string `json:"data_dir"`
	}{conf.File, len(conf.Services), len(conf.Authentications), conf.Server.DataDir}
	return cmd.print(s.out, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: good. %d service(s), %d method(s), data in %s\n", orText(result.Config, "built-in defaults"), result.Services, result.Methods, result.DataDir)
	})
}

// tryPlugins compiles the plugins and shows them their settings and grants.
func tryPlugins(ctx context.Context, conf *config.Config) error {
	runtime, err := sandbox.New(ctx, sandbox.Options{CacheDir: userCache()})
	if err != nil {
		return err
	}
	defer func() { _ = runtime.Close(context.WithoutCancel(ctx)) }()
	m, err := loader{runtime: runtime, log: slog.New(slog.DiscardHandler)}.load(ctx, conf)
	if err != nil {
		return err
	}
	m.close(ctx, nil)
	return nil
}

type versionCommand struct{ output }

// Run implements the command.
func (cmd versionCommand) Run(s streams) error {
	return cmd.print(s.out, map[string]string{"version": version()}, func(w io.Writer) { fmt.Fprintln(w, "sallyport", version()) })
}
