package sdk

import (
	"errors"
	"strings"
)

// Account is what a method that accepts may say of its user. What is empty is as the group says. Each
// counts only as far as the administrator granted it; permissions only narrow the group's.
type Account struct {
	// Name is an account of the host that the user is let in as: grant { accounts = [...] }. The rest but
	// the permissions is then that account's.
	Name        string
	Groups      []string // the first says where the home is: grant { groups = [...] }
	Home        string   // absolute: grant { home_under = "..." }
	CreateHome  string   // "true" or "false"
	Structure   []string // folders to make in a home that is made
	Folders     []Folder // below home_under too
	Permissions []string // such as "allow-read"; nil: not narrowed
	Rules       []Rule   // the first that matches a path replaces Permissions there
	Email       string
	Attributes  map[string]string // for second factors and events, such as "secsign_id"
}

// Folder is a folder of the server that the user sees in the home.
type Folder struct{ Path, Real string }

// Rule is the permissions of the paths that match an expression: a glob of the whole path, or m/REGULAR EXPRESSION/.
type Rule struct {
	Expression  string
	Permissions []string
}

// SetAccount says what the method knows of the user.
func (a Attempt) SetAccount(account Account) error {
	permissions := strings.Join(account.Permissions, ",")
	if account.Permissions != nil && permissions == "" {
		permissions = "deny-full-control"
	}
	folders, rules, ok := account.lines()
	if !ok {
		return errors.New("a line break, or a tab in a path, can't be passed on")
	}
	fields := []struct{ name, value string }{
		{"name", account.Name},
		{"groups", strings.Join(account.Groups, ",")},
		{"home", account.Home},
		{"create_home", account.CreateHome},
		{"structure", strings.Join(account.Structure, "\n")},
		{"folders", folders},
		{"permissions", permissions},
		{"rules", rules},
		{"email", account.Email},
	}
	for _, name := range sortedKeys(account.Attributes) {
		fields = append(fields, struct{ name, value string }{"attribute." + name, account.Attributes[name]})
	}
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if err := a.host.Set("account."+f.name, f.value); err != nil {
			return errors.Join(errors.New("account."+f.name), err)
		}
	}
	return nil
}

func (account Account) lines() (folders, rules string, ok bool) {
	ok = true
	line := func(first, second string) string {
		ok = ok && !strings.ContainsAny(first, "\t\n") && !strings.Contains(second, "\n")
		return first + "\t" + second + "\n"
	}
	for _, f := range account.Folders {
		folders += line(f.Path, f.Real)
	}
	for _, r := range account.Rules {
		words := strings.Join(r.Permissions, " ")
		if words == "" {
			words = "deny-full-control"
		}
		rules += line(r.Expression, words)
	}
	for _, s := range account.Structure {
		ok = ok && !strings.Contains(s, "\n")
	}
	return folders, rules, ok
}

// GroupMap maps the groups of another system to ours, in the order in which an administrator wrote it.
type GroupMap [][2]string

// ParseGroupMap reads lines such as "cn=sales,ou=groups,dc=example,dc=org => uk-sales". A * on the left is for
// everybody.
func ParseGroupMap(lines []string) (GroupMap, error) {
	var m GroupMap
	for _, line := range lines {
		theirs, ours, ok := strings.Cut(line, "=>")
		theirs, ours = strings.TrimSpace(theirs), strings.TrimSpace(ours)
		if !ok || theirs == "" || ours == "" {
			return nil, errors.New(line + `: "THEIR GROUP => OUR GROUP" is expected`)
		}
		m = append(m, [2]string{theirs, ours})
	}
	return m, nil
}

// Groups are our groups of somebody who is in theirs; case does not count.
func (m GroupMap) Groups(theirs []string) (ours []string) {
	for _, line := range m {
		matches := line[0] == "*"
		for _, group := range theirs {
			matches = matches || strings.EqualFold(line[0], group)
		}
		for _, already := range ours {
			matches = matches && already != line[1]
		}
		if matches {
			ours = append(ours, line[1])
		}
	}
	return ours
}
