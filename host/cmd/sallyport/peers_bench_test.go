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
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBenchPeers compares Sallyport with the three servers that the field is measured by: same certificate, same files, same client, one run, in turn.
func TestBenchPeers(t *testing.T) {
	root := filepath.Join(repository(t), peersDir)
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/proftpd")); err != nil || os.Getuid() != 0 {
		fmt.Printf("\nNo comparison with ProFTPD, Pure-FTPd and vsftpd: that takes root, and make bench to unpack them into %s\n", peersDir)
		t.Skip("the peers are not there")
	}
	b := newPeerBench(t, root)
	fmt.Printf("\nSallyport and its peers: explicit TLS 1.3, ECDSA P-256, loopback, client and server on the same cores; medians of %d, in turn\n", peerRounds)
	lazyClient(t)
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
	b.clients()
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
	peerCurled     = 20  // and curl 200 ms to a second
)

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
		b.fillHome(c.home)
	}
}

func (b *peerBench) fillHome(home string) {
	in := func(names ...string) string { return filepath.Join(append([]string{home}, names...)...) }
	writeFile(b.t, in("big.bin"), io.LimitReader(zeros{}, benchBytes))
	writeFile(b.t, in("endless.bin"), strings.NewReader(""))
	if err := os.Truncate(in("endless.bin"), 1<<40); err != nil { // a hole: one transfer of it outlasts what is measured
		b.t.Fatal(err)
	}
	for i := range peerFiles {
		writeFile(b.t, in("small", strconv.Itoa(i)), io.LimitReader(zeros{}, peerFileBytes))
	}
	for i := range peerMirrored {
		writeFile(b.t, in("few", strconv.Itoa(i)), io.LimitReader(zeros{}, peerFileBytes))
	}
	if err := os.MkdirAll(in("up"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	err := filepath.WalkDir(home, func(file string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(file, 65534, 65534))
	})
	if err != nil {
		b.t.Fatal(err)
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
	least := b.startPlain()
	columns := b.columns("RETR files/s", "more", "RETR CPU ms/file", "less", "STOR files/s", "more", "STOR CPU ms/file", "less")
	var plain [2][]float64
	for round := range peerRounds {
		for k, verb := range []string{"RETR small/", fmt.Sprintf("STOR up/%d-", round)} { // new files each round
			for i, c := range b.all {
				rate, cpu := b.small(c, verb)
				columns[2*k].values[i] = append(columns[2*k].values[i], rate)
				columns[2*k+1].values[i] = append(columns[2*k+1].values[i], cpu)
			}
			rate, _ := b.small(least, verb)
			plain[k] = append(plain[k], rate)
		}
	}
	b.print(fmt.Sprintf("%d files of %d KiB in memory, one session", peerFiles, peerFileBytes>>10), columns)
	for k, verb := range []string{"RETR", "STOR"} {
		ours := middle(columns[2*k].values[0])
		fmt.Printf("%-12s %s: %.2fx of ProFTPD, and %.2fx of %.0f files/s: TLS, listeners and files in Go with nothing around them\n", "",
			verb, ours/middle(columns[2*k].values[1]), ours/middle(plain[k]), middle(plain[k]))
	}
}

// small moves the files of one round.
func (b *peerBench) small(c *contestant, verb string) (rate, cpu float64) {
	use := drain
	if strings.HasPrefix(verb, "STOR") {
		use = pour(peerFileBytes)
	}
	conn, config := c.login(b.t, 0)
	before, start := c.cpu(), time.Now()
	for n := range peerFiles {
		c.move(b.t, conn, config, verb+strconv.Itoa(n), use)
	}
	took, used := time.Since(start), c.cpu()-before
	_ = conn.PrintfLine("QUIT")
	_ = conn.Close()
	return peerFiles / took.Seconds(), ms(used) / peerFiles
}

// clients measures small files with clients that people use: 4 KiB each, with login.
func (b *peerBench) clients() {
	to := filepath.Join(b.memory, "fetched")
	b.client("lftp mirrors", peerMirrored, to, func(c *contestant) *exec.Cmd {
		script := fmt.Sprintf("set ssl:verify-certificate no; set ftp:ssl-force true; mirror few %s; exit", to)
		return exec.Command("lftp", "-u", c.user(0)+","+c.password, "-e", script, "ftp://"+c.addr)
	})
	b.client("curl fetches", peerCurled, to, func(c *contestant) *exec.Cmd {
		from := fmt.Sprintf("ftp://%s/few/[0-%d]", c.addr, peerCurled-1)
		return exec.Command("curl", "-sSk", "--ssl-reqd", "-u", c.user(0)+":"+c.password, "--create-dirs", "-o", to+"/#1", from)
	})
}

func (b *peerBench) client(does string, files int, to string, command func(*contestant) *exec.Cmd) {
	columns := b.columns("files/s", "more", "CPU ms/file", "less")
	for range 3 {
		for i, c := range b.all {
			before, start := c.cpu(), time.Now()
			out, err := command(c).CombinedOutput()
			took, used := time.Since(start), c.cpu()-before
			if got, _ := os.ReadDir(to); err != nil || len(got) != files {
				b.t.Fatalf("%s: %s %d files: %v: %s", c.name, does, len(got), err, out)
			}
			_ = os.RemoveAll(to)
			columns[0].values[i] = append(columns[0].values[i], float64(files)/took.Seconds())
			columns[1].values[i] = append(columns[1].values[i], ms(used)/float64(files))
		}
	}
	if files < peerMirrored { // the kernel counts processor time in hundredths of a second: too coarse
		columns = columns[:1]
	}
	b.print(fmt.Sprintf("%s %d files of %d KiB, with login", does, files, peerFileBytes>>10), columns)
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
	for range 3 { // the slowest hundredth of a few hundred is two of them
		for i, c := range b.all {
			took := b.underLoad(c, 200)
			columns[0].values[i] = append(columns[0].values[i], took[len(took)/2])
			columns[1].values[i] = append(columns[1].values[i], took[len(took)*99/100])
		}
	}
	b.print("A login while curl fetches a file without an end over each of four sessions, 200 logins, medians of three", columns)
}

// underLoad is how many milliseconds logins took, sorted.
func (b *peerBench) underLoad(c *contestant, logins int) (took []float64) {
	var loading []*exec.Cmd
	for range 4 { // in processes of their own, so that what is measured does not wait for them in ours
		load := exec.Command("curl", "-s", "-k", "--ssl-reqd", "--user", c.user(0)+":"+c.password, "-o", "/dev/null", "ftp://"+c.addr+"/endless.bin")
		if err := load.Start(); err != nil {
			b.t.Fatal(err)
		}
		loading = append(loading, load)
	}
	time.Sleep(time.Second)
	for range logins {
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
	return took
}
