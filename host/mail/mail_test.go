package mail_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"image/png"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/mail/mailtest"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// settings are for the test's server.
func settings(t *testing.T, mode mail.TLS) (mail.Settings, *mailtest.Server) {
	t.Helper()
	server := mailtest.Start(t, string(mode))
	ca := x509.NewCertPool()
	if !ca.AppendCertsFromPEM(server.CA) {
		t.Fatal("no certificate")
	}
	return mail.Settings{
		Server: server.Addr, TLS: mode, User: "relay", Password: secret.New("relay-secret"), From: "Sallyport <ftps@example.org>", CA: ca,
		Timeout: 5 * time.Second, LoginAt: "ftps.example.org:21",
	}, server
}

var letter = mail.Letter{
	To: "alice@example.org", Account: "alice", Server: "vault", Password: secret.New("Babad-cecin-2"), Until: time.Date(2199, 1, 2, 3, 4, 0, 0, time.UTC),
	CodesURL: "otpauth://totp/vault:alice?secret=ABC", Recovery: []string{"0123456789", "1234567890"},
}

func TestSend(t *testing.T) {
	for _, mode := range []mail.TLS{mail.StartTLS, mail.Implicit, mail.NoTLS} {
		t.Run(string(mode), func(t *testing.T) {
			s, server := settings(t, mode)
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(server.Letters(t)) != 0 {
				t.Error("a probe sent a mail")
			}
			if err := s.Send(t.Context(), letter); err != nil {
				t.Fatal(err)
			}
			all := server.Letters(t)
			if len(all) != 1 {
				t.Fatalf("%d mails", len(all))
			}
			text, html, picture := parts(t, all[0])
			for _, want := range []string{"ftps.example.org:21", "alice", `SITE PSWD Babad-cecin-2 "your new password"`, "2 January 2199, 03:04 UTC", letter.CodesURL, "0123456789", "1234567890"} {
				if !strings.Contains(text, want) {
					t.Errorf("the text lacks %q:\n%s", want, text)
				}
			}
			if !strings.Contains(html, `src="cid:one-time-codes.png"`) || !strings.Contains(html, "Babad-cecin-2") {
				t.Errorf("the HTML is\n%s", html)
			}
			if image, err := png.Decode(bytes.NewReader(picture)); err != nil || image.Bounds().Dx() != 320 {
				t.Errorf("the QR code can't be read: %v", err)
			}
		})
	}
}

// The line for the shell is one, whatever the account is called.
func TestLineForTheShell(t *testing.T) {
	s, server := settings(t, mail.NoTLS)
	l := letter
	l.Account = "a';touch${IFS}pwned;'"
	if err := s.Send(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	text, _, _ := parts(t, server.Letters(t)[0])
	if want := `-u 'a'\'';touch${IFS}pwned;'\'':Babad-cecin-2' -Q 'SITE PSWD Babad-cecin-2 "your new password"' 'ftp://ftps.example.org:21/'`; !strings.Contains(text, want) {
		t.Errorf("no %s in\n%s", want, text)
	}
}

// What is not there is not told of.
func TestSendLess(t *testing.T) {
	s, server := settings(t, mail.StartTLS)
	for _, l := range []mail.Letter{
		{To: "bob@example.org", Account: "bob", Server: "vault", Password: secret.New("the-password-1")},
		{To: "bob@example.org", Account: "bob", Server: "vault", CodesURL: letter.CodesURL, Recovery: letter.Recovery},
	} {
		if err := s.Send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	all := server.Letters(t)
	text, html, picture := parts(t, all[0])
	if strings.Contains(text+html, "PSWD") || strings.Contains(text+html, "one-time") || picture != nil || !strings.Contains(text, "password   the-password-1") {
		t.Errorf("a password only:\n%s\n%s", text, html)
	}
	if text, html, picture = parts(t, all[1]); strings.Contains(text+html, "PSWD") || picture == nil || !strings.Contains(text, "otpauth") {
		t.Errorf("codes only:\n%s\n%s", text, html)
	}
}

// Each way in which it fails is an error that says what failed, in bounded time, without a secret.
func TestSendFails(t *testing.T) {
	good, server := settings(t, mail.StartTLS)
	mute, closed, plain := listen(t, func(net.Conn) {}), listen(t, func(c net.Conn) { _ = c.Close() }), listen(t, func(c net.Conn) {
		_, _ = c.Write([]byte("220 hello\r\n"))
		for lines := bufio.NewScanner(c); lines.Scan(); {
			_, _ = c.Write([]byte("250 hello\r\n")) // it offers no STARTTLS
		}
	})
	for name, c := range map[string]struct {
		change func(*mail.Settings, *mail.Letter)
		want   string
	}{
		"wrong password":      {func(s *mail.Settings, _ *mail.Letter) { s.Password = secret.New("guess-4711") }, "535"},
		"refused sender":      {func(s *mail.Settings, _ *mail.Letter) { s.From = "nobody@example.org" }, "550"},
		"refused recipient":   {func(_ *mail.Settings, l *mail.Letter) { l.To = "refused@example.org" }, "550"},
		"full":                {func(_ *mail.Settings, l *mail.Letter) { l.To = "full@example.org" }, "452"},
		"not trusted":         {func(s *mail.Settings, _ *mail.Letter) { s.CA = nil }, "certificate"},
		"no STARTTLS":         {func(s *mail.Settings, _ *mail.Letter) { s.Server = plain }, "STARTTLS"},
		"dead":                {func(s *mail.Settings, _ *mail.Letter) { s.Server = deadAddr(t) }, "refused"},
		"hangs up":            {func(s *mail.Settings, _ *mail.Letter) { s.Server = closed }, "EOF"},
		"says nothing":        {func(s *mail.Settings, _ *mail.Letter) { s.Server, s.Timeout = mute, 300*time.Millisecond }, "deadline"},
		"implicit, but isn't": {func(s *mail.Settings, _ *mail.Letter) { s.TLS = mail.Implicit }, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := good, letter
			c.change(&s, &l)
			err := s.Send(t.Context(), l)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something with %q", err, c.want)
			}
			for _, canary := range []string{"relay-secret", "guess-4711", "Babad"} {
				if err != nil && (strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte(canary)))) {
					t.Errorf("the error holds a secret: %v", err)
				}
			}
		})
	}
	if n := len(server.Letters(t)); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := good.Send(ctx, letter); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A server that answers with what it was sent puts no secret into the error.
