package ftps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// uploadDir is where uploads grow until they are complete: a reserved folder in the home, which
// no client sees. What a crash left there is removed at the next login.
const uploadDir = ".sallyport-uploads"

// dirMode is of homes that are made; what is made in them is as umask says.
const dirMode = 0o750

func (s *settings) fileMode() os.FileMode { return 0o666 &^ s.Umask }
func (s *settings) dirMode() os.FileMode  { return 0o777 &^ s.Umask }

// files is a session's view of its home folder. Every access goes through os.Root, which follows
// no link out of it.
type files struct {
	service *Service
	session *session
	client  ftpserver.ClientContext
	ctx     context.Context // of the service
	root    *os.Root
	mounts  []mount // virtual folders
	access  policy.Access
	limits  policy.Limits
	usage   *usage // of the home; nil: there is no quota

	mu      sync.Mutex
	ended   sync.Cond // when a transfer ends
	open    int       // transfers under way
	closing bool
	wanted  map[ftpserver.HASHAlgo]bool
	known   map[string]knownFile
	listing *listing // that is about to be sent
}

var (
	_ ftpserver.ClientDriver                        = (*files)(nil)
	_ ftpserver.ClientDriverExtensionFileList       = (*files)(nil)
	_ ftpserver.ClientDriverExtentionFileTransfer   = (*files)(nil)
	_ ftpserver.ClientDriverExtensionRemoveDir      = (*files)(nil)
	_ ftpserver.ClientDriverExtensionAvailableSpace = (*files)(nil)
	_ ftpserver.ClientDriverExtensionSite           = (*files)(nil)
	_ ftpserver.ClientDriverExtensionHasher         = (*files)(nil)
	_ ftpserver.ClientDriverExtensionAllocate       = (*files)(nil)
)

var (
	errDenied   = fmt.Errorf("%w by the administrator", fs.ErrPermission)
	errReserved = fmt.Errorf("%w: control characters in a name", ftpserver.ErrFileNameNotAllowed)
	errFixed    = errors.New("the home folder and virtual folders stay as they are")
	errLink     = errors.New("links can't be made here")

	errElsewhere = fmt.Errorf("the link leads elsewhere: %w", fs.ErrNotExist)
)

// openFiles opens the home folder, and the virtual ones; the home is made if it is not there and may be.
func openFiles(s *Service, sess *session, grant auth.Grant) (*files, error) {
	if err := makeHome(grant, s.options.Private); err != nil {
		return nil, fmt.Errorf("home folder: %w", err)
	}
	root, mounts, err := openRoots(grant, s.options.Private)
	if err != nil {
		return nil, err
	}
	f := &files{service: s, session: sess, root: root, mounts: mounts, access: grant.Access, limits: grant.Limits, usage: s.options.Quotas.of(root, grant.Limits)}
	f.ended.L = &f.mu
	f.sweep(root)
	for _, m := range mounts {
		f.sweep(m.root)
	}
	return f, nil
}

// CheckHome says why a session could not be opened, without making anything.
func CheckHome(grant auth.Grant, private string) error {
	if _, err := os.Stat(grant.Home); errors.Is(err, fs.ErrNotExist) && mayMake(grant) {
		return nil // what is made then has no virtual folder in it
	}
	root, mounts, err := openRoots(grant, private)
	if err != nil {
		return err
	}
	closeRoots(root, mounts)
	return nil
}

// openRoots opens the home and the virtual folders. No two may overlap: a file would have two names, and rules for one.
func openRoots(grant auth.Grant, private string) (root *os.Root, mounts []mount, err error) {
	defer func() {
		if err != nil {
			closeRoots(root, mounts)
		}
	}()
	if root, err = openApart(grant.Home, private); err != nil {
		return nil, nil, fmt.Errorf("home folder: %w", err)
	}
	open := []*os.Root{root}
	for _, v := range grant.Folders {
		one, err := openApart(v.Real, private)
		if err != nil {
			return root, mounts, fmt.Errorf("virtual folder %s: %w", v.Path, err)
		}
		mounts = append(mounts, mount{v.Path, one})
		for _, other := range open {
			if policy.Within(one.Name(), other.Name()) || policy.Within(other.Name(), one.Name()) {
				return root, mounts, fmt.Errorf("virtual folder %s: %s and %s overlap", v.Path, one.Name(), other.Name())
			}
		}
		open = append(open, one)
	}
	return root, mounts, nil
}

