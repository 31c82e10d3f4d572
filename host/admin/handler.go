package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/mail"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// Backend is what the API stands on. A part that is nil is not there: its calls say that the
// server must run.
type Backend struct {
	Accounts  *account.Accounts
	Logins    Logins
	Methods   Methods
	Approvers *approval.Approvers
	Approvals Approvals // nil: no server runs
	Events    Events
	Reload    func(ctx context.Context) (Reloaded, error) // nil: nothing to reload
	// Replay lets a subscriber get again what is stored for it since then; nil: no server runs.
	Replay func(ctx context.Context, user string, since time.Time) error
	// Snapshot writes the state as a tar; nil: there is none.
	Snapshot func(ctx context.Context, w io.Writer) error
	// CheckHome refuses a home folder for an account.
	CheckHome func(home string) error
	// GroupLimits are those of an account's group; nil: nobody knows.
	GroupLimits func(a account.Account) policy.Limits
	Server      Server
	Locks       Locks    // nil: none, since no server runs
	Bans        Bans     // nil: no server runs
	Sessions    Sessions // nil: no server runs
	// Name is the server's, for users.
	Name string
	// Mail are the settings for mail as they are now; nil, or a nil result: none is sent.
	Mail func() *mail.Settings
	// RemoveHome deletes the files of an account, or refuses to.
	RemoveHome func(ctx context.Context, a account.Account) error
	Log        *slog.Logger
}

// Locks are the locks of accounts in the running server.
type Locks interface {
	Until(account string) (time.Time, bool)
	Clear(account string)
}

// Logins tries logins.
type Logins interface {
	TryLogin(ctx context.Context, l Login) (LoginResult, error)
}

// Methods lists, stops and starts methods.
type Methods interface {
	Methods() []Method
	SetStopped(id string, stopped bool) (Method, error)
}

// Approvals lists second factors that are open or remembered, and takes them back, by ID or by user.
type Approvals interface {
	Approvals() []Approval
	Revoke(idOrUser string) (Revoked, error)
	// Forget forgets all that is remembered.
	Forget()
}

// Events reads what is stored since then and, if live, what comes, until the context ends.
type Events interface {
	Follow(ctx context.Context, since time.Time, live bool, handle func(events.Event) error) error
}

// ErrNotFound is for what a backend does not have.
var ErrNotFound = errors.New("not found")

const (
	maxBody  = 64 << 10
	pageSize = 500
)

// Handler returns the API.
func Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	h := handler{b}
	accounts, logins, methods := b.Accounts != nil, b.Logins != nil, b.Methods != nil
	mux.HandleFunc("GET /v1/accounts", answer(accounts, h.listAccounts))
	mux.HandleFunc("POST /v1/accounts", answer(accounts, h.addAccount))
	mux.HandleFunc("GET /v1/accounts/{name}", answer(accounts, h.showAccount))
	mux.HandleFunc("PATCH /v1/accounts/{name}", answer(accounts, h.changeAccount))
	mux.HandleFunc("POST /v1/accounts/{name}/unlock", answer(accounts && b.Locks != nil, h.unlock))
	mux.HandleFunc("DELETE /v1/accounts/{name}", answer(accounts, h.removeAccount))
	mux.HandleFunc("PUT /v1/accounts/{name}/password", answer(accounts, h.setPassword))
	mux.HandleFunc("POST /v1/accounts/{name}/enable", answer(accounts, h.setEnabled(true)))
	mux.HandleFunc("POST /v1/accounts/{name}/disable", answer(accounts, h.setEnabled(false)))
	mux.HandleFunc("POST /v1/accounts/{name}/codes", answer(accounts, h.enrolCodes))
	mux.HandleFunc("DELETE /v1/accounts/{name}/codes", answer(accounts, h.removeCodes))
	mux.HandleFunc("POST /v1/key", answer(accounts, h.rotateKey))
	mux.HandleFunc("POST /v1/import", answerTo(maxImport, accounts, h.importAccounts))
	mux.HandleFunc("GET /v1/export", answer(accounts, h.exportAccounts))
	mux.HandleFunc("POST /v1/login", answer(logins, h.login))
	mux.HandleFunc("GET /v1/methods", answer(methods, h.listMethods))
	mux.HandleFunc("POST /v1/methods/{id}/stop", answer(methods, h.setStopped(true)))
	mux.HandleFunc("POST /v1/methods/{id}/start", answer(methods, h.setStopped(false)))
	mux.HandleFunc("GET /v1/bans", answer(b.Bans != nil, func(*http.Request) ([]policy.Ban, error) { return h.Bans.Bans(), nil }))
	mux.HandleFunc("POST /v1/bans", answer(b.Bans != nil, h.ban))
	mux.HandleFunc("DELETE /v1/bans/{source}", answer(b.Bans != nil, h.unban))
	mux.HandleFunc("GET /v1/sessions", answer(b.Sessions != nil, func(*http.Request) ([]Session, error) { return h.Backend.Sessions.Sessions(), nil }))
	mux.HandleFunc("DELETE /v1/sessions/{id}", answer(b.Sessions != nil, h.closeSessions))
	approvers := b.Approvers != nil
	mux.HandleFunc("GET /v1/approvers", answer(approvers, func(r *http.Request) ([]approval.Approver, error) { return h.Approvers.List(r.Context()) }))
	mux.HandleFunc("POST /v1/approvers", answer(approvers, h.enroll))
	mux.HandleFunc("DELETE /v1/approvers/{name}", answer(approvers, h.revokeApprover))
	mux.HandleFunc("GET /v1/approvals", answer(b.Approvals != nil, func(*http.Request) ([]Approval, error) { return h.Approvals.Approvals(), nil }))
	mux.HandleFunc("DELETE /v1/approvals/{id}", answer(b.Approvals != nil, func(r *http.Request) (Revoked, error) { return h.Approvals.Revoke(r.PathValue("id")) }))
	mux.HandleFunc("POST /v1/reload", answer(b.Reload != nil, func(r *http.Request) (Reloaded, error) { return b.Reload(r.Context()) }))
	mux.HandleFunc("GET /v1/state", h.snapshot)
	mux.HandleFunc("GET /v1/events", h.events)
	mux.HandleFunc("POST /v1/events/users/{name}/replay", answer(b.Replay != nil, h.replay))
	mux.HandleFunc("GET /v1/server", answer(true, func(*http.Request) (Server, error) { return h.Server, nil }))
	return mux
}

