package admin

import (
	"context"
	"fmt"
	"net/http"
	netmail "net/mail"
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
	account  account.Account
	delivery Delivery
	password secret.Text
	until    time.Time // an invitation
}

// invitation makes the code in place of a password.
func (h handler) invitation(d Delivery, a account.Account, given string) (password secret.Text, terms account.Terms) {
	if !d.Invite {
		return secret.New(given), account.Terms{}
	}
	return h.Accounts.Generate(a), account.Terms{MustChange: true, Until: time.Now().Add(h.Mail().Invitation).UTC().Truncate(time.Second)}
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
	if n.mails() {
		if _, _, err := h.postman(one); err != nil {
			return Delivered{}, err
		}
	}
	password, terms := h.invitation(n.Delivery, one, n.Password)
	one.MustChange, one.PasswordUntil = one.MustChange || terms.MustChange, terms.Until
	a, err := h.Accounts.Add(r.Context(), one, password)
	if a, err = h.changed("added", a, err); err != nil {
		return Delivered{}, err
	}
	return h.deliver(r.Context(), credentials{a, n.Delivery, password, terms.Until})
}

func (h handler) setPassword(r *http.Request) (Delivered, error) {
	n, err := read[NewPassword](r)
	if err != nil {
		return Delivered{}, err
	}
	one, err := h.Accounts.Get(r.Context(), r.PathValue("name"))
	if err == nil && n.mails() {
		_, _, err = h.postman(one)
	}
	if err != nil {
		return Delivered{}, err
	}
	password, terms := h.invitation(n.Delivery, one, n.Password)
	terms.MustChange = terms.MustChange || n.MustChange
	a, err := h.Accounts.SetPassword(r.Context(), one.Name, password, terms)
	if a, err = h.changed("password", a, err); err != nil {
		return Delivered{}, err
	}
	return h.deliver(r.Context(), credentials{a, n.Delivery, password, terms.Until})
}

func (h handler) enrolCodes(r *http.Request) (Delivered, error) {
	n, err := read[NewCodes](r)
	if err != nil {
		return Delivered{}, err
	}
	one, err := h.Accounts.Get(r.Context(), r.PathValue("name"))
	if err == nil && n.Mail {
		_, _, err = h.postman(one)
	}
	if err != nil {
		return Delivered{}, err
	}
	return h.deliver(r.Context(), credentials{account: one, delivery: Delivery{Codes: true, Mail: n.Mail}})
}

// deliver makes the codes and sends the mail. The account is changed by now: what fails from here on is told beside that.
func (h handler) deliver(ctx context.Context, c credentials) (Delivered, error) {
	done := Delivered{Account: c.account}
	letter := mail.Letter{Account: c.account.Name, Server: h.Name, Password: c.password, Until: c.until}
	if c.delivery.Codes {
		a, given, err := h.Accounts.EnrolCodes(ctx, c.account.Name, h.Name)
		if _, err = h.changed("one-time codes", a, err); err != nil {
			return Delivered{}, fmt.Errorf("the password is saved, the one-time codes are not: %w", err)
		}
		done.Account, done.Codes, letter.CodesURL, letter.Recovery = a, &given, given.URL, given.Recovery
	}
	if !c.delivery.mails() {
		return done, nil
	}
	settings, to, err := h.postman(c.account)
	letter.To = to
	done.Mail = &Mailed{To: to}
	switch {
	case c.delivery.Invite:
		done.Mail.Contents, done.Mail.Until = append(done.Mail.Contents, "invitation"), &c.until
	case !c.password.Empty():
		done.Mail.Contents = append(done.Mail.Contents, "password")
	}
	if done.Codes != nil {
		done.Mail.Contents = append(done.Mail.Contents, "codes")
	}
	if err == nil {
		err = settings.Send(ctx, letter)
	}
	if err == nil {
		done.Mail.Sent, done.Codes = true, nil
	} else if done.Mail.Error = err.Error(); c.delivery.Invite {
		done.Mail.Invitation = c.password.Reveal()
	}
	if h.Log != nil {
		h.Log.Info("credentials mailed", "account", c.account.Name, "contents", done.Mail.Contents, "sent", done.Mail.Sent, "err", done.Mail.Error)
	}
	return done, h.Accounts.Mailed(ctx, c.account.Name, done.Mail.Contents, done.Mail.Sent)
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
