// Sallyport is an FTPS server whose login is programmable. This package is the program: the
// commands, and in app.go the wiring, the only place that knows every other package.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Config string `help:"Configuration file (default: config.hcl, then /etc/sallyport/config.hcl, then built-in defaults)." short:"c" type:"path" placeholder:"FILE"`

	Serve    serveCommand    `cmd:"" help:"Run the server."`
	Demo     demoCommand     `cmd:"" help:"Run a server with the built-in defaults and an account to try."`
	Check    checkCommand    `cmd:"" help:"Check the configuration and the plugins, and explain what is wrong."`
	Account  accountCommand  `cmd:"" help:"Manage accounts, whether the server runs or not."`
	Login    loginCommand    `cmd:"" help:"Try a login without FTP, and show what each method says."`
	Method   methodCommand   `cmd:"" help:"List, stop and start authentication methods."`
	Approval approvalCommand `cmd:"" help:"List and revoke second factors that people answer."`
	Key      keyCommand      `cmd:"" help:"Exchange the key that one-time codes are sealed with."`
	State    stateCommand    `cmd:"" help:"Export accounts, approvers, locks and keys to an encrypted file, and import them on an empty machine."`
	Sessions sessionCommand  `cmd:"" help:"List who is logged in, and end sessions."`
	Ban      banCommand      `cmd:"" help:"List, add and lift bans of addresses."`
	Approver approverCommand `cmd:"" help:"Enroll, list and revoke approvers."`
	Approve  approveCommand  `cmd:"" help:"Approve logins on this terminal, as an enrolled approver."`
	Plugin   pluginCommand   `cmd:"" help:"Write, build, test and inspect plugins."`
	Reload   reloadCommand   `cmd:"" help:"Let the running server use its configuration, plugins and certificates as they are now in their files."`
	Events   eventsCommand   `cmd:"" help:"Read events."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// streams are what a command reads and writes.
type streams struct {
	in       *os.File
	out, err io.Writer
}

// errSilent ends a command with status 1; what there is to say has been said.
var errSilent = errors.New("refused")

func main() { os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})) }

// run returns the exit status: 0, or 1 for a failure, or 2 for a command line that can't be read.
func run(args []string, s streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("sallyport"),
		kong.Description("An FTPS server whose login is programmable."),
		kong.UsageOnError(),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)
	if err != nil {
		fmt.Fprintln(s.err, "sallyport:", err)
		return 2
	}
	command, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(s.err, "sallyport: %v; see sallyport --help\n", err)
		return 2
	}
	err = command.Run(&c)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errSilent):
		fmt.Fprintln(s.err, "sallyport:", err)
	}
	return 1
}
