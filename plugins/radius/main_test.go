package main

import (
	"testing"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdktest"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		typed          string
		digits         int
		password, code string
	}{
		{"secret123456", 6, "secret", "123456"},
		{"secret123456", 0, "secret123456", ""},
		{"secret12345x", 6, "secret12345x", ""},
		{"123456", 6, "123456", ""}, // there would be no password
		{"1123456", 6, "1", "123456"},
		{"", 6, "", ""},
	} {
		if password, code := split(c.typed, c.digits); password != c.password || code != c.code {
			t.Errorf("%q: got %q, %q", c.typed, password, code)
		}
	}
}

// What can't be right is not sent; host/sandbox runs the built plugin against FreeRADIUS.
func TestNotSent(t *testing.T) {
	for name, password := range map[string]string{"empty": "", "too long": string(make([]byte, 129)), "NUL": "a\x00b"} {
		host := sdktest.Host{Fields: map[string]string{"user": "alice"}, Settings: map[string]string{"server": "udp://x", "secret": "s"}, Password: password, SeesPassword: true}
		if got := host.Run(method{}); got != sdk.Reject {
			t.Errorf("%s: got %v: %q", name, got, host.Logs)
		}
	}
}

// Whatever comes over the network, it is taken only with the right signatures.
func FuzzCheck(f *testing.F) {
	c := client{secret: []byte("secret")}
	request := make([]byte, 60)
	f.Add([]byte{2, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80, 2})
	f.Fuzz(func(t *testing.T, wire []byte) {
		if _, ok := c.check(wire, request); ok {
			t.Errorf("%x was taken", wire)
		}
	})
}