func closeRoots(root *os.Root, mounts []mount) {
	if root != nil {
		_ = root.Close()
	}
	for _, m := range mounts {
		_ = m.root.Close()
	}
}

func mayMake(grant auth.Grant) bool { return grant.CreateHome != nil && *grant.CreateHome }

// makeHome makes the home folder with the folders in it, if it is not there and may be made.
func makeHome(grant auth.Grant, private string) error {
	if err := policy.HomeApart(grant.Home, private); err != nil { // before anything is made there
		return err
	}
	if _, err := os.Stat(grant.Home); !errors.Is(err, fs.ErrNotExist) || !mayMake(grant) {
		return nil
	}
	if err := os.MkdirAll(grant.Home, dirMode); err != nil {
		return err
	}
	root, err := openApart(grant.Home, private)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, name := range grant.Structure {
		if err := root.MkdirAll(name, dirMode); err != nil {
			return err
		}
	}
	return nil
}

// openApart opens a folder that holds and lies in none of our own data, by whatever links.
func openApart(folder, private string) (*os.Root, error) {
	if err := policy.HomeApart(folder, private); err != nil {
		return nil, err
	}
	resolved, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, err
	}
	if private, err = filepath.EvalSymlinks(private); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := policy.HomeApart(resolved, private); err != nil {
		return nil, err
	}
	return os.OpenRoot(resolved)
}

// begin and finish frame each transfer.
func (f *files) begin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return fs.ErrClosed
	}
	f.open++
	return nil
}

func (f *files) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.ended.Broadcast()
}

// close waits for the transfers, so that a cut upload is cleared away, and closes the folder.
func (f *files) close() {
	f.endListing()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	for f.open > 0 {
		f.ended.Wait()
	}
	f.service.options.Quotas.leave(f.root, f.usage)
	closeRoots(f.root, f.mounts)
}

// quota is the usage that counts for a place: only the home has one.
func (f *files) quota(p place) *usage {
	if p.root != f.root {
		return nil
	}
	return f.usage
}

// resolve checks the permissions and finds the place. Every folder on the way must let the client through.
func (f *files) resolve(name string, needs policy.Permissions) (place, error) {
	name = f.clean(name)
	if most := f.session.settings.MaxPath; most > 0 && len(name) > most {
		return place{}, fmt.Errorf("%w: a path of %d bytes, at most %d are allowed", ftpserver.ErrFileNameNotAllowed, len(name), most)
	}
	if !f.access.At(name).Has(needs) {
		return place{}, errDenied
	}
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if !f.access.At(dir).Has(policy.Traverse) {
			return place{}, errDenied
		}
	}
	p := f.locate(name)
	if slices.Contains(strings.Split(p.rel, "/"), uploadDir) {
		return place{}, fs.ErrNotExist
	}
	return p, nil
}

// clean is the absolute path: HASH passes its argument as it is.
func (f *files) clean(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(f.client.Path(), name)
	}
	return path.Clean("/" + name)
}

// resolveNew is resolve for a name that will be made.
func (f *files) resolveNew(name string, needs policy.Permissions) (place, error) {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return place{}, errReserved
	}
	return f.resolve(name, needs)
}

// resolveChange is resolve for what can't be done with the home folder or a virtual one themselves.
func (f *files) resolveChange(name string, needs policy.Permissions) (place, error) {
	p, err := f.resolve(name, needs)
	if err == nil && (p.rel == "." || f.holdsMount(p.name)) {
		return place{}, errFixed
	}
	return p, err
}

// plain takes the server's paths and system call names out of an error that the client will read.
func plain(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ftpserver.ErrStorageExceeded
	case errors.As(err, &pathErr):
		err = pathErr.Err
	case errors.As(err, &linkErr):
		err = linkErr.Err
	}
	if strings.Contains(err.Error(), "path escapes") { // os.Root has no exported error for it
		return errElsewhere
	}
	return err
}

// Name implements afero.Fs.
func (f *files) Name() string { return "home" }

