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

// Others than we may change a home. So it is walked again after a while, which takes at most a hundredth of the time, and before
// anybody is refused, which takes at most a twentieth.
const (
	usageLeast     = 10 * time.Second
	usageSeldom    = 100
	usageLeastFull = 100 * time.Millisecond
	usageOften     = 20
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

// take counts more, or returns why that is too much. What the new file will replace, if it is there still, is as good as gone.
func (u *usage) take(root *os.Root, limits policy.Limits, more amount, pending bool, replaces string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	after := func() amount {
		now := u.held
		now.add(u.pending)
		now.add(more)
		return now
	}
	u.look(root, max(usageLeast, usageSeldom*u.took))
	err := quotaError(limits, after())
	if err != nil {
		u.look(root, max(usageLeastFull, usageOften*u.took))
		now := after()
		if pending {
			now.add(sizeAt(root, replaces).minus())
		}
		err = quotaError(limits, now)
	}
	switch {
	case err != nil:
	case pending:
		u.pending.add(more)
	default:
		u.held.add(more)
	}
	return err
}

// drop ends what was pending, and stays so.
func (u *usage) drop(was amount) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending.add(was.minus())
}

// rename gives a file a name in place of what had it. What was pending of it is held from then on. Nobody else may count meanwhile:
// what is replaced must be taken off once.
func (u *usage) rename(root *os.Root, from, to string, was amount) error {
	if u == nil {
		return root.Rename(from, to)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	replaced := sizeAt(root, to)
	if old, err := root.Lstat(from); err == nil {
		if other, err := root.Lstat(to); err == nil && os.SameFile(old, other) { // two names of one file: rename(2) does nothing
			replaced = amount{}
		}
	}
	if err := root.Rename(from, to); err != nil {
		return err
	}
	u.pending.add(was.minus())
	u.held.add(was)
	u.held.add(replaced.minus())
	return nil
}

// remove deletes a file.
func (u *usage) remove(root *os.Root, name string) error {
	if u == nil {
		return root.Remove(name)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	gone := sizeAt(root, name)
	err := root.Remove(name)
	if err == nil {
		u.held.add(gone.minus())
	}
	return err
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
	u.look(root, max(usageLeast, usageSeldom*u.took))
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
		case name == ".":
			return nil
		}
		if info, err := entry.Info(); err == nil {
			held.add(sizeOf(info))
		}
		return nil
	})
	u.held, u.counted, u.took = held, time.Now(), time.Since(start)
}

// sizeAt is what counts of a file; nothing if there is none.
func sizeAt(root *os.Root, name string) amount {
	info, err := root.Lstat(name)
	if err != nil {
		return amount{}
	}
	return sizeOf(info)
}

// sizeOf is what a file counts. A folder is a file without content, and a link a small one.
func sizeOf(info fs.FileInfo) amount {
	if info.IsDir() {
		return amount{0, 1}
	}
	return amount{info.Size(), 1}
}
