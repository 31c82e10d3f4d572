package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

type loginCommand struct {
	User    string `help:"User name." required:"" placeholder:"U"`
	Service string `help:"Service (default: the first in the configuration)." placeholder:"S"`
	// Certificate is read here, so that the server needs no access to it.
	Certificate string `help:"Try it with this certificate of a client (PEM), and without a password unless --password-stdin is given." placeholder:"FILE"`
	passwordFlag
	output
}

// try is what the server is asked.
func (cmd loginCommand) try(s streams) (admin.Login, error) {
	l := admin.Login{User: cmd.User, Service: cmd.Service}
	if cmd.Certificate != "" {
		text, err := os.ReadFile(cmd.Certificate)
		if err != nil {
			return l, err
		}
		if _, err := ftps.ParseCertificates(text); err != nil {
			return l, fmt.Errorf("%s: %w", cmd.Certificate, err)
		}
		if l.Certificate = string(text); !cmd.PasswordStdin {
			return l, nil
		}
	}
	password, err := cmd.read(s, false)
	l.Password = password.Reveal()
	return l, err
}

// Run implements the command.
func (cmd loginCommand) Run(ctx context.Context, c *cli, s streams) error {
	try, err := cmd.try(s)
	if err != nil {
		return err
	}
	client, running, closing, err := connect(ctx, c, withLogins)
	if err != nil {
		return err
	}
	defer closing()
	result, err := client.TryLogin(ctx, try)
	if err != nil {
		return err
	}
	err = cmd.print(s.out, result, func(w io.Writer) { explain(w, result, running) })
	if err == nil && !result.Accepted {
		return errSilent
	}
	return err
}

func explain(w io.Writer, r admin.LoginResult, running bool) {
	fmt.Fprintln(w, "METHOD\tVERDICT\tREASON\tTIME\tDETAIL")
	for _, step := range r.Steps {
		name := step.Method
		if step.Factor {
			name += " (second factor)"
		}
		detail := step.Detail
		if len(step.Ignored) > 0 {
			detail += "no grant covers: " + strings.Join(step.Ignored, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f ms\t%s\n", name, step.Verdict, orDash(string(step.Reason)), float64(step.Took), detail)
		for _, line := range step.Log {
			fmt.Fprintf(w, "  says: %q\n", line)
		}
	}
	if r.Accepted {
		fmt.Fprintf(w, "\naccepted by %s on service %s in %.1f ms\nuser\t%s\ngroups\t%s\nhome\t%s\npermissions\t%s\n", r.Method, r.Service, float64(r.Took),
			r.User, strings.Join(r.Groups, ", "), r.Home, strings.Join(r.Permissions, ", "))
		for _, more := range [][2]string{{"account", r.Account}, {"e-mail", r.Email}, {"folders", strings.Join(r.Folders, ", ")}} {
			if more[1] != "" {
				fmt.Fprintf(w, "%s\t%s\n", more[0], more[1])
			}
		}
	} else {
		fmt.Fprintf(w, "\nrefused on service %s: %s\n", r.Service, r.Reason)
		if r.Detail != "" {
			fmt.Fprintln(w, r.Detail)
		}
	}
	if !running {
		fmt.Fprintln(w, "\n(no server runs here: stopped methods, which live in its memory, are not seen)")
	} else if r.Accepted {
		fmt.Fprintln(w, "\n(a client may still be refused for its address: after too many wrong tries it is banned for a while)")
	}
}
