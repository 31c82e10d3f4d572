package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Permissions are what a session may do with files: a set of the bits below.
type Permissions uint16

// The single permissions; SFTPPlus's words without "allow-".
const (
	Read Permissions = 1 << iota
	List
	Traverse
	CreateFolder
	Write
	Rename
	DeleteFile
	DeleteFolder
	SetAttributes
	FullControl Permissions = 1<<iota - 1
)

const (
	allow           = "allow-"
	denyFullControl = "deny-full-control"
)

func permissionNames() []string {
	return []string{"read", "list", "traverse", "create-folder", "write", "rename", "delete-file", "delete-folder", "set-attributes"}
}

// PermissionWords lists the words that ParsePermissions knows.
func PermissionWords() []string {
	words := []string{allow + "full-control", denyFullControl}
	for _, name := range permissionNames() {
		words = append(words, allow+name)
	}
	return words
}

// ParsePermissions makes a set of words. Deny beats allow.
func ParsePermissions(words []string) (Permissions, error) {
	var set Permissions
	denied := false
	for _, word := range words {
		switch i := slices.Index(permissionNames(), strings.TrimPrefix(word, allow)); {
		case word == denyFullControl:
			denied = true
		case word == allow+"full-control":
			set = FullControl
		case i >= 0 && strings.HasPrefix(word, allow):
			set |= 1 << i
		default:
			return 0, fmt.Errorf("unknown permission %q; allowed are %q", word, PermissionWords())
		}
	}
	if denied {
		return 0, nil
	}
	return set, nil
}

// Has reports whether all of the bits are set.
func (p Permissions) Has(bits Permissions) bool { return p&bits == bits }

// Words is the reverse of ParsePermissions.
func (p Permissions) Words() []string {
	if p == FullControl {
		return []string{allow + "full-control"}
	}
	var words []string
	for i, name := range permissionNames() {
		if p.Has(1 << i) {
			words = append(words, allow+name)
		}
	}
	return words
}
