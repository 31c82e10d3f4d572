package bus

import (
	"slices"
	"testing"

	"github.com/sallyport-ftps/sallyport/events"
)

func TestWithin(t *testing.T) {
	const root = events.Root + "."
	for _, c := range []struct {
		subjects []string
		stream   string
		want     []string
	}{
		{[]string{root + ">"}, events.StreamRefusals, []string{root + "login.refused", root + "login.refusals", root + "connection.>", root + "source.>"}},
		{[]string{root + "login.>"}, events.StreamAudit, []string{root + "login.accepted"}},
		{[]string{root + "login.>"}, events.StreamActivity, nil},
		{[]string{root + "*.refused"}, events.StreamRefusals, []string{root + "login.refused", root + "connection.refused", root + "source.refused"}},
		{[]string{root + "*.refused"}, events.StreamAudit, []string{root + "approval.refused", root + "account.refused", root + "password.refused", root + "approver.refused", root + "mail.refused", root + "server.refused"}},
		{[]string{root + "account.locked", root + "account.>", root + "account.*"}, events.StreamAudit, []string{root + "account.>"}},
		{[]string{root + "source.banned", root + "login.refused", root + "login.*"}, events.StreamRefusals, []string{root + "source.banned", root + "login.refused", root + "login.refusals"}},
	} {
		if got := (User{Subjects: c.subjects}).within(c.stream); !slices.Equal(got, c.want) {
			t.Errorf("%v in %s: got %v, want %v", c.subjects, c.stream, got, c.want)
		}
	}
}
