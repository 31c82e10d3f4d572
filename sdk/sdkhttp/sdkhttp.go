// Package sdkhttp lets a plugin use net/http: its requests go through the host. It is a package of
// its own because net/http makes a plugin three times as large; [sdk.Attempt.HTTP] does without.
package sdkhttp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Transport is an [http.RoundTripper]. Bodies are limited to 64 KiB either way.
type Transport struct{ Attempt sdk.Attempt }

// Client is an [http.Client] on a Transport. It follows redirects only to what is granted.
func Client(a sdk.Attempt) *http.Client { return &http.Client{Transport: Transport{a}} }

// RoundTrip implements [http.RoundTripper].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	request := sdk.Request{Method: r.Method, URL: r.URL.String(), Header: map[string]string{}}
	for name, values := range r.Header {
		request.Header[name] = values[0]
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		request.Body = string(body)
	}
	got, err := t.Attempt.HTTP(request)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	body, err := got.Body()
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	response := &http.Response{
		StatusCode: got.Status, Status: fmt.Sprintf("%d %s", got.Status, http.StatusText(got.Status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: r,
	}
	for _, name := range []string{"Content-Type", "Location", "Retry-After", "Set-Cookie", "Www-Authenticate"} {
		if value := got.Header(name); value != "" {
			response.Header.Set(name, value)
		}
	}
	return response, nil
}
