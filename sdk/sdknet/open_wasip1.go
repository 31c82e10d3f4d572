//go:build wasip1

package sdknet

import (
	"net"
	"os"
	"syscall"
)

// open makes a net.Conn of a descriptor. It must not block, or a library that reads in one goroutine
// and writes in another would stand still.
func open(descriptor int32, name string) (net.Conn, error) {
	if err := syscall.SetNonblock(int(descriptor), true); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(descriptor), name)
	defer func() { _ = file.Close() }() // the Conn has a reference of its own
	return net.FileConn(file)
}
