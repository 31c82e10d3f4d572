package ftps

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

const (
	copyBuffer = 256 << 10
	checkEvery = 1 << 20 // bytes between two looks at the free space
)

// GetHandle implements ftpserver.ClientDriverExtentionFileTransfer: RETR, STOR and APPE.
func (f *files) GetHandle(name string, flags int, offset int64) (ftpserver.FileTransfer, error) {
	if err := f.begin(); err != nil {
		return nil, err
	}
	var handle ftpserver.FileTransfer
	var err error
	if flags&(os.O_WRONLY|os.O_RDWR) == 0 {
		handle, err = f.download(name, offset, true)
	} else {
		handle, err = f.upload(name, flags, offset)
		if reason := fullness(err); reason != "" {
			f.tell(f.moving(f.clean(name)), events.FileInterruptedType, "up", reason)
		}
	}
	if err != nil {
		f.finish()
		return nil, err
	}
	return handle, nil
}

func (f *files) upload(name string, flags int, offset int64) (ftpserver.FileTransfer, error) {
	p, err := f.resolveNew(name, policy.Write)
	if err != nil {
		return nil, err
	}
	if err := f.room(p.root); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, errors.New("a negative restart point")
	}
	target, err := p.root.Lstat(p.rel)
	switch {
	case err == nil && target.IsDir(), f.holdsMount(p.name):
		return nil, errors.New("is a folder")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, plain(err)
	}
	fresh := flags&os.O_TRUNC != 0
	link := err == nil && target.Mode()&fs.ModeSymlink != 0 // written through, as other servers do
	if fresh && f.session.settings.AtomicUpload && !link {
		return f.uploadAside(p, target)
	}
	return f.uploadInPlace(p, flags, offset)
}

// room refuses an upload that would fill the disk: the logins need it for their events.
func (f *files) room(root *os.Root) error {
	free, err := freeBytes(root.Name())
	if err != nil {
		return errors.New("free space is not known")
	}
	if free < f.session.settings.MinFree {
		return fmt.Errorf("%w: too little space is left on the server", ftpserver.ErrStorageExceeded)
	}
	return nil
}

// download opens a file; counts: as RETR, which is told of, and not to compute its digest.
func (f *files) download(name string, offset int64, counts bool) (*download, error) {
	p, err := f.resolve(name, policy.Read)
	if err != nil {
		return nil, err
	}
	file, err := p.root.OpenFile(p.rel, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for who writes to it
	if err != nil {
		return nil, plain(err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("is not a regular file")
	case offset < 0 || offset > info.Size():
		err = fmt.Errorf("the restart point %d is not within the file of %d bytes", offset, info.Size())
	}
	if err != nil {
		_ = file.Close()
		return nil, plain(err)
	}
	d := &download{File: file, files: f, counts: counts, moved: f.moving(p.name)}
	if offset == 0 && d.counts && f.session.settings.Digests == DigestAll {
		d.digests = digests{ftpserver.HASHAlgoSHA256: sha256.New()}
	}
	return d, nil
}

// uploadAside writes to a file that nobody sees and renames it when it is complete.
func (f *files) uploadAside(p place, replaced fs.FileInfo) (ftpserver.FileTransfer, error) {
	if info, err := p.root.Stat(path.Dir(p.rel)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("the folder of the file: %w", fs.ErrNotExist)
	}
	u := &upload{files: f, root: p.root, rel: p.rel, aside: uploadDir, moved: f.arriving(p.name), usage: f.quota(p)}
	if err := u.take(amount{0, 1}); err != nil {
		return nil, err
	}
	aside, err := f.makeAside(p, replaced)
	if err != nil {
		u.usage.drop(u.taken)
		return nil, err
	}
	u.File, u.aside = aside, path.Join(uploadDir, path.Base(aside.Name()))
	return u, nil
}

// makeAside makes the file that an upload grows in, with the mode of the one that it will replace.
func (f *files) makeAside(p place, replaced fs.FileInfo) (*os.File, error) {
	aside := path.Join(uploadDir, f.service.options.Boot+"-"+rand.Text())
	open := func() (*os.File, error) {
		return p.root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NONBLOCK, f.session.settings.fileMode())
	}
	file, err := open()
	if errors.Is(err, fs.ErrNotExist) { // the first one
		if err := p.root.Mkdir(uploadDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, plain(err)
		}
		file, err = open()
	}
	if err != nil {
		return nil, plain(err)
	}
	if replaced != nil {
		if err := file.Chmod(replaced.Mode().Perm()); err != nil {
			_ = file.Close()
			_ = p.root.Remove(aside)
			return nil, plain(err)
		}
	}
	return file, nil
}

// uploadInPlace is for APPE and for a restart, where the client asks for what is there to be
// changed, and for atomic_upload = false.
func (f *files) uploadInPlace(p place, flags int, offset int64) (ftpserver.FileTransfer, error) {
	u := &upload{files: f, root: p.root, rel: p.rel, moved: f.moving(p.name), usage: f.quota(p)}
	before, err := p.root.Stat(p.rel)
	if err != nil { // there is none: it will be one more
		before = nil
		if err := u.take(amount{0, 1}); err != nil {
			return nil, err
		}
	}
	if u.File, err = p.root.OpenFile(p.rel, flags|syscall.O_NONBLOCK, f.session.settings.fileMode()); err != nil {
		if before == nil {
			u.usage.free(amount{0, 1})
		}
		return nil, plain(err)
	}
	info, err := u.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("is not a regular file")
	case offset > info.Size():
		err = fmt.Errorf("the restart point %d is not within the file of %d bytes", offset, info.Size())
	case offset > 0: // what comes replaces the rest
		err = u.Truncate(offset)
	}
	if err != nil {
		_ = u.File.Close()
		return nil, plain(err)
	}
	switch whole := flags&os.O_TRUNC != 0 && offset == 0; {
	case whole && before != nil:
		u.usage.free(amount{before.Size(), 0})
		fallthrough
	case whole:
		u.moved = f.arriving(p.name)
	case offset > 0:
		u.usage.free(amount{info.Size() - offset, 0})
	}
	return u, nil
}

