package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// removeHome deletes the files of an account, which it disables before. A folder in which there may be files of somebody
// else is refused. RATIONALE.md, "Why does remove --files refuse so much?".
func (a *app) removeHome(ctx context.Context, one account.Account) error {
	named, err := homeOf(a.config(), one)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(named); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	home, err := a.ownHome(ctx, one, named)
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	disabled, err := a.accounts.SetEnabled(ctx, one.Name, false)
	if err != nil {
		return err
	}
	// Nobody logs in any more. What an administrator changed meanwhile counts.
	if again, err := homeOf(a.config(), disabled); err != nil || again != named {
		return errors.Join(fmt.Errorf("account %s is disabled, and nothing was removed: its home was changed meanwhile", one.Name), err)
	}
	if again, err := a.ownHome(ctx, disabled, named); err != nil || again != home {
		return errors.Join(fmt.Errorf("account %s is disabled, and nothing was removed", one.Name), err)
	}
	err = os.RemoveAll(home)
	if err == nil && named != home {
		err = os.RemoveAll(named) // the link, if it is the last part of the name
	}
	if err != nil {
		return fmt.Errorf("account %s is disabled, and some of its files are still there; try again: %w", one.Name, err)
	}
	return nil
}

// homeOf is the home folder of one of the host's accounts.
func homeOf(c *config.Config, one account.Account) (string, error) {
	if one.Home != "" {
		return filepath.Clean(one.Home), nil
	}
	group, ok := c.Group(one.Groups[0])
	if !ok {
		return "", fmt.Errorf("account %s: group %q is not in the configuration", one.Name, one.Groups[0])
	}
	return strings.ReplaceAll(group.Home, "{username}", one.Name), policy.PathElement(one.Name)
}

// realPath is a path free of links, as far as it is there.
func realPath(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return resolved, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a link that leads nowhere", path)
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// shared is a folder that somebody else uses; {username} in it stands for anything. Of one with members a home may be below
// it, but not above.
type shared struct {
	path, whose string
	members     bool
}

// ownHome is the home, free of links, if nobody else has anything in it, nor it anything in what others have.
func (a *app) ownHome(ctx context.Context, one account.Account, named string) (string, error) {
	home, err := realPath(named)
	if err != nil {
		return "", err
	}
	if strings.Count(home, "/") < 2 {
		return "", fmt.Errorf("%s is no folder of one account: delete the files by hand", home)
	}
	others, err := a.othersFolders(ctx, one)
	if err != nil {
		return "", err
	}
	for _, other := range others {
		meets, err := other.overlaps(home)
		if err != nil {
			return "", err
		}
		if meets {
			return "", fmt.Errorf("%s: %s is %s: delete the files by hand", home, other.path, other.whose)
		}
	}
	return home, mountedIn(home)
}

// othersFolders are all that is known to belong to others than the account.
func (a *app) othersFolders(ctx context.Context, one account.Account) (all []shared, err error) {
	c := a.config()
	all = append(all, shared{path: a.data.private, whose: "where keys and accounts are"})
	foreign := map[string]string{} // groups of users whom only their method knows
	for _, m := range c.Authentications {
		if m.HomeUnder != "" {
			all = append(all, shared{path: m.HomeUnder, whose: fmt.Sprintf("where users of authentication %q are", m.ID)})
		}
		for _, group := range m.Groups {
			foreign[group] = m.ID
		}
	}
	for _, g := range c.Groups {
		switch each := strings.Contains(g.Home, "{username}"); {
		case foreign[g.Name] != "":
			all = append(all, shared{path: g.Home, whose: fmt.Sprintf("where users of authentication %q are", foreign[g.Name])})
		case !each:
			all = append(all, shared{path: g.Home, whose: fmt.Sprintf("where members of group %q are", g.Name)})
		default: // one below it is its member's, and is looked at with the accounts
			all = append(all, shared{path: g.Home, whose: fmt.Sprintf("where members of group %q are", g.Name), members: true})
		}
		for _, v := range g.Folders {
			all = append(all, shared{path: v.Real, whose: fmt.Sprintf("a virtual folder of group %q", g.Name)})
		}
	}
	for after := ""; ; {
		page, err := a.accounts.List(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return all, err
		}
		for _, other := range page {
			if after = other.Name; other.Name == one.Name {
				continue
			}
			folder, err := homeOf(c, other)
			if err != nil {
				return nil, err
			}
			all = append(all, shared{path: folder, whose: "the home of account " + other.Name})
		}
	}
}

// overlaps reports whether one of the two folders holds the other, or may, for some {username}.
func (s shared) overlaps(home string) (bool, error) {
	fixed, _, each := strings.Cut(s.path, "{username}")
	if each {
		fixed = filepath.Dir(fixed + "x") // the last folder that is the same for all
	}
	resolved, err := realPath(filepath.Clean(fixed))
	if err != nil {
		return false, err
	}
	if policy.Within(resolved, home) {
		return true, nil
	}
	if s.members || !policy.Within(home, resolved) {
		return false, nil
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(filepath.Clean(s.path), filepath.Clean(fixed)), "/")
	below, err := filepath.Rel(resolved, home)
	if err != nil {
		return false, err
	}
	return meets(strings.Split(below, "/"), strings.Split(rest, "/")), nil
}

// meets compares the parts of a path with those of a pattern, as far as both go.
func meets(path, pattern []string) bool {
	for i := range min(len(path), len(pattern)) {
		before, after, each := strings.Cut(pattern[i], "{username}")
		switch {
		case pattern[i] == "" || path[i] == ".":
			return true
		case each && !(strings.HasPrefix(path[i], before) && strings.HasSuffix(path[i], after)), !each && path[i] != pattern[i]:
			return false
		}
	}
	return true
}
