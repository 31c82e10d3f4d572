package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// lockPatience is how long a command waits for a server that is starting or stopping.
const lockPatience = 10 * time.Second

// connect returns a client of the running server, or of the same API in this process on the
// data folder under its lock. running tells which.
func connect(ctx context.Context, c *cli, need parts) (client *admin.Client, running bool, closing func(), err error) {
	conf, err := config.Load(c.Config)
	if err != nil {
		return nil, false, nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		if conn, err := dialSocket(ctx, conf.Server.DataDir); err == nil {
			_ = conn.Close()
			client := admin.NewClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, conf.Server.DataDir) })
			return client, true, func() {}, sameConfig(ctx, client, c, conf, need)
		} else if errors.Is(err, os.ErrPermission) {
			return nil, false, nil, fmt.Errorf("the server's socket: %w; use the account that the server runs as", err)
		}
		if need == 0 {
			return nil, false, nil, fmt.Errorf("this needs the running server, and none runs on the data folder %s", conf.Server.DataDir)
		}
		a, err := open(ctx, conf, slog.New(slog.DiscardHandler), need)
		if err == nil {
			client, stop := inProcess(a)
			return client, false, func() { stop(); a.close() }, nil
		}
		if !errors.Is(err, errInUse) || time.Now().After(deadline) {
			return nil, false, nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, false, nil, context.Cause(ctx)
		}
	}
}

// sameConfig refuses to ask a server about methods that it does not have: one that was started
// with another configuration than the one named.
func sameConfig(ctx context.Context, client *admin.Client, c *cli, conf *config.Config, need parts) error {
	if c.Config == "" || (need != 0 && need&withLogins != withLogins) {
		return nil
	}
	s, err := client.Server(ctx)
	if err != nil || s.Config == absolute(conf.File) {
		return err
	}
	return fmt.Errorf("a server runs on the data folder %s with the configuration %s, not %s: leave --config out to ask that one, or restart it", conf.Server.DataDir, orText(s.Config, "built into it"), conf.File)
}

// inProcess serves the API on pipes.
func inProcess(a *app) (*admin.Client, func()) {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: admin.Handler(a.backend()), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	return admin.NewClient(l.dial), func() { _ = server.Close() }
}

// pipeListener is a net.Listener within the process.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the server calls it once.
func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

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
	PasswordStdin bool `help:"Read the password from the first line of standard input."`
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

type accountCommand struct {
	Add     accountAdd     `cmd:"" help:"Make an account."`
	Passwd  accountPasswd  `cmd:"" help:"Change an account's password."`
	Show    accountShow    `cmd:"" help:"Show an account."`
	List    accountList    `cmd:"" help:"List the accounts."`
	Enable  accountEnable  `cmd:"" help:"Let an account log in again."`
	Disable accountDisable `cmd:"" help:"Let an account not log in; its sessions go on."`
	Remove  accountRemove  `cmd:"" help:"Delete an account; its files stay."`
}

type accountAdd struct {
	Name  string   `arg:"" help:"User name."`
	Group []string `help:"Group; the first decides on home and permissions (default: default)." placeholder:"G"`
	Email string   `help:"E-mail address." placeholder:"E"`
	Home  string   `help:"Home folder (default: the group's)." placeholder:"DIR"`
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
		return client.AddAccount(ctx, account.Account{Name: cmd.Name, Groups: cmd.Group, Email: cmd.Email, Home: cmd.Home}, password)
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
		fmt.Fprintf(w, "name\t%s\nenabled\t%v\ngroups\t%s\nemail\t%s\nhome\t%s\ncreated\t%s\npassword changed\t%s\n", a.Name, a.Enabled,
			strings.Join(a.Groups, ", "), orDash(a.Email), orText(a.Home, "the group's"), a.Created.Format(time.RFC3339), a.PasswordChanged.Format(time.RFC3339))
	})
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

type loginCommand struct {
	User    string `help:"User name." required:"" placeholder:"U"`
	Service string `help:"Service (default: the first in the configuration)." placeholder:"S"`
	passwordFlag
	output
}

// Run implements the command.
func (cmd loginCommand) Run(ctx context.Context, c *cli, s streams) error {
	password, err := cmd.read(s, false)
	if err != nil {
		return err
	}
	client, running, closing, err := connect(ctx, c, withLogins)
	if err != nil {
		return err
	}
	defer closing()
	result, err := client.TryLogin(ctx, cmd.User, password, cmd.Service)
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
			detail += "ignored without a grant: " + strings.Join(step.Ignored, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f ms\t%s\n", name, step.Verdict, orDash(string(step.Reason)), float64(step.Took), detail)
		for _, line := range step.Log {
			fmt.Fprintf(w, "  says: %q\n", line)
		}
	}
	if r.Accepted {
		fmt.Fprintf(w, "\naccepted by %s on service %s in %.1f ms\nuser\t%s\ngroups\t%s\nhome\t%s\npermissions\t%s\n", r.Method, r.Service, float64(r.Took),
			r.User, strings.Join(r.Groups, ", "), r.Home, strings.Join(r.Permissions, ", "))
	} else {
		fmt.Fprintf(w, "\nrefused on service %s: %s\n", r.Service, r.Reason)
		if r.Detail != "" {
			fmt.Fprintln(w, r.Detail)
		}
	}
	if !running {
		fmt.Fprintln(w, "\n(no server runs here: lock-outs and stopped methods, which live in its memory, are not seen)")
	} else if r.Accepted {
		fmt.Fprintln(w, "\n(a client may still be refused for its address: after too many wrong tries it is banned for a while)")
	}
}

