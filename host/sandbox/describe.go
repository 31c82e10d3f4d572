package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ftps/sallyport/host/endpoint"
	"github.com/sallyport-ftps/sallyport/sdk"
)

// Description is what a plugin says of itself, if it does.
type Description struct {
	Name, Version string
	// Settings is nil if the plugin does not tell which settings it has.
	Settings map[string]Setting
	Needs    Needs
	// ChecksSettings: run with the field "check" set to "settings", it says UNKNOWN if its settings are right.
	ChecksSettings bool
}

// Setting is the description of one setting.
type Setting struct {
	Type     sdk.SettingType
	Required bool
	Secret   bool
	Help     string
}

// Needs are the grants without which a plugin can't do its work. HTTP and Network hold URLs, or
// settings.NAME for those that a setting names.
type Needs struct {
	Password   bool // it must see the password
	PasswordTo []string
	HTTP       []string
	Network    []string
	Secrets    []string // names
	Code       bool     // it checks one-time codes
	Groups     bool     // it accepts users who have no account here
}

// CheckSettings compares settings = { ... } with what the plugin says that it has. The name is of the
// setting that is wrong; empty: of one that is missing.
func (d Description) CheckSettings(settings map[string]any) (name string, err error) {
	if d.Settings == nil {
		return "", nil
	}
	names := slices.Sorted(maps.Keys(d.Settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		setting, ok := d.Settings[name]
		if !ok {
			return name, fmt.Errorf("has no setting %q; it has %q", name, names)
		}
		if n := longest(settings[name]); n > sdk.MaxField {
			return name, fmt.Errorf("can't get the setting %q: a text in it has %d bytes, at most %d can be passed; lines(file(...)) makes a list of a long file", name, n, sdk.MaxField)
		}
		if !fits(settings[name], setting.Type) {
			return name, fmt.Errorf("wants a %s for the setting %q", setting.Type, name)
		}
		if setting.Required && settings[name] == "" {
			return name, fmt.Errorf("needs the setting %q, and it is empty%s", name, helpOf(setting))
		}
	}
	for _, name := range names {
		if _, ok := settings[name]; d.Settings[name].Required && !ok {
			return "", fmt.Errorf("needs the setting %q%s", name, helpOf(d.Settings[name]))
		}
	}
	return "", nil
}

// longest is the length of the longest text in a setting.
func longest(value any) (n int) {
	for _, text := range texts(value) {
		n = max(n, len(text))
	}
	return n
}

func helpOf(s Setting) string {
	if s.Help == "" {
		return ""
	}
	return ": " + s.Help
}

func fits(value any, t sdk.SettingType) bool {
	isText := func(e any) bool { _, ok := e.(string); return ok }
	switch v := value.(type) {
	case string:
		return t == sdk.String
	case bool:
		return t == sdk.Bool
	case float64:
		return t == sdk.Number
	case []any:
		return t == sdk.List && !slices.ContainsFunc(v, func(e any) bool { return !isText(e) })
	case map[string]any:
		for _, e := range v {
			if !isText(e) {
				return false
			}
		}
		return t == sdk.Map
	}
	return false
}

// Endpoints are what some needs come to with a method's settings. A need that is no URL is nothing; a
// setting that holds none is an error.
func (Needs) Endpoints(needs []string, settings map[string]any, schemes []string) (all []endpoint.Endpoint, err error) {
	for _, need := range needs {
		urls := []string{need}
		name, isSetting := strings.CutPrefix(need, "settings.")
		if isSetting {
			urls = texts(settings[name])
		}
		for _, text := range urls {
			e, err := endpoint.Parse(text, schemes)
			if err != nil {
				if isSetting {
					return nil, fmt.Errorf("setting %q: %q: %w", name, text, err)
				}
				continue
			}
			if !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	return all, nil
}

// texts are the strings in a setting.
func texts(value any) (all []string) {
	switch v := value.(type) {
	case string:
		all = append(all, v)
	case []any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, texts(v[key])...)
		}
	}
	return all
}

// describe lets the plugin describe itself, with nothing granted.
func (p *Plugin) describe(ctx context.Context, i *instance, g *guest) error {
	export := i.module.ExportedFunction(sdk.ExportDescribe)
	if export == nil {
		return nil
	}
	g.describing = true
	_, err := export.Call(ctx)
	g.flush()
	if err != nil {
		return err
	}
	if p.description, err = parseDescription(g.set); err != nil {
		g.failure = err // no crash
	}
	return err
}

// described are the fields that describe may set, beside those of settings.
func described() []string {
	return []string{
		"describe.name", "describe.version", "describe.checks_settings", "describe.need.password", "describe.need.groups", "describe.need.code", "describe.need.http", "describe.need.network",
		"describe.need.password_to", "describe.need.secrets",
	}
}

func parseDescription(set map[string]string) (Description, error) {
	for key, value := range set { // it is shown on terminals
		if strings.ContainsFunc(key+value, unicode.IsControl) || !utf8.ValidString(key+value) {
			return Description{}, fmt.Errorf("%.40q holds control characters", key)
		}
	}
	d := Description{Name: set["describe.name"], Version: set["describe.version"], Settings: map[string]Setting{}, Needs: Needs{
		Password: set["describe.need.password"] == "true",
		Groups:   set["describe.need.groups"] == "true",
		Code:     set["describe.need.code"] == "true",
		HTTP:     strings.Fields(set["describe.need.http"]), PasswordTo: strings.Fields(set["describe.need.password_to"]),
		Network: strings.Fields(set["describe.need.network"]), Secrets: strings.Fields(set["describe.need.secrets"]),
	}}
	d.ChecksSettings = set["describe.checks_settings"] == "true"
	for key, value := range set {
		name, ok := strings.CutPrefix(key, "describe.setting.")
		if !ok {
			if !slices.Contains(described(), key) {
				return Description{}, fmt.Errorf("%.64s: there is no such field; there are describe.setting.NAME and %q", key, described())
			}
			continue
		}
		setting, err := parseSetting(value)
		if err != nil {
			return Description{}, fmt.Errorf("%s: %w", key, err)
		}
		d.Settings[name] = setting
	}
	return d, d.checkNeeds()
}

// checkNeeds wants that each URL is one, or that there is such a setting.
func (d Description) checkNeeds() error {
	for _, list := range []struct {
		name           string
		needs, schemes []string
	}{{"http", d.Needs.HTTP, endpoint.HTTP()}, {"password_to", d.Needs.PasswordTo, endpoint.HTTP()}, {"network", d.Needs.Network, endpoint.Sockets()}} {
		for _, need := range list.needs {
			if name, ok := strings.CutPrefix(need, "settings."); ok {
				if _, ok := d.Settings[name]; !ok {
					return fmt.Errorf("describe.need.%s: %q: it has no such setting", list.name, need)
				}
			} else if _, err := endpoint.Parse(need, list.schemes); err != nil {
				return fmt.Errorf("describe.need.%s: %q: %w", list.name, need, err)
			}
		}
	}
	return nil
}

// parseSetting reads "TYPE [required] [secret] [; what it is for]".
func parseSetting(text string) (Setting, error) {
	schema, help, _ := strings.Cut(text, ";")
	words := strings.Fields(schema)
	if len(words) == 0 {
		return Setting{}, fmt.Errorf("it has no type")
	}
	s := Setting{Type: sdk.SettingType(words[0]), Help: strings.TrimSpace(help)}
	switch s.Type {
	case sdk.String, sdk.Number, sdk.Bool, sdk.List, sdk.Map:
	default:
		return Setting{}, fmt.Errorf("type %q; string, number, bool, list and map are allowed", s.Type)
	}
	for _, word := range words[1:] {
		switch word {
		case "required":
			s.Required = true
		case "secret":
			s.Secret = true
		default:
			return Setting{}, fmt.Errorf("%q; after the type, required and secret are allowed", word)
		}
	}
	return s, nil
}

// Inspection is what can be said of a module without running it.
type Inspection struct {
	Size      int
	Functions int
	Exports   []string
	Imports   []string
}

// Inspect reads a module that may be wrong in other ways.
func Inspect(wasm []byte) (Inspection, error) {
	m, err := parse(wasm)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Size: len(wasm), Functions: len(m.functions), Exports: slices.Sorted(maps.Keys(m.exports))}
	for _, imported := range m.imports {
		i.Imports = append(i.Imports, imported.module+"."+imported.name)
	}
	slices.Sort(i.Imports)
	return i, nil
}
