package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Client calls the API.
type Client struct {
	http *http.Client
}

// NewClient makes a client that reaches the API through dial.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}}
}

// AddAccount makes an account.
func (c *Client) AddAccount(ctx context.Context, name string, password secret.Text, as account.Change, how Delivery) (Delivered, error) {
	return call[Delivered](ctx, c, http.MethodPost, "/v1/accounts", NewAccount{Name: name, Password: password.Reveal(), Change: as, Delivery: how})
}

// ChangeAccount changes what is said of an account.
func (c *Client) ChangeAccount(ctx context.Context, name string, change account.Change) (account.Account, error) {
	return call[account.Account](ctx, c, http.MethodPatch, "/v1/accounts/"+url.PathEscape(name), change)
}

// Unlock lifts the lock of an account in the running server.
func (c *Client) Unlock(ctx context.Context, name string) (account.Account, error) {
	return call[account.Account](ctx, c, http.MethodPost, "/v1/accounts/"+url.PathEscape(name)+"/unlock", nil)
}

// SetPassword changes an account's password.
func (c *Client) SetPassword(ctx context.Context, name string, password secret.Text, mustChange bool, how Delivery) (Delivered, error) {
	return call[Delivered](ctx, c, http.MethodPut, "/v1/accounts/"+url.PathEscape(name)+"/password", NewPassword{Password: password.Reveal(), MustChange: mustChange, Delivery: how})
}

// Account returns one account.
func (c *Client) Account(ctx context.Context, name string) (Account, error) {
	return call[Account](ctx, c, http.MethodGet, "/v1/accounts/"+url.PathEscape(name), nil)
}

// Accounts returns all accounts.
func (c *Client) Accounts(ctx context.Context) ([]account.Account, error) {
	all := []account.Account{}
	for after := ""; ; {
		page, err := call[Accounts](ctx, c, http.MethodGet, "/v1/accounts?after="+url.QueryEscape(after), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Accounts...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// SetEnabled switches an account on or off.
func (c *Client) SetEnabled(ctx context.Context, name string, enabled bool) (account.Account, error) {
	verb := "/disable"
	if enabled {
		verb = "/enable"
	}
	return call[account.Account](ctx, c, http.MethodPost, "/v1/accounts/"+url.PathEscape(name)+verb, nil)
}

// RemoveAccount deletes an account, and its files if they shall go too.
func (c *Client) RemoveAccount(ctx context.Context, name string, files bool) (account.Account, error) {
	return call[account.Account](ctx, c, http.MethodDelete, "/v1/accounts/"+url.PathEscape(name)+"?files="+strconv.FormatBool(files), nil)
}

// EnrolCodes gives an account one-time codes, and mails them to its user if they shall be.
func (c *Client) EnrolCodes(ctx context.Context, name string, mail bool) (Delivered, error) {
	return call[Delivered](ctx, c, http.MethodPost, "/v1/accounts/"+url.PathEscape(name)+"/codes", NewCodes{Mail: mail})
}

// RemoveCodes takes the one-time codes from an account.
func (c *Client) RemoveCodes(ctx context.Context, name string) (account.Account, error) {
	return call[account.Account](ctx, c, http.MethodDelete, "/v1/accounts/"+url.PathEscape(name)+"/codes", nil)
}

// RotateKey seals one-time codes with a new key.
func (c *Client) RotateKey(ctx context.Context) (KeyRotated, error) {
	return call[KeyRotated](ctx, c, http.MethodPost, "/v1/key", nil)
}

// TryLogin tries a login and explains it.
func (c *Client) TryLogin(ctx context.Context, l Login) (LoginResult, error) {
	return call[LoginResult](ctx, c, http.MethodPost, "/v1/login", l)
}

// Server returns which server answers.
func (c *Client) Server(ctx context.Context) (Server, error) {
	return call[Server](ctx, c, http.MethodGet, "/v1/server", nil)
}

// Methods lists the methods.
func (c *Client) Methods(ctx context.Context) ([]Method, error) {
	return call[[]Method](ctx, c, http.MethodGet, "/v1/methods", nil)
}

// SetStopped stops or starts a method.
func (c *Client) SetStopped(ctx context.Context, id string, stopped bool) (Method, error) {
	verb := "/start"
	if stopped {
		verb = "/stop"
	}
	return call[Method](ctx, c, http.MethodPost, "/v1/methods/"+url.PathEscape(id)+verb, nil)
}

// Enroll adds an approver.
func (c *Client) Enroll(ctx context.Context, one approval.Approver) (approval.Approver, error) {
	return call[approval.Approver](ctx, c, http.MethodPost, "/v1/approvers", one)
}

// Approvers lists the approvers.
func (c *Client) Approvers(ctx context.Context) ([]approval.Approver, error) {
	return call[[]approval.Approver](ctx, c, http.MethodGet, "/v1/approvers", nil)
}

// RevokeApprover removes an approver.
func (c *Client) RevokeApprover(ctx context.Context, name string) (approval.Approver, error) {
	return call[approval.Approver](ctx, c, http.MethodDelete, "/v1/approvers/"+url.PathEscape(name), nil)
}

// Approvals lists second factors that are open or remembered.
func (c *Client) Approvals(ctx context.Context) ([]Approval, error) {
	return call[[]Approval](ctx, c, http.MethodGet, "/v1/approvals", nil)
}

// Revoke takes an approval or request back, by its ID, or all of a user.
func (c *Client) Revoke(ctx context.Context, idOrUser string) (Revoked, error) {
	return call[Revoked](ctx, c, http.MethodDelete, "/v1/approvals/"+url.PathEscape(idOrUser), nil)
}

// Reload lets the server use its configuration as it is now in the file.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return call[Reloaded](ctx, c, http.MethodPost, "/v1/reload", nil)
}

// Replay lets a subscriber get again what is stored for it since then.
func (c *Client) Replay(ctx context.Context, user string, since time.Time) error {
	_, err := call[Replay](ctx, c, http.MethodPost, "/v1/events/users/"+url.PathEscape(user)+"/replay", Replay{Since: since})
	return err
}

// Follow calls handle for each event since then and, if live, for each that comes until the
// context ends or the server stops.
func (c *Client) Follow(ctx context.Context, since time.Time, live bool, handle func(events.Event) error) error {
	query := url.Values{}
	if !since.IsZero() {
		query.Set("since", since.Format(time.RFC3339Nano))
	}
	if live {
		query.Set("live", "true")
	}
	response, err := c.do(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var failure Failure
		if json.Unmarshal(lines.Bytes(), &failure) == nil && failure.Error != "" {
			return errors.New(failure.Error)
		}
		var e events.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("event can't be read: %w", err)
		}
		if err := handle(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var result T
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return result, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&result); err != nil {
		return result, fmt.Errorf("answer of the server: %w", err)
	}
	return result, nil
}

// do returns a successful response; the error of another one is the server's own sentence.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://sallyport"+path, content)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	var failure Failure
	if err := json.NewDecoder(response.Body).Decode(&failure); err != nil || failure.Error == "" {
		return nil, fmt.Errorf("the server answered %s", response.Status)
	}
	return nil, errors.New(failure.Error)
}
