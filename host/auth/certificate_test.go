package auth_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// A login without a certificate is equal to none with one, whatever is typed, nor are two with different ones.
func TestCertificatesMakeLoginsDifferent(t *testing.T) {
	digest := strings.Repeat("9f", 32)
	asked, answer := make(chan struct{}), make(chan struct{})
	byCertificate := method(func(_ context.Context, a auth.Attempt) auth.Answer {
		if a.Certificate == nil || a.Certificate.SHA256 != digest {
			return auth.Answer{Verdict: auth.Rejected, Reason: events.OtherCertificate}
		}
		close(asked)
		<-answer
		return auth.Answer(accept)
	})
	a := newAuthority(&record{})
	first := attempt(step("certificate", byCertificate))
	first.Password, first.Certificate = secret.New(""), &auth.Certificate{SHA256: digest}
	done := make(chan auth.Outcome)
	go func() { done <- a.Login(t.Context(), first) }()
	<-asked
	for _, password := range []string{digest, digest + "\x00", "certificate " + digest + " ", digest + " "} {
		other := attempt(step("certificate", byCertificate))
		other.Password = secret.New(password)
		if out := a.Login(t.Context(), other); out.Accepted {
			t.Errorf("%q was let in", password)
		}
		a.Attempts.Clear("alice")
	}
	other := first
	other.Certificate = &auth.Certificate{SHA256: strings.Repeat("9e", 32)}
	if out := a.Login(t.Context(), other); out.Accepted {
		t.Error("another certificate was let in")
	}
	close(answer)
	if out := <-done; !out.Accepted {
		t.Errorf("%+v", out)
	}
}

// With an empty password no method is asked that could use it: as first factor it does not know the user, as second one it says no.
func TestEmptyPasswordWithACertificate(t *testing.T) {
	sees := func(s *auth.Step) { s.Password = true }
	for name, c := range map[string]struct {
		chain  []auth.Step
		reason events.Reason
	}{
		"the next one accepts":            {[]auth.Step{step("ldap", accept, sees), step("certificate", accept)}, ""},
		"there is no other":               {[]auth.Step{step("ldap", accept, sees)}, events.UnknownUser},
		"as second factor":                {[]auth.Step{step("certificate", accept, factor(step("ldap", accept, sees)))}, events.EmptyPassword},
		"as optional second factor":       {[]auth.Step{step("certificate", accept, factor(step("ldap", accept, sees)), func(s *auth.Step) { s.FactorOptional = true })}, events.EmptyPassword},
		"one that does not see it":        {[]auth.Step{step("certificate", accept, factor(step("push", accept)))}, ""},
		"without a certificate no one is": {nil, events.EmptyPassword},
	} {
		try := attempt(c.chain...)
		try.Password = secret.New("")
		if c.chain != nil {
			try.Certificate = &auth.Certificate{SHA256: "x"}
		}
		if out := newAuthority(&record{}).Login(t.Context(), try); out.Reason != c.reason || out.Accepted != (c.reason == "") {
			t.Errorf("%s: %+v", name, out)
		}
	}
}
