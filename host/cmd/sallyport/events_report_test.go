package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sallyport-ftps/sallyport/events"
)

// numbered are events of the audit stream, in the order of their numbers.
func numbered(boot string, numbers ...uint64) (all []events.Event) {
	for _, n := range numbers {
		all = append(all, events.Event{
			ID: fmt.Sprint(boot, n), Time: time.Unix(1_800_000_000+int64(n), 0), Stream: events.StreamAudit, Boot: boot, Sequence: n,
			Data: &events.LoginRefused{Reason: events.WrongPassword},
		})
	}
	return all
}

func TestVerification(t *testing.T) {
	early := numbered("a", 3)
	early[0].Time = early[0].Time.Add(-time.Hour)
	for name, c := range map[string]struct {
		events []events.Event
		want   string // part of the one problem; empty: none
	}{
		"good":                       {numbered("a", 1, 2, 3), ""},
		"the oldest are gone":        {numbered("a", 7, 8, 9), ""},
		"two runs":                   {slices.Concat(numbered("a", 1, 2), numbered("b", 1, 2)), ""},
		"a gap":                      {numbered("a", 1, 2, 5), "its number is 5, and 3 was to come: 2 missing"},
		"the first of a run is gone": {slices.Concat(numbered("a", 1), numbered("b", 2)), "its number is 2, and 1 was to come: 1 missing"},
		"back":                       {numbered("a", 1, 2, 1, 2, 3), "it is there twice"},
		"a run that had ended":       {slices.Concat(numbered("a", 1), numbered("b", 1), numbered("a", 2)), "it belongs to a run that had ended: a"},
		"before its time":            {slices.Concat(numbered("a", 1, 2), early), "it is of "},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerification()
			for _, e := range c.events {
				if err := v.add(e); err != nil {
					t.Fatal(err)
				}
			}
			v.finish()
			if found := strings.Join(v.Problems, "\n"); (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
				t.Errorf("got %q, want %q", found, c.want)
			}
		})
	}
	digest := func(all []events.Event) string {
		v := newVerification()
		for _, e := range all {
			if err := v.add(e); err != nil {
				t.Fatal(err)
			}
		}
		v.finish()
		return v.Streams[events.StreamAudit].Digest
	}
	other := numbered("a", 1, 2)
	other[1].Data = &events.LoginRefused{Reason: events.UnknownUser}
	if one, same := digest(numbered("a", 1, 2)), digest(numbered("a", 1, 2)); one != same || one == digest(other) {
		t.Error("the digest is not that of the events")
	}
}

func TestSummary(t *testing.T) {
	s := newSummary(time.Unix(0, 0))
	for i := range 100 {
		s.add(events.Event{Data: &events.Approval{State: events.ApprovalApprovedType, Factor: "phone", DurationMS: int64(100 - i)}})
	}
	for _, data := range []events.Payload{
		&events.LoginAccepted{Method: "accounts"}, &events.LoginRefused{Method: "accounts", Reason: events.WrongPassword}, &events.LoginRefused{Reason: events.UnknownUser},
		&events.Refusals{Count: 9, Reasons: map[events.Reason]int{events.SourceBanned: 9}},
		&events.Approval{State: events.ApprovalDeniedType, Factor: "phone"}, &events.Approval{State: events.ApprovalRequestedType, Factor: "phone"},
		&events.SessionClosed{BytesReceived: 5, BytesSent: 7},
	} {
		s.add(events.Event{Data: data})
	}
	var b strings.Builder
	s.write(&b)
	for _, want := range []string{"accounts\t1\t1\n", "(none)\t0\t10\n", "source_banned\t9\nunknown_user\t1\nwrong_password\t1\n", "phone\t100\t1\t0\t0.1 s\t0.1 s\n", "1 sessions, 5 bytes received, 7 sent"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if a := s.Approvals["phone"]; a.P50MS != 51 || a.P95MS != 96 {
		t.Errorf("%+v", a)
	}
}

func TestFilter(t *testing.T) {
	e := events.Event{Data: &events.Approval{Login: events.Login{User: "alice"}, State: events.ApprovalDeniedType, Factor: "phone"}}
	for _, c := range []struct {
		f    eventsFilter
		want bool
	}{
		{eventsFilter{}, true},
		{eventsFilter{Type: []string{"approval"}}, true},
		{eventsFilter{Type: []string{"approval.denied"}}, true},
		{eventsFilter{Type: []string{"sallyport.v1.approval.denied"}}, true},
		{eventsFilter{Type: []string{"approval."}}, true},
		{eventsFilter{Type: []string{"app"}}, false},
		{eventsFilter{Type: []string{"approval.de"}}, false},
		{eventsFilter{User: "alice"}, true},
		{eventsFilter{User: "bob"}, false},
		{eventsFilter{Method: "phone"}, true},
		{eventsFilter{Method: "accounts"}, false},
		{eventsFilter{User: "alice", Method: "phone", Type: []string{"login"}}, false},
	} {
		if got := c.f.matches(e); got != c.want {
			t.Errorf("%+v: %v", c.f, got)
		}
	}
	if line := paint(events.LoginRefusedType, "x"); line != "\x1b[31mx\x1b[0m" || paint(events.SessionOpenedType, "x") != "x" {
		t.Errorf("%q", line)
	}
}

// What a client chose, such as the name of a file, can't move the cursor of the administrator's terminal.
func TestEventLineIsPrintable(t *testing.T) {
	for _, path := range []string{"/a\x1b[2J", "/a\u009b2J", "/a\u202eb", "/a\nlogin.accepted", "/Grüße"} {
		line := eventLine(events.Event{Data: &events.File{What: events.FileUploadedType, Path: path}})
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q is printed as it is at %d of %q", path, i, line)
		}
		if path == "/Grüße" && !strings.Contains(line, "path=/Grüße") {
			t.Errorf("%q is not readable: %s", path, line)
		}
	}
}
