package sdk

// registered is the plugin's one method. A guest is one program with one method, and an
// exported function has no other way to find it.
var registered Method

// Register makes m the plugin's method. Call it once, from init.
func Register(m Method) { registered = m }

func decide(host Host) Verdict {
	if registered == nil {
		host.Log(Error, "the plugin registered no method: call sdk.Register from init")
		return Fail
	}
	return registered.Authenticate(NewAttempt(host))
}

// describe puts the description into fields: describe.name, describe.version, and for each
// setting describe.setting.NAME with the type and, after blanks, "required" and "secret".
func describe(host Host) {
	describer, ok := registered.(Describer)
	if !ok {
		return
	}
	d := describer.Describe()
	set := func(key, value string) {
		if err := host.Set(key, value); err != nil {
			host.Log(Error, key+": "+err.Error())
		}
	}
	set("describe.name", d.Name)
	set("describe.version", d.Version)
	for _, s := range d.Settings {
		value := string(s.Type)
		if s.Required {
			value += " required"
		}
		if s.Secret {
			value += " secret"
		}
		set("describe.setting."+s.Name, value)
	}
}
