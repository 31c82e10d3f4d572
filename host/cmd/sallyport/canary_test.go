package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/mail/mailtest"
)

// No secret comes anywhere, at debug level: who logs in, fails, is unknown, or types the password in place of the name; plugins
// that log it, print it, panic with it, trap and loop; passwords that are changed and refused, mailed and generated; codes.
// Looked at are the log, what clients are told, all events, and every file of the data folder.
func TestCanaries(t *testing.T) {
	needPrograms(t, "curl")
	post := mailtest.Start(t, "starttls")
	guest := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", guest, "./host/sandbox/testdata/guest")
	build.Dir, build.Env = repository(t), append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "leaky" {
  listen          = "127.0.0.1:%s"
  authentications = ["leaky", "two"]
}
authentication "leaky" {
  plugin   = %q
  settings = { word = "x", token = "canary-token-4711", url = "https://always.example" }
  grant {
    password = true
    groups   = ["default"]
    http     = ["https://always.example"]
  }
}
authentication "two" {
  plugin                 = "local"
  debug                  = true
  second_factor          = ["code"]
  second_factor_required = false
}
authentication "code" {
  plugin = "totp"
}
group "default" {
  allow_own_password_change = true
}
attempts {
  per_source  = 1000
  per_account = 1000
}
mail {
  server   = %q
  user     = "relay"
  password = "relay-secret"
  from     = "ftps@example.org"
  login_at = "ftps.example.org"
  ca       = <<PEM
%sPEM
}
`, port, guest, post.Addr, post.CA))
	_ = s.kill(syscall.SIGTERM)
	s.verbose = true
	s.start()

	const first, second, wrong, asName, weak = "canary first ninety tango", "canary second harbor sixty", "canary-wrong-4712", "canary-as-name-4713", "canary4714"
	secrets := []string{first, second, wrong, asName, weak, "canary-token-4711", "relay-secret"}
	s.sallyport(first+"\n", "account", "add", "alice", "--password-stdin", "--email", "alice@example.org")
	var told strings.Builder
	from := "127.0.0.1"
	login := func(name, password string, quotes ...string) {
		args := []string{"-sv", "--interface", from, "--ssl-reqd", "-k", "--user", name + ":" + password}
		for _, q := range quotes {
			args = append(args, "-Q", q)
		}
		out, _ := s.try("curl", append(args, "ftp://127.0.0.1:"+port+"/")...)
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "< ") { // what the server said, not what curl did
				told.WriteString(line)
			}
		}
	}
	login("alice", first)
	login("alice", wrong)
	login("nobody", wrong)
	login(asName, first)
	login(asName, wrong)
	from = "127.0.0.2" // for which the plugin is held back in the end
	for _, kind := range []string{"password", "secrets", "panic", "spin", "memory", "deadlock"} {
		login(kind, wrong)
	}
	from = "127.0.0.3"
	login("alice", first, `SITE PSWD "`+first+`" `+weak)
	login("alice", first, `SITE PSWD `+wrong+` "`+second+`"`)
	login("alice", first, `SITE PSWD "`+first+`" "`+second+`"`)
	login("alice", second)
	if out := s.sallyport(asName+"\n", "account", "passwd", "alice", "--password-stdin", "--mail"); !strings.Contains(out, "mailed") {
		t.Error(out)
	}
	generated := s.sallyport("", "account", "passwd", "alice", "--generate")
	secrets = append(secrets, strings.TrimSpace(generated[strings.LastIndex(generated, " ")+1:]))
	codes := s.sallyport("", "account", "totp", "alice")
	u, err := url.Parse(regexp.MustCompile(`otpauth://\S+`).FindString(codes))
	if err != nil {
		t.Fatal(err)
	}
	paper := regexp.MustCompile(`(?m)^  (\d{10})`).FindStringSubmatch(codes)[1]
	secrets = append(secrets, u.Query().Get("secret"), paper)
	login("alice", secrets[7]+paper)
	_, _ = s.attempt(wrong+"\n", "login", "--user", "alice", "--password-stdin")
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json")
	if err := s.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	places := map[string][]byte{"log": []byte(s.log.String()), "replies": []byte(told.String()), "events": []byte(tail)}
	err = filepath.WalkDir(s.path("data"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		places[name], err = os.ReadFile(filepath.Clean(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, content := range places {
		for _, secret := range secrets {
			quoted, _ := json.Marshal(secret)
			for _, form := range []string{
				secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
				base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)), string(quoted[1 : len(quoted)-1]),
			} {
				if bytes.Contains(content, []byte(form)) {
					t.Errorf("%s holds %q", place, form)
				}
			}
		}
	}
	for _, want := range []string{"level=DEBUG", "panic", "reason=unknown_user"} { // it was loud enough to show anything
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if !strings.Contains(told.String(), "530 ") || !strings.Contains(told.String(), "550 Password not changed") || !strings.Contains(tail, "password.refused") || len(places) < 8 {
		t.Errorf("too little happened: %d places, %s", len(places), told.String())
	}
}
