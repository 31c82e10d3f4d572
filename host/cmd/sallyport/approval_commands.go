package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-ftps/sallyport/host/admin"
)

type approvalCommand struct {
	List   approvalList   `cmd:"" help:"List the second factors that people are being asked for, and those that are remembered."`
	Revoke approvalRevoke `cmd:"" help:"Take a request back, or forget an approval."`
}

type approvalList struct{ output }

// Run implements the command.
func (cmd approvalList) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	list, err := client.Approvals(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, list, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tUSER\tMETHOD\tFACTOR\tSOURCE\tSTATE\tSINCE\tUNTIL")
		for _, a := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, a.User, a.Method, a.Factor, orDash(a.Source), a.State, a.Since.Local().Format(time.TimeOnly), approvalEnd(a))
		}
	})
}

func approvalEnd(a admin.Approval) string {
	switch {
	case a.Until == nil:
		return fmt.Sprintf("%d login(s) wait", a.Waiting)
	case a.Session:
		return "the session ends"
	}
	return a.Until.Local().Format(time.TimeOnly)
}

type approvalRevoke struct {
	ID string `arg:"" name:"id-or-user" help:"The ID that \"approval list\" shows, or a user: all of that user."`
	output
}

// Run implements the command.
func (cmd approvalRevoke) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	done, err := client.Revoke(ctx, cmd.ID)
	if err != nil {
		return err
	}
	return cmd.print(s.out, done, func(w io.Writer) { fmt.Fprintf(w, "%d taken back\n", done.Count) })
}
