package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// snapshot streams the state as a tar. The client sees an error that comes in the middle as a cut connection.
func (h handler) snapshot(w http.ResponseWriter, r *http.Request) {
	if h.Snapshot == nil {
		writeJSON(w, status(errNotHere), Failure{errNotHere.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if err := h.Snapshot(r.Context(), w); err != nil {
		if h.Log != nil {
			h.Log.Error("state not exported", "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	if h.Log != nil {
		h.Log.Info("state exported by the administrator")
	}
}

// Snapshot writes the state to w, as a tar.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	response, err := c.do(ctx, http.MethodGet, "/v1/state", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
