package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/skip2/go-qrcode"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// newPasswordFlag says where a new password comes from, and how its user gets to know it.
type newPasswordFlag struct {
	passwordFlag
	Generate bool `help:"Make a password, and print it." xor:"password"`
	Invite   bool `help:"Mail the user a code to choose a password with, which is good for a while." xor:"password"`
	Mail     bool `help:"Mail the password to the user. --invite is safer."`
	TOTP     bool `name:"totp" help:"Give the account one-time codes, too; they go where the password goes."`
}

// give asks for the new password if it needs one, lets the server set it, and says what became of it.
func (p newPasswordFlag) give(ctx context.Context, c *cli, s streams, o output, done string, set func(*admin.Client, secret.Text, admin.Delivery) (admin.Delivered, error)) error {
	password, err := p.read(c, s)
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	given, err := set(client, password, admin.Delivery{Invite: p.Invite, Mail: p.Mail && !p.Invite, Codes: p.TOTP})
	if err != nil {
		return err
	}
	made := ""
	if p.Generate && (given.Mail == nil || !given.Mail.Sent) {
		made = password.Reveal()
		done += "; its password is " + made
	}
	if p.TOTP {
		warnOfCodes(c, s, given.SecondFactors)
	}
	return delivered(s, o, given, made, done)
}

// warnOfCodes says so if nothing asks for the one-time codes that an account got.
func warnOfCodes(c *cli, s streams, own []string) {
	conf, err := config.Load(c.Config)
	if err != nil {
		return // said elsewhere
	}
	for _, m := range conf.Authentications {
		if m.Plugin == bundledTOTP && m.Enabled && (conf.Asks(m.ID) || slices.Contains(own, m.ID)) {
			return
		}
	}
	_, _ = fmt.Fprintf(s.err, "sallyport: warning: no method with plugin = %q is a second factor of this account's logins (second_factor, or account set --factor): unless a plugin of yours checks codes, nobody asks for them\n", bundledTOTP)
}

// bundledTOTP is the plugin that checks one-time codes.
const bundledTOTP = "totp"

// read gets the new password. There is none for an invitation.
func (p newPasswordFlag) read(c *cli, s streams) (password secret.Text, err error) {
	if p.Invite && p.Mail {
		return password, errors.New("--invite mails a code in place of the password: --mail does not go with it")
	}
	if p.Invite {
		return secret.Text{}, nil
	}
	if !p.Generate {
		return p.passwordFlag.read(s, true)
	}
	conf, err := config.Load(c.Config)
	if err != nil {
		return password, err
	}
	longest := conf.Passwords.MinimumLength
	for _, g := range conf.Groups {
		if g.Passwords != nil {
			longest = max(longest, g.Passwords.MinimumLength)
		}
	}
	return policy.Generate(longest), nil
}

// delivered says what was saved, and what was sent or not. A mail that was not sent is an error, after what was saved.
func delivered(s streams, o output, given admin.Delivered, made, done string) error {
	var code *qrcode.QRCode
	if given.Codes != nil {
		var err error
		if code, err = qrcode.New(given.Codes.URL, qrcode.Medium); err != nil {
			return fmt.Errorf("QR code: %w", err)
		}
	}
	shown := struct {
		admin.Delivered
		Password string `json:"password,omitempty"` // that was made, and not mailed
	}{given, made}
	err := o.print(s.out, shown, func(w io.Writer) {
		fmt.Fprintf(w, "account %s: %s\n", given.Name, done)
		if m := given.Mail; m != nil && m.Sent {
			fmt.Fprintf(w, "mailed to %s: %s%s\n", m.To, strings.Join(m.Contents, ", "), untilNote(m.Until))
		} else if m != nil && m.Invitation != "" {
			fmt.Fprintf(w, "its code to choose a password with is %s%s\n", m.Invitation, untilNote(m.Until))
		}
		if given.Codes != nil {
			printCodes(w, code, *given.Codes)
		}
	})
	if m := given.Mail; err == nil && m != nil && !m.Sent {
		err = errors.New("the account is saved, the mail to " + m.To + " was not sent: " + m.Error)
	}
	if given.Problem != "" {
		err = errors.Join(err, errors.New("the account is saved; "+given.Problem))
	}
	return err
}

func untilNote(until *time.Time) string {
	if until == nil {
		return ""
	}
	return ", good until " + until.Format(time.RFC3339)
}

func printCodes(w io.Writer, code *qrcode.QRCode, given account.Enrolment) {
	fmt.Fprintf(w, "%s\nScan this with an authenticator app, or type in %s\n\n", code.ToSmallString(false), given.URL)
	fmt.Fprintf(w, "Codes on paper, each good once, in place of one of the app:\n\n")
	for i := 0; i < len(given.Recovery); i += 2 {
		fmt.Fprintf(w, "  %s   %s\n", given.Recovery[i], given.Recovery[i+1])
	}
	fmt.Fprintf(w, "\nThey are shown this once. A code is typed right behind the password: PASSWORD123456.\n")
}

type accountTOTP struct {
	Name   string `arg:"" help:"User name."`
	Mail   bool   `help:"Mail them to the user."`
	Remove bool   `help:"Take the codes from the account."`
	output
}

// Run implements the command.
func (cmd accountTOTP) Run(ctx context.Context, c *cli, s streams) error {
	if cmd.Remove {
		return cmd.onAccount(ctx, c, s, "one-time codes removed", func(client *admin.Client) (account.Account, error) { return client.RemoveCodes(ctx, cmd.Name) })
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	given, err := client.EnrolCodes(ctx, cmd.Name, cmd.Mail)
	if err != nil {
		return err
	}
	warnOfCodes(c, s, given.SecondFactors)
	return delivered(s, cmd.output, given, "", "it has new one-time codes")
}

type keyCommand struct {
	Rotate keyRotate `cmd:"" help:"Seal all one-time codes with a new key, and destroy the one before."`
}

type keyRotate struct{ output }

// Run implements the command.
func (cmd keyRotate) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	done, err := client.RotateKey(ctx)
	if err != nil {
		return err
	}
	err = cmd.print(s.out, done, func(w io.Writer) {
		fmt.Fprintf(w, "the one-time codes of %d account(s) are sealed with a new key; make a new backup, since it is not in those before\n", done.Accounts)
	})
	if err == nil && len(done.Lost) > 0 {
		err = fmt.Errorf("the one-time codes of %d account(s) were sealed with another key, and are lost: give %s new ones", len(done.Lost), strings.Join(done.Lost, ", "))
	}
	return err
}
