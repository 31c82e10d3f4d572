package main

import (
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

// What the built plugin does is in cases.hcl.
func TestDeny(t *testing.T) {
	host := sdktest.Host{Fields: map[string]string{"user": "root", "user.typed": "Root"}, Lists: map[string][]string{"usernames": {"root"}}}
	if got := host.Run(method{}); got != sdk.Reject || host.Result["reason"] != "name_not_allowed" {
		t.Errorf("got %v %q", got, host.Result["reason"])
	}
	host.Fields["user"], host.Fields["user.typed"] = "alice", "alice"
	if got := host.Run(method{}); got != sdk.Unknown {
		t.Errorf("got %v", got)
	}
}

func TestHours(t *testing.T) {
	for text, c := range map[string]struct{ in, out string }{
		"Mon-Fri 08:00-18:00": {"2026-11-25T08:00:00Z", "2026-11-25T18:00:00Z"},
		"Fri-Mon 00:00-24:00": {"2026-11-29T23:59:00Z", "2026-11-26T00:00:00Z"}, // over the week's end
		"Sun 23:00-01:00":     {"2026-11-30T00:59:00Z", "2026-11-29T00:59:00Z"},
		"mon,WED 12:00-12:01": {"2026-11-25T12:00:30Z", "2026-11-24T12:00:30Z"},
	} {
		h, err := parseHours(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for at, want := range map[string]bool{c.in: true, c.out: false} {
			when, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.include(when); got != want {
				t.Errorf("%s at %s: %v", text, at, got)
			}
		}
	}
	for _, text := range []string{"", "Mon", "Mon 08:00", "Mon 8-18", "Mun 08:00-18:00", "Mon- 08:00-18:00", "Mon 08:00-25:00"} {
		if _, err := parseHours(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