type methodCommand struct {
	List  methodList  `cmd:"" help:"List the methods."`
	Stop  methodStop  `cmd:"" help:"Stop a method: it is skipped, until it is started or the server restarts."`
	Start methodStart `cmd:"" help:"Start a stopped method."`
}

type methodList struct{ output }

// Run implements the command.
func (cmd methodList) Run(ctx context.Context, c *cli, s streams) error {
	client, running, closing, err := connect(ctx, c, withLogins)
	if err != nil {
		return err
	}
	defer closing()
	list, err := client.Methods(ctx)
	if err != nil {
		return err
	}
	return cmd.print(s.out, list, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tPLUGIN\tVERSION\tNAME")
		for _, m := range list {
			state := m.State
			if !running && state == admin.StateRunning {
				state = "enabled" // no server runs
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, state, m.Plugin, orDash(m.Version), m.Name)
		}
	})
}

type methodStop struct {
	ID string `arg:"" help:"The method's ID."`
	output
}

// Run implements the command.
func (cmd methodStop) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.setStopped(ctx, c, s, cmd.ID, true, "stopped until it is started or the server restarts")
}

type methodStart struct {
	ID string `arg:"" help:"The method's ID."`
	output
}

// Run implements the command.
func (cmd methodStart) Run(ctx context.Context, c *cli, s streams) error {
	return cmd.setStopped(ctx, c, s, cmd.ID, false, "started")
}

func (o output) setStopped(ctx context.Context, c *cli, s streams, id string, stopped bool, done string) error {
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	m, err := client.SetStopped(ctx, id, stopped)
	if err != nil {
		return err
	}
	return o.print(s.out, m, func(w io.Writer) { fmt.Fprintf(w, "method %s: %s\n", m.ID, done) })
}

type eventsCommand struct {
	Tail eventsTail `cmd:"" help:"Show events as they happen."`
}

type eventsTail struct {
	Since    string `help:"Begin with the stored events of so long ago, such as 10m or 7d." placeholder:"10m"`
	NoFollow bool   `help:"End after the stored events."`
	JSON     bool   `help:"Print one CloudEvents JSON object a line." name:"json"`
}

// Run implements the command.
func (cmd eventsTail) Run(ctx context.Context, c *cli, s streams) error {
	var since time.Time
	if cmd.Since != "" {
		back, err := config.ParseDuration(cmd.Since)
		if err != nil || back <= 0 {
			return fmt.Errorf(`--since %q: a duration is expected, such as "10m", "12h" or "7d"`, cmd.Since)
		}
		since = time.Now().Add(-back)
	}
	client, running, closing, err := connect(ctx, c, withEvents)
	if err != nil {
		return err
	}
	defer closing()
	if !running && !cmd.NoFollow {
		_, _ = fmt.Fprintln(s.err, "sallyport: no server runs here, so only stored events are shown")
	}
	if (!running || cmd.NoFollow) && since.IsZero() {
		return errors.New("nothing to show: say how far back with --since")
	}
	live := running && !cmd.NoFollow
	err = client.Follow(ctx, since, live, func(e events.Event) error {
		if cmd.JSON {
			return json.NewEncoder(s.out).Encode(e)
		}
		_, err := fmt.Fprintln(s.out, eventLine(e))
		return err
	})
	if err == nil && live && ctx.Err() == nil {
		_, _ = fmt.Fprintln(s.err, "sallyport: the server stopped")
	}
	return err
}

// eventLine is an event for people: time, type, and the fields in their order.
func eventLine(e events.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-16s", e.Time.Local().Format("2006-01-02 15:04:05.000"), strings.TrimPrefix(string(e.Data.EventType()), events.Root+"."))
	body, err := json.Marshal(e.Data)
	if err != nil {
		return b.String()
	}
	d := json.NewDecoder(bytes.NewReader(body))
	_, _ = d.Token() // {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if err := d.Decode(&value); err != nil {
			break
		}
		text := fmt.Sprint(value)
		if number, ok := value.(float64); ok {
			text = fmt.Sprintf("%.0f", number)
		}
		if strings.ContainsAny(text, " =\"") || text == "" {
			text = fmt.Sprintf("%q", text)
		}
		fmt.Fprintf(&b, " %s=%s", key, text)
	}
	return b.String()
}

type checkCommand struct{}

// Run implements the command.
func (checkCommand) Run(ctx context.Context, c *cli, s streams) error {
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if err := checkPlugins(ctx, conf); err != nil {
		return err
	}
	for _, service := range conf.Services {
		if _, err := certificateOf(service, ftps.LoadCertificate); err != nil {
			return err
		}
	}
	m, err := loadMethods(ctx, conf, "", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	m.close(ctx)
	_, err = fmt.Fprintf(s.out, "%s: good. %d service(s), %d method(s), data in %s\n",
		orText(conf.File, "built-in defaults"), len(conf.Services), len(conf.Authentications), conf.Server.DataDir)
	return err
}

type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "sallyport", version())
	return err
}

func orDash(text string) string { return orText(text, "-") }

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
