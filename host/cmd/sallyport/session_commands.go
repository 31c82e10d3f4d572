package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-ftps/sallyport/host/admin"
)

// sessions lists and ends sessions for the administration API.
type sessions struct{ running *running }

// Sessions implements admin.Sessions.
func (s sessions) Sessions() []admin.Session {
	all := []admin.Session{}
	for _, service := range s.running.services {
		for _, i := range service.Sessions() {
			all = append(all, admin.Session{
				ID: i.ID, Service: i.Service, User: i.User, Peer: i.Peer.String(), TLS: i.TLS, Since: i.Since.UTC().Truncate(time.Second), Busy: i.Busy, Received: i.Received, Sent: i.Sent,
			})
		}
	}
	return all
}

// CloseSessions implements admin.Sessions.
func (s sessions) CloseSessions(idOrUser string) (n int) {
	for _, service := range s.running.services {
		n += service.CloseSessions(idOrUser)
	}
	return n
}

type sessionCommand struct {
	List  sessionList  `cmd:"" help:"List who is logged in."`
	Close sessionClose `cmd:"" help:"End sessions, also in the middle of a transfer."`
}

type sessionList struct{ output }

// Run implements the command.
func (cmd sessionList) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	all, err := client.Sessions(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, all, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tUSER\tSERVICE\tFROM\tTLS\tSINCE\tSTATE\tRECEIVED\tSENT")
		for _, one := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", one.ID, one.User, one.Service, one.Peer, one.TLS, one.Since.Local().Format(time.RFC3339),
				map[bool]string{true: "transfer", false: "idle"}[one.Busy], one.Received, one.Sent)
		}
	})
}

type sessionClose struct {
	Which string `arg:"" help:"ID of a session, or user name." name:"id-or-user"`
	output
}

// Run implements the command.
func (cmd sessionClose) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	done, err := client.CloseSessions(ctx, cmd.Which)
	if err != nil {
		return err
	}
	return cmd.print(s.out, done, func(w io.Writer) { fmt.Fprintf(w, "%d session(s) ended\n", done.Count) })
}
