//go:build !wasip1

package sdknet

import (
	"errors"
	"net"
)

func open(int32, string) (net.Conn, error) {
	return nil, errors.New("only in WebAssembly: give the test host a DialConn")
}