// Stat implements afero.Fs. Who may only write learns nothing of files.
func (f *files) Stat(name string) (os.FileInfo, error) {
	p, err := f.resolve(name, 0)
	if err != nil {
		return nil, err
	}
	may := f.access.At(p.name)
	if may == 0 {
		return nil, errDenied
	}
	info, err := p.root.Stat(p.rel)
	if errors.Is(err, fs.ErrNotExist) && f.holdsMount(p.name) {
		return folder{path.Base(p.name)}, nil
	}
	if parent, _ := f.wildcard(name); err != nil && parent != "" {
		return f.Stat(parent) // so that the library asks ReadDir
	}
	if may&(policy.Read|policy.List|policy.Rename) == 0 && (err != nil || !info.IsDir()) {
		return nil, errDenied
	}
	if err != nil {
		return nil, plain(err)
	}
	return named{info, info.Name()}, nil
}

// wildcard splits the argument of LIST and NLST, if its last part is a pattern.
func (f *files) wildcard(name string) (folder, pattern string) {
	command := f.session.asks()
	base := path.Base(name)
	options := strings.HasPrefix(base, "-") && strings.Contains(base, " ") // as of ls, which the library takes away if there is no such file
	if (command != "LIST" && command != "NLST") || options || !strings.ContainsAny(base, "*?[") {
		return "", ""
	}
	return path.Dir(name), path.Base(name)
}

// ReadDir implements ftpserver.ClientDriverExtensionFileList. What nothing may be done with is not shown.
func (f *files) ReadDir(name string) ([]os.FileInfo, error) {
	pattern := "*"
	if parent, p := f.wildcard(name); parent != "" {
		if info, err := f.Stat(path.Clean(name)); err != nil || !info.IsDir() || info.Name() != path.Base(name) {
			name, pattern = parent, p
			f.client.SetListPath(path.Clean(parent))
		}
	}
	p, err := f.resolve(name, policy.List)
	if err != nil {
		return nil, err
	}
	virtual := f.mountsIn(p.name)
	visible := func(name string) bool {
		matches, err := path.Match(pattern, name)
		return matches && err == nil && (p.rel != "." || name != uploadDir) && !strings.ContainsAny(name, "\r\n") && f.access.At(path.Join(p.name, name)) != 0
	}
	infos, err := f.list(p, func(name string) bool {
		return visible(name) && !slices.ContainsFunc(virtual, func(v os.FileInfo) bool { return v.Name() == name })
	}, slices.DeleteFunc(slices.Clone(virtual), func(v os.FileInfo) bool { return !visible(v.Name()) }))
	return infos, plain(err)
}

// named is a file's information under a name, for lines of the library.
type named struct {
	os.FileInfo
	name string
}

// Name implements [os.FileInfo].
func (n named) Name() string { return n.name }

// Mode implements [os.FileInfo], without what Go writes in a way of its own.
func (n named) Mode() os.FileMode {
	return n.FileInfo.Mode() & (fs.ModeDir | fs.ModePerm)
}

// Mkdir implements afero.Fs.
func (f *files) Mkdir(name string, _ os.FileMode) error {
	p, err := f.resolveNew(name, policy.CreateFolder)
	if err != nil {
		return err
	}
	if f.holdsMount(p.name) {
		return fs.ErrExist
	}
	usage, one := f.quota(p), amount{0, 1}
	if usage != nil {
		if err := usage.take(p.root, f.limits, one, false, ""); err != nil {
			return err
		}
	}
	if err := p.root.Mkdir(p.rel, f.session.settings.dirMode()); err != nil {
		usage.free(one)
		return plain(err)
	}
	return nil
}

// Remove implements afero.Fs: DELE, files only.
func (f *files) Remove(name string) error {
	p, err := f.resolveChange(name, policy.DeleteFile)
	if err != nil {
		return err
	}
	info, err := p.root.Lstat(p.rel)
	if err != nil {
		return plain(err)
	}
	if info.IsDir() {
		return errors.New("is a folder")
	}
	return f.deleted(p, f.quota(p).remove(p.root, p.rel))
}

// deleted notes what is gone, if it is.
func (f *files) deleted(p place, err error) error {
	if err == nil {
		f.service.recorder.Note(&events.File{Login: f.session.login(), What: events.FileDeletedType, SessionID: f.session.id, Path: p.name})
	}
	return plain(err)
}

