//go:build bench

package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The peers are Debian's packages, unpacked by make bench beside each other, since they can't be installed so. They run in a mount namespace
// with a user of their own, so that nothing of this machine changes.
const peersDir = "bin/peers"

// contestant is one server in the comparison.
type contestant struct {
	name        string
	addr        string
	password    string
	home        string
	pid         func() int
	postQuantum bool
}

// user is a name of its own for each connection: equal logins at the same time are one to Sallyport.
func (c *contestant) user(i int) string { return fmt.Sprintf("bench%d", i%peerUsers) }

type peerBench struct {
	t       *testing.T
	root    string
	dir     string
	memory  string // a folder in memory
	server  *server
	all     []*contestant
	running []*exec.Cmd

	lightAt, memoryAt, digestsAt string // our services
}

func newPeerBench(t *testing.T, root string) *peerBench {
	var users []string
	for i := range peerUsers {
		users = append(users, (&contestant{}).user(i))
	}
	defer lazyTimers(t)()
	light, inMemory, digests, memory := freePort(t), freePort(t), freePort(t), memoryDir(t)
	s := newServer(t, fmt.Sprintf(`
service "ftps" "light" {
  listen          = "127.0.0.1:%s"
  authentications = ["guest"]
  file_digests    = "none"
  max_connections_per_source = 2000
  max_sessions_per_account   = 2000
  max_commands_per_second    = 100000
}
service "ftps" "memory" {
  listen          = "127.0.0.1:%s"
  authentications = ["memory"]
  file_digests    = "none"
  max_commands_per_second = 100000
}
service "ftps" "digests" {
  listen          = "127.0.0.1:%s"
  authentications = ["guest"]
}
authentication "guest" {
  plugin   = "anonymous"
  settings = { usernames = %[4]s, permissions = ["allow-full-control"] }
  grant {
    groups = ["default"]
  }
}
authentication "memory" {
  plugin   = "anonymous"
  settings = { usernames = %[4]s, permissions = ["allow-full-control"] }
  grant {
    groups = ["memory"]
  }
}
group "memory" {
  home        = "%[5]s/Sallyport/{username}"
  create_home = true
}
password_policy {
  minimum_length  = 8
  minimum_strength = 0
  hashing_scheme  = "crypt-sha512"
  hashing_cost    = 80000
}
attempts {
  per_source = 100000
}
`, light, inMemory, digests, hclList(users), memory))
	for _, user := range users[:8] {
		s.sallyport(strongPassword+"\n", "account", "add", user, "--password-stdin")
	}
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &peerBench{t: t, root: root, dir: dir, memory: memory, server: s, lightAt: "127.0.0.1:" + light, memoryAt: "127.0.0.1:" + inMemory, digestsAt: "127.0.0.1:" + digests}
	t.Cleanup(b.stop)
	return b
}

const slack = 1_000_000 // nanoseconds, as in examples/systemd

// lazyTimers gives programs that are started the slack for timers that examples/systemd gives Sallyport.
func lazyTimers(t *testing.T) (back func()) {
	const usual = 0 // as before
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, slack, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, usual, 0, 0, 0)
		runtime.UnlockOSThread()
	}
}

