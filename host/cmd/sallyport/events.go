package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nkeys"
	"golang.org/x/term"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/config"
)

type eventsCommand struct {
	Tail   eventsTail   `cmd:"" help:"Show events as they happen."`
	Stats  eventsStats  `cmd:"" help:"Sum up logins of the last 24 hours by method and outcome, why they were refused, and how long approvals took."`
	Verify eventsVerify `cmd:"" help:"Look whether a stored event is missing, is there twice, or is out of order."`
	Replay eventsReplay `cmd:"" help:"Let a subscriber get again what is stored for it."`
	Key    eventsKey    `cmd:"" help:"Make the key of a subscriber, for a block user in events { }."`
}

// sinceFlag says how far back to look.
type sinceFlag struct {
	Since string `help:"Begin with the stored events of so long ago, such as 10m or 7d, or of a day or time, such as 2027-01-31." placeholder:"AGO"`
}

// time is when that was; without the flag, unset.
func (f sinceFlag) time(unset time.Time) (time.Time, error) {
	if f.Since == "" {
		return unset, nil
	}
	if at, err := time.Parse(time.RFC3339, f.Since); err == nil {
		return at, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, f.Since, time.Local); err == nil {
		return day, nil
	}
	back, err := config.ParseDuration(f.Since)
	if err != nil || back <= 0 {
		return unset, fmt.Errorf(`--since %q: a duration is expected, such as "10m", "12h" or "7d", or a day such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z`, f.Since)
	}
	return time.Now().Add(-back), nil
}

// eventsFilter says which events to look at.
type eventsFilter struct {
	User   string   `help:"Only those of this user or account." placeholder:"NAME"`
	Method string   `help:"Only those of this method, as first or second factor." placeholder:"ID"`
	Type   []string `help:"Only those of this type, such as login, login.refused or approval; may be repeated." placeholder:"TYPE"`
}

// matches reports whether an event is one of those.
func (f eventsFilter) matches(e events.Event) bool {
	if len(f.Type) > 0 && !slices.ContainsFunc(f.Type, e.Data.EventType().Is) {
		return false
	}
	if f.User == "" && f.Method == "" {
		return true
	}
	body, err := json.Marshal(e.Data)
	if err != nil {
		return false
	}
	var said struct{ User, Account, Method, Factor string }
	_ = json.Unmarshal(body, &said) // fields of other types are none of these
	return (f.User == "" || said.User == f.User || said.Account == f.User) && (f.Method == "" || said.Method == f.Method || said.Factor == f.Method)
}

// check refuses types that no event has.
func (f eventsFilter) check() error {
	for _, t := range f.Type {
		if len(events.Matching(t)) > 0 {
			continue
		}
		var families []string
		for _, known := range events.Types() {
			family, _, _ := strings.Cut(strings.TrimPrefix(string(known), events.Root+"."), ".")
			if !slices.Contains(families, family) {
				families = append(families, family)
			}
		}
		return fmt.Errorf("--type %q: no event has this type; there are %s, or one of theirs, such as login.refused", t, strings.Join(families, ", "))
	}
	return nil
}

type eventsTail struct {
	sinceFlag
	eventsFilter
	NoFollow bool `help:"End after the stored events."`
	JSON     bool `help:"Print one CloudEvents JSON object a line." name:"json"`
}

// Run implements the command.
func (cmd eventsTail) Run(ctx context.Context, c *cli, s streams) error {
	since, err := cmd.time(time.Time{})
	if err == nil {
		err = cmd.check()
	}
	if err != nil {
		return err
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
	paint := colours(s.out)
	err = client.Follow(ctx, since, live, func(e events.Event) error {
		if !cmd.matches(e) {
			return nil
		}
		if cmd.JSON {
			return json.NewEncoder(s.out).Encode(e)
		}
		_, err := fmt.Fprintln(s.out, paint(e.Data.EventType(), eventLine(e)))
		return err
	})
	if err == nil && live && ctx.Err() == nil {
		_, _ = fmt.Fprintln(s.err, "sallyport: the server stopped")
	}
	return err
}

// colours paint lines on a terminal: green who got in, red who did not, yellow what somebody should look at. NO_COLOR is
// heeded (https://no-color.org).
func colours(out io.Writer) func(t events.Type, line string) string {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || !term.IsTerminal(int(file.Fd())) {
		return func(_ events.Type, line string) string { return line }
	}
	return paint
}

func paint(t events.Type, line string) string {
	const red, green, yellow = "31", "32", "33"
	colour := ""
	switch t {
	case events.LoginAcceptedType, events.ApprovalApprovedType:
		colour = green
	case events.LoginRefusedType, events.RefusalsType, events.ApprovalDeniedType, events.PasswordRefusedType, events.MethodRejectedType:
		colour = red
	case events.MethodFailedType, events.ServerDegradedType, events.AccountLockedType, events.SourceBannedType, events.MailFailedType, events.DecisionRefusedType:
		colour = yellow
	default:
		return line
	}
	return "\x1b[" + colour + "m" + line + "\x1b[0m"
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
		unprintable := func(r rune) bool { return !unicode.IsPrint(r) } // a file's name can hold what moves a terminal's cursor
		if strings.ContainsAny(text, " =\"") || text == "" || strings.ContainsFunc(text, unprintable) {
			text = fmt.Sprintf("%q", text)
		}
		fmt.Fprintf(&b, " %s=%s", key, text)
	}
	return b.String()
}

type eventsReplay struct {
	User string `arg:"" help:"Name of the user: \"subscriber\", or one of a block in events { }."`
	sinceFlag
	output
}

// Run implements the command.
func (cmd eventsReplay) Run(ctx context.Context, c *cli, s streams) error {
	since, err := cmd.time(time.Unix(0, 0))
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, 0)
	if err != nil {
		return err
	}
	defer closing()
	if err := client.Replay(ctx, cmd.User, since); err != nil {
		return err
	}
	return cmd.print(s.out, map[string]any{"user": cmd.User, "since": since}, func(w io.Writer) {
		fmt.Fprintf(w, "%s gets again what is stored for it since %s\n", cmd.User, since.Local().Format(time.RFC3339))
	})
}

type eventsKey struct {
	File string `arg:"" help:"New file for the secret seed, which the subscriber keeps." type:"path"`
	output
}

// Run implements the command.
func (cmd eventsKey) Run(s streams) error {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	key, err := pair.PublicKey()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(cmd.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(seed, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return cmd.print(s.out, map[string]string{"file": cmd.File, "key": key}, func(w io.Writer) {
		fmt.Fprintf(w, "the secret seed is in %s; in the configuration:\n\nevents {\n  user \"NAME\" {\n    key      = %q\n    subjects = [\"sallyport.v1.>\"]  # all\n  }\n}\n", shown(cmd.File), key)
	})
}
