package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ftps/sallyport/host/config"
)

// dataDir is data_dir with its private folder, held under a lock: one process at a time.
type dataDir struct {
	path, private string
	lock          *os.File
	made          []string // folders that this process made, to undo a start that failed
}

func (d *dataDir) file(name string) string { return filepath.Join(d.private, name) }

// The files of the private folder.
const (
	stateFile    = "state.db"
	socketFile   = "sallyport.sock"
	lockFile     = "lock"
	keyFile      = "tls.key"
	codesFile    = "codes.key"
	serverIDFile = "server.id"
	seedFile     = "subscriber.nk"
	eventsDir    = "events"
	cacheDir     = "cache"
)

// errInUse says that another process holds the data folder.
var errInUse = errors.New("in use")

// openDataDir makes the folders if they are not there and takes the lock.
func openDataDir(path string) (*dataDir, error) {
	d := &dataDir{path: path, private: config.PrivateDir(path)}
	if err := d.makeFolders(); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder %s: %w; make it writable, or set another data_dir", path, err), d.undo())
	}
	var err error
	if d.lock, err = os.OpenFile(d.file(lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder %s: %w; make it writable, or set another data_dir", path, err), d.undo())
	}
	if err := takeLock(d.lock); err != nil {
		_ = d.lock.Close()
		return nil, fmt.Errorf("data folder %s is %w", path, err)
	}
	if now, err := os.Stat(d.file(lockFile)); err != nil || !same(d.lock, now) { // its owner removed the folder meanwhile
		_ = d.lock.Close()
		return openDataDir(path)
	}
	_ = d.lock.Truncate(0)
	_, _ = d.lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0) // for the other's message only
	return d, nil
}

func (d *dataDir) makeFolders() error {
	var missing []string
	for folder := d.path; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) || folder == filepath.Dir(folder) {
			break
		}
		missing = append([]string{folder}, missing...)
	}
	for _, folder := range missing {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		d.made = append(d.made, folder)
	}
	if err := os.Mkdir(d.private, 0o700); err == nil {
		d.made = append(d.made, d.private)
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(d.private)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s must be a folder with mode 0700, it is %s", d.private, info.Mode())
	}
	return nil
}

// undo removes what this process made, if it holds nothing of worth yet.
func (d *dataDir) undo() error {
	for i := len(d.made) - 1; i >= 0; i-- {
		if d.made[i] == d.private {
			if err := os.RemoveAll(d.private); err != nil {
				return err
			}
		} else if err := os.Remove(d.made[i]); err != nil {
			return nil // something is in it
		}
	}
	return nil
}

func (d *dataDir) close() { _ = d.lock.Close() }

func same(file *os.File, info fs.FileInfo) bool {
	own, err := file.Stat()
	return err == nil && os.SameFile(own, info)
}

func takeLock(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 16)
		n, _ := file.ReadAt(pid, 0)
		return fmt.Errorf("%w by another sallyport (process %s): stop that one, or set another data_dir", errInUse, strings.TrimSpace(string(pid[:n])))
	}
	return err
}

// checkLock reports whether an existing data folder is in use, and changes nothing.
func checkLock(path string) error {
	file, err := os.OpenFile(filepath.Join(config.PrivateDir(path), lockFile), os.O_RDWR, 0)
	if err != nil {
		return nil // openDataDir will say it better
	}
	defer func() { _ = file.Close() }()
	if err := takeLock(file); err != nil {
		return fmt.Errorf("data folder %s is %w", path, err)
	}
	return nil
}

// dialSocket connects to the running server of a data folder.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	return d.DialContext(ctx, "unix", filepath.Join(config.PrivateDir(path), socketFile))
}

// listenSocket opens the administration socket, mode 0600 in a folder of mode 0700.
func (d *dataDir) listenSocket() (net.Listener, error) {
	path := d.file(socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that crashed; we hold the lock
		return nil, fmt.Errorf("administration socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("administration socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("administration socket: %w", err), l.Close())
	}
	return l, nil
}
