package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-ftps/sallyport/host/config"
)

type banCommand struct {
	List   banList   `cmd:"" help:"List the addresses that are banned and the accounts that are locked."`
	Add    banAdd    `cmd:"" help:"Let nobody log in from an address for a while."`
	Remove banRemove `cmd:"" help:"Lift the ban of an address."`
}

type banList struct{ output }

// Run implements the command.
func (cmd banList) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	all, err := client.Bans(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, all, func(w io.Writer) {
		fmt.Fprintln(w, "KIND\tNAME\tFROM\tUNTIL")
		for _, b := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Kind, b.Name, orDash(b.From), b.Until.Local().Format(time.RFC3339))
		}
	})
}

type banAdd struct {
	Source string `arg:"" help:"Address; of an IPv6 one its /64 is banned."`
	For    string `help:"How long, such as 1h or 30d." default:"1d" placeholder:"TIME"`
	output
}

// Run implements the command.
func (cmd banAdd) Run(ctx context.Context, c *cli, s streams) error {
	d, err := config.ParseDuration(cmd.For)
	if err != nil || d <= 0 {
		return fmt.Errorf("--for %q: a duration such as 1h or 30d is expected", cmd.For)
	}
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	b, err := client.Ban(ctx, cmd.Source, d)
	if err != nil {
		return err
	}
	return cmd.print(s.out, b, func(w io.Writer) {
		fmt.Fprintf(w, "%s: banned until %s\n", b.Name, b.Until.Local().Format(time.RFC3339))
	})
}

type banRemove struct {
	Source string `arg:"" help:"Address."`
	output
}

// Run implements the command.
func (cmd banRemove) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	b, err := client.Unban(ctx, cmd.Source)
	if err != nil {
		return err
	}
	return cmd.print(s.out, b, func(w io.Writer) { fmt.Fprintf(w, "%s: not banned any more\n", b.Name) })
}
