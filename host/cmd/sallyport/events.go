package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/config"
)

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
