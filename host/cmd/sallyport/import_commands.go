package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/ini.v1"

	"github.com/sallyport-ftps/sallyport/host/account"
)

type accountImport struct {
	File   string            `arg:"" help:"CSV with a line of names, JSON as \"account export\" writes it, or SFTPPlus's server.ini." type:"existingfile"`
	Format string            `help:"csv, json or sftpplus; by default what the file's name ends with says (.csv, .json, .ini)." enum:",csv,json,sftpplus" default:"" placeholder:"F"`
	Group  map[string]string `help:"Another name for a group of the file." placeholder:"OLD=NEW"`
	Apply  bool              `help:"Make the accounts. Without it only what would become of each is said."`
	output
}

// Run implements the command.
func (cmd accountImport) Run(ctx context.Context, c *cli, s streams) error {
	content, err := readAtMost(cmd.File, 32<<20)
	if err != nil {
		return err
	}
	accounts, err := parseAccounts(cmd.format(), content)
	if err != nil {
		return fmt.Errorf("%s: nothing was imported: %w", shown(cmd.File), err)
	}
	for i := range accounts {
		for j, group := range accounts[i].Groups {
			if to, ok := cmd.Group[group]; ok {
				accounts[i].Groups[j] = to
			}
		}
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	result, err := client.Import(ctx, accounts, cmd.Apply)
	if err != nil {
		return err
	}
	problems := 0
	for _, one := range result.Accounts {
		if one.Problem != "" {
			problems++
		}
	}
	err = cmd.print(s.out, result, func(w io.Writer) {
		for _, one := range result.Accounts {
			fmt.Fprintf(w, "%s\t%s\n", one.Name, orText(one.Problem, map[bool]string{true: "imported", false: "can be imported"}[result.Done]))
		}
	})
	switch {
	case err != nil:
		return err
	case problems > 0:
		return fmt.Errorf("nothing was imported: %d of %d accounts can't be", problems, len(accounts))
	case !result.Done && !cmd.JSON:
		_, err = fmt.Fprintf(s.err, "nothing was imported yet: add --apply\n")
	}
	return err
}

func (cmd accountImport) format() string {
	if cmd.Format != "" {
		return cmd.Format
	}
	switch strings.ToLower(filepath.Ext(cmd.File)) {
	case ".csv":
		return "csv"
	case ".ini":
		return "sftpplus"
	}
	return "json"
}

func readAtMost(name string, most int64) ([]byte, error) {
	content, err := readFile(name, most)
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s has more than %d bytes", shown(name), most)
	}
	return content, err
}

func parseAccounts(format string, content []byte) ([]account.Portable, error) {
	switch format {
	case "csv":
		return csvAccounts(content)
	case "sftpplus":
		return iniAccounts(content)
	}
	var all []account.Portable
	d := json.NewDecoder(strings.NewReader(string(content)))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("it is not as \"account export\" writes it: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the list")
	}
	return all, nil
}

// csvAccounts reads lines of fields that the first line names. Lists have blanks or semicolons between.
func csvAccounts(content []byte) (all []account.Portable, err error) {
	lines, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(content), "\ufeff"))).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("it is no CSV: %w", err)
	}
	if len(lines) == 0 || !slices.Contains(lines[0], "name") || !slices.Contains(lines[0], "hash") {
		return nil, fmt.Errorf("the first line must name the columns, name and hash among them; allowed are %s, and attribute.NAME", strings.Join(columns(), ", "))
	}
	for i, line := range lines[1:] {
		var one account.Portable
		for j, value := range line {
			if err := setColumn(&one, lines[0][j], strings.TrimSpace(value)); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+2, err)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

func columns() []string {
	return []string{"name", "hash", "groups", "email", "home", "permissions", "sources", "expires", "unused_days", "must_change", "password_until", "second_factors", "disabled", "password_changed"}
}

func setColumn(one *account.Portable, column, value string) (err error) {
	list := func() []string {
		return strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ';' })
	}
	if attribute, ok := strings.CutPrefix(column, "attribute."); ok {
		if one.Attributes == nil {
			one.Attributes = map[string]string{}
		}
		if one.Attributes[attribute] = value; value == "" {
			delete(one.Attributes, attribute)
		}
		return nil
	}
	if value == "" && slices.Contains(columns(), column) {
		return nil
	}
	switch column {
	case "name":
		one.Name = value
	case "hash":
		one.Hash = value
	case "groups":
		one.Groups = list()
	case "email":
		one.Email = value
	case "home":
		one.Home = value
	case "permissions":
		one.Permissions = list()
	case "sources":
		one.Sources = list()
	case "expires":
		one.Expires, err = expiry(value)
	case "unused_days":
		one.UnusedDays, err = strconv.Atoi(value)
	case "must_change":
		one.MustChange, err = strconv.ParseBool(value)
	case "password_until":
		one.PasswordUntil, err = time.Parse(time.RFC3339, value)
	case "second_factors":
		one.SecondFactors = list()
	case "disabled":
		one.Disabled, err = strconv.ParseBool(value)
	case "password_changed":
		one.PasswordChanged, err = time.Parse(time.RFC3339, value)
	default:
		return fmt.Errorf("there is no column %q; allowed are %s, and attribute.NAME", column, strings.Join(columns(), ", "))
	}
	if err != nil {
		return fmt.Errorf("column %s: %w", column, err)
	}
	return nil
}

