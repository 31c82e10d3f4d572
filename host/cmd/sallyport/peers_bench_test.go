//go:build bench

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

// TestBenchPeers compares Sallyport with the three servers that the field is measured by: same certificate, same files, same client, one run, in turn.
func TestBenchPeers(t *testing.T) {
	root := filepath.Join(repository(t), peersDir)
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/proftpd")); err != nil || os.Getuid() != 0 {
		fmt.Printf("\nNo comparison with ProFTPD, Pure-FTPd and vsftpd: that takes root, and make bench to unpack them into %s\n", peersDir)
		t.Skip("the peers are not there")
	}
	b := newPeerBench(t, root)
	fmt.Printf("\nSallyport and its peers: explicit TLS 1.3, ECDSA P-256, loopback, client and server on the same cores; medians of %d, in turn\n", peerRounds)
	b.start("light", b.dir)
	b.idleSessions()
	b.start("hash", b.dir)
	b.logins("Logins, SHA-512-crypt with 80,000 rounds", 8)
	b.start("light", b.dir)
	b.logins("Logins, next to no hashing (DES-crypt; Sallyport: a Go plugin in the sandbox, and a stored event)", 1, 8, 64)
	b.loginsUnderLoad()
	b.transfers()
	b.start("light", b.memory)
	b.smallFiles()
	b.mirror()
	fmt.Println()
}

const (
	peerRounds     = 5
	peerTime       = 2 * time.Second
	peerPassword   = "benchpwd" // DES-crypt sees eight characters
	strongPassword = "benchpwd9x"
	peerUsers      = 64
	peerIdle       = 500
	peerFiles      = 500
	peerFileBytes  = 4096
	peerMirrored   = 100 // files of that size: lftp waits 40 ms for each from most
)

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

// table prints a row for each contestant; more of a figure is better, or less. The last columns are those of Sallyport to the best peer.
type table struct {
	unit   string
	better string // "more" or "less"
	values [][]float64
}

func (b *peerBench) print(title string, columns []table) {
	fmt.Printf("\n%s\n%-12s", title, "")
	for _, c := range columns {
		fmt.Printf("%26s", c.unit)
	}
	fmt.Println()
	for i, one := range b.all {
		fmt.Printf("%-12s", one.name)
		for _, c := range columns {
			fmt.Printf("%26s", strconv.FormatFloat(middle(c.values[i]), 'f', 2, 64))
		}
		fmt.Println()
	}
	fmt.Printf("%-12s", "to the best")
	for _, c := range columns {
		best := middle(c.values[1])
		for _, values := range c.values[2:] {
			if v := middle(values); c.better == "more" && v > best || c.better == "less" && v < best {
				best = v
			}
		}
		fmt.Printf("%25.2fx", middle(c.values[0])/best)
	}
	fmt.Println()
}

func middle(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}

func (b *peerBench) columns(units ...string) []table {
	var all []table
	for i := 0; i < len(units); i += 2 {
		all = append(all, table{units[i], units[i+1], make([][]float64, len(b.all))})
	}
	return all
}