// lazyClient does the same for the client of the comparison, which shares the processors with the servers: its runtime's watchman, which wakes
// up when it works and rests in turn, would else be a tenth of what is measured.
func lazyClient(t *testing.T) {
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads in /proc", err)
	}
	for _, thread := range threads {
		if err := os.WriteFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"), []byte(strconv.Itoa(slack)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// memoryDir makes a folder in memory for small files: what ext4 does with a new file takes longer than a server's whole work
// for it, and depends on what was deleted on that disk before. Without room there it is on the disk, and the table says so.
func memoryDir(t *testing.T) string {
	const memory, needed = "/dev/shm", 4 << 30
	var room syscall.Statfs_t
	at := memory
	if err := syscall.Statfs(memory, &room); err != nil || int64(room.Bavail)*room.Bsize < needed {
		fmt.Printf("\nSmall files are on the disk: %s has too little room\n", memory)
		at = ""
	}
	dir, err := os.MkdirTemp(at, "peers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start starts the peers anew, with another kind of hash, and homes on the disk or in memory.
func (b *peerBench) start(hash, homes string) {
	b.stop()
	pid := func() int { return b.server.process.Process.Pid }
	ours := &contestant{name: "Sallyport", addr: b.lightAt, password: peerPassword, home: b.server.path("data", "files", "bench0"), pid: pid}
	switch {
	case hash == "hash":
		ours.addr, ours.password = b.server.explicit, strongPassword
	case homes == b.memory:
		ours.addr, ours.home = b.memoryAt, filepath.Join(homes, "Sallyport", "bench0")
	}
	b.all = []*contestant{ours}
	for _, name := range []string{"ProFTPD", "Pure-FTPd", "vsftpd"} {
		b.all = append(b.all, b.startPeer(name, hash, homes))
	}
}

func (b *peerBench) stop() {
	for _, cmd := range b.running {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
	b.running = nil
}

func (b *peerBench) write(name string, mode os.FileMode, content string) string {
	file := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func (b *peerBench) startPeer(name, hash, homes string) *contestant {
	t := b.t
	port := freePort(t)
	home := filepath.Join(homes, name)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(home, 0o755))
	must(os.Chown(home, 65534, 65534))
	password, salt := peerPassword, "ab"
	if hash == "hash" {
		password, salt = strongPassword, "$6$rounds=80000$saltsaltsaltsalt$"
	}
	out, err := exec.Command("perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt).Output()
	must(err)
	hashed := string(out)
	passwdText := fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\nftp:x:65534:65534::%s:/bin/sh\n", home)
	shadowText, usersText := "root:*:19000::::::\n", ""
	for i := range peerUsers {
		user := (&contestant{}).user(i)
		passwdText += fmt.Sprintf("%s:x:65534:65534::%s:/bin/sh\n", user, home)
		shadowText += user + ":" + hashed + ":19000:0:99999:7:::\n"
		usersText += fmt.Sprintf("%s:%s:65534:65534::%s:/bin/sh\n", user, hashed, home)
	}
	passwd, shadow := b.write(name+".passwd", 0o644, passwdText), b.write(name+".shadow", 0o600, shadowText)
	b.write(name+".pam/vsftpd", 0o644, "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n")
	crt, key := b.server.path("data", "tls.crt"), b.server.path("data", "private", keyFile)
	pair := b.write("pair.pem", 0o600, read(t, crt)+read(t, key))
	var run string
	switch name {
	case "ProFTPD":
		users := b.write("proftpd.users", 0o600, usersText)
		conf := b.write("proftpd.conf", 0o600, fmt.Sprintf(`ServerName peer
ServerType standalone
DefaultServer on
DefaultAddress 127.0.0.1
SocketBindTight on
Port %s
User nobody
Group nogroup
MaxInstances 2000
UseReverseDNS off
UseIPv6 off
WtmpLog off
SystemLog none
TransferLog none
DelayEngine off
RequireValidShell off
AuthOrder mod_auth_file.c
AuthUserFile %s
DefaultRoot ~
PidFile %[3]s/proftpd.pid
ScoreboardFile %[3]s/proftpd.score
DelayTable %[3]s/proftpd.delay
ModulePath %[4]s/usr/lib/proftpd
LoadModule mod_tls.c
TLSEngine on
TLSRequired on
TLSProtocol TLSv1.3 TLSv1.2
TLSECCertificateFile %[5]s
TLSECCertificateKeyFile %[6]s
TLSCACertificateFile %[5]s
TLSOptions NoSessionReuseRequired
TLSVerifyClient off
AllowOverwrite on
`, port, users, b.dir, b.root, crt, key))
		run = fmt.Sprintf("exec %s/usr/sbin/proftpd -n -q -c %s", b.root, conf)
	case "vsftpd":
		must(os.MkdirAll(filepath.Join(b.dir, "empty"), 0o755))
		conf := b.write("vsftpd.conf", 0o600, fmt.Sprintf(`listen=YES
listen_address=127.0.0.1
listen_port=%s
background=NO
anonymous_enable=NO
local_enable=YES
write_enable=YES
chroot_local_user=YES
allow_writeable_chroot=YES
pam_service_name=vsftpd
secure_chroot_dir=%s/empty
ssl_enable=YES
force_local_logins_ssl=YES
force_local_data_ssl=YES
ssl_ciphers=HIGH
ssl_tlsv1=YES
require_ssl_reuse=NO
rsa_cert_file=%[3]s
rsa_private_key_file=%[4]s
xferlog_enable=NO
max_per_ip=0
max_clients=0
`, port, b.dir, crt, key))
		run = fmt.Sprintf("exec %s/usr/sbin/vsftpd %s", b.root, conf)
	case "Pure-FTPd":
		run = fmt.Sprintf("exec %s/usr/sbin/pure-ftpd -S 127.0.0.1,%s -Y 3 -2 %s -l unix -A -E -H -u 1 -c 2000 -C 2000 -g %s/pure.pid", b.root, port, pair, b.dir)
	}
	script := fmt.Sprintf("mount --bind %s /etc/passwd && mount --bind %s /etc/shadow && mount --bind %s /etc/pam.d && %s", passwd, shadow, filepath.Join(b.dir, name+".pam"), run)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+b.root+"/usr/lib/x86_64-linux-gnu")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said syncBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(cmd.Start())
	b.running = append(b.running, cmd)
	c := &contestant{name: name, addr: "127.0.0.1:" + port, password: password, home: home, pid: func() int { return cmd.Process.Pid }}
	for range 200 {
		if conn, err := net.Dial("tcp", c.addr); err == nil {
			_ = conn.Close()
			conn, _ := c.login(t, 0)
			_ = conn.Close()
			return c
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not answer: %s", name, said.String())
	return nil
}

func read(t *testing.T, file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// login logs in, with TLS for data connections that resume the session of the control connection.
func (c *contestant) login(t testing.TB, i int) (conn *textproto.Conn, config *tls.Config) {
	raw, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn = textproto.NewConn(raw)
	config = &tls.Config{
		InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4),
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}, // what the peers, and most clients, have
	}
	if c.postQuantum {
		config.CurvePreferences = nil
	}
	say := func(code int, line string) {
		if line != "" {
			_ = conn.PrintfLine("%s", line)
		}
		if _, message, err := conn.ReadResponse(code); err != nil {
			t.Fatalf("%s: %s: want %d: %s %v", c.name, line, code, message, err)
		}
	}
	say(220, "")
	say(234, "AUTH TLS")
	conn = textproto.NewConn(tls.Client(raw, config))
	say(331, "USER "+c.user(i))
	say(230, "PASS "+c.password)
	say(200, "PBSZ 0")
	say(200, "PROT P")
	say(200, "TYPE I")
	return conn, config
}

// move runs one transfer.
func (c *contestant) move(t testing.TB, conn *textproto.Conn, config *tls.Config, command string, use func(*tls.Conn)) {
	_ = conn.PrintfLine("EPSV")
	_, message, err := conn.ReadResponse(229)
	if err != nil {
		t.Fatalf("%s: EPSV: %s %v", c.name, message, err)
	}
	_ = conn.PrintfLine("%s", command)
	raw, err := net.Dial("tcp", "127.0.0.1:"+epsvPort.FindStringSubmatch(message)[1])
	if err != nil {
		t.Fatal(err)
	}
	data := tls.Client(raw, config)
	if _, message, err := conn.ReadResponse(150); err != nil {
		t.Fatalf("%s: %s: %s %v", c.name, command, message, err)
	}
	use(data)
	_ = data.Close()
	if _, message, err := conn.ReadResponse(226); err != nil {
		t.Fatalf("%s: %s: %s %v", c.name, command, message, err)
	}
}

// tree lists a process with all below it.
func tree(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			for _, word := range strings.Fields(string(text)) {
				if child, err := strconv.Atoi(word); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

// cpu is the processor time of the server and of all its processes, also of those that have ended.
func (c *contestant) cpu() (total time.Duration) {
	for _, pid := range tree(c.pid()) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		for _, field := range strings.Fields(rest)[11:15] { // own and of children that were waited for
			ticks, _ := strconv.ParseInt(field, 10, 64)
			total += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
		}
	}
	return total
}

// quiet waits until no process of a session is left.
func (c *contestant) quiet(processes int) {
	for range 500 {
		if len(tree(c.pid())) <= processes {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pss is the memory of the server, with its part of what processes share.
func (c *contestant) pss() (total int64) {
	for _, pid := range tree(c.pid()) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if found := regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`).FindSubmatch(text); found != nil {
			kib, _ := strconv.ParseInt(string(found[1]), 10, 64)
			total += kib << 10
		}
	}
	return total
}
