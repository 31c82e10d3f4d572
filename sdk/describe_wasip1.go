//go:build wasip1

package sdk

import "strings"

// fields are the description as ABI.md has it: describe.name, describe.version, for each setting
// describe.setting.NAME with its type and so on, and describe.need.* for the needs.
func (d Description) fields() [][2]string {
	fields := [][2]string{{"describe.name", d.Name}, {"describe.version", d.Version}}
	for _, s := range d.Settings {
		value := string(s.Type)
		if s.Required {
			value += " required"
		}
		if s.Secret {
			value += " secret"
		}
		if s.Help != "" {
			value += "; " + s.Help
		}
		fields = append(fields, [2]string{"describe.setting." + s.Name, value})
	}
	need := func(name, value string) {
		if value != "" {
			fields = append(fields, [2]string{"describe.need." + name, value})
		}
	}
	if d.Needs.Password {
		need("password", "true")
	}
	if d.Needs.Code {
		need("code", "true")
	}
	if d.Needs.Groups {
		need("groups", "true")
	}
	need("http", strings.Join(d.Needs.HTTP, " "))
	need("network", strings.Join(d.Needs.Network, " "))
	need("password_to", strings.Join(d.Needs.PasswordTo, " "))
	need("secrets", strings.Join(d.Needs.Secrets, " "))
	return fields
}
