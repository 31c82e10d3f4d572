package ftps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"

	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// uploadDir is where uploads grow until they are complete: a reserved folder in the home, which
// no client sees. What a crash left there is removed at the next login.
const uploadDir = ".sallyport-uploads"

const (
	fileMode = 0o640
	dirMode  = 0o750
)

// files is a session's view of its home folder. Every access goes through os.Root, which follows
// no link out of it.
type files struct {
	service *Service
	session *session
	client  ftpserver.ClientContext
	root    *os.Root
	may     policy.Permissions

	mu      sync.Mutex
	ended   sync.Cond // when a transfer ends
	open    int       // transfers under way
	closing bool
}

var (
	_ ftpserver.ClientDriver                        = (*files)(nil)
	_ ftpserver.ClientDriverExtensionFileList       = (*files)(nil)
	_ ftpserver.ClientDriverExtentionFileTransfer   = (*files)(nil)
	_ ftpserver.ClientDriverExtensionRemoveDir      = (*files)(nil)
	_ ftpserver.ClientDriverExtensionAvailableSpace = (*files)(nil)
	_ ftpserver.ClientDriverExtensionSite           = (*files)(nil)
)

var (
	errDenied   = fmt.Errorf("%w by the administrator", fs.ErrPermission)
	errReserved = fmt.Errorf("%w: control characters in a name", ftpserver.ErrFileNameNotAllowed)
	errLink     = errors.New("links can't be made here")
)

// openFiles makes the home folder if it is not there, and opens it.
func openFiles(s *Service, sess *session, grant auth.Grant) (*files, error) {
	if err := policy.HomeApart(grant.Home, s.options.Private); err != nil { // before anything is made there
		return nil, fmt.Errorf("home folder %w", err)
	}
	if err := os.MkdirAll(grant.Home, dirMode); err != nil {
		return nil, fmt.Errorf("home folder: %w", err)
	}
	if err := apart(grant.Home, s.options.Private); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(grant.Home)
	if err != nil {
		return nil, fmt.Errorf("home folder: %w", err)
	}
	f := &files{service: s, session: sess, root: root, may: grant.Permissions}
	f.ended.L = &f.mu
	f.sweep()
	return f, nil
}

// apart refuses a home that holds or lies in our own data, by whatever links.
func apart(home, private string) error {
	home, err := filepath.EvalSymlinks(home)
	if err != nil {
		return fmt.Errorf("home folder: %w", err)
	}
	if private, err = filepath.EvalSymlinks(private); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := policy.HomeApart(home, private); err != nil {
		return fmt.Errorf("home folder %w", err)
	}
	return nil
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
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	for f.open > 0 {
		f.ended.Wait()
	}
	_ = f.root.Close()
}

// resolve checks the permission and turns the client's path into one below the root.
func (f *files) resolve(name string, needs policy.Permissions) (string, error) {
	if !f.may.Has(needs) {
		return "", errDenied
	}
	if !path.IsAbs(name) { // HASH passes its argument as it is
		name = path.Join(f.client.Path(), name)
	}
	rel := strings.TrimPrefix(path.Clean("/"+name), "/")
	if first, _, _ := strings.Cut(rel, "/"); first == uploadDir {
		return "", fs.ErrNotExist
	}
	if rel == "" {
		return ".", nil
	}
	if strings.Contains(rel, "/") && !f.may.Has(policy.Traverse) {
		return "", errDenied
	}
	return rel, nil
}

// resolveNew is resolve for a name that will be made.
func (f *files) resolveNew(name string, needs policy.Permissions) (string, error) {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errReserved
	}
	return f.resolve(name, needs)
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
		return fs.ErrNotExist
	}
	return err
}

// Name implements afero.Fs.
func (f *files) Name() string { return "home" }

// Stat implements afero.Fs. Who may only write learns nothing of files.
func (f *files) Stat(name string) (os.FileInfo, error) {
	rel, err := f.resolve(name, 0)
	if err != nil {
		return nil, err
	}
	if f.may == 0 {
		return nil, errDenied
	}
	info, err := f.root.Stat(rel)
	if folder, _ := f.wildcard(name); err != nil && folder != "" {
		return f.Stat(folder) // so that the library asks ReadDir
	}
	if err == nil && !info.IsDir() && f.may&(policy.Read|policy.List|policy.Rename) == 0 {
		return nil, errDenied
	}
	return info, plain(err)
}

// wildcard splits the argument of LIST and NLST, if its last part is a pattern.
func (f *files) wildcard(name string) (folder, pattern string) {
	command := f.client.GetLastCommand()
	if (command != "LIST" && command != "NLST") || !strings.ContainsAny(path.Base(name), "*?[") {
		return "", ""
	}
	return path.Dir(name), path.Base(name)
}