// sweep removes the unfinished uploads of earlier runs of the server.
func (f *files) sweep(root *os.Root) {
	dir, err := root.Open(uploadDir)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, f.service.options.Boot+"-") {
			_ = root.Remove(path.Join(uploadDir, name))
		}
	}
}

// moved is what the event of a transfer says.
type moved struct {
	name    string
	fate    *fate
	start   time.Time
	bytes   int64
	digests digests // of a file that comes or goes whole
}

func (f *files) moving(name string) moved {
	return moved{name: name, fate: f.session.transfer(), start: time.Now()}
}

// arriving is moving for a file that comes whole.
func (f *files) arriving(name string) moved {
	m := f.moving(name)
	m.digests = digests{}
	for _, algo := range f.wantedDigests() {
		m.digests[algo], _ = newHash(algo) // it was computed before
	}
	if f.session.settings.Digests != DigestNone {
		m.digests[ftpserver.HASHAlgoSHA256] = sha256.New()
	}
	return m
}

// tell notes the end of a transfer: what it was, or that it ended before its end, and why.
func (f *files) tell(m moved, what events.Type, direction string, why events.Reason) {
	e := &events.File{Login: f.session.login(), What: what, SessionID: f.session.id, Path: m.name, Bytes: m.bytes, DurationMS: time.Since(m.start).Milliseconds()}
	switch {
	case what == events.FileInterruptedType:
		e.Direction, e.Reason = direction, why
	case f.session.settings.Digests != DigestNone: // else it was computed for the client
		e.SHA256 = m.digests.sum(ftpserver.HASHAlgoSHA256)
	}
	f.service.recorder.Note(e)
}

// download is a file on its way to the client.
type download struct {
	*os.File
	moved
	files  *files
	counts bool  // RETR; the library reads for HASH too
	failed error // why the transfer did
}

// Read implements [io.Reader]; the library reads so in ASCII mode and for HASH.
func (d *download) Read(p []byte) (int, error) {
	select {
	case <-d.files.session.control.closed: // nobody waits for the HASH of a large file any more
		return 0, net.ErrClosed
	default:
	}
	n, err := d.File.Read(p)
	d.digests.write(p[:n])
	d.count(int64(n))
	return n, err
}

// WriteTo implements [io.WriterTo], with a larger buffer than io.Copy's own.
func (d *download) WriteTo(w io.Writer) (int64, error) {
	buf, sealed := d.files.service.buffers.Get().(*[]byte), d.files.service.buffers.Get().(*[]byte)
	defer d.files.service.buffers.Put(buf)
	defer d.files.service.buffers.Put(sealed)
	from := d.files.session.slowed(&yielding{from: counted{d}}, d.files.session.rates.down)
	for _, digest := range d.digests {
		from = io.TeeReader(from, digest)
	}
	return deliver(gathered(w, *sealed), from, *buf)
}

// deliver copies a file. One that fits into a record of TLS goes with TLS's goodbye.
func deliver(w io.Writer, from io.Reader, buf []byte) (int64, error) {
	to, ok := w.(gathering)
	if !ok {
		return io.CopyBuffer(w, from, buf)
	}
	n, err := io.ReadFull(from, buf[:tlsRecord])
	switch {
	case errors.Is(err, io.EOF): // the library has a handshake for nothing
		return 0, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		if err := to.last(buf[:n]); err != nil {
			return 0, err
		}
		return int64(n), nil
	case err != nil:
		return 0, err
	}
	if n, err = to.Write(buf[:n]); err != nil {
		return int64(n), err
	}
	rest, err := io.CopyBuffer(to, from, buf)
	return int64(n) + rest, err
}

// yielding lets others run after each full buffer: a small file fills none.
// RATIONALE.md, "How does a login get through while transfers take all processors?".
type yielding struct {
	from io.Reader
	full bool
}

// Read implements [io.Reader].
func (y *yielding) Read(p []byte) (n int, err error) {
	if y.full {
		runtime.Gosched()
	}
	n, err = y.from.Read(p)
	y.full = n == len(p)
	return n, err
}

