package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/config"
)

// config.hcl promises that each of its lines states the default.
func TestConfigHCLStatesTheDefaults(t *testing.T) {
	t.Chdir("../..")
	stated, err := config.Load("config.hcl")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	embedded, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Dir(stated.Server.DataDir)
	for _, c := range []*config.Config{stated, embedded} {
		c.File, c.Passwords.Words = "", nil
		for i := range c.Authentications {
			c.Authentications[i] = withoutPlaces(c.Authentications[i])
		}
		c.Services[0].Where = ""
	}
	stated.Server.DataDir = strings.Replace(stated.Server.DataDir, top, here, 1)
	stated.Groups[0].Home = strings.Replace(stated.Groups[0].Home, top, here, 1)
	stated.Server.Authentications, embedded.Server.Authentications = nil, nil
	if !reflect.DeepEqual(stated, embedded) {
		t.Errorf("config.hcl: %+v\ndefaults:   %+v", stated, embedded)
	}
}

func withoutPlaces(a config.Authentication) config.Authentication {
	b := config.Authentication{
		ID: a.ID, Name: a.Name, Plugin: a.Plugin, SHA256: a.SHA256, Enabled: a.Enabled, Timeout: a.Timeout, Settings: a.Settings,
		Password: a.Password, Groups: a.Groups, HomeUnder: a.HomeUnder, FactorRequired: a.FactorRequired,
		NextOnReject: a.NextOnReject, NextOnFailure: a.NextOnFailure,
	}
	if len(a.SecondFactor) > 0 {
		b.SecondFactor = a.SecondFactor
	}
	return b
}

const (
	minimal = `
server { authentications = ["a"] }
` + rest
	rest = `service "ftps" "main" {}
authentication "a" { plugin = "local" }
`
)

