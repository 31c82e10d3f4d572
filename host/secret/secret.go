// Package secret holds values that must never be printed: passwords, keys, tokens.
//
// Whatever formats, logs or marshals a [Text] gets "[secret]". The bytes come out
// only through [Text.Reveal], so a search for that name finds every place where a
// secret leaves for somewhere.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const mask = "[secret]"

// Text is a secret string. The zero value is an empty secret.
type Text struct{ value string }

// New wraps value. The caller should keep no other copy.
func New(value string) Text { return Text{value: value} }

// Reveal returns the secret itself.
func (t Text) Reveal() string { return t.value }

// Empty reports whether there is no secret at all.
func (t Text) Empty() bool { return t.value == "" }

// Equal compares two secrets in time that depends on their lengths only.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.value), []byte(other.value)) == 1
}

// Format implements [fmt.Formatter], so that no verb, %#v included, prints the secret.
func (Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mask)) }

// LogValue implements [slog.LogValuer].
func (Text) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText implements [encoding.TextMarshaler], which JSON uses too.
func (Text) MarshalText() ([]byte, error) { return []byte(mask), nil }