func TestServerThatEchoes(t *testing.T) {
	for name, refuse := range map[string]string{"the authentication": "AUTH", "the letter": "."} {
		t.Run(name, func(t *testing.T) {
			server := listen(t, func(c net.Conn) {
				say := func(text string) { _, _ = c.Write([]byte(text + "\r\n")) }
				say("220 hello")
				heard, letter := []string{}, false
				for lines := bufio.NewScanner(c); lines.Scan(); {
					line := lines.Text()
					heard = append(heard, line)
					switch word, _, _ := strings.Cut(line, " "); {
					case word == refuse:
						say("550-" + strings.Join(heard, "\r\n550-") + "\r\n550 I did not like that")
						letter = false
					case letter:
					case word == "EHLO":
						say("250-hello\r\n250 AUTH PLAIN")
					case word == "AUTH":
						say("235 come in")
					case word == "DATA":
						letter = true
						say("354 go on")
					default:
						say("250 yes")
					}
				}
			})
			s := mail.Settings{Server: server, TLS: mail.NoTLS, User: "relay", Password: secret.New("relay-secret"), From: "ftps@example.org", Timeout: 5 * time.Second}
			l := letter
			l.CodesURL = "otpauth://totp/vault:alice?secret=JBSWY3DPEHPK3PXP"
			err := s.Send(t.Context(), l)
			if err == nil || !strings.Contains(err.Error(), "550") || !strings.Contains(err.Error(), "[secret]") {
				t.Fatalf("got %v", err)
			}
			for _, canary := range append([]string{"relay-secret", l.Password.Reveal(), "JBSWY3DPEHPK3PXP"}, l.Recovery...) {
				for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte("\x00relay\x00" + canary))} {
					if strings.Contains(err.Error(), form) {
						t.Errorf("the error holds %s as %s: %v", canary, form, err)
					}
				}
			}
		})
	}
}

// listen serves each connection with f, and closes it at the end of the test.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go f(c)
		}
	}()
	return l.Addr().String()
}

func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// parts takes a mail apart: multipart/related, or multipart/alternative alone.
func parts(t *testing.T, file string) (text, html string, picture []byte) {
	t.Helper()
	raw, err := os.Open(filepath.Clean(file))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	m, err := netmail.ReadMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Subject") != "Your access to vault" {
		t.Errorf("headers: %v", m.Header)
	}
	var walk func(kind string, body io.Reader)
	walk = func(kind string, body io.Reader) {
		kind, params, err := mime.ParseMediaType(kind)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(kind, "multipart/") {
			content, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			switch kind {
			case "text/plain":
				text = strings.ReplaceAll(string(content), "\r\n", "\n")
			case "text/html":
				html = string(content)
			case "image/png":
				if picture, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(content)), "")); err != nil {
					t.Fatal(err)
				}
			}
			return
		}
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextPart() // decodes quoted-printable
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			walk(p.Header.Get("Content-Type"), p)
		}
	}
	walk(m.Header.Get("Content-Type"), m.Body)
	return text, html, picture
}
