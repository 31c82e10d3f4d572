package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Delivery says how a user gets to know a new password.
type Delivery struct {
	// Invite mails a code with which the user chooses a password, in place of one that the administrator chose.
	Invite bool `json:"invite,omitempty"`
	// Mail mails the password.
	Mail bool `json:"mail,omitempty"`
	// Codes gives the account one-time codes too, which go the same way.
	Codes bool `json:"codes,omitempty"`
}

func (d Delivery) mails() bool { return d.Invite || d.Mail }

// Delivered is a changed account, and what became of the credentials.
type Delivered struct {
	account.Account
	Codes *account.Enrolment `json:"codes,omitempty"` // those that were not mailed
	Mail  *Mailed            `json:"mail,omitempty"`  // nil: none was wanted
	// Problem is what went wrong after the account was changed, beside the mail.
	Problem string `json:"problem,omitempty"`
}

// Mailed says what became of a mail. The account is changed whether it was sent or not.
type Mailed struct {
	To       string     `json:"to"`
	Contents []string   `json:"contents"` // invitation, password, codes
	Sent     bool       `json:"sent"`
	Error    string     `json:"error,omitempty"`
	Until    *time.Time `json:"until,omitempty"` // the invitation is good
	// Invitation is the code, if it was not sent.
	Invitation string `json:"invitation,omitempty"`
}

// KeyRotated says what a new key seals.
type KeyRotated struct {
	Accounts int      `json:"accounts"`
	Lost     []string `json:"lost,omitempty"` // accounts whose codes no key opens
}

// postman finds out, before anything is changed, whether and where to a mail could go.
func (h handler) postman(a account.Account) (settings *mail.Settings, to string, err error) {
	if h.Mail != nil {
		settings = h.Mail()
	}
	if settings == nil {
		return nil, "", fmt.Errorf("%w: no mail can be sent: the configuration has no block mail { }", account.ErrInvalid)
	}
	if a.Email != "" {
		return settings, a.Email, nil
	}
	if address, err := netmail.ParseAddress(a.Name); err == nil && address.Address == a.Name {
		return settings, a.Name, nil
	}
	return nil, "", fmt.Errorf("%w: no mail can be sent: account %s has no e-mail address (--email)", account.ErrInvalid, a.Name)
}

// credentials is what a user is to get.
type credentials struct {
	delivery Delivery
	account  account.Account
	password secret.Text
	terms    account.Terms

	settings *mail.Settings // nil: nothing is mailed
	to       string
}

// prepare finds out, before anything is changed, whether and where to a mail could go, and makes the code of an invitation.
func (h handler) prepare(d Delivery, a account.Account, given string) (c credentials, err error) {
	c = credentials{delivery: d, account: a, password: secret.New(given)}
	if !d.mails() {
		return c, nil
	}
	if c.settings, c.to, err = h.postman(a); err != nil {
		return c, err
	}
	if d.Invite {
		c.password = h.Accounts.Generate(a)
		c.terms = account.Terms{MustChange: true, Until: time.Now().Add(c.settings.Invitation).UTC().Truncate(time.Second)}
	}
	return c, nil
}

func (h handler) addAccount(r *http.Request) (Delivered, error) {
	n, err := read[NewAccount](r)
	if err != nil {
		return Delivered{}, err
	}
	if err := h.checkHome(n.Change); err != nil {
		return Delivered{}, err
	}
	one := account.Account{Name: n.Name}
	n.Apply(&one)
	c, err := h.prepare(n.Delivery, one, n.Password)
	if err != nil {
		return Delivered{}, err
	}
	one.MustChange, one.PasswordUntil = one.MustChange || c.terms.MustChange, c.terms.Until
	a, err := h.Accounts.Add(r.Context(), one, c.password)
	if c.account, err = h.changed("added", a, err); err != nil {
		return Delivered{}, err
	}
	return h.deliver(r.Context(), c), nil
}