// logins measures connect, AUTH TLS, USER, PASS, QUIT at several numbers of connections.
func (b *peerBench) logins(title string, connections ...int) {
	for _, n := range connections {
		columns := b.columns("logins/s", "more", "server CPU ms/login", "less")
		for i, c := range b.all {
			for range 3 {
				processes, before, start := len(tree(c.pid())), c.cpu(), time.Now()
				var mu sync.Mutex
				var wg sync.WaitGroup
				done := 0
				for k := range n {
					wg.Go(func() {
						for time.Since(start) < peerTime {
							conn, _ := c.login(b.t, k)
							_ = conn.PrintfLine("QUIT")
							_, _, _ = conn.ReadResponse(221)
							_ = conn.Close()
							mu.Lock()
							done++
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				rate := float64(done) / time.Since(start).Seconds()
				c.quiet(processes)
				columns[0].values[i] = append(columns[0].values[i], rate)
				columns[1].values[i] = append(columns[1].values[i], ms(c.cpu()-before)/float64(done))
			}
		}
		b.print(fmt.Sprintf("%s; %d connection(s)", title, n), columns)
	}
}

// fill puts the files of the transfers into the homes.
func (b *peerBench) fill() {
	for _, c := range b.all {
		in := func(names ...string) string { return filepath.Join(append([]string{c.home}, names...)...) }
		writeFile(b.t, in("big.bin"), io.LimitReader(zeros{}, benchBytes))
		for i := range peerFiles {
			writeFile(b.t, in("small", strconv.Itoa(i)), io.LimitReader(zeros{}, peerFileBytes))
		}
		for i := range peerMirrored {
			writeFile(b.t, in("few", strconv.Itoa(i)), io.LimitReader(zeros{}, peerFileBytes))
		}
		if err := os.MkdirAll(in("up"), 0o755); err != nil {
			b.t.Fatal(err)
		}
		err := filepath.WalkDir(c.home, func(file string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(file, 65534, 65534))
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// clientBuffers are kept, so that the client's allocations are not what is measured.
var clientBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// drain reads all of a file, and pour sends one.
func drain(c *tls.Conn) {
	buf := clientBuffers.Get().(*[]byte)
	defer clientBuffers.Put(buf)
	_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, *buf)
}

func pour(bytes int64) func(*tls.Conn) {
	return func(c *tls.Conn) {
		buf := clientBuffers.Get().(*[]byte)
		defer clientBuffers.Put(buf)
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, io.LimitReader(zeros{}, bytes), *buf)
		_ = c.CloseWrite()
		if raw, ok := c.NetConn().(*net.TCPConn); ok { // what is unread, such as session tickets, would become a reset
			_ = raw.CloseWrite()
			_, _ = io.Copy(io.Discard, raw)
		}
	}
}

// transfers measures big files, with 1 and 4 sessions.
func (b *peerBench) transfers() {
	b.fill()
	down, up := plainCopy(b.t, b.server, filepath.Join(b.all[0].home, "big.bin"))
	fmt.Printf("\nA plain TLS copy in Go, one connection, best of three: RETR %.0f MB/s, STOR %.0f MB/s\n", rate(down), rate(up))
	for _, sessions := range []int{1, 4} {
		columns := b.columns("RETR MB/s", "more", "RETR CPU s/GiB", "less", "STOR MB/s", "more", "STOR CPU s/GiB", "less")
		all := b.all
		ours := *b.all[0]
		ours.addr = b.digestsAt
		digests := [2][]float64{}
		for range peerRounds {
			for i, c := range all {
				for k, command := range []string{"RETR big.bin", "STOR up/"} {
					speed, cpu := b.transfer(c, command, sessions)
					columns[2*k].values[i] = append(columns[2*k].values[i], speed)
					columns[2*k+1].values[i] = append(columns[2*k+1].values[i], cpu)
				}
			}
			speed, cpu := b.transfer(&ours, "STOR up/", sessions)
			digests[0], digests[1] = append(digests[0], speed), append(digests[1], cpu)
		}
		b.print(fmt.Sprintf("%d MiB, %d session(s)", benchBytes>>20, sessions), columns)
		fmt.Printf("%-12s%78.2f%26.2f   (Sallyport with the SHA-256 of uploads in its events, the default)\n", "", middle(digests[0]), middle(digests[1]))
		if sessions == 1 {
			fmt.Printf("%-12s the best of ours: RETR %.2fx, STOR %.2fx of the plain TLS copy\n", "", slices.Max(columns[0].values[0])/rate(down), slices.Max(columns[2].values[0])/rate(up))
		}
	}
}

func (b *peerBench) transfer(c *contestant, command string, sessions int) (speed, cpu float64) {
	var conns []*textproto.Conn
	var configs []*tls.Config
	for range sessions {
		conn, config := c.login(b.t, 0)
		conns, configs = append(conns, conn), append(configs, config)
	}
	before, start := c.cpu(), time.Now()
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			if name, isUpload := strings.CutPrefix(command, "STOR "); isUpload {
				c.move(b.t, conns[i], configs[i], fmt.Sprintf("STOR %s%d", name, i), pour(benchBytes))
				return
			}
			c.move(b.t, conns[i], configs[i], command, drain)
		})
	}
	wg.Wait()
	took := time.Since(start)
	used := c.cpu() - before
	for _, conn := range conns {
		_ = conn.PrintfLine("QUIT")
		_, _, _ = conn.ReadResponse(221)
		_ = conn.Close()
	}
	for i := range sessions { // before the disk has to have it
		_ = os.Remove(filepath.Join(c.home, "up", strconv.Itoa(i)))
	}
	total := float64(sessions) * benchBytes
	return total / 1e6 / took.Seconds(), used.Seconds() / (total / (1 << 30))
}

// smallFiles measures files of 4 KiB on one session, one after the other.
func (b *peerBench) smallFiles() {
	b.fill()
	columns := b.columns("RETR files/s", "more", "RETR CPU ms/file", "less", "STOR files/s", "more", "STOR CPU ms/file", "less")
	for round := range peerRounds {
		for i, c := range b.all {
			for k, verb := range []string{"RETR small/", fmt.Sprintf("STOR up/%d-", round)} { // new files each round
				conn, config := c.login(b.t, 0)
				before, start := c.cpu(), time.Now()
				for n := range peerFiles {
					use := drain
					if k == 1 {
						use = pour(peerFileBytes)
					}
					c.move(b.t, conn, config, verb+strconv.Itoa(n), use)
				}
				took, used := time.Since(start), c.cpu()-before
				_ = conn.PrintfLine("QUIT")
				_ = conn.Close()
				columns[2*k].values[i] = append(columns[2*k].values[i], peerFiles/took.Seconds())
				columns[2*k+1].values[i] = append(columns[2*k+1].values[i], ms(used)/peerFiles)
			}
		}
	}
	b.print(fmt.Sprintf("%d files of %d KiB in memory, one session", peerFiles, peerFileBytes>>10), columns)
}

// mirror measures the same with a client that people use.
func (b *peerBench) mirror() {
	columns := b.columns("files/s", "more", "CPU ms/file", "less")
	for range 3 {
		for i, c := range b.all {
			to := filepath.Join(b.memory, "mirror")
			script := fmt.Sprintf("set ssl:verify-certificate no; set ftp:ssl-force true; mirror few %s; exit", to)
			before, start := c.cpu(), time.Now()
			out, err := exec.Command("lftp", "-u", c.user(0)+","+c.password, "-e", script, "ftp://"+c.addr).CombinedOutput()
			took, used := time.Since(start), c.cpu()-before
			if got, _ := os.ReadDir(to); err != nil || len(got) != peerMirrored {
				b.t.Fatalf("%s: lftp got %d files: %v: %s", c.name, len(got), err, out)
			}
			_ = os.RemoveAll(to)
			columns[0].values[i] = append(columns[0].values[i], peerMirrored/took.Seconds())
			columns[1].values[i] = append(columns[1].values[i], ms(used)/peerMirrored)
		}
	}
	b.print(fmt.Sprintf("lftp mirrors %d files of %d KiB, with login and listing", peerMirrored, peerFileBytes>>10), columns)
}

// idleSessions measures what a session that does nothing holds.
func (b *peerBench) idleSessions() {
	columns := b.columns("KiB per idle session", "less")
	for i, c := range b.all {
		before := c.pss()
		var conns []*textproto.Conn
		for k := range peerIdle {
			conn, _ := c.login(b.t, k)
			conns = append(conns, conn)
		}
		columns[0].values[i] = []float64{float64(c.pss()-before) / peerIdle / 1024}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	b.print(fmt.Sprintf("Memory (proportional set size) at %d sessions", peerIdle), columns)
}

// loginsUnderLoad measures logins while four transfers run.
func (b *peerBench) loginsUnderLoad() {
	b.fill()
	columns := b.columns("median ms", "less", "p99 ms", "less")
	for i, c := range b.all {
		var loading []*exec.Cmd
		for range 4 { // in processes of their own, so that what is measured does not wait for them in ours
			args := []string{"-s", "-k", "--ssl-reqd", "--user", c.user(0) + ":" + c.password}
			for range 5000 {
				args = append(args, "-o", "/dev/null", "ftp://"+c.addr+"/big.bin")
			}
			load := exec.Command("curl", args...)
			if err := load.Start(); err != nil {
				b.t.Fatal(err)
			}
			loading = append(loading, load)
		}
		time.Sleep(time.Second)
		var took []float64
		for range 200 {
			start := time.Now()
			conn, _ := c.login(b.t, 0)
			took = append(took, ms(time.Since(start)))
			_ = conn.Close()
		}
		for _, load := range loading {
			_ = load.Process.Kill()
			_ = load.Wait()
		}
		slices.Sort(took)
		columns[0].values[i], columns[1].values[i] = []float64{took[len(took)/2]}, []float64{took[len(took)*99/100]}
	}
	b.print("A login while curl fetches big files over four sessions, 200 each", columns)
}

var (
	zzSteps []float64
	zzLast  time.Time
)
