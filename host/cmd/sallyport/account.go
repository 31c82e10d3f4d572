package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

type accountCommand struct {
	Add     accountAdd     `cmd:"" help:"Make an account."`
	Set     accountSet     `cmd:"" help:"Change what is said of an account."`
	Passwd  accountPasswd  `cmd:"" help:"Change an account's password."`
	Show    accountShow    `cmd:"" help:"Show an account."`
	List    accountList    `cmd:"" help:"List the accounts."`
	Enable  accountEnable  `cmd:"" help:"Let an account log in again, and lift its lock."`
	Unlock  accountUnlock  `cmd:"" help:"Lift the lock of too many wrong passwords."`
	Disable accountDisable `cmd:"" help:"Let an account not log in; its sessions go on."`
	TOTP    accountTOTP    `cmd:"" name:"totp" help:"Give an account one-time codes, for an authenticator app and on paper."`
	Import  accountImport  `cmd:"" help:"Make accounts with the hashes that they have elsewhere: all, or none."`
	Export  accountExport  `cmd:"" help:"Write all accounts with their hashes to a file."`
	Remove  accountRemove  `cmd:"" help:"Delete an account, and its files if they shall go."`
}

type accountAdd struct {
	Name string `arg:"" help:"User name."`
	profile
	newPasswordFlag
	output
}

// profile are the flags of what is said of an account.
type profile struct {
	Group      []string          `help:"Group; the first decides on home and permissions (default: default)." placeholder:"G"`
	Email      *string           `help:"E-mail address; \"\" for none." placeholder:"E"`
	Home       *string           `help:"Home folder; \"\" for the group's." placeholder:"DIR"`
	Permission []string          `help:"Permission, which narrows the group's; \"group\" for all of those." placeholder:"P"`
	Attribute  map[string]string `help:"What a second factor needs to know, such as secsign_id=alice-at-example; NAME= removes it." placeholder:"NAME=VALUE"`
	Source     []string          `help:"Network or address from which alone it may log in; \"any\" for everywhere." placeholder:"NET"`
	Expires    *string           `help:"Day after which it may not log in, such as 2027-01-31, or a time by RFC 3339; \"never\"." placeholder:"DAY"`
	Unused     *string           `help:"Days without a login after which it may not log in any more; \"never\"." placeholder:"DAYS"`
	Factor     []string          `help:"Method that is asked as second factor, in place of those of the first; \"none\" for no second factor, \"method\" for the first's." placeholder:"ID"`
	MaxBytes   *string           `help:"How much the home folder may hold, such as 10GiB; \"group\" for the group's quota, \"none\" for no bound." placeholder:"SIZE"`
	MaxFiles   *string           `help:"How many files the home folder may hold; \"group\", \"none\"." placeholder:"N"`
	UploadRate *string           `name:"max-upload-rate" help:"Bytes a second over all sessions, such as 10MiB; \"group\", \"none\"." placeholder:"RATE"`
	FetchRate  *string           `name:"max-download-rate" help:"The same for downloads." placeholder:"RATE"`
	MustChange *bool             `help:"The user has to change the password first (SITE PSWD), or not any more." negatable:""`
}

// change is what the flags ask for.
func (p profile) change() (c account.Change, err error) {
	c = account.Change{Email: p.Email, Home: p.Home, Attributes: p.Attribute, MustChange: p.MustChange}
	list := func(given []string, none string) *[]string {
		if len(given) == 1 && given[0] == none {
			given = []string{}
		} else if len(given) == 0 {
			return nil
		}
		return &given
	}
	c.Groups, c.Permissions, c.Sources, c.SecondFactors = list(p.Group, ""), list(p.Permission, "group"), list(p.Source, "any"), list(p.Factor, "method")
	if p.Expires != nil {
		when, err := expiry(*p.Expires)
		if err != nil {
			return c, err
		}
		c.Expires = &when
	}
	if p.Unused != nil {
		days := 0
		if *p.Unused != "never" {
			if days, err = strconv.Atoi(*p.Unused); err != nil || days < 1 {
				return c, fmt.Errorf("--unused %q: a number of days, or never, is expected", *p.Unused)
			}
		}
		c.UnusedDays = &days
	}
	for _, limit := range []struct {
		flag  string
		given *string
		to    **int64
	}{{"max-bytes", p.MaxBytes, &c.Bytes}, {"max-files", p.MaxFiles, &c.Files}, {"max-upload-rate", p.UploadRate, &c.UploadRate}, {"max-download-rate", p.FetchRate, &c.DownloadRate}} {
		if limit.given == nil {
			continue
		}
		n, err := accountLimit(*limit.given)
		if err != nil {
			return c, fmt.Errorf("--%s %w", limit.flag, err)
		}
		*limit.to = &n
	}
	return c, nil
}

