package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/config"
)

// missingFolders warns of folders that the configuration names and that are not there: who needs them is refused.
func missingFolders(c *config.Config) (warnings []string) {
	check := func(what, folder string) {
		if strings.Contains(folder, "{username}") || folder == "" {
			return
		}
		if info, err := os.Stat(folder); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: %v: logins that need it are refused", what, err))
		} else if !info.IsDir() {
			warnings = append(warnings, fmt.Sprintf("%s: %s is no folder: logins that need it are refused", what, folder))
		}
	}
	for _, g := range c.Groups {
		for _, v := range g.Folders {
			check(fmt.Sprintf("group %q: virtual_folder %q", g.Name, v.Path), v.Real)
		}
		if !g.CreateHome {
			check(fmt.Sprintf("group %q: home", g.Name), g.Home)
		}
	}
	for _, a := range c.Authentications {
		check(fmt.Sprintf("authentication %q: home_under", a.ID), a.HomeUnder)
	}
	return warnings
}