// ReadDir implements ftpserver.ClientDriverExtensionFileList. Links are shown as what they lead
// to, and those that lead nowhere, or out, as empty files.
func (f *files) ReadDir(name string) ([]os.FileInfo, error) {
	pattern := "*"
	if folder, p := f.wildcard(name); folder != "" {
		if info, err := f.root.Stat(strings.TrimPrefix(path.Clean(name), "/")); err != nil || !info.IsDir() {
			name, pattern = folder, p
			f.client.SetListPath(path.Clean(folder))
		}
	}
	rel, err := f.resolve(name, policy.List)
	if err != nil {
		return nil, err
	}
	dir, err := f.root.Open(rel)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = dir.Close() }()
	infos, err := dir.Readdir(-1)
	if err != nil {
		return nil, plain(err)
	}
	infos = slices.DeleteFunc(infos, func(i os.FileInfo) bool {
		matches, err := path.Match(pattern, i.Name())
		return !matches || err != nil || (rel == "." && i.Name() == uploadDir) || strings.ContainsAny(i.Name(), "\r\n")
	})
	for i, info := range infos {
		if info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := f.root.Stat(path.Join(rel, info.Name()))
		if err != nil {
			target = info
		}
		infos[i] = named{target, info.Name()}
	}
	return infos, nil
}

// named is a file's information under the name of the link to it.
type named struct {
	os.FileInfo
	name string
}

// Name implements [os.FileInfo].
func (n named) Name() string { return n.name }

// Mode implements [os.FileInfo].
func (n named) Mode() os.FileMode { return n.FileInfo.Mode() &^ fs.ModeSymlink }

// Mkdir implements afero.Fs.
func (f *files) Mkdir(name string, _ os.FileMode) error {
	rel, err := f.resolveNew(name, policy.CreateFolder)
	if err != nil {
		return err
	}
	return plain(f.root.Mkdir(rel, dirMode))
}

// Remove implements afero.Fs: DELE, files only.
func (f *files) Remove(name string) error {
	rel, err := f.resolve(name, policy.DeleteFile)
	if err != nil {
		return err
	}
	info, err := f.root.Lstat(rel)
	if err != nil {
		return plain(err)
	}
	if info.IsDir() {
		return errors.New("is a folder")
	}
	return plain(f.root.Remove(rel))
}

// RemoveDir implements ftpserver.ClientDriverExtensionRemoveDir: RMD, empty folders only.
func (f *files) RemoveDir(name string) error {
	rel, err := f.resolve(name, policy.DeleteFolder)
	if err != nil {
		return err
	}
	info, err := f.root.Lstat(rel)
	switch {
	case err != nil:
		return plain(err)
	case !info.IsDir():
		return errors.New("is not a folder")
	case rel == ".":
		return errors.New("the home folder can't be removed")
	}
	return plain(f.root.Remove(rel))
}

// Rename implements afero.Fs. What is there under the new name already is replaced, if it may be deleted.
func (f *files) Rename(from, to string) error {
	oldRel, err := f.resolve(from, policy.Rename)
	if err != nil {
		return err
	}
	newRel, err := f.resolveNew(to, policy.Rename)
	if err != nil {
		return err
	}
	if oldRel == "." || newRel == "." {
		return errors.New("the home folder can't be renamed")
	}
	if _, err := f.root.Lstat(newRel); err == nil && !f.may.Has(policy.DeleteFile) {
		return errDenied
	}
	return plain(f.root.Rename(oldRel, newRel))
}

// Chmod implements afero.Fs: SITE CHMOD, without the set-id and sticky bits.
func (f *files) Chmod(name string, mode os.FileMode) error {
	rel, err := f.resolve(name, policy.SetAttributes)
	if err != nil {
		return err
	}
	return plain(f.root.Chmod(rel, mode.Perm()))
}

// Chtimes implements afero.Fs: MFMT.
func (f *files) Chtimes(name string, accessed, modified time.Time) error {
	rel, err := f.resolve(name, policy.SetAttributes)
	if err != nil {
		return err
	}
	return plain(f.root.Chtimes(rel, accessed, modified))
}

// GetAvailableSpace implements ftpserver.ClientDriverExtensionAvailableSpace.
func (f *files) GetAvailableSpace(string) (int64, error) {
	free, err := freeBytes(f.root.Name())
	if err != nil {
		return 0, errors.New("not known")
	}
	return max(0, free-f.session.settings.MinFree), nil
}

// Site implements ftpserver.ClientDriverExtensionSite: the library's own SITE makes links,
// changes owners, and removes whole trees.
func (f *files) Site(param string) *ftpserver.AnswerCommand {
	command, rest, _ := strings.Cut(strings.TrimSpace(param), " ")
	switch strings.ToUpper(command) {
	case "CHMOD":
		digits, name, _ := strings.Cut(rest, " ")
		mode, err := strconv.ParseUint(digits, 8, 32)
		if err != nil || name == "" || mode > 0o777 {
			return &ftpserver.AnswerCommand{Code: ftpserver.StatusSyntaxErrorParameters, Message: "SITE CHMOD MODE NAME is expected, with a mode of 000 to 777."}
		}
		if err := f.Chmod(name, os.FileMode(mode)); err != nil {
			return &ftpserver.AnswerCommand{Code: ftpserver.StatusActionNotTaken, Message: "Mode not changed: " + err.Error()}
		}
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusOK, Message: "Mode changed."}
	case "HELP":
		return &ftpserver.AnswerCommand{Code: 214, Message: "SITE knows CHMOD and HELP."}
	case "SYMLINK":
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusNotImplementedParam, Message: "Not allowed: " + errLink.Error()}
	}
	return &ftpserver.AnswerCommand{Code: ftpserver.StatusNotImplementedParam, Message: "SITE knows CHMOD and HELP."}
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
