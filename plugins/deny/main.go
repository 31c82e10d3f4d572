// The method "deny" lets nobody in: it rejects names, source networks and times of day that the
// administrator lists, and knows nobody else, so that the next method is asked.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"
	_ "time/tzdata" // a plugin has no files

	"github.com/sallyport-ftps/sallyport/sdk"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

var (
	_ sdk.Method    = method{}
	_ sdk.Describer = method{}

	_ sdk.SettingsChecker = method{}
)

// Describe implements sdk.Describer.
func (method) Describe() sdk.Description {
	return sdk.Description{Name: "deny", Version: "1", Settings: []sdk.Setting{
		{Name: "usernames", Type: sdk.List, Help: `names that never log in, such as ["root"]`},
		{Name: "list", Type: sdk.String, Help: `more of them, one a line: file("/etc/ftpusers")`},
		{Name: "patterns", Type: sdk.List, Help: `names with * and ?, such as ["svc-*"]`},
		{Name: "networks", Type: sdk.List, Help: `addresses that nobody logs in from, such as ["203.0.113.0/24"]`},
		{Name: "allowed_networks", Type: sdk.List, Help: "nobody logs in from anywhere else"},
		{Name: "hours", Type: sdk.List, Help: `nobody logs in at other times than such as ["Mon-Fri 08:00-18:00"]`},
		{Name: "time_zone", Type: sdk.String, Help: `of the hours, such as "Europe/London"; UTC if not set`},
	}}
}

// rule says why an attempt is refused, or nothing.
type rule func(a sdk.Attempt) (reason string, err error)

// Authenticate implements sdk.Method.
func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	for _, r := range []rule{byName, byPattern, byNetwork, byTime} {
		reason, err := r(a)
		if err != nil {
			return a.Fail(err.Error()) // a rule that nobody can read refuses everybody
		}
		if reason != "" {
			return a.Reject(reason)
		}
	}
	return sdk.Unknown
}

// CheckSettings implements sdk.SettingsChecker.
func (method) CheckSettings(a sdk.Attempt) error {
	for _, pattern := range a.SettingList("patterns") {
		if _, err := path.Match(pattern, strings.Repeat("a", 64)); err != nil {
			return fmt.Errorf("setting patterns: %q: %w", pattern, err)
		}
	}
	for _, list := range []string{"usernames", "patterns", "networks", "allowed_networks", "hours"} {
		if text, err := a.Get("settings." + list); err == nil && len(a.SettingList(list)) == 0 {
			return fmt.Errorf("setting %s = %s denies nobody: leave it out", list, text)
		}
	}
	for _, r := range []rule{byNetwork, byTime} {
		if _, err := r(a); err != nil {
			return err
		}
	}
	return nil
}

// names are the user's: a list may have been written for either.
func names(a sdk.Attempt) []string { return []string{a.User(), a.Typed()} }

func byName(a sdk.Attempt) (string, error) {
	text, err := a.Get("settings.list")
	if err != nil && !errors.Is(err, sdk.ErrAbsent) {
		return "", fmt.Errorf("setting list: %w", err)
	}
	listed := append(a.SettingList("usernames"), strings.Split(text, "\n")...)
	for _, line := range listed {
		name, _, _ := strings.Cut(line, "#")
		name = strings.TrimSpace(name)
		for _, user := range names(a) {
			if name != "" && strings.EqualFold(name, user) {
				return "name_not_allowed", nil
			}
		}
	}
	return "", nil
}

// plain takes away what package path means by a slash and a backslash: in a name they are letters.
func plain(text string) string {
	return strings.NewReplacer("/", "\x01", `\`, "\x02").Replace(strings.ToLower(text))
}

func byPattern(a sdk.Attempt) (string, error) {
	for _, pattern := range a.SettingList("patterns") {
		for _, user := range names(a) {
			matches, err := path.Match(plain(pattern), plain(user))
			if err != nil {
				return "", fmt.Errorf("setting patterns: %q: %w", pattern, err)
			}
			if matches {
				return "name_not_allowed", nil
			}
		}
	}
	return "", nil
}

func byNetwork(a sdk.Attempt) (string, error) {
	denied, err := networks(a, "networks")
	if err != nil {
		return "", err
	}
	allowed, err := networks(a, "allowed_networks")
	if err != nil {
		return "", err
	}
	ip, err := netip.ParseAddr(a.ClientIP())
	if err != nil {
		return "", nil // an administrator tries the login: there is no client
	}
	if contains(denied, ip) || (len(allowed) > 0 && !contains(allowed, ip)) {
		return "source_not_allowed", nil
	}
	return "", nil
}

// networks reads a list of networks and addresses.
func networks(a sdk.Attempt, setting string) (all []netip.Prefix, err error) {
	for _, text := range a.SettingList(setting) {
		prefix, err := netip.ParsePrefix(text)
		if ip, single := netip.ParseAddr(text); single == nil {
			prefix, err = ip.Unmap().Prefix(ip.Unmap().BitLen())
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		if err != nil {
			return nil, fmt.Errorf("setting %s: %q is neither an address nor a network such as 192.0.2.0/24", setting, text)
		}
		all = append(all, prefix)
	}
	return all, nil
}

func contains(all []netip.Prefix, ip netip.Addr) bool {
	for _, prefix := range all {
		if prefix.Contains(ip.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

func byTime(a sdk.Attempt) (string, error) {
	hours := a.SettingList("hours")
	if len(hours) == 0 {
		return "", nil
	}
	zone, err := time.LoadLocation(a.Setting("time_zone"))
	if err != nil {
		return "", fmt.Errorf("setting time_zone: %q is not a time zone such as Europe/London", a.Setting("time_zone"))
	}
	now, open := time.Now().In(zone), false
	for _, text := range hours {
		h, err := parseHours(text)
		if err != nil {
			return "", fmt.Errorf("setting hours: %q: %w", text, err)
		}
		open = open || h.include(now)
	}
	if !open {
		return "not_at_this_time", nil
	}
	return "", nil
}

// hours are part of some days, from and to in minutes. Where to is not behind from, they go on past midnight.
type hours struct {
	days     [7]bool
	from, to int
}

var errHours = errors.New(`days and hours such as "Mon-Fri 08:00-18:00" or "Sat,Sun 22:00-06:00" are expected`)

func parseHours(text string) (h hours, err error) {
	days, span, ok := strings.Cut(strings.TrimSpace(text), " ")
	from, to, both := strings.Cut(strings.TrimSpace(span), "-")
	if !ok || !both {
		return h, errHours
	}
	for _, part := range strings.Split(days, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, aOK := weekday(first)
		b, bOK := weekday(last)
		if !aOK || !bOK {
			return h, errHours
		}
		for d := a; ; d = (d + 1) % 7 {
			h.days[d] = true
			if d == b {
				break
			}
		}
	}
	if h.from, err = minutes(from); err != nil {
		return h, err
	}
	h.to, err = minutes(to)
	return h, err
}

func weekday(text string) (int, bool) {
	for d := range 7 {
		if strings.EqualFold(text, time.Weekday(d).String()[:3]) {
			return d, true
		}
	}
	return 0, false
}

func minutes(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, errHours
	}
	return t.Hour()*60 + t.Minute(), nil
}

func (h hours) include(t time.Time) bool {
	at, today := t.Hour()*60+t.Minute(), int(t.Weekday())
	if h.from < h.to {
		return h.days[today] && h.from <= at && at < h.to
	}
	return h.days[today] && at >= h.from || h.days[(today+6)%7] && at < h.to
}
