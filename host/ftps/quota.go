package ftps

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// usageGoodFor is how long what a home holds is believed without another look: others than we may change it. Before anybody is
// refused we look again, but use no more than a twentieth of the time for that.
const (
	usageGoodFor  = 10 * time.Minute
	usageLeastFor = 100 * time.Millisecond
	usageShare    = 20
)

// Quotas know how much the homes hold, for all services. Only those with a quota are counted.
type Quotas struct {
	mu    sync.Mutex
	homes map[string]*usage
}

// NewQuotas knows nothing yet.
func NewQuotas() *Quotas { return &Quotas{homes: map[string]*usage{}} }

// of is the usage of a home, which its users share. It is forgotten with its last session.
func (q *Quotas) of(root *os.Root, limits policy.Limits) *usage {
	if limits.Bytes == 0 && limits.Files == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.homes[root.Name()]
	if u == nil {
		u = &usage{}
		q.homes[root.Name()] = u
	}
	u.sessions++
	return u
}

func (q *Quotas) leave(root *os.Root, u *usage) {
	if u == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if u.sessions--; u.sessions == 0 {
		delete(q.homes, root.Name())
	}
}

// usage is what a home holds. What is in uploadDir is pending: it gets its name when it is complete.
type usage struct {
	sessions int // guarded by Quotas.mu

	mu      sync.Mutex
	counted time.Time // zero: never
	took    time.Duration
	held    amount
	pending amount
}

type amount struct{ bytes, files int64 }

func (a *amount) add(b amount) {
	a.bytes, a.files = max(0, a.bytes+b.bytes), max(0, a.files+b.files)
}

func (a amount) minus() amount { return amount{-a.bytes, -a.files} }

var errQuota = fmt.Errorf("%w: the quota", ftpserver.ErrStorageExceeded)

// quotaError says which quota is full.
func quotaError(limits policy.Limits, now amount) error {
	switch {
	case limits.Files > 0 && now.files > limits.Files:
		return fmt.Errorf("%w of %d files is used up", errQuota, limits.Files)
	case limits.Bytes > 0 && now.bytes > limits.Bytes:
		return fmt.Errorf("%w of %d bytes is used up", errQuota, limits.Bytes)
	}
	return nil
}

// take counts more, or returns why that is too much. Credit is what goes away when this is complete.
func (u *usage) take(root *os.Root, limits policy.Limits, more, credit amount, pending bool) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.look(root, usageGoodFor)
	after := func() amount {
		now := u.held
		now.add(u.pending)
		now.add(more)
		now.add(credit.minus())
		return now
	}
	if quotaError(limits, after()) != nil {
		u.look(root, max(usageLeastFor, usageShare*u.took))
		if err := quotaError(limits, after()); err != nil {
			return err
		}
	}
	if pending {
		u.pending.add(more)
	} else {
		u.held.add(more)
	}
	return nil
}

// settle is the end of what was pending: it stays, in place of what it replaced, or it goes.
func (u *usage) settle(was, replaced amount, stays bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending.add(was.minus())
	if stays {
		u.held.add(was)
		u.held.add(replaced.minus())
	}
}

// free notes what is gone.
func (u *usage) free(gone amount) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held.add(gone.minus())
}

// now is what the home holds.
func (u *usage) now(root *os.Root) amount {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.look(root, usageGoodFor)
	now := u.held
	now.add(u.pending)
	return now
}

// look counts what is there, unless that was done a moment ago. A folder that can't be read counts as empty.
func (u *usage) look(root *os.Root, goodFor time.Duration) {
	if !u.counted.IsZero() && time.Since(u.counted) < goodFor {
		return
	}
	start, held := time.Now(), amount{}
	_ = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && entry != nil && entry.IsDir():
			return fs.SkipDir
		case err != nil:
			return nil
		case entry.IsDir() && path.Base(name) == uploadDir:
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		if info, err := entry.Info(); err == nil {
			held.add(sizeOf(info))
		}
		return nil
	})
	u.held, u.counted, u.took = held, time.Now(), time.Since(start)
}

// sizeOf is what a file counts; a link counts as a small file.
func sizeOf(info fs.FileInfo) amount {
	if info == nil || info.IsDir() {
		return amount{}
	}
	return amount{info.Size(), 1}
}