// accountLimit reads a limit of an account; see policy.Limits.
func accountLimit(text string) (int64, error) {
	switch text {
	case "group":
		return 0, nil
	case "none":
		return policy.Unlimited, nil
	}
	n, ok := policy.ParseSize(text)
	if !ok || n == 0 {
		return 0, fmt.Errorf("%q: a number such as 500 or 10GiB, \"group\", or \"none\" is expected", text)
	}
	return n, nil
}

// limitText is the reverse of accountLimit.
func limitText(n int64) string {
	switch n {
	case 0:
		return "group"
	case policy.Unlimited:
		return "none"
	}
	return strconv.FormatInt(n, 10)
}

// expiry reads a time, or a day, which is good to its end, in this machine's time.
func expiry(text string) (time.Time, error) {
	if text == "never" {
		return time.Time{}, nil
	}
	if when, err := time.Parse(time.RFC3339, text); err == nil {
		return when.UTC(), nil
	}
	day, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return time.Time{}, fmt.Errorf("--expires %q: a day such as 2027-01-31, a time such as 2027-01-31T18:00:00Z, or never, is expected", text)
	}
	return day.AddDate(0, 0, 1).UTC(), nil
}

type accountSet struct {
	Name     string `arg:"" help:"User name."`
	Revision uint64 `help:"Only if the account is still at this revision (account show --json)." placeholder:"N"`
	profile
	output
}

// Run implements the command.
func (cmd accountSet) Run(ctx context.Context, c *cli, s streams) error {
	change, err := cmd.change()
	if err != nil {
		return err
	}
	if reflect.DeepEqual(change, account.Change{}) {
		return errors.New("nothing to change; \"sallyport account set --help\" lists what can be")
	}
	change.Revision = state.Revision(cmd.Revision)
	var changed account.Account
	err = cmd.onAccount(ctx, c, s, "changed", func(client *admin.Client) (_ account.Account, err error) {
		changed, err = client.ChangeAccount(ctx, cmd.Name, change)
		return changed, err
	})
	if err == nil && len(cmd.Factor) > 0 {
		warnWithoutCodes(c, s, changed)
	}
	return err
}

// warnWithoutCodes says if an account has one-time codes as its second factor, and none to give.
func warnWithoutCodes(c *cli, s streams, a account.Account) {
	conf, err := config.Load(c.Config)
	if err != nil || !a.CodesSince.IsZero() { // the change was made, whatever the file says now
		return
	}
	for _, id := range a.SecondFactors {
		if m, ok := conf.Authentication(id); ok && m.Plugin == bundledTOTP {
			_, _ = fmt.Fprintf(s.err, "sallyport: warning: %s has no one-time codes and can't log in before it has: sallyport account totp %[1]s\n", a.Name)
		}
	}
}

type accountUnlock struct {
	Name string `arg:"" help:"User name."`
	output
}

// Run implements the command.
func (cmd accountUnlock) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.onAccount(ctx, c, s, "unlocked", func(client *admin.Client) (account.Account, error) { return client.Unlock(ctx, cmd.Name) })
}

// Run implements the command.
func (cmd accountAdd) Run(ctx context.Context, c *cli, s streams) error {
	change, err := cmd.change()
	if err != nil {
		return err
	}
	return cmd.give(ctx, c, s, cmd.output, "added", func(client *admin.Client, password secret.Text, how admin.Delivery) (admin.Delivered, error) {
		return client.AddAccount(ctx, cmd.Name, password, change, how)
	})
}

