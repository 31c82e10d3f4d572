package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

type checkCommand struct {
	output
	Connect bool `help:"Also connect to what the methods ask, and ask each of them for a user who does not exist."`
}

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
	if _, err := eventsCertificate(conf); err != nil {
		return err
	}
	report, err := tryPlugins(ctx, conf, func(config.Authentication) bool { return cmd.Connect })
	if err != nil {
		return err
	}
	parts := len(report.Addresses) + len(report.Methods)
	if cmd.Connect {
		parts += report.probeServers(ctx, conf)
	}
	for _, warning := range append(conf.Warnings, missingFolders(conf)...) {
		fmt.Fprintln(s.err, "warning:", warning)
	}
	result := struct {
		Config   string `json:"config"` // empty: the built-in defaults
		Services int    `json:"services"`
		Methods  int    `json:"methods"`
		DataDir  string `json:"data_dir"`
		Connect  any    `json:"connect,omitempty"`
	}{conf.File, len(conf.Services), len(conf.Authentications), conf.Server.DataDir, nil}
	if cmd.Connect {
		result.Connect = report
	}
	err = cmd.print(s.out, result, func(w io.Writer) {
		if cmd.Connect {
			report.print(w)
			fmt.Fprintln(w)
		}
		if report.failures() > 0 {
			return
		}
		fmt.Fprintf(w, "%s: good. %d service(s), %d method(s), data in %s\n", orText(result.Config, "built-in defaults"), result.Services, result.Methods, result.DataDir)
	})
	if n := report.failures(); n > 0 && err == nil {
		err = fmt.Errorf("%d of %d addresses and methods do not work; the configuration itself is good", n, parts)
	}
	return err
}

// tryPlugins compiles the plugins, shows them their settings and grants, and probes those that are wanted.
func tryPlugins(ctx context.Context, conf *config.Config, wanted func(config.Authentication) bool) (probeReport, error) {
	runtime, err := sandbox.New(ctx, sandbox.Options{CacheDir: userCache()})
	if err != nil {
		return probeReport{}, err
	}
	defer func() { _ = runtime.Close(context.WithoutCancel(ctx)) }()
	m, err := loader{runtime: runtime, log: slog.New(slog.DiscardHandler)}.load(ctx, conf)
	if err != nil {
		return probeReport{}, err
	}
	defer m.close(ctx, nil)
	return m.probe(ctx, conf, wanted), nil
}

type versionCommand struct{ output }

// Run implements the command.
func (cmd versionCommand) Run(s streams) error {
	return cmd.print(s.out, map[string]string{"version": version()}, func(w io.Writer) { fmt.Fprintln(w, "sallyport", version()) })
}