type handler struct{ Backend }

// answer writes what f returns as JSON, or its error as a Failure. What f needs is there, or not.
func answer[T any](there bool, f func(*http.Request) (T, error)) http.HandlerFunc {
	return answerTo(maxBody, there, f)
}

// answerTo is answer to a request of at most so many bytes.
func answerTo[T any](most int64, there bool, f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !there {
			writeJSON(w, status(errNotHere), Failure{errNotHere.Error()})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		result, err := f(r)
		if err != nil {
			writeJSON(w, status(err), Failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, result)
	}
}

var (
	errNotHere = errors.New("this needs the running server")
	errInput   = errors.New("request can't be read")
)

func status(err error) int {
	var refusal *policy.Refusal
	switch {
	case errors.As(err, &refusal), errors.Is(err, account.ErrInvalid), errors.Is(err, errInput), errors.Is(err, approval.ErrWrongKey):
		return http.StatusBadRequest
	case errors.Is(err, account.ErrNotFound), errors.Is(err, ErrNotFound), errors.Is(err, approval.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, account.ErrExists), errors.Is(err, approval.ErrEnrolled), errors.Is(err, state.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, errNotHere), errors.Is(err, account.ErrOverloaded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the other end is gone, if anything
}

func read[T any](r *http.Request) (T, error) {
	var body T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return body, fmt.Errorf("%w: %w", errInput, err)
	}
	return body, nil
}

func (h handler) listAccounts(r *http.Request) (Accounts, error) {
	accounts, err := h.Accounts.List(r.Context(), r.URL.Query().Get("after"), pageSize)
	page := Accounts{Accounts: accounts}
	if len(accounts) == pageSize {
		page.Next = accounts[pageSize-1].Name
	}
	return page, err
}

func (h handler) checkHome(c account.Change) error {
	if c.Home == nil || *c.Home == "" || h.CheckHome == nil {
		return nil
	}
	if err := h.CheckHome(*c.Home); err != nil {
		return fmt.Errorf("%w: home folder %w", account.ErrInvalid, err)
	}
	return nil
}

func (h handler) changeAccount(r *http.Request) (account.Account, error) {
	c, err := read[account.Change](r)
	if err != nil {
		return account.Account{}, err
	}
	if err := h.checkHome(c); err != nil {
		return account.Account{}, err
	}
	a, err := h.Accounts.Change(r.Context(), r.PathValue("name"), c)
	return h.changed("changed", a, err)
}

// unlock lifts a lock.
func (h handler) unlock(r *http.Request) (account.Account, error) {
	a, err := h.Accounts.Unlocked(r.Context(), r.PathValue("name"))
	if err == nil {
		h.Locks.Clear(a.Name)
	}
	return h.changed("unlocked", a, err)
}

// changed notes what an administrator did.
func (h handler) changed(what string, a account.Account, err error) (account.Account, error) {
	if err != nil {
		return a, err
	}
	if h.Approvals != nil {
		_, _ = h.Approvals.Revoke(a.Name) // what was approved before does not count any more; it may be nothing
	}
	if h.Log != nil {
		h.Log.Info("account changed by the administrator", "account", a.Name, "change", what)
	}
	return a, nil
}

func (h handler) showAccount(r *http.Request) (Account, error) {
	a, err := h.Accounts.Get(r.Context(), r.PathValue("name"))
	shown := Account{Account: a}
	if err == nil && h.Locks != nil {
		if until, locked := h.Locks.Until(a.Name); locked {
			shown.LockedUntil = &until
		}
	}
	if err == nil && h.GroupLimits != nil {
		shown.GroupLimits = h.GroupLimits(a)
	}
	return shown, err
}

// setEnabled switches an account. Enabling lifts a lock too: the administrator wants it to log in.
func (h handler) setEnabled(enabled bool) func(*http.Request) (account.Account, error) {
	what := map[bool]string{true: "enabled", false: "disabled"}[enabled]
	return func(r *http.Request) (account.Account, error) {
		a, err := h.Accounts.SetEnabled(r.Context(), r.PathValue("name"), enabled)
		if err == nil && enabled && h.Locks != nil {
			h.Locks.Clear(a.Name)
		}
		return h.changed(what, a, err)
	}
}

func (h handler) enroll(r *http.Request) (approval.Approver, error) {
	n, err := read[approval.Approver](r)
	if err != nil {
		return n, err
	}
	one, err := h.Approvers.Enroll(r.Context(), n)
	if err == nil && h.Log != nil {
		h.Log.Info("approver enrolled by the administrator", "approver", one.Name, "key", one.Key, "accounts", one.Accounts, "groups", one.Groups)
	}
	return one, err
}

func (h handler) revokeApprover(r *http.Request) (approval.Approver, error) {
	one, err := h.Approvers.Revoke(r.Context(), r.PathValue("name"))
	if err == nil && h.Log != nil {
		if h.Approvals != nil {
			h.Approvals.Forget() // what this one approved does not count any more
		}
		h.Log.Info("approver revoked by the administrator", "approver", one.Name, "key", one.Key)
	}
	return one, err
}

func (h handler) removeCodes(r *http.Request) (account.Account, error) {
	a, err := h.Accounts.RemoveCodes(r.Context(), r.PathValue("name"))
	return h.changed("one-time codes removed", a, err)
}

func (h handler) login(r *http.Request) (LoginResult, error) {
	n, err := read[Login](r)
	if err != nil {
		return LoginResult{}, err
	}
	return h.Logins.TryLogin(r.Context(), n)
}

func (h handler) listMethods(*http.Request) ([]Method, error) {
	return h.Methods.Methods(), nil
}

func (h handler) setStopped(stopped bool) func(*http.Request) (Method, error) {
	return func(r *http.Request) (Method, error) {
		return h.Methods.SetStopped(r.PathValue("id"), stopped)
	}
}

func (h handler) replay(r *http.Request) (Replay, error) {
	n, err := read[Replay](r)
	if err != nil {
		return n, err
	}
	return n, h.Replay(r.Context(), r.PathValue("name"), n.Since)
}

// events streams one JSON event a line. A failure in the middle is the last line.
func (h handler) events(w http.ResponseWriter, r *http.Request) {
	if h.Events == nil {
		writeJSON(w, status(errNotHere), Failure{errNotHere.Error()})
		return
	}
	var since time.Time
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			writeJSON(w, http.StatusBadRequest, Failure{"since: " + err.Error()})
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	_ = flush.Flush() // so that the client knows that it is heard
	encoder := json.NewEncoder(w)
	err := h.Events.Follow(r.Context(), since, r.URL.Query().Get("live") == "true", func(e events.Event) error {
		if err := encoder.Encode(e); err != nil {
			return err
		}
		return flush.Flush()
	})
	if err != nil && r.Context().Err() == nil {
		_ = encoder.Encode(Failure{err.Error()})
	}
}
