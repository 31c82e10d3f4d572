package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/sallyport-ftps/sallyport/host/mail/mailtest"
)

// An invitation from the administrator's command to the user's own password, through a mail server that wants STARTTLS and
// a login, and an FTP client.
func TestInvitationByMail(t *testing.T) {
	needPrograms(t, "curl")
	post := mailtest.Start(t, "starttls")
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
group "default" {
  allow_own_password_change = true
}
mail {
  server   = %q
  user     = "relay"
  password = "relay-secret"
  from     = "Sallyport <ftps@example.org>"
  ca       = <<PEM
%sPEM
  login_at = "127.0.0.1:%s"
  timeout  = "5s"
}
`, port, post.Addr, post.CA, port))
	curl := func(from, password string, more ...string) (string, error) {
		args := append([]string{"-sS", "--interface", from, "--ssl-reqd", "--cacert", s.path("data", "tls.crt"), "--user", "alice:" + password}, more...)
		out, err := exec.Command("curl", append(args, "ftp://127.0.0.1:"+port+"/")...).CombinedOutput()
		return string(out), err
	}
	out := s.sallyport("", "account", "add", "alice", "--email", "alice@example.org", "--invite", "--totp")
	if !strings.Contains(out, "mailed to alice@example.org: invitation, codes, good until ") {
		t.Fatal(out)
	}
	text := letterText(t, post.Letters(t)[0])
	code := regexp.MustCompile(`(?m)^  code +(\S+)$`).FindStringSubmatch(text)[1]
	u, err := url.Parse(regexp.MustCompile(`otpauth://\S+`).FindString(text))
	if err != nil {
		t.Fatal(err)
	}
	digits := func() string {
		digits, err := totp.GenerateCode(u.Query().Get("secret"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return digits
	}
	if strings.Contains(out, code) || strings.Contains(s.log.String(), code) {
		t.Error("the code was shown although it was mailed")
	}
	if out, err := curl("127.0.0.2", code); err == nil {
		t.Errorf("without a one-time code: %s", out)
	}
	used := digits()
	if out, err = curl("127.0.0.1", code+used, "-I", "-Q", "SITE PSWD "+code+` "gravel umbrella ninety tango"`); err != nil {
		t.Fatalf("choosing a password as the letter says: %v: %s", err, out)
	}
	paper := regexp.MustCompile(`(?m)^  (\d{10})$`).FindAllStringSubmatch(text, 2)
	if out, err := curl("127.0.0.1", "gravel umbrella ninety tango"+paper[0][1]); err != nil {
		t.Errorf("the password that she chose: %v: %s", err, out)
	}
	if out, err := curl("127.0.0.1", code+paper[1][1]); err == nil {
		t.Errorf("the code was good twice: %s", out)
	}
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	if !strings.Contains(tail, `"type":"sallyport.v1.mail.sent"`) || !strings.Contains(tail, `"contents":["invitation","codes"]`) {
		t.Error("no event says what was mailed")
	}
	for _, secret := range []string{code, "relay-secret", u.Query().Get("secret"), "gravel"} {
		if strings.Contains(tail, secret) || strings.Contains(s.log.String(), secret) {
			t.Errorf("a secret is in the log or an event")
		}
	}
}

// A mail that can't be sent hides nothing and undoes nothing; and what can't be mailed at all is not begun.
func TestMailNotSent(t *testing.T) {
	post := mailtest.Start(t, "starttls")
	s := newServer(t, fmt.Sprintf(`
group "default" {
  allow_own_password_change = true
}
mail {
  server   = %q
  user     = "relay"
  password = "relay-secret"
  from     = "ftps@example.org"
  login_at = "ftps.example.org"
  ca       = <<PEM
%sPEM
  timeout  = "5s"
}
`, post.Addr, post.CA))
	out, err := s.attempt("", "account", "add", "alice", "--email", "refused@example.org", "--invite")
	if err == nil || !strings.Contains(out, "account alice: added") || !strings.Contains(out, "the mail to refused@example.org was not sent: mail server "+post.Addr) || !strings.Contains(out, "no such mailbox") {
		t.Errorf("%v: %s", err, out)
	}
	code := regexp.MustCompile(`choose a password with is (\S+), good until `).FindStringSubmatch(out)
	if code == nil {
		t.Fatalf("the code is lost: %s", out)
	}
	if out, err := s.attempt(code[1]+"\n", "login", "--user", "alice", "--password-stdin"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.attempt("", "account", "passwd", "alice", "--generate", "--mail"); err == nil || !strings.Contains(out, "its password is ") || !strings.Contains(out, "was not sent") {
		t.Errorf("%v: %s", err, out)
	}
	if tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json"); strings.Count(tail, `"type":"sallyport.v1.mail.failed"`) != 2 {
		t.Error("no event says that it was not mailed")
	}
	s.sallyport("", "account", "set", "alice", "--email", "")
	if out, err := s.attempt("", "account", "passwd", "alice", "--invite"); err == nil || !strings.Contains(out, "account alice has no e-mail address") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.attempt("", "account", "add", "nomail", "--invite"); err == nil || !strings.Contains(out, "no e-mail address (--email)") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.attempt("", "account", "show", "nomail"); err == nil {
		t.Errorf("it was made: %s", out)
	}
	out = s.sallyport("", "account", "add", "carol@example.org", "--generate", "--mail") // its name is the address
	if !strings.Contains(out, "mailed to carol@example.org: password") || strings.Contains(out, "its password is") {
		t.Error(out)
	}
	password := regexp.MustCompile(`(?m)^  password +(\S+)$`).FindStringSubmatch(letterText(t, post.Letters(t)[0]))[1]
	if out, err := s.attempt(password+"\n", "login", "--user", "carol@example.org", "--password-stdin"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out := s.sallyport("", "account", "totp", "carol@example.org", "--mail"); !strings.Contains(out, "mailed to carol@example.org: codes") || strings.Contains(out, "otpauth") {
		t.Error(out)
	}
	if out, err := s.attempt("", "check", "--connect"); err != nil || !strings.Contains(out, "mail server "+post.Addr+": works") {
		t.Errorf("%v: %s", err, out)
	}
}

// attempt runs a command that may fail.
func (s *server) attempt(input string, args ...string) (string, error) {
	command := s.command(args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err
}

// letterText is the text part of a mail.
func letterText(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(strings.ReplaceAll(string(raw), "\r\n", "\n"), "Content-Type: text/plain")
	head, body, _ := strings.Cut(part, "\n\n")
	body, _, _ = strings.Cut(body, "\n--")
	if strings.Contains(head, "base64") {
		text, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
