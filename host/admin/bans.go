package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// Bans are the bans and locks of the running server.
type Bans interface {
	Bans() []policy.Ban
	BanSource(source netip.Addr, d time.Duration) policy.Ban
	LiftSource(source netip.Addr) bool
}

// NewBan bans a source.
type NewBan struct {
	Source  string  `json:"source"`
	Seconds float64 `json:"seconds"`
}

// maxBan is ten years.
const maxBan = 10 * 365 * 24 * time.Hour

func parseSource(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if prefix, prefixErr := netip.ParsePrefix(text); prefixErr == nil && prefix.Bits() == 64 && prefix.Addr().Is6() {
		return prefix.Addr(), nil // as the list shows it
	}
	if err != nil {
		return address, fmt.Errorf("%w: source %q; expected is an address. Networks are denied by sources in attempts { }", errInput, text)
	}
	return address, nil
}

func (h handler) ban(r *http.Request) (policy.Ban, error) {
	n, err := read[NewBan](r)
	if err != nil {
		return policy.Ban{}, err
	}
	source, err := parseSource(n.Source)
	if err != nil {
		return policy.Ban{}, err
	}
	d := time.Duration(n.Seconds * float64(time.Second))
	if d <= 0 || d > maxBan {
		return policy.Ban{}, fmt.Errorf("%w: a ban of %v; more than nothing and at most ten years is allowed", errInput, d)
	}
	b := h.Bans.BanSource(source, d)
	h.Log.Info("source banned by the administrator", "source", b.Name, "until", b.Until)
	return b, nil
}

func (h handler) unban(r *http.Request) (policy.Ban, error) {
	source, err := parseSource(r.PathValue("source"))
	if err != nil {
		return policy.Ban{}, err
	}
	if !h.Bans.LiftSource(source) {
		return policy.Ban{}, fmt.Errorf("ban of %s: %w", source, ErrNotFound)
	}
	h.Log.Info("ban lifted by the administrator", "source", source)
	return policy.Ban{Kind: policy.KindSource, Name: policy.SourceKey(source)}, nil
}

// Bans lists the bans and locks.
func (c *Client) Bans(ctx context.Context) ([]policy.Ban, error) {
	return call[[]policy.Ban](ctx, c, http.MethodGet, "/v1/bans", nil)
}

// Ban bans a source.
func (c *Client) Ban(ctx context.Context, source string, d time.Duration) (policy.Ban, error) {
	return call[policy.Ban](ctx, c, http.MethodPost, "/v1/bans", NewBan{source, d.Seconds()})
}

// Unban lifts the ban of a source.
func (c *Client) Unban(ctx context.Context, source string) (policy.Ban, error) {
	return call[policy.Ban](ctx, c, http.MethodDelete, "/v1/bans/"+url.PathEscape(source), nil)
}
