package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jlaffaye/ftp"
)

// Which clients bind their data connections to the control connection by TLS session resumption. Those that don't are refused by
// session_reuse = "require", and are named in the log by "warn", which is the default. README.md has the table.
func TestSessionReuse(t *testing.T) {
	needPrograms(t, "curl", "lftp", "python3", "node", "wget")
	modules := filepath.Join(repository(t), "bin/tools/node_modules")
	port := freePort(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "bound" {
  listen          = "127.0.0.1:%s"
  authentications = ["accounts"]
  session_reuse   = "require"
}
`, port))
	s.addAccount("alice")
	writeFile(t, s.path("data", "files", "alice", "file.txt"), strings.NewReader("content"))
	ca := s.path("data", "tls.crt")
	script := `
import ftplib, ssl, sys
mode, port, version, reuse = sys.argv[1:5]
class Reusing(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session), size
context = ssl.create_default_context(cafile=sys.argv[5])
context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
ftp = (Reusing if reuse == "yes" else ftplib.FTP_TLS)(context=context)
ftp.connect("127.0.0.1", int(port), timeout=20)
ftp.login("alice", "` + goodPassword + `")
ftp.prot_p()
print(ftp.nlst())
`
	writeFile(t, s.path("reuse.py"), strings.NewReader(script))
	python := func(port, version, reuse string) *exec.Cmd {
		return exec.Command("python3", s.path("reuse.py"), "explicit", port, version, reuse, ca)
	}
	for name, c := range map[string]struct {
		command func(port string) *exec.Cmd
		bound   bool
	}{
		"curl, TLS 1.3": {func(port string) *exec.Cmd {
			return exec.Command("curl", "-sS", "--ssl-reqd", "--cacert", ca, "--tlsv1.3", "--user", "alice:"+goodPassword, "ftp://127.0.0.1:"+port+"/")
		}, true},
		"curl, TLS 1.2": {func(port string) *exec.Cmd {
			return exec.Command("curl", "-sS", "--ssl-reqd", "--cacert", ca, "--tls-max", "1.2", "--user", "alice:"+goodPassword, "ftp://127.0.0.1:"+port+"/")
		}, false},
		"basic-ftp, TLS 1.3":                    {nodeList(modules, ca, "1.3"), true},
		"basic-ftp, TLS 1.2":                    {nodeList(modules, ca, "1.2"), true},
		"wget":                                  {wgetList(ca), true},
		"lftp, TLS 1.3":                         {lftpList(ca, "1.3"), true},
		"lftp, TLS 1.2":                         {lftpList(ca, "1.2"), true},
		"ftplib, TLS 1.3":                       {func(port string) *exec.Cmd { return python(port, "1.3", "no") }, false},
		"ftplib, TLS 1.2":                       {func(port string) *exec.Cmd { return python(port, "1.2", "no") }, false},
		"ftplib with three lines more, TLS 1.3": {func(port string) *exec.Cmd { return python(port, "1.3", "yes") }, true},
		"ftplib with three lines more, TLS 1.2": {func(port string) *exec.Cmd { return python(port, "1.2", "yes") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, warned, _ := strings.Cut(s.explicit, ":")
			run := func(port string) (string, bool) {
				command := c.command(port)
				command.Env = append(os.Environ(), "HOME="+s.dir)
				out, _ := command.CombinedOutput()
				return string(out), strings.Contains(string(out), "file.txt")
			}
			if out, got := run(port); got != c.bound {
				t.Errorf("require: listed %v, want %v: %s", got, c.bound, out)
			}
			if out, got := run(warned); !got { // the default
				t.Errorf("warn: %s", out)
			}
		})
	}
	for _, cached := range []bool{true, false} { // the Go client resumes if its configuration has a cache
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"} // the name is what the cache goes by
		if cached {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
		if err := goList("127.0.0.1:"+port, config); (err == nil) != cached {
			t.Errorf("jlaffaye/ftp, with a cache %v: %v", cached, err)
		}
	}
	log := s.log.String()
	if !strings.Contains(log, "does not resume the TLS session") || !strings.Contains(log, `session_reuse=require`) || !strings.Contains(log, `session_reuse=warn`) {
		t.Error("the log does not name those that would be refused")
	}
	tail := s.sallyport("", "events", "tail", "--since", "10m", "--no-follow", "--json", "--type", "session.closed")
	if !strings.Contains(tail, `"data_connections":1,"data_resumed":1`) || !strings.Contains(tail, `"data_connections":1,"data_resumed":0`) {
		t.Errorf("no event counts them: %s", tail)
	}
}

func lftpList(ca, version string) func(port string) *exec.Cmd {
	return func(port string) *exec.Cmd {
		return exec.Command("lftp", "--norc", "-u", "alice,"+goodPassword, "-e",
			fmt.Sprintf("set cmd:fail-exit true; set net:max-retries 1; set net:timeout 20; set ftp:ssl-force true; set ssl:ca-file %s; set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS%s; ls; exit", ca, version), "ftp://127.0.0.1:"+port)
	}
}

func nodeList(modules, ca, version string) func(port string) *exec.Cmd {
	const script = `
const { Client } = require(process.argv[1] + "/basic-ftp");
(async () => {
  const client = new Client(20000), version = "TLSv" + process.argv[4];
  await client.access({ host: "127.0.0.1", port: Number(process.argv[2]), user: "alice", password: process.argv[5], secure: true,
    secureOptions: { ca: require("fs").readFileSync(process.argv[3]), minVersion: version, maxVersion: version, host: "127.0.0.1" } });
  console.log((await client.list()).map(f => f.name).join(" "));
  client.close();
})().catch(e => { console.error(String(e)); process.exit(1); });
`
	return func(port string) *exec.Cmd {
		return exec.Command("node", "-e", script, modules, port, ca, version, goodPassword)
	}
}

func wgetList(ca string) func(port string) *exec.Cmd {
	return func(port string) *exec.Cmd {
		list := exec.Command("wget", "-q", "--tries=1", "--timeout=20", "--ca-certificate="+ca, "--user=alice", "--password="+goodPassword, "-O", "-", "ftps://127.0.0.1:"+port+"/")
		list.Dir = filepath.Dir(ca) // it leaves a file
		return list
	}
}

func goList(addr string, config *tls.Config) error {
	c, err := ftp.Dial(addr, ftp.DialWithTimeout(20*time.Second), ftp.DialWithExplicitTLS(config))
	if err != nil {
		return err
	}
	defer func() { _ = c.Quit() }()
	if err := c.Login("alice", goodPassword); err != nil {
		return err
	}
	_, err = c.List("")
	return err
}
