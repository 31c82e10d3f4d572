package ftps

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer of conn is gone, or says nothing more.
func hungUp(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(polled, 0)
		gone = err == nil && n > 0 && polled[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// deafen makes a listener take no more connections while its descriptor stays good for deadlines.
func deafen(listener net.Listener) error {
	conn, ok := listener.(syscall.Conn)
	if !ok {
		return errors.New("listener without a descriptor")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_RDWR) }); err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	return failed
}

// quickAck acknowledges at once what came on conn. A client that writes its half of the TLS handshake
// in two pieces, as GnuTLS does, holds the second back until the first is acknowledged (Nagle), which
// the kernel would otherwise delay by 40 ms: for each file.
func quickAck(conn net.Conn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
}

// freeBytes returns how much an unprivileged user can still write to the disk of path.
func freeBytes(path string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// changed is when anything of a file was last changed: content, name, owner, times.
func changed(info os.FileInfo) time.Time {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Ctim.Unix())
	}
	return time.Now() // not known: always another
}
