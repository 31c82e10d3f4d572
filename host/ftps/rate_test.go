package ftps_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// A user has a rate, over all sessions; it can't be beaten by opening more. The times are lower bounds: no machine is too slow.
func TestRates(t *testing.T) {
	f := newFixture(t)
	f.authority.limits = policy.Limits{UploadRate: 400 << 10, DownloadRate: 400 << 10}
	first, second := f.login(), f.login()
	content := strings.Repeat("0123456789", 30<<10) // 300 KiB
	start := time.Now()
	var moving sync.WaitGroup
	for name, c := range map[string]*client{"a": first, "b": second} {
		moving.Go(func() { c.store("STOR "+name, content) })
	}
	moving.Wait()
	if took := time.Since(start); took < 1200*time.Millisecond { // 600 KiB, of which 100 KiB are in the bucket
		t.Errorf("two uploads took %v", took)
	}
	if f.file("a") != content || f.file("b") != content {
		t.Error("what came is another")
	}
	start = time.Now()
	for name, c := range map[string]*client{"a": first, "b": second} {
		moving.Go(func() {
			if got := c.fetch("RETR " + name); got != content {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	moving.Wait()
	if took := time.Since(start); took < 1200*time.Millisecond {
		t.Errorf("two downloads took %v", took)
	}
	// Who hangs up in the middle holds nothing up.
	conn := first.data("RETR a")
	_ = conn.NetConn().Close()
	_ = first.raw.Close()
	waitFor(t, func() bool { return len(f.service.Sessions()) == 1 })
}
