package main

import (
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// One-time codes from enrolment to the login, with a client's parallel connections, a replay, a code on paper, and a
// user whose password happens to end in digits.
func TestOneTimeCodes(t *testing.T) {
	needPrograms(t, "curl")
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "codes" {
  listen          = "127.0.0.1:%s"
  authentications = ["two"]
}
authentication "two" {
  plugin                 = "local"
  second_factor          = ["code"]
  second_factor_required = false
}
authentication "code" {
  plugin = "totp"
}
`, port))
	s.addAccount("alice")
	s.sallyport(goodPassword+"123456\n", "account", "add", "bob", "--password-stdin")
	printed := s.sallyport("", "account", "totp", "alice")
	if !strings.Contains(printed, "█") {
		t.Errorf("no QR code: %s", printed)
	}
	u, err := url.Parse(regexp.MustCompile(`otpauth://\S+`).FindString(printed))
	if err != nil {
		t.Fatal(err)
	}
	paper := regexp.MustCompile(`(?m)^  (\d{10})`).FindStringSubmatch(printed)[1]
	app := func() string {
		code, err := totp.GenerateCode(u.Query().Get("secret"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	curl := func(from, user, password string) bool {
		out, err := exec.Command("curl", "-sS", "--interface", from, "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", user+":"+password, "ftp://127.0.0.1:"+port+"/").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "530") {
			t.Errorf("%s: %v: %s", user, err, out)
		}
		return err == nil
	}
	code := app()
	var logins sync.WaitGroup
	for range 5 {
		logins.Go(func() {
			if !curl("127.0.0.1", "alice", goodPassword+code) {
				t.Error("a parallel connection was refused")
			}
		})
	}
	logins.Wait()
	for _, c := range []struct {
		what, from, user, password string
		want                       bool
	}{
		{"the same connection again", "127.0.0.1", "alice", goodPassword + code, true},
		{"the password alone, a moment after", "127.0.0.1", "alice", goodPassword, false},
		{"a replay from elsewhere", "127.0.0.2", "alice", goodPassword + code, false},
		{"no code, from elsewhere", "127.0.0.3", "alice", goodPassword, false},
		{"on paper", "127.0.0.4", "alice", goodPassword + paper, true},
		{"on paper, again from elsewhere", "127.0.0.5", "alice", goodPassword + paper, false},
		{"a wrong password", "127.0.0.6", "alice", "wrong" + code, false},
		{"digits that are the password", "127.0.0.7", "bob", goodPassword + "123456", true},
	} {
		if got := curl(c.from, c.user, c.password); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	if !strings.Contains(tail, `"reason":"wrong_code"`) {
		t.Error("no event has the reason wrong_code")
	}
	for _, secret := range []string{u.Query().Get("secret"), goodPassword, paper} {
		if strings.Contains(tail, secret) || strings.Contains(s.log.String(), secret) {
			t.Errorf("a secret is in the log or an event")
		}
	}
	if out := s.sallyport("", "account", "totp", "alice", "--remove"); !strings.Contains(out, "removed") {
		t.Error(out)
	}
}