// RemoveDir implements ftpserver.ClientDriverExtensionRemoveDir: RMD, empty folders only.
func (f *files) RemoveDir(name string) error {
	p, err := f.resolveChange(name, policy.DeleteFolder)
	if err != nil {
		return err
	}
	info, err := p.root.Lstat(p.rel)
	switch {
	case err != nil:
		return plain(err)
	case !info.IsDir():
		return errors.New("is not a folder")
	}
	return f.deleted(p, f.quota(p).remove(p.root, p.rel))
}

// Rename implements afero.Fs. What is there under the new name already is replaced, if it may be deleted.
func (f *files) Rename(from, to string) error {
	old, err := f.resolveChange(from, policy.Rename)
	if err != nil {
		return err
	}
	fresh, err := f.resolveNew(to, policy.Rename)
	if err != nil {
		return err
	}
	if fresh.rel == "." || f.holdsMount(fresh.name) {
		return errFixed
	}
	if old.root != fresh.root {
		return errors.New("it can't be moved from one virtual folder to another: copy it")
	}
	if _, err := fresh.root.Lstat(fresh.rel); err == nil && !f.access.At(fresh.name).Has(policy.DeleteFile) {
		return errDenied
	}
	if err := f.staysAsItIs(old, fresh.name); err != nil {
		return err
	}
	if err := f.quota(fresh).rename(old.root, old.rel, fresh.rel, amount{}); err != nil {
		return plain(err)
	}
	f.service.recorder.Note(&events.File{Login: f.session.login(), What: events.FileRenamedType, SessionID: f.session.id, Path: old.name, To: fresh.name})
	return nil
}

// Chmod implements afero.Fs: SITE CHMOD, without the set-id and sticky bits.
func (f *files) Chmod(name string, mode os.FileMode) error {
	p, err := f.resolveChange(name, policy.SetAttributes)
	if err != nil {
		return err
	}
	return plain(p.root.Chmod(p.rel, mode.Perm()))
}

// Chtimes implements afero.Fs: MFMT.
func (f *files) Chtimes(name string, accessed, modified time.Time) error {
	p, err := f.resolveChange(name, policy.SetAttributes)
	if err != nil {
		return err
	}
	return plain(p.root.Chtimes(p.rel, accessed, modified))
}

// GetAvailableSpace implements ftpserver.ClientDriverExtensionAvailableSpace: AVBL, of the disk and of the quota.
func (f *files) GetAvailableSpace(name string) (int64, error) {
	p := f.locate(f.clean(name))
	free, err := freeBytes(p.root.Name())
	if err != nil {
		return 0, errors.New("not known")
	}
	free -= f.session.settings.MinFree
	if usage := f.quota(p); usage != nil {
		now := usage.now(p.root)
		if f.limits.Bytes > 0 {
			free = min(free, f.limits.Bytes-now.bytes)
		}
		if f.limits.Files > 0 && now.files >= f.limits.Files {
			free = 0
		}
	}
	return max(0, free), nil
}

// AllocateSpace implements ftpserver.ClientDriverExtensionAllocate: ALLO, for a file in the working folder. Nothing is set aside.
func (f *files) AllocateSpace(size int) error {
	if size < 0 {
		return errors.New("a negative size")
	}
	free, err := f.GetAvailableSpace(f.client.Path())
	if err == nil && int64(size) > free {
		err = fmt.Errorf("%w: %d bytes are left", ftpserver.ErrStorageExceeded, free)
	}
	return err
}

// The rest of afero.Fs: the library does not come here, or must not.

// MkdirAll implements afero.Fs.
func (f *files) MkdirAll(string, os.FileMode) error { return errDenied }

// RemoveAll implements afero.Fs.
func (f *files) RemoveAll(string) error { return errDenied }

// Chown implements afero.Fs.
func (f *files) Chown(string, int, int) error { return errDenied }

// Create implements afero.Fs.
func (f *files) Create(string) (afero.File, error) { return nil, errDenied }

// Open implements afero.Fs.
func (f *files) Open(string) (afero.File, error) { return nil, errDenied }

// OpenFile implements afero.Fs.
func (f *files) OpenFile(string, int, os.FileMode) (afero.File, error) { return nil, errDenied }
