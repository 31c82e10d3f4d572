package ftps_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A large folder that can't be read to its end does not look as if it ended there.
func TestLargeFolderBreaks(t *testing.T) {
	f := newFixture(t)
	folder := filepath.Join(f.mustHome(), "large")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 60_000 { // 16 MB of lines: more than what the kernel takes for a client that does not read
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%0200d", i)), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	c := f.login()
	conn := c.data("MLSD large")
	waitFor(t, func() bool { // the server has no room to write to: it would otherwise see a folder that is empty, and no error
		before := unread(t, conn)
		time.Sleep(200 * time.Millisecond)
		return before > 0 && unread(t, conn) == before
	})
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	if code, said, err := c.text.ReadResponse(0); err != nil || code != 451 {
		t.Errorf("the client takes what it has for all: %d %s %v", code, said, err)
	}
	c.cmd(200, "NOOP")
}

// unread is how many bytes wait for who reads the connection.
func unread(t *testing.T, conn *tls.Conn) (n int) {
	t.Helper()
	raw, err := conn.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }), err)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
