package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

type checkCommand struct{}

// Run implements the command.
func (checkCommand) Run(ctx context.Context, c *cli, s streams) error {
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if err := checkPlugins(ctx, conf); err != nil {
		return err
	}
	for _, service := range conf.Services {
		if _, err := certificateOf(service, ftps.LoadCertificate); err != nil {
			return err
		}
	}
	m, err := loadMethods(ctx, conf, "", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	m.close(ctx)
	_, err = fmt.Fprintf(s.out, "%s: good. %d service(s), %d method(s), data in %s\n",
		orText(conf.File, "built-in defaults"), len(conf.Services), len(conf.Authentications), conf.Server.DataDir)
	return err
}

type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "sallyport", version())
	return err
}
