package ftps_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/ftps"
)

// BenchmarkSmallFiles fetches and sends files of 4 KiB on one session, each over a data connection that resumes. Client and server are in one process.
func BenchmarkSmallFiles(b *testing.B) {
	for _, command := range []string{"RETR small", "STOR small"} {
		b.Run(command, func(b *testing.B) {
			f := benchFixture(b)
			config := tickets(tls.VersionTLS13)
			config.CurvePreferences = []tls.CurveID{tls.X25519}
			c := f.loginWith(config)
			content := make([]byte, 4096)
			if err := os.WriteFile(filepath.Join(f.home, "small"), content, 0o600); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := processorTime(b)
			defer func() {
				b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
			}()
			for b.Loop() {
				addr := c.epsv()
				if err := c.text.PrintfLine("%s", command); err != nil {
					b.Fatal(err)
				}
				raw, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				conn := tls.Client(raw, config)
				if command == "RETR small" {
					if n, err := io.Copy(io.Discard, conn); n != int64(len(content)) {
						b.Fatal(n, err)
					}
				} else if _, err := conn.Write(content); err != nil {
					b.Fatal(err)
				}
				_ = conn.Close()
				c.expect(150)
				c.expect(226)
			}
		})
	}
}

func benchFixture(b *testing.B) *fixture {
	return newFixture(b, func(o *ftps.Options) { o.Digests = ftps.DigestNone })
}

// processorTime is that of this process so far.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
