package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

type output struct {
	JSON bool `help:"Print JSON." name:"json"`
}

// print writes v as JSON, or lets human write it as text.
func (o output) print(w io.Writer, v any, human func(io.Writer)) error {
	if o.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	human(t)
	return t.Flush()
}

type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from the first line of standard input." xor:"password"`
}

// read gets a password: from standard input, or from a terminal without echo, twice if it is a new one.
func (p passwordFlag) read(s streams, twice bool) (secret.Text, error) {
	if p.PasswordStdin {
		line, err := bufio.NewReader(io.LimitReader(s.in, 4*policy.MaximumLength+2)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return secret.Text{}, fmt.Errorf("password: %w", err)
		}
		return secret.New(strings.TrimRight(line, "\r\n")), nil
	}
	if !term.IsTerminal(int(s.in.Fd())) {
		return secret.Text{}, errors.New("standard input is not a terminal: pass the password with --password-stdin")
	}
	ask := func(prompt string) (secret.Text, error) {
		_, _ = fmt.Fprint(s.err, prompt)
		text, err := term.ReadPassword(int(s.in.Fd()))
		_, _ = fmt.Fprintln(s.err)
		return secret.New(string(text)), err
	}
	first, err := ask("Password: ")
	if err != nil || !twice {
		return first, err
	}
	again, err := ask("Once more: ")
	if err == nil && !first.Equal(again) {
		err = errors.New("the two passwords differ")
	}
	return first, err
}

func orDash(text string) string { return orText(text, "-") }

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
