// A Go plugin with sockets, for the tests of the sandbox: the user name says what to do.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/sdk"
	"github.com/sallyport-ftps/sallyport/sdk/sdkhttp"
	"github.com/sallyport-ftps/sallyport/sdk/sdknet"
)

func init() { sdk.Register(method{}) }

func main() {}

type method struct{}

func (method) Authenticate(a sdk.Attempt) sdk.Verdict {
	var err error
	switch address := a.Setting("address"); a.User() {
	case "echo":
		err = echo(a, address)
	case "both ways":
		err = bothWays(a, address)
	case "start tls":
		err = startTLS(a, address)
	case "end":
		err = end(a, address)
	case "patience":
		err = patience(a, address)
	case "many":
		for range 20 {
			if _, err = sdknet.Dial(a, address); err != nil {
				break
			}
		}
	case "flood":
		for err == nil {
			var conn *sdknet.Conn
			if conn, err = sdknet.Dial(a, address); err == nil {
				err = conn.Close()
			}
		}
	case "http":
		err = useHTTP(a)
	case "mixed":
		if err = echo(a, address); err == nil {
			_, err = a.VerifyPassword()
		}
		if err == nil {
			err = useHTTP(a)
		}
		if err == nil {
			err = echo(a, address)
		}
	case "stuffed":
		err = stuff(a, address, false)
	case "stuffed tls":
		err = stuff(a, address, true)
	case "hang":
		conn, _ := sdknet.Dial(a, address)
		_, err = conn.Read(make([]byte, 1))
	}
	if err != nil {
		a.Log(sdk.Info, "error: "+err.Error())
		return a.Reject("rejected")
	}
	return sdk.Accept
}

func echo(a sdk.Attempt, address string) error {
	a.Log(sdk.Info, "dialling")
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	a.Log(sdk.Info, "answer: "+line)
	return err
}

// bothWays reads in one goroutine and writes in another, as client libraries do, more than any buffer holds.
func bothWays(a sdk.Attempt, address string) error {
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	const total = 1 << 20
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, total))
		failed <- err
	}()
	if _, err := io.ReadFull(conn, make([]byte, total)); err != nil {
		return err
	}
	return <-failed
}

func startTLS(a sdk.Attempt, address string) error {
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "STARTTLS\n"); err != nil {
		return err
	}
	line := make([]byte, 3) // no more: what is read before TLS is nobody's word
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "OK\n" {
		return fmt.Errorf("%q, %w", line, err)
	}
	if a.Setting("wait") != "" {
		time.Sleep(100 * time.Millisecond)
	}
	if err := conn.StartTLS(""); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "secret\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	a.Log(sdk.Info, "answer: "+answer)
	return err
}

// stuff writes until nothing more is taken.
func stuff(a sdk.Attempt, address string, secure bool) error {
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, 3)); err != nil {
		return err
	}
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Write(make([]byte, 60<<10)); err != nil {
			break
		}
	}
	if secure {
		return conn.StartTLS("")
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// end reads until the other side ends.
func end(a sdk.Attempt, address string) error {
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	all, err := io.ReadAll(conn)
	a.Log(sdk.Info, fmt.Sprintf("got %q", all))
	return err
}

// patience gives up reading after a while of real time.
func patience(a sdk.Attempt, address string) error {
	conn, err := sdknet.Dial(a, address)
	if err != nil {
		return err
	}
	start := time.Now()
	_ = conn.SetReadDeadline(start.Add(100 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "timeout") {
		return fmt.Errorf("no time-out: %w", err)
	}
	if took := time.Since(start); took < 90*time.Millisecond {
		return fmt.Errorf("after %v", took)
	}
	return nil
}

func useHTTP(a sdk.Attempt) error {
	request, err := http.NewRequest(http.MethodPost, a.Setting("url"), strings.NewReader("hello"))
	if err != nil {
		return err
	}
	response, err := sdkhttp.Client(a).Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	a.Log(sdk.Info, fmt.Sprintf("answer: %s %s", response.Status, body))
	return err
}
