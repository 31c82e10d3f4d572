package ftps_test

import (
	"io"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// flood sends commands without reading, and returns the last reply.
func flood(c *client, n int) (last string) {
	c.f.Helper()
	go func() {
		for range n {
			if c.text.PrintfLine("NOOP") != nil {
				return
			}
		}
	}()
	for {
		line, err := c.text.ReadLine()
		if err != nil {
			return last
		}
		last = line
	}
}

// A client that is not logged in may send few commands, and one that is so many a second.
func TestTooManyCommands(t *testing.T) {
	f := newFixture(t, func(o *ftps.Options) { o.CommandRate = 50 })
	if last := flood(f.dial(), 10_000); last != "421 These are too many commands." {
		t.Errorf("in clear text: %q", last)
	}
	foreign := f.dial()
	go func() {
		for foreign.text.PrintfLine("AUTH X") == nil {
		}
	}()
	n := 0
	for {
		line, err := foreign.text.ReadLine()
		if err != nil {
			break
		}
		if n++; strings.HasPrefix(line, "421") {
			break
		}
	}
	if n > 100 {
		t.Errorf("%d replies to AUTH X", n)
	}
	secured := f.secure()
	secured.cmd(331, "USER alice")
	if last := flood(secured, 10_000); last != "421 These are too many commands." {
		t.Errorf("under TLS: %q", last)
	}
	if last := flood(f.secure(), 10_000); last != "421 These are too many commands." {
		t.Errorf("under TLS, before USER: %q", last)
	}
	atOnce := f.secure()
	if _, err := io.WriteString(atOnce.raw, strings.Repeat("NOOP\r\n", 2000)); err != nil {
		t.Fatal(err)
	}
	if last := flood(atOnce, 0); last != "421 These are too many commands." {
		t.Errorf("in one piece: %q", last)
	}
	c := f.login()
	for range 40 {
		c.cmd(200, "NOOP")
	}
	if last := flood(c, 10_000); last != "421 These are too many commands." {
		t.Errorf("logged in: %q", last)
	}
	if closed := f.closed(); closed.Reason != events.TooManyCommands {
		t.Errorf("%+v", closed)
	}
	f.service.Shutdown(t.Context())
	if n := f.refusals(events.TooManyCommands); n != 5 {
		t.Errorf("%d were told of", n)
	}
	if n := strings.Count(f.log.String(), "reason=too_many_commands"); n != 6 { // five connections, and the session
		t.Errorf("%d lines: %s", n, f.log)
	}
}
