package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/sallyport-ftps/sallyport/events/approver"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/config"
)

type approverCommand struct {
	Enroll approverEnroll `cmd:"" help:"Let somebody approve logins of some accounts or groups, with signed decisions."`
	List   approverList   `cmd:"" help:"List the approvers."`
	Revoke approverRevoke `cmd:"" help:"Remove an approver."`
}

type approverEnroll struct {
	Name    string   `arg:"" help:"A name for the approver."`
	Key     string   `help:"The approver's public nkey, which it made itself." xor:"key" required:"" placeholder:"U..."`
	Seed    string   `help:"Or: make a key, and write its seed to this file for the approver." xor:"key" required:"" placeholder:"FILE" type:"path"`
	Account []string `help:"Account that it decides for." placeholder:"A"`
	Group   []string `help:"Group that it decides for." placeholder:"G"`
	output
}

// Run implements the command.
func (cmd approverEnroll) Run(ctx context.Context, c *cli, s streams) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`).MatchString(cmd.Name) {
		return fmt.Errorf("%q: 1 to 64 letters, digits, and . _ - are allowed", cmd.Name)
	}
	if len(cmd.Account)+len(cmd.Group) == 0 {
		return errors.New("for whom? name an --account or a --group")
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	if cmd.Seed != "" {
		if cmd.Key, err = newSeed(cmd.Seed); err != nil {
			return err
		}
	}
	one, err := client.Enroll(ctx, approval.Approver{Name: cmd.Name, Key: cmd.Key, Accounts: cmd.Account, Groups: cmd.Group})
	if err != nil {
		if cmd.Seed != "" {
			_ = os.Remove(cmd.Seed)
		}
		return err
	}
	return cmd.print(s.out, one, func(w io.Writer) {
		fmt.Fprintf(w, "approver %s: enrolled with the key %s\n", one.Name, one.Key)
		if cmd.Seed != "" {
			fmt.Fprintf(w, "its seed is in %s; \"sallyport approve --seed %s\" is a terminal for it\n", shown(cmd.Seed), shown(cmd.Seed))
		}
	})
}

// newSeed makes a key and writes its seed to a file that is not there yet.
func newSeed(file string) (key string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("seed: %w", err)
	}
	_, err = out.Write(append(seed, '\n'))
	if err = errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("seed: %w", err)
	}
	return pair.PublicKey()
}

type approverList struct{ output }

// Run implements the command.
func (cmd approverList) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	all, err := client.Approvers(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, all, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tACCOUNTS\tGROUPS\tKEY")
		for _, one := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.Name, orDash(strings.Join(one.Accounts, ",")), orDash(strings.Join(one.Groups, ",")), one.Key)
		}
	})
}

type approverRevoke struct {
	Name string `arg:"" help:"The approver's name."`
	output
}

// Run implements the command.
func (cmd approverRevoke) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	one, err := client.RevokeApprover(ctx, cmd.Name)
	if err != nil {
		return err
	}
	return cmd.print(s.out, one, func(w io.Writer) { fmt.Fprintf(w, "approver %s: revoked\n", one.Name) })
}

type approveCommand struct {
	Seed string `help:"File with the seed of the approver's key." required:"" type:"existingfile" placeholder:"FILE"`
	URL  string `help:"Where the server's events are (default: events { listen } of the configuration)." placeholder:"nats://HOST:PORT"`
}

// Run implements the command: a terminal on which somebody approves.
func (cmd approveCommand) Run(ctx context.Context, c *cli, s streams) error {
	seed, err := os.ReadFile(cmd.Seed)
	if err != nil {
		return err
	}
	if cmd.URL == "" {
		conf, err := config.Load(c.Config)
		if err != nil {
			return err
		}
		cmd.URL = "nats://" + conf.Events.Listen
	}
	a, err := approver.Connect(ctx, cmd.URL, string(seed))
	if err != nil {
		return err
	}
	defer a.Close()
	fmt.Fprintln(s.out, "Waiting for requests; Ctrl-C ends.")
	answers := make(chan string)
	go func() {
		for lines := bufio.NewScanner(s.in); lines.Scan(); {
			answers <- strings.ToLower(strings.TrimSpace(lines.Text()))
		}
		close(answers)
	}()
	for {
		r, err := a.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Withdrawn {
			continue
		}
		fmt.Fprintf(s.out, "\n%s  %q  (user %q, service %q, from %s)\nApprove? [y/N, until %s] ", r.Created.Local().Format(time.TimeOnly), r.Prompt, r.User, r.Service, orDash(r.Peer), r.Expires.Local().Format(time.TimeOnly))
		answer, ok := "", true
		select {
		case answer, ok = <-answers:
		case <-time.After(time.Until(r.Expires)):
			fmt.Fprintln(s.out, "too late")
			continue
		case <-ctx.Done():
			return nil
		}
		if !ok { // no answer is no approval
			return nil
		}
		yes := answer == "y" || answer == "yes"
		if err := a.Decide(ctx, r, yes); err != nil {
			return err
		}
		fmt.Fprintln(s.out, map[bool]string{true: "approved", false: "denied"}[yes])
	}
}