// counted reads the file for the client.
type counted struct{ *download }

// Read implements [io.Reader].
func (c counted) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.count(int64(n))
	return n, err
}

func (d *download) count(n int64) {
	d.bytes += n
	if d.counts {
		d.files.session.sent.Add(n)
	}
}

// TransferError implements ftpserver.FileTransferError.
func (d *download) TransferError(err error) { d.failed = err }

// Close implements [io.Closer].
func (d *download) Close() error {
	defer d.files.finish()
	if d.counts {
		what, why := events.FileDownloadedType, events.Reason("")
		if d.failed == nil {
			d.files.session.filesDown.Add(1)
		} else {
			what, why = events.FileInterruptedType, d.files.session.interruption(d.fate, d.failed)
		}
		d.files.tell(d.moved, what, "down", why)
	}
	return d.File.Close()
}

// upload is a file on its way from the client.
type upload struct {
	*os.File
	moved
	files  *files
	root   *os.Root
	aside  string // where it grows; empty: in place
	rel    string // its name below root when it is complete
	failed error  // why the transfer did
	since  int64  // bytes since the free space was looked at
	usage  *usage
	taken  amount      // what it counts for the quota before it is complete
	before os.FileInfo // of the complete file, before it had its name
}

// take counts more for the quota, if there is one.
func (u *upload) take(more amount) error {
	if u.usage == nil {
		return nil
	}
	pending := u.aside != ""
	if err := u.usage.take(u.root, u.files.limits, more, pending, u.rel); err != nil {
		return err
	}
	if pending {
		u.taken.add(more)
	}
	return nil
}

// ReadFrom implements [io.ReaderFrom]: it fills a large buffer before it writes, since TLS
// hands out 16 KiB at a time. The digest of one buffer is computed while the next one is filled.
func (u *upload) ReadFrom(r io.Reader) (total int64, err error) {
	first, second := u.files.service.buffers.Get().(*[]byte), u.files.service.buffers.Get().(*[]byte)
	defer u.files.service.buffers.Put(first)
	defer u.files.service.buffers.Put(second)
	var summing sync.WaitGroup
	defer summing.Wait()
	from := r
	r = u.files.session.slowed(r, u.files.session.rates.up)
	for buf, next := *first, *second; ; buf, next = next, buf {
		if total > 0 {
			runtime.Gosched()
		}
		n, readErr := fill(r, buf)
		if n > 0 {
			if _, err := u.write(buf[:n]); err != nil {
				refuse(from)
				return total, err
			}
			summing.Wait() // of the one before, whose buffer is filled next
			if len(u.digests) > 0 {
				summing.Go(func() { u.digests.write(buf[:n]) })
			}
			total += int64(n)
		}
		if errors.Is(readErr, io.EOF) {
			return total, nil
		}
		if readErr != nil {
			return total, readErr
		}
	}
}

// fill reads until there is no room for another record: the library's ASCII converter needs some.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for len(buf)-n >= 32<<10 && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// Write implements [io.Writer].
func (u *upload) Write(p []byte) (int, error) {
	n, err := u.write(p)
	u.digests.write(p[:n])
	return n, err
}

// write is Write without the digest.
func (u *upload) write(p []byte) (n int, err error) {
	if u.since += int64(len(p)); u.since >= checkEvery {
		u.since = 0
		if err := u.files.room(u.root); err != nil {
			return 0, err
		}
	}
	if err := u.take(amount{int64(len(p)), 0}); err != nil {
		return 0, err
	}
	n, err = u.File.Write(p)
	u.bytes += int64(n)
	u.files.session.received.Add(int64(n))
	return n, plain(err)
}

// syncFolder has a folder's names on the disk.
func syncFolder(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

// TransferError implements ftpserver.FileTransferError.
func (u *upload) TransferError(err error) { u.failed = err }

// Close ends the upload: complete, it gets its name; otherwise nothing of it stays.
func (u *upload) Close() error {
	defer u.files.finish()
	err := plain(u.complete())
	what, why := events.FileUploadedType, events.Reason("")
	if failed := cmp.Or(u.failed, err); failed == nil {
		u.files.session.filesUp.Add(1)
		u.files.rememberUpload(u)
	} else {
		what, why = events.FileInterruptedType, u.files.session.interruption(u.fate, failed)
	}
	u.files.tell(u.moved, what, "up", why)
	return err
}

// complete closes the file and gives it its name, both on the disk if that is wanted.
func (u *upload) complete() (err error) {
	sync := u.files.session.settings.SyncUploads && u.failed == nil
	if sync {
		err = u.Sync()
	}
	u.before, _ = u.Stat()
	err = errors.Join(err, u.File.Close())
	if u.aside != "" && u.failed == nil && err == nil {
		err = u.usage.rename(u.root, u.aside, u.rel, u.taken)
	}
	if u.aside != "" && (u.failed != nil || err != nil) {
		u.usage.drop(u.taken)
		_ = u.root.Remove(u.aside)
	}
	if sync && err == nil {
		err = syncFolder(u.root, path.Dir(u.rel)) // the name, too
	}
	return err
}
