package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	const canary = "canary-4711"
	s := secret.New(canary)
	holder := struct {
		Password secret.Text
		Pointer  *secret.Text
	}{s, &s}

	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", holder)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "holder", holder)
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"fmt": out.String(), "slog": log.String(), "json": string(asJSON)} {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
			t.Errorf("%s printed the secret: %s", name, text)
		}
	}
	if s.Reveal() != canary || !s.Equal(secret.New(canary)) || s.Equal(secret.New("other")) {
		t.Error("Reveal or Equal is wrong")
	}
}
