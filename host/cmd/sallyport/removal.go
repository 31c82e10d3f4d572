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
// else is refused.
func (a *app) removeHome(ctx context.Context, one account.Account) error {
	home, err := homeOf(a.config(), one)
	if err != nil {
		return err
	}
	named := home
	home, err = filepath.EvalSymlinks(named)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = a.ownedAlone(ctx, one, home)
	}
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	if _, err := a.accounts.SetEnabled(ctx, one.Name, false); err != nil {
		return err
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
		return one.Home, nil
	}
	group, ok := c.Group(one.Groups[0])
	if !ok {
		return "", fmt.Errorf("account %s: group %q is not in the configuration", one.Name, one.Groups[0])
	}
	return strings.ReplaceAll(group.Home, "{username}", one.Name), policy.PathElement(one.Name)
}

// ownedAlone refuses a home that holds, or lies in, what others use. It is free of links.
func (a *app) ownedAlone(ctx context.Context, one account.Account, home string) error {
	c := a.config()
	refuse := func(folder, whose string) error {
		resolved, err := filepath.EvalSymlinks(folder)
		if err != nil {
			resolved = folder // not there yet
		}
		if policy.Within(resolved, home) || policy.Within(home, resolved) {
			return fmt.Errorf("%s: %s is %s: delete the files by hand", home, folder, whose)
		}
		return nil
	}
	if strings.Count(home, "/") < 2 {
		return fmt.Errorf("%s is no folder of one account: delete the files by hand", home)
	}
	if err := policy.HomeApart(home, a.data.private); err != nil {
		return err
	}
	for _, g := range c.Groups {
		before, _, each := strings.Cut(g.Home, "{username}")
		if !each || policy.Within(filepath.Clean(before), home) {
			if err := refuse(filepath.Clean(before), fmt.Sprintf("where members of group %q are", g.Name)); err != nil {
				return err
			}
		}
		for _, v := range g.Folders {
			real, _, _ := strings.Cut(v.Real, "{username}")
			if err := refuse(filepath.Clean(real), fmt.Sprintf("a virtual folder of group %q", g.Name)); err != nil {
				return err
			}
		}
	}
	for _, m := range c.Authentications {
		if m.HomeUnder != "" && policy.Within(m.HomeUnder, home) {
			return fmt.Errorf("%s: in it are users of authentication %q: delete the files by hand", home, m.ID)
		}
	}
	for after := ""; ; {
		page, err := a.accounts.List(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, other := range page {
			if after = other.Name; other.Name == one.Name {
				continue
			}
			folder, err := homeOf(c, other)
			if err == nil {
				err = refuse(folder, "the home of account "+other.Name)
			}
			if err != nil {
				return err
			}
		}
	}
}