type accountPasswd struct {
	Name       string `arg:"" help:"User name."`
	MustChange bool   `help:"The user has to change it first (SITE PSWD)."`
	newPasswordFlag
	output
}

// Run implements the command.
func (cmd accountPasswd) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.give(ctx, c, s, cmd.output, "password changed", func(client *admin.Client, password secret.Text, how admin.Delivery) (admin.Delivered, error) {
		return client.SetPassword(ctx, cmd.Name, password, cmd.MustChange, how)
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
			fmt.Fprintf(w, "locked until\t%s (sallyport account unlock %s lifts it)\n", a.LockedUntil.Format(time.RFC3339), a.Name)
		}
		fmt.Fprintf(w, "name\t%s\nenabled\t%v\ngroups\t%s\nemail\t%s\nhome\t%s\ncreated\t%s\npassword changed\t%s\none-time codes\t%s\n", a.Name, a.Enabled,
			strings.Join(a.Groups, ", "), orDash(a.Email), orText(a.Home, "the group's"), a.Created.Format(time.RFC3339), a.PasswordChanged.Format(time.RFC3339), sinceText(a.CodesSince))
		fmt.Fprintf(w, "permissions\t%s\nsources\t%s\nexpires\t%s\nlast login\t%s\n", orText(strings.Join(a.Permissions, ", "), "the group's"), orText(strings.Join(a.Sources, ", "), "any"),
			timeText(a.Expires), timeText(a.LastLogin))
		if a.UnusedDays > 0 {
			fmt.Fprintf(w, "unused\tat most %d days\n", a.UnusedDays)
		}
		for _, limit := range []struct {
			name       string
			own, group int64
		}{
			{"max bytes", a.Limits.Bytes, a.GroupLimits.Bytes},
			{"max files", a.Limits.Files, a.GroupLimits.Files},
			{"max upload rate", a.Limits.UploadRate, a.GroupLimits.UploadRate},
			{"max download rate", a.Limits.DownloadRate, a.GroupLimits.DownloadRate},
		} {
			switch {
			case limit.own != 0:
				fmt.Fprintf(w, "%s\t%s\n", limit.name, limitText(limit.own))
			case limit.group != 0:
				fmt.Fprintf(w, "%s\t%d (the group's)\n", limit.name, limit.group)
			}
		}
		switch {
		case a.MustChange && !a.PasswordUntil.IsZero():
			fmt.Fprintf(w, "password\tmust be changed first, until %s\n", a.PasswordUntil.Format(time.RFC3339))
		case a.MustChange:
			fmt.Fprintln(w, "password\tmust be changed first")
		}
		if len(a.SecondFactors) > 0 {
			fmt.Fprintf(w, "second factors\t%s\n", strings.Join(a.SecondFactors, ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(a.Attributes)) {
			fmt.Fprintf(w, "attribute\t%s=%s\n", name, a.Attributes[name])
		}
	})
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return "since " + t.Format(time.RFC3339)
}

type accountList struct {
	Match string `help:"Only those whose name, e-mail address or group has this text in it." placeholder:"TEXT"`
	output
}

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
	accounts = slices.DeleteFunc(accounts, func(a account.Account) bool {
		text := strings.ToLower(strings.Join(append([]string{a.Name, a.Email}, a.Groups...), "\n"))
		return !strings.Contains(text, strings.ToLower(cmd.Match))
	})
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

type accountRemove struct {
	Name  string `arg:"" help:"User name."`
	Files bool   `help:"Delete its home folder, too."`
	output
}

// Run implements the command.
func (cmd accountRemove) Run(ctx context.Context, c *cli, s streams) error {
	done := "removed; the files stay"
	if cmd.Files {
		done = "removed, with its files"
	}
	return cmd.onAccount(ctx, c, s, done, func(client *admin.Client) (account.Account, error) {
		return client.RemoveAccount(ctx, cmd.Name, cmd.Files)
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
