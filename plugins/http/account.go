package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// parseAccount reads {"account": {...}}. Unknown keys, other types and keys that are there twice are errors: a
// misspelt permission must not become a wide one. Ignored are keys that can't have an effect here.
func parseAccount(body []byte, user string) (account sdk.Account, ignored []string, err error) {
	outer, err := object(body)
	if err != nil {
		return account, nil, err
	}
	var inner []member
	for _, m := range outer {
		if m.key != "account" {
			return account, nil, unknownKey(m.key)
		}
		if inner, err = object(m.value); err != nil {
			return account, nil, fmt.Errorf("account: %w", err)
		}
	}
	if outer == nil {
		return account, nil, errors.New("account is missing")
	}
	for _, m := range inner {
		ignore, err := setMember(&account, m, user)
		if err != nil {
			return account, nil, fmt.Errorf("account.%s: %w", m.key, err)
		}
		if ignore {
			ignored = append(ignored, m.key)
		}
	}
	return account, ignored, nil
}

func unknownKey(key string) error { return fmt.Errorf("unknown key %q", key) }

// setMember is the table of the format.
func setMember(account *sdk.Account, m member, user string) (ignored bool, err error) {
	var text string
	switch m.key {
	case "home_folder_path":
		if err = decode(m.value, &text); err == nil {
			account.Home, err = fill(text, user)
		}
	case "uuid":
		if err = decode(m.value, &text); err == nil && text != "" {
			account.Attributes = map[string]string{"uuid": text}
		}
	case "group":
		if err = decode(m.value, &text); err == nil && text != "" {
			account.Groups = []string{text}
		}
	case "email":
		err = decode(m.value, &account.Email)
	case "create_home_folder":
		var create bool
		if err = decode(m.value, &create); err == nil {
			account.CreateHome = strconv.FormatBool(create)
		}
	case "create_home_folder_owner", "create_home_folder_group":
		err = decode(m.value, &text)
		ignored = text != ""
	case "home_folder_structure":
		err = decode(m.value, &account.Structure)
	case "virtual_folders":
		err = setFolders(account, m.value, user)
	case "permissions":
		err = setPermissions(account, m.value, user)
	default:
		err = errors.New("unknown key")
	}
	return ignored, err
}

func setFolders(account *sdk.Account, raw []byte, user string) error {
	var pairs [][]string
	if err := decode(raw, &pairs); err != nil {
		return err
	}
	for _, pair := range pairs {
		if len(pair) != 2 {
			return errors.New("pairs [VIRTUAL, REAL] are expected")
		}
		real, err := fill(pair[1], user)
		if err != nil {
			return err
		}
		account.Folders = append(account.Folders, sdk.Folder{Path: pair[0], Real: real})
	}
	return nil
}

// setPermissions reads [[general...], [expression, permission...], ...].
func setPermissions(account *sdk.Account, raw []byte, user string) error {
	var lists [][]string
	if err := decode(raw, &lists); err != nil {
		return err
	}
	for n, list := range lists {
		switch {
		case n == 0:
			account.Permissions = append([]string{}, list...)
		case len(list) < 2:
			return errors.New("rules [EXPRESSION, PERMISSION, ...] are expected behind the first list")
		default:
			expression, err := fill(list[0], user)
			if err != nil {
				return err
			}
			account.Rules = append(account.Rules, sdk.Rule{Expression: expression, Permissions: list[1:]})
		}
	}
	return nil
}

// fill puts the user's name in place of ${USER}. A name that would mean more than a name is refused.
func fill(text, user string) (string, error) {
	if !strings.Contains(text, "${USER}") {
		return text, nil
	}
	harmless := user != "" && !strings.HasPrefix(user, ".") && !strings.ContainsAny(user, `/\*?[]`+"\t\n")
	if strings.HasPrefix(text, "m/") { // a regular expression
		harmless = strings.Trim(user, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
	}
	if !harmless {
		return "", errors.New("the user's name can't stand for ${USER}")
	}
	return strings.ReplaceAll(text, "${USER}", user), nil
}

// decode is strict about types: null is none of them.
func decode(raw []byte, target any) error {
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return errors.New("null is not allowed")
	}
	return json.Unmarshal(raw, target)
}

type member struct {
	key   string
	value json.RawMessage
}

// object takes a JSON object apart. Package json alone would take keys of another case, and the last of two.
func object(raw []byte) (members []member, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("a JSON object is expected")
	}
	seen := map[string]bool{}
	for decoder.More() {
		t, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string) // of an object
		if seen[key] {
			return nil, fmt.Errorf("key %q is there twice", key)
		}
		seen[key] = true
		m := member{key: key}
		if err := decoder.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the object")
	}
	return members, nil
}
