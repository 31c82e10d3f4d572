package main

import (
	"context"
	"fmt"
	"io"

	"github.com/sallyport-ftps/sallyport/host/admin"
)

type methodCommand struct {
	List  methodList  `cmd:"" help:"List the methods."`
	Stop  methodStop  `cmd:"" help:"Stop a method: it is skipped, until it is started or the server restarts."`
	Start methodStart `cmd:"" help:"Start a stopped method."`
}

type methodList struct{ output }

// Run implements the command.
func (cmd methodList) Run(ctx context.Context, c *cli, s streams) error {
	client, running, closing, err := connect(ctx, c, withLogins)
	if err != nil {
		return err
	}
	defer closing()
	list, err := client.Methods(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, list, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tPLUGIN\tVERSION\tNAME")
		for _, m := range list {
			state := m.State
			if !running && state == admin.StateRunning {
				state = "enabled" // no server runs
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, state, m.Plugin, orDash(m.Version), m.Name)
		}
	})
}

type methodStop struct {
	ID string `arg:"" help:"The method's ID."`
	output
}

// Run implements the command.
func (cmd methodStop) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.setStopped(ctx, c, s, cmd.ID, true, "stopped until it is started or the server restarts")
}

type methodStart struct {
	ID string `arg:"" help:"The method's ID."`
	output
}

// Run implements the command.
func (cmd methodStart) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.setStopped(ctx, c, s, cmd.ID, false, "started")
}

func (o output) setStopped(ctx context.Context, c *cli, s streams, id string, stopped bool, done string) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	m, err := client.SetStopped(ctx, id, stopped)
	if err != nil {
		return err
	}
	return o.print(s.out, m, func(w io.Writer) { fmt.Fprintf(w, "method %s: %s\n", m.ID, done) })
}
