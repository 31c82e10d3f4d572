package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// MaximumName is the longest user name in bytes, as typed and as canonical name.
const MaximumName = 128

// Username returns the canonical form of a typed name: the UsernameCaseMapped profile of
// PRECIS (RFC 8265, section 3.3), so that ALICE, alice and a full-width alice are one user.
// The error never holds the name.
func Username(typed string) (string, error) {
	if typed == "" {
		return "", errors.New("user name is empty")
	}
	if len(typed) > MaximumName {
		return "", fmt.Errorf("user name has %d bytes, at most %d are allowed", len(typed), MaximumName)
	}
	if !utf8.ValidString(typed) {
		return "", errors.New("user name is not valid UTF-8")
	}
	name, err := precis.UsernameCaseMapped.String(typed)
	if err != nil {
		return "", errors.New("not a user name by RFC 8265: letters, digits and ASCII punctuation are allowed, blanks and control characters are not")
	}
	if len(name) > MaximumName {
		return "", fmt.Errorf("canonical user name has %d bytes, at most %d are allowed", len(name), MaximumName)
	}
	return name, nil
}

// PathElement returns an error unless name can stand for one folder in a path.
func PathElement(name string) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00:") {
		return errors.New("user name can't be the name of a folder: it must not start with a dot, nor hold / \\ or a colon")
	}
	return nil
}
