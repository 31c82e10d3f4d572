// Package mail sends credentials to users: an invitation to choose a password, a password, or one-time codes.
// Start at [Settings.Send].
package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/skip2/go-qrcode"
	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// TLS says how the way to the server is encrypted.
type TLS string

// The ways to encrypt: STARTTLS is required, never only tried (RFC 8314, section 3).
const (
	StartTLS TLS = "starttls"
	Implicit TLS = "implicit"
	NoTLS    TLS = "none" // for a server on loopback
)

// Settings say how mail is sent.
type Settings struct {
	Server   string // host:port
	TLS      TLS
	User     string // empty: without authentication
	Password secret.Text
	From     string         // such as "Sallyport <ftps@example.org>"
	CA       *x509.CertPool // nil: the system's
	// Timeout bounds the connection, and then the sending.
	Timeout time.Duration
	// Invitation is how long an invitation is good.
	Invitation time.Duration
	// LoginAt tells users where to log in.
	LoginAt string
}

// Letter is what a user gets.
type Letter struct {
	To      string // address
	Account string
	Server  string // its name
	// Password is an invitation, which is good for setting one until then, or if Until is zero the password itself.
	// Empty: there is none.
	Password secret.Text
	Until    time.Time
	// CodesURL is what an authenticator app reads, and Recovery the codes on paper; empty: there are none.
	CodesURL string
	Recovery []string
}

// Letters of the mail, in the words of their templates.
type content struct {
	Letter
	LoginAt, Password, Until string
	Picture                  string // content ID of the QR code
}

//go:embed letter.txt letter.html
var files embed.FS

// pictureName is the name of the QR code in the mail.
const pictureName = "one-time-codes.png"

// pictureSize is in pixels.
const pictureSize = 320

// Send sends a letter. The error says what the server, or the way to it, did not take; then nothing was sent.
func (s Settings) Send(ctx context.Context, l Letter) error {
	m, err := s.message(l)
	if err != nil {
		return err
	}
	err = s.connected(ctx, func(client *mail.Client, conn *smtp.Client) error { return client.SendWithSMTPClient(conn, m) })
	return masked(err, l.secrets())
}

// Probe connects as for a letter, and sends none.
func (s Settings) Probe(ctx context.Context) error {
	return s.connected(ctx, func(*mail.Client, *smtp.Client) error { return nil })
}

// connected runs f on a connection that is secured and authenticated.
func (s Settings) connected(ctx context.Context, f func(*mail.Client, *smtp.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		err = f(client, conn)
		_ = client.CloseWithSMTPClient(conn) // it has the mail, or has said why not
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w after at most %v", context.Cause(ctx), s.Timeout)
	}
	if err != nil {
		password := s.Password.Reveal()
		return masked(fmt.Errorf("mail server %s: %w", s.Server, err), []string{password, "\x00" + s.User + "\x00" + password})
	}
	return nil
}

func (s Settings) client(ctx context.Context) (*mail.Client, error) {
	host, portText, err := net.SplitHostPort(s.Server)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	secured := &tls.Config{ServerName: host, RootCAs: s.CA, MinVersion: tls.VersionTLS12}
	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(s.Timeout), mail.WithTLSConfig(secured)}
	policy := mail.NoTLS
	if s.TLS == StartTLS {
		policy = mail.TLSMandatory
	}
	options = append(options, mail.WithTLSPolicy(policy), mail.WithDialContextFunc(func(_ context.Context, network, address string) (net.Conn, error) {
		return s.dial(ctx, network, address, secured)
	}))
	if s.User != "" {
		kind := mail.SMTPAuthAutoDiscover
		if s.TLS != StartTLS {
			kind = mail.SMTPAuthPlainNoEnc // the library does not see that dial has encrypted, or it is on loopback
		}
		options = append(options, mail.WithSMTPAuth(kind), mail.WithUsername(s.User), mail.WithPassword(s.Password.Reveal()))
	}
	return mail.NewClient(host, options...)
}

// dial connects, for as long as the context lasts: the library would wait for a greeting for ever.
func (s Settings) dial(ctx context.Context, network, address string, secured *tls.Config) (net.Conn, error) {
	var d net.Dialer
	plain, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &bounded{Conn: plain}
	conn.stop = context.AfterFunc(ctx, func() { _ = plain.Close() })
	if s.TLS != Implicit {
		return conn, nil
	}
	over := tls.Client(conn, secured)
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return over, nil
}

// bounded is closed when its context ends.
type bounded struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (b *bounded) Close() error {
	b.stop()
	return b.Conn.Close()
}

// shell joins texts to one word of a shell's line: users paste it.
func shell(texts ...string) string {
	return "'" + strings.ReplaceAll(strings.Join(texts, ""), "'", `'\''`) + "'"
}

// message writes the letter as text, and as HTML with the QR code in it.
func (s Settings) message(l Letter) (*mail.Msg, error) {
	plain, err := template.New("letter.txt").Funcs(template.FuncMap{"shell": shell}).ParseFS(files, "letter.txt")
	if err != nil {
		return nil, err
	}
	html, err := htmltemplate.New("letter.html").Funcs(htmltemplate.FuncMap{"shell": shell}).ParseFS(files, "letter.html")
	if err != nil {
		return nil, err
	}
	c := content{Letter: l, LoginAt: s.LoginAt, Password: l.Password.Reveal(), Picture: pictureName}
	if !l.Until.IsZero() {
		c.Until = l.Until.UTC().Format("2 January 2006, 15:04 UTC")
	}
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := m.From(s.From); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if err := m.To(l.To); err != nil {
		return nil, fmt.Errorf("recipient: %w", err)
	}
	m.Subject("Your access to " + l.Server)
	m.SetMessageID()
	m.SetDate()
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's vacation note answers
	if err := m.SetBodyTextTemplate(plain, c); err != nil {
		return nil, fmt.Errorf("letter: %w", err)
	}
	if err := m.AddAlternativeHTMLTemplate(html, c); err != nil {
		return nil, fmt.Errorf("letter: %w", err)
	}
	if l.CodesURL == "" {
		return m, nil
	}
	picture, err := qrcode.Encode(l.CodesURL, qrcode.Medium, pictureSize)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	return m, m.EmbedReader(pictureName, bytes.NewReader(picture), mail.WithFileContentID("<"+pictureName+">"), mail.WithFileContentType("image/png"))
}
