package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/skip2/go-qrcode"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
)

type accountCommand struct {
	Add     accountAdd     `cmd:"" help:"Make an account."`
	Passwd  accountPasswd  `cmd:"" help:"Change an account's password."`
	Show    accountShow    `cmd:"" help:"Show an account."`
	List    accountList    `cmd:"" help:"List the accounts."`
	Enable  accountEnable  `cmd:"" help:"Let an account log in again, and lift its lock."`
	Disable accountDisable `cmd:"" help:"Let an account not log in; its sessions go on."`
	TOTP    accountTOTP    `cmd:"" name:"totp" help:"Give an account one-time codes, for an authenticator app and on paper."`
	Remove  accountRemove  `cmd:"" help:"Delete an account; its files stay."`
}

type accountAdd struct {
	Name      string            `arg:"" help:"User name."`
	Group     []string          `help:"Group; the first decides on home and permissions (default: default)." placeholder:"G"`
	Email     string            `help:"E-mail address." placeholder:"E"`
	Home      string            `help:"Home folder (default: the group's)." placeholder:"DIR"`
	Attribute map[string]string `help:"What a second factor needs to know, such as secsign_id=alice-at-example." placeholder:"NAME=VALUE"`
	passwordFlag
	output
}

// Run implements the command.
func (cmd accountAdd) Run(ctx context.Context, c *cli, s streams) error {
	password, err := cmd.read(s, true)
	if err != nil {
		return err
	}
	return cmd.onAccount(ctx, c, s, "added", func(client *admin.Client) (account.Account, error) {
		return client.AddAccount(ctx, account.Account{Name: cmd.Name, Groups: cmd.Group, Email: cmd.Email, Home: cmd.Home, Attributes: cmd.Attribute}, password)
	})
}

type accountPasswd struct {
	Name string `arg:"" help:"User name."`
	passwordFlag
	output
}

// Run implements the command.
func (cmd accountPasswd) Run(ctx context.Context, c *cli, s streams) error {
	password, err := cmd.read(s, true)
	if err != nil {
		return err
	}
	return cmd.onAccount(ctx, c, s, "password changed", func(client *admin.Client) (account.Account, error) {
		return client.SetPassword(ctx, cmd.Name, password)
	})
}

type accountShow struct {
	Name string `arg:"" help:"User name."`
	output
}

// Run implements the command.
func (cmd accountShow) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	a, err := client.Account(ctx, cmd.Name)
	if err != nil {
		return err
	}
	return cmd.print(s.out, a, func(w io.Writer) {
		if a.LockedUntil != nil {
			fmt.Fprintf(w, "locked until\t%s (sallyport account enable %s lifts it)\n", a.LockedUntil.Format(time.RFC3339), a.Name)
		}
		fmt.Fprintf(w, "name\t%s\nenabled\t%v\ngroups\t%s\nemail\t%s\nhome\t%s\ncreated\t%s\npassword changed\t%s\none-time codes\t%s\n", a.Name, a.Enabled,
			strings.Join(a.Groups, ", "), orDash(a.Email), orText(a.Home, "the group's"), a.Created.Format(time.RFC3339), a.PasswordChanged.Format(time.RFC3339), sinceText(a.CodesSince))
	})
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return "since " + t.Format(time.RFC3339)
}

type accountList struct{ output }

// Run implements the command.
func (cmd accountList) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	accounts, err := client.Accounts(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, accounts, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tENABLED\tGROUPS\tEMAIL\tHOME")
		for _, a := range accounts {
			fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%s\n", a.Name, a.Enabled, strings.Join(a.Groups, ","), orDash(a.Email), orDash(a.Home))
		}
	})
}

type accountEnable struct {
	Name string `arg:"" help:"User name."`
	output
}

// Run implements the command.
func (cmd accountEnable) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.onAccount(ctx, c, s, "enabled", func(client *admin.Client) (account.Account, error) { return client.SetEnabled(ctx, cmd.Name, true) })
}

type accountDisable struct {
	Name string `arg:"" help:"User name."`
	output
}

// Run implements the command.
func (cmd accountDisable) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.onAccount(ctx, c, s, "disabled", func(client *admin.Client) (account.Account, error) { return client.SetEnabled(ctx, cmd.Name, false) })
}

type accountTOTP struct {
	Name   string `arg:"" help:"User name."`
	Remove bool   `help:"Take the codes from the account."`
	output
}

// Run implements the command.
func (cmd accountTOTP) Run(ctx context.Context, c *cli, s streams) error {
	if cmd.Remove {
		return cmd.onAccount(ctx, c, s, "one-time codes removed", func(client *admin.Client) (account.Account, error) { return client.RemoveCodes(ctx, cmd.Name) })
	}
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	given, err := client.EnrolCodes(ctx, cmd.Name, conf.Server.Name)
	if err != nil {
		return err
	}
	code, err := qrcode.New(given.URL, qrcode.Medium)
	if err != nil {
		return fmt.Errorf("QR code: %w", err)
	}
	return cmd.print(s.out, given, func(w io.Writer) {
		fmt.Fprintf(w, "%s\nScan this with an authenticator app, or type in %s\n\n", code.ToSmallString(false), given.URL)
		fmt.Fprintf(w, "Codes on paper, each good once, in place of one of the app:\n\n")
		for i := 0; i < len(given.Recovery); i += 2 {
			fmt.Fprintf(w, "  %s   %s\n", given.Recovery[i], given.Recovery[i+1])
		}
		fmt.Fprintf(w, "\nThey are shown this once. A code is typed right behind the password: PASSWORD123456.\n")
	})
}

type accountRemove struct {
	Name string `arg:"" help:"User name."`
	output
}

// Run implements the command.
func (cmd accountRemove) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.onAccount(ctx, c, s, "removed; the files stay", func(client *admin.Client) (account.Account, error) {
		return client.RemoveAccount(ctx, cmd.Name)
	})
}

// onAccount runs one change and says what was done.
func (o output) onAccount(ctx context.Context, c *cli, s streams, done string, change func(*admin.Client) (account.Account, error)) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	a, err := change(client)
	if err != nil {
		return err
	}
	return o.print(s.out, a, func(w io.Writer) { fmt.Fprintf(w, "account %s: %s\n", a.Name, done) })
}