func (h handler) setPassword(r *http.Request) (Delivered, error) {
	n, err := read[NewPassword](r)
	if err != nil {
		return Delivered{}, err
	}
	one, err := h.Accounts.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return Delivered{}, err
	}
	c, err := h.prepare(n.Delivery, one, n.Password)
	if err != nil {
		return Delivered{}, err
	}
	c.terms.MustChange = c.terms.MustChange || n.MustChange
	a, err := h.Accounts.SetPassword(r.Context(), one.Name, c.password, c.terms)
	if c.account, err = h.changed("password", a, err); err != nil {
		return Delivered{}, err
	}
	return h.deliver(r.Context(), c), nil
}

func (h handler) enrolCodes(r *http.Request) (Delivered, error) {
	n, err := read[NewCodes](r)
	if err != nil {
		return Delivered{}, err
	}
	one, err := h.Accounts.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return Delivered{}, err
	}
	c, err := h.prepare(Delivery{Codes: true, Mail: n.Mail}, one, "")
	if err != nil {
		return Delivered{}, err
	}
	done := h.deliver(r.Context(), c)
	if done.Codes == nil && done.Mail == nil { // nothing was changed
		return done, errors.New(done.Problem)
	}
	return done, nil
}

// deliver makes the codes and sends the mail. The account is changed by now: so it goes on although the command that wanted it is
// gone, and what fails is told beside what was done, and never in place of it.
func (h handler) deliver(ctx context.Context, c credentials) Delivered {
	ctx = context.WithoutCancel(ctx)
	done := Delivered{Account: c.account}
	letter := mail.Letter{To: c.to, Account: c.account.Name, Server: h.Name, Password: c.password, Until: c.terms.Until}
	if c.delivery.Codes {
		a, given, err := h.Accounts.EnrolCodes(ctx, c.account.Name, h.Name)
		if _, err = h.changed("one-time codes", a, err); err != nil {
			done.Problem = "there are no new one-time codes: " + err.Error()
		} else {
			done.Account, done.Codes, letter.CodesURL, letter.Recovery = a, &given, given.URL, given.Recovery
		}
	}
	if c.settings != nil && (!c.password.Empty() || done.Codes != nil) {
		h.mail(ctx, c, letter, &done)
	}
	return done
}

func (h handler) mail(ctx context.Context, c credentials, letter mail.Letter, done *Delivered) {
	m := &Mailed{To: c.to}
	switch {
	case c.delivery.Invite:
		m.Contents, m.Until = append(m.Contents, "invitation"), &c.terms.Until
	case !c.password.Empty():
		m.Contents = append(m.Contents, "password")
	}
	if done.Codes != nil {
		m.Contents = append(m.Contents, "codes")
	}
	done.Mail = m
	if err := c.settings.Send(ctx, letter); err == nil {
		m.Sent, done.Codes = true, nil
	} else if m.Error = err.Error(); c.delivery.Invite {
		m.Invitation = c.password.Reveal()
	}
	if h.Log != nil {
		h.Log.Info("credentials mailed", "account", c.account.Name, "contents", m.Contents, "sent", m.Sent, "err", m.Error)
	}
	if err := h.Accounts.Mailed(ctx, c.account.Name, m.Contents, m.Sent); err != nil {
		done.Problem = strings.TrimPrefix(done.Problem+"; the event of the mail is not stored: "+err.Error(), "; ")
	}
}

// removeAccount deletes the files first, if that is wanted: so who can't be rid of them still has the account, and can try again.
func (h handler) removeAccount(r *http.Request) (account.Account, error) {
	name := r.PathValue("name")
	if r.URL.Query().Get("files") != "true" {
		a, err := h.Accounts.Remove(r.Context(), name)
		return h.changed("removed", a, err)
	}
	a, err := h.Accounts.Get(r.Context(), name)
	if err != nil {
		return a, err
	}
	if h.RemoveHome == nil {
		return a, errNotHere
	}
	if err := h.RemoveHome(r.Context(), a); err != nil {
		return a, err
	}
	a, err = h.Accounts.Remove(r.Context(), name, "files")
	return h.changed("removed with its files", a, err)
}

func (h handler) rotateKey(r *http.Request) (KeyRotated, error) {
	n, lost, err := h.Accounts.RotateKey(r.Context())
	if err == nil && h.Log != nil {
		h.Log.Info("key rotated by the administrator", "accounts", n, "lost", lost)
	}
	return KeyRotated{n, lost}, err
}
