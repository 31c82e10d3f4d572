package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// checkSettings says where a setting is that the plugin does not have, or misses.
func checkSettings(c config.Authentication, d sandbox.Description) error {
	if name, err := d.CheckSettings(c.Settings); err != nil {
		return fmt.Errorf("%s: plugin %s %w", c.Where(name), c.Plugin, err)
	}
	return nil
}

// tryCheck asks a plugin that can tell whether its settings are right, with nothing granted.
func tryCheck(ctx context.Context, server string, c config.Authentication, plugin *sandbox.Plugin) error {
	if !plugin.Description().ChecksSettings {
		return nil
	}
	result, err := plugin.Run(ctx, sandbox.Call{Fields: map[string]string{"check": "settings", "server": server, "timeout": milliseconds(c.Timeout)}, Settings: c.Settings, SeesPassword: c.Password})
	if err == nil && result.Verdict != sdk.Unknown {
		err = fmt.Errorf("it says %v of its settings", result.Verdict)
	}
	if err != nil {
		return fmt.Errorf("%s: authentication %q: %s", c.Where("settings"), c.ID, strings.TrimPrefix(err.Error(), sandbox.ErrFailed.Error()+": "))
	}
	return nil
}

// isFirstFactor reports whether some service asks the method first: then it says where its users go.
func isFirstFactor(c *config.Config, id string) bool {
	return slices.ContainsFunc(c.Services, func(s config.Service) bool { return slices.Contains(s.Authentications, id) })
}

// checkNeeds refuses a method whose plugin can't do its work without a grant that it does not have.
func checkNeeds(c config.Authentication, d sandbox.Description, firstFactor bool) error {
	http, err := missing(c, d.Needs.HTTP, c.Grants.HTTP, endpoint.HTTP())
	if err != nil {
		return err
	}
	network, err := missing(c, d.Needs.Network, c.Grants.Network, endpoint.Sockets())
	if err != nil {
		return err
	}
	var lines []string
	add := func(name string, urls []string) {
		if len(urls) > 0 {
			lines = append(lines, fmt.Sprintf("    %s = %s", name, hclList(urls)))
		}
	}
	if d.Needs.Password && !c.Password {
		lines = append(lines, "    password = true")
	}
	add("http", http)
	add("network", network)
	passwordTo, err := missing(c, d.Needs.PasswordTo, c.Grants.PasswordTo, endpoint.HTTP())
	if err != nil {
		return err
	}
	add("password_to", passwordTo)
	if d.Needs.Groups && firstFactor && len(c.Groups) == 0 {
		lines = append(lines, `    groups = ["default"]`)
	}
	var blocks []string
	if len(lines) > 0 {
		blocks = append(blocks, "  grant {\n"+strings.Join(lines, "\n")+"\n  }")
	}
	all, err := missing(c, d.Needs.HTTP, nil, endpoint.HTTP())
	if err != nil {
		return err
	}
	for _, name := range d.Needs.Secrets {
		if _, ok := c.Grants.Secrets[name]; !ok {
			blocks = append(blocks, fmt.Sprintf("  secret %q {\n    value = env(%q)\n    to    = %s\n  }", name, strings.ToUpper(name), hclList(all)))
		}
	}
	if len(blocks) == 0 {
		return nil
	}
	return fmt.Errorf("%s: plugin %s needs more than authentication %q grants; if you trust it so far, add or extend:\n\n%s", c.Where(""), c.Plugin, c.ID, strings.Join(blocks, "\n"))
}

func hclList(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// missing are the needed URLs that no grant covers.
func missing(c config.Authentication, needs []string, granted []endpoint.Endpoint, schemes []string) (urls []string, err error) {
	all, err := sandbox.Needs{}.Endpoints(needs, c.Settings, schemes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Where("settings"), err)
	}
	for _, e := range all {
		if !slices.ContainsFunc(granted, func(g endpoint.Endpoint) bool { return g.Covers(e) }) {
			urls = append(urls, e.String())
		}
	}
	return urls, nil
}