func TestValues(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_TOKEN", "from the environment")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte("root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(filepath.Join(dir, "config.hcl"), []byte(`
server {
  data_dir = "state"
  authentications = ["a"]
  min_free = "2GiB"
}
service "ftps" "main" {
  tls = "implicit"
  passive_ports = "50000-50100"
  idle_timeout = "1d"
}
service "ftps" "other" {
  listen = "[::1]:0"
  authentications = ["b", "a"]
}
authentication "a" {
  plugin = "local"
  second_factor = ["b"]
  on_failure = "next"
}
authentication "b" {
  plugin = "mine.wasm"
  timeout = "1500ms"
  settings = { token = env("SALLYPORT_TEST_TOKEN"), users = file("users"), list = ["x", 1, true], map = { a = "b" } }
  grant {
    password = true
    groups = ["default"]
    home_under = "/srv"
  }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	s, b := c.Services[0], c.Authentications[1]
	if c.Server.DataDir != filepath.Join(dir, "state") || c.Server.MinFree != 2<<30 || !s.Implicit || s.PassiveFirst != 50000 || s.PassiveLast != 50100 || s.IdleTimeout != 24*time.Hour {
		t.Errorf("server %+v, service %+v", c.Server, s)
	}
	if !reflect.DeepEqual(s.Authentications, []string{"a"}) || !reflect.DeepEqual(c.Services[1].Authentications, []string{"b", "a"}) {
		t.Errorf("chains %v %v", s.Authentications, c.Services[1].Authentications)
	}
	want := map[string]any{"token": "from the environment", "users": "root\n", "list": []any{"x", 1.0, true}, "map": map[string]any{"a": "b"}}
	if b.Plugin != filepath.Join(dir, "mine.wasm") || b.Timeout != 1500*time.Millisecond || !reflect.DeepEqual(b.Settings, want) || !b.Password || b.HomeUnder != "/srv" {
		t.Errorf("authentication %+v", b)
	}
	if at := b.Where("users"); !strings.HasSuffix(at, "config.hcl:24") {
		t.Errorf("the setting users is at %s", at)
	}
}

func mailBlock(line string) string {
	return "mail {\n server = \"smtp.example.org:25\"\n from = \"a@b\"\n login_at = \"h\"\n " + line + "\n}"
}

// Each problem names the file, the line, the value, and what is allowed.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"syntax":           {"server {\n  name = \n}", []string{"t.hcl:2", "expression"}},
		"unknown argument": {minimal + "attempts {\n  per_user = 5\n}", []string{"t.hcl:6", "per_user", "per_account, per_source, window, lock"}},
		"unknown block":    {minimal + "sevrer {}", []string{"t.hcl:5", "sevrer", "server"}},
		"nested unknown":   {minimal + `authentication "b" {` + "\nplugin = \"local\"\ngrant {\n net = [\"x\"]\n}\n}", []string{"t.hcl:8", "net", "password, groups, home_under, accounts, http, network"}},
		"wrong type":       {minimal + "attempts {\n  per_account = \"many\"\n}", []string{"t.hcl:6", "per_account: a number is required"}},
		"wrong number":     {minimal + "attempts {\n  per_account = 0\n}", []string{"t.hcl:6", "per_account = 0", "1 to 1000"}},
		"wrong duration":   {minimal + "attempts {\n  window = \"soon\"\n}", []string{"t.hcl:6", `"soon"`, `"90s"`}},
		"wrong size":       {"server {\n min_free = \"much\"\n}\n" + rest, []string{"t.hcl:2", `"much"`, `"500MiB"`}},
		"wrong address":    {`service "ftps" "x" {` + "\n listen = \"ftp.example.org\"\n}", []string{"t.hcl:2", `"ftp.example.org"`, `"0.0.0.0:2121"`}},
		"wrong tls":        {`service "ftps" "x" {` + "\n tls = \"none\"\n}", []string{"t.hcl:2", `"none"`, `"explicit", "implicit"`}},
		"a port twice":     {`service "ftps" "x" {` + "\n listen = \"127.0.0.1:50021\"\n passive_ports = \"50000-50100\"\n}", []string{"t.hcl:3", "50021", "listens"}},
		"wrong ports":      {`service "ftps" "x" {` + "\n passive_ports = \"21\"\n}", []string{"t.hcl:2", `"21"`, "1024-65535"}},
		"wrong kind":       {`service "sftp" "x" {}`, []string{"t.hcl:1", `"sftp"`, `service "ftps"`}},
		"half a key pair":  {`service "ftps" "x" {` + "\n certificate = \"a\"\n}", []string{"t.hcl:1", "private_key"}},
		"reserved ID":      {`authentication "none" { plugin = "local" }`, []string{"t.hcl:1", "Reserved name"}},
		"wrong word":       {`authentication "a b" { plugin = "local" }`, []string{"t.hcl:1", `"a b"`, "letters"}},
		"no plugin":        {`authentication "a" {}`, []string{"t.hcl:1", `plugin = "local"`}},
		"wrong digest":     {`authentication "a" {` + "\nplugin = \"local\"\n sha256 = \"xyz\"\n}", []string{"t.hcl:3", "64 hexadecimal"}},
		"wrong on_reject":  {`authentication "a" {` + "\nplugin = \"local\"\n on_reject = \"maybe\"\n}", []string{"t.hcl:3", `"refuse", "next"`}},
		"settings no map":  {`authentication "a" {` + "\nplugin = \"local\"\n settings = 5\n}", []string{"t.hcl:3", "settings = {"}},
		"dangling":         {"server {\n authentications = [\"ldap\"]\n}\n" + `authentication "a" { plugin = "local" }`, []string{"t.hcl:2", `"ldap"`, `there are "a"`}},
		"dangling factor":  {minimal + `authentication "b" {` + "\nplugin = \"local\"\nsecond_factor = [\"phone\"]\n}", []string{"t.hcl:7", `"phone"`}},
		"own factor":       {minimal + `authentication "b" {` + "\nplugin = \"local\"\nsecond_factor = [\"b\"]\n}", []string{"t.hcl:7", "Its own second factor"}},
		"grant no URL":     {minimal + `authentication "b" {` + "\nplugin = \"local\"\ngrant {\n network = [\"ldap.example.org\"]\n http = [\"https://a/?x\"]\n}\n}", []string{"t.hcl:8", "t.hcl:9", "query", "scheme"}},
		"password to else": {minimal + `authentication "b" {` + "\nplugin = \"local\"\ngrant {\n http = [\"https://a\"]\n password_to = [\"https://b\"]\n}\n}", []string{"t.hcl:9", "password_to names https://b:443"}},
		"secret nowhere":   {minimal + `authentication "b" {` + "\nplugin = \"local\"\nsecret \"t\" {\n value = \"x\"\n to = [\"https://a\"]\n}\n}", []string{"t.hcl:9", "https://a:443", "does not"}},
		"limits":           {minimal + `authentication "b" {` + "\nplugin = \"local\"\nlimits {\n memory = \"2GiB\"\n run = \"1h\"\n runs = 0\n}\n}", []string{"t.hcl:8", "t.hcl:9", "t.hcl:10", "65536 to 1073741824", "1ms to 10s", "1 to 10000"}},
		"http too slow":    {minimal + `authentication "b" {` + "\nplugin = \"local\"\ntimeout = \"5s\"\ngrant {\n http = [\"https://a\"]\n}\n}", []string{"http_timeout", "10s", "5s"}},
		"dangling group":   {minimal + `authentication "b" {` + "\nplugin = \"local\"\ngrant {\n groups = [\"us\"]\n}\n}", []string{"t.hcl:8", `"us"`, `"default"`}},
		"twice":            {minimal + `authentication "a" { plugin = "local" }`, []string{"t.hcl:5", "Defined twice"}},
		"twice in a chain": {"server {\n authentications = [\"a\", \"a\"]\n}\n" + rest, []string{"t.hcl:2", "Named twice"}},
		"no service":       {`server {}`, []string{"No service"}},
		"nobody can enter": {`service "ftps" "x" {}`, []string{"t.hcl:1", "nobody could log in"}},
		"login >= idle":    {`service "ftps" "x" {` + "\n login_timeout = \"5m\"\n}", []string{"t.hcl:2", "login_timeout is 5m0s", "idle_timeout"}},
		"secure > login":   {`service "ftps" "x" {` + "\n time_to_secure = \"2m\"\n}", []string{"t.hcl:2", "time_to_secure is 2m0s", "time_to_login"}},
		"first > secure":   {`service "ftps" "x" {` + "\n time_to_first_command = \"20s\"\n}", []string{"t.hcl:2", "time_to_first_command is 20s", "time_to_secure, which is 15s"}},
		"method >= login":  {"\nserver { authentications = [\"a\"] }\n" + `service "ftps" "main" {` + "\n login_timeout = \"30s\"\n}\n" + `authentication "a" { plugin = "local" }`, []string{"t.hcl:4", `authentication "a" is 30s`, "login_timeout"}},
		"permission":       {minimal + "group \"default\" {\n permissions = [\"allow-all\"]\n}", []string{"t.hcl:6", `"allow-all"`, `"allow-full-control"`}},
		"placeholder":      {minimal + "group \"default\" {\n home = \"/srv/{user}\"\n}", []string{"t.hcl:6", "{username}"}},
		"home in private":  {minimal + "group \"default\" {\n home = \"./data/private/{username}\"\n}", []string{"t.hcl:6", "keys"}},
		"home over private": {
			minimal + "group \"default\" {\n home = \"./data\"\n}", []string{"t.hcl:6", "keys"},
		},
		"events off loopback": {minimal + "events {\n listen = \"0.0.0.0:4222\"\n}", []string{"t.hcl:6", "loopback"}},
		"address twice":       {minimal + "service \"ftps\" \"b\" {\n}", []string{"t.hcl:5", "127.0.0.1:2121", `service "main" and service "b"`}},
		"strength":            {minimal + "password_policy {\n minimum_strength = 5\n}", []string{"t.hcl:6", "0 to 4"}},
		"class":               {minimal + "password_policy {\n character_requirements = [\"emoji\"]\n}", []string{"t.hcl:6", `"emoji"`, "lowercase"}},
		"scheme":              {minimal + "password_policy {\n hashing_scheme = \"md5\"\n}", []string{"t.hcl:6", `"md5"`, `"argon2id"`}},
		"env not set":         {minimal + `authentication "b" {` + "\nplugin = \"local\"\nsettings = { x = env(\"NOT_SET_ANYWHERE\") }\n}", []string{"t.hcl:7", "NOT_SET_ANYWHERE", "not set"}},
		"file not there":      {minimal + `authentication "b" {` + "\nplugin = \"local\"\nsettings = { x = file(\"/does/not/exist\") }\n}", []string{"t.hcl:7", "/does/not/exist"}},
		"mail in the clear":   {minimal + mailBlock("tls = \"none\""), []string{"t.hcl:9", "loopback only", `"smtp.example.org:25"`}},
		"half a mail login":   {minimal + mailBlock("user = \"u\""), []string{"t.hcl:9", "belong together"}},
		"mail CA":             {minimal + mailBlock("ca = \"x\""), []string{"t.hcl:9", "PEM"}},
		"mail nowhere":        {minimal + "mail {\n from = \"a@b\"\n}", []string{"t.hcl:5", "server"}},
		"mail no port":        {minimal + "mail {\n server = \"smtp.example.org\"\n from = \"a@b\"\n login_at = \"h\"\n}", []string{"t.hcl:6", "smtp.example.org:587"}},
		"mail from":           {minimal + "mail {\n server = \"localhost:25\"\n from = \"me\"\n login_at = \"a b\"\n}", []string{"t.hcl:7", `"me"`, "ftps@example.org", "t.hcl:8", `"a b"`}},
		"long data_dir":       {"server {\n data_dir = \"/" + strings.Repeat("d", 100) + "\"\n}\n" + rest, []string{"t.hcl:2", "at most 84"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("t.hcl", []byte(c.source))
			if err == nil {
				t.Fatal("no problem found")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestAllProblemsAreFoundAtOnce(t *testing.T) {
	_, err := config.Parse("t.hcl", []byte(minimal+"attempts {\n per_account = 0\n window = \"x\"\n}\nevents {\n listen = \"x\"\n}"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := config.Load("missing.hcl"); err == nil || !strings.Contains(err.Error(), "missing.hcl") {
		t.Errorf("got %v", err)
	}
	if _, err := config.Load("."); err == nil {
		t.Error("a folder was read")
	}
	if err := os.WriteFile("config.hcl", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(""); err == nil {
		t.Error("a wrong config.hcl was passed over for the defaults")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	if source, err := os.ReadFile("../../config.hcl"); err == nil {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		c, err := config.Parse("t.hcl", source)
		if (c == nil) == (err == nil) {
			t.Errorf("got %v and %v", c, err)
		}
	})
}