// iniAccounts reads the sections [accounts/UUID] and [groups/UUID] of SFTPPlus. What it has no word for here is left out.
func iniAccounts(content []byte) (all []account.Portable, err error) {
	file, err := ini.LoadSources(ini.LoadOptions{IgnoreInlineComment: true, AllowPythonMultilineValues: true, SkipUnrecognizableLines: true}, content)
	if err != nil {
		return nil, fmt.Errorf("it is not as server.ini is: %w", err)
	}
	groups := map[string]string{"DEFAULT_GROUP": "default"}
	for _, s := range file.Sections() {
		if uuid, ok := strings.CutPrefix(s.Name(), "groups/"); ok && s.Key("name").String() != "" {
			groups[uuid] = s.Key("name").String()
		}
	}
	groups["DEFAULT_GROUP"] = "default"
	for _, s := range file.Sections() {
		if !strings.HasPrefix(s.Name(), "accounts/") {
			continue
		}
		one, err := iniAccount(s, groups)
		if err != nil {
			return nil, fmt.Errorf("section [%s]: %w", s.Name(), err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no section [accounts/...] in it")
	}
	return all, nil
}

func iniAccount(s *ini.Section, groups map[string]string) (one account.Portable, err error) {
	one = account.Portable{Name: s.Key("name").String(), Hash: s.Key("password").String(), Email: s.Key("email").String(), Home: s.Key("home_folder_path").String()}
	one.Email, _, _ = strings.Cut(one.Email, ",") // the first of several
	for _, uuid := range strings.FieldsFunc(s.Key("group").String(), func(r rune) bool { return r == ',' || r == ' ' }) {
		one.Groups = append(one.Groups, orText(groups[uuid], uuid))
	}
	switch strings.ToLower(s.Key("enabled").String()) {
	case "no", "false", "0", "off":
		one.Disabled = true
	}
	if text := s.Key("expire_datetime").String(); text != "" {
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
			if one.Expires, err = time.ParseInLocation(layout, text, time.Local); err == nil {
				break
			}
		}
		if err != nil {
			return one, fmt.Errorf("expire_datetime = %q can't be read", text)
		}
	}
	if text := s.Key("disable_on_inactivity").String(); text != "" && text != "inherit" {
		if one.UnusedDays, err = strconv.Atoi(text); err != nil {
			return one, fmt.Errorf("disable_on_inactivity = %q is not a number of days", text)
		}
	}
	return one, nil
}

type accountExport struct {
	File string `arg:"" help:"New file for the accounts with their hashes, as JSON; only its owner can read it." type:"path"`
	output
}

// Run implements the command.
func (cmd accountExport) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	all, err := client.Export(ctx)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(cmd.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return cmd.print(s.out, map[string]any{"file": cmd.File, "accounts": len(all)}, func(w io.Writer) {
		fmt.Fprintf(w, "%d account(s) with their hashes are in %s; one-time codes are not\n", len(all), shown(cmd.File))
	})
}
