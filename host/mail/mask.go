package mail

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// secrets are what nobody but the letter's reader may see.
func (l Letter) secrets() []string {
	all := append([]string{l.Password.Reveal(), l.CodesURL}, l.Recovery...)
	if codes, err := url.Parse(l.CodesURL); err == nil {
		all = append(all, codes.Query().Get("secret"))
	}
	return all
}

// maskedError has the text of another without its secrets.
type maskedError struct {
	text  string
	cause error
}

// Error implements error.
func (e maskedError) Error() string { return e.text }

// Unwrap returns the error with all it says: for errors.Is, not to be printed.
func (e maskedError) Unwrap() error { return e.cause }

// masked takes secrets out of the text of an error: a server can answer with what it was sent, which would then stand in
// the log. They are found as they are, and in the encodings in which SMTP and MIME send them.
func masked(err error, secrets []string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, plain := range secrets {
		if strings.Trim(plain, "\x00") == "" {
			continue
		}
		for _, form := range []string{plain, strings.ReplaceAll(plain, "=", "=3D"), base64.StdEncoding.EncodeToString([]byte(plain))} {
			text = strings.ReplaceAll(text, form, "[secret]")
		}
	}
	if text == err.Error() {
		return err
	}
	return maskedError{text, err}
}
