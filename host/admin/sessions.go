package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Session is one that is logged in.
type Session struct {
	ID       string    `json:"id"`
	Service  string    `json:"service"`
	User     string    `json:"user"`
	Peer     string    `json:"peer"`
	TLS      string    `json:"tls"`
	Since    time.Time `json:"since"`
	Busy     bool      `json:"busy"` // a transfer is under way
	Received int64     `json:"bytes_received"`
	Sent     int64     `json:"bytes_sent"`
}

// Sessions lists sessions, and ends that of an ID, or all of a user.
type Sessions interface {
	Sessions() []Session
	CloseSessions(idOrUser string) int
}

// Closed says how many sessions were ended.
type Closed struct {
	Count int `json:"count"`
}

func (h handler) closeSessions(r *http.Request) (Closed, error) {
	id := r.PathValue("id")
	n := h.Sessions.CloseSessions(id)
	if n == 0 {
		return Closed{}, fmt.Errorf("session of this ID or user %q: %w", id, ErrNotFound)
	}
	h.Log.Info("sessions ended by the administrator", "which", id, "count", n)
	return Closed{n}, nil
}

// Sessions lists those that are logged in.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	return call[[]Session](ctx, c, http.MethodGet, "/v1/sessions", nil)
}

// CloseSessions ends that of an ID, or all of a user.
func (c *Client) CloseSessions(ctx context.Context, idOrUser string) (Closed, error) {
	return call[Closed](ctx, c, http.MethodDelete, "/v1/sessions/"+url.PathEscape(idOrUser), nil)
}
