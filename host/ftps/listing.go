package ftps

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// entriesAtOnce is how many entries of a folder are in memory at once. RATIONALE.md, "How is a folder with a million files listed?".
const entriesAtOnce = 1000

var errLargeFolder = fmt.Errorf("it holds more than %d files: use MLSD or LIST", entriesAtOnce)

// list reads a folder, without what is hidden. One that is large is read while it is sent: then the entries stand for many each.
func (f *files) list(p place, visible func(name string) bool) ([]os.FileInfo, error) {
	f.endListing()
	dir, err := p.root.Open(p.rel)
	if err != nil {
		return nil, err
	}
	infos, err := dir.Readdir(entriesAtOnce + 1)
	if errors.Is(err, io.EOF) {
		err = nil // it is empty
	}
	if err != nil || len(infos) <= entriesAtOnce {
		_ = dir.Close()
		return p.shown(infos, visible), err
	}
	format, err := f.lineFormat(p.name)
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	l := &listing{dir: dir, place: p, visible: visible, format: format, broken: f.session.cutTransfers}
	total, err := l.count()
	if err != nil {
		l.close()
		return nil, err
	}
	l.blocks = (total + entriesAtOnce - 1) / entriesAtOnce
	f.mu.Lock()
	f.listing = l
	f.mu.Unlock()
	all := make([]os.FileInfo, l.blocks)
	for i := range all {
		all[i] = l
	}
	return all, nil
}

// endListing frees what is left of a listing that was not read to its end.
func (f *files) endListing() {
	f.mu.Lock()
	l := f.listing
	f.listing = nil
	f.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// shown are the entries that are visible. Links are shown as what they lead to.
func (p place) shown(infos []os.FileInfo, visible func(name string) bool) []os.FileInfo {
	kept := infos[:0]
	for _, info := range infos {
		if !visible(info.Name()) {
			continue
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := p.root.Stat(path.Join(p.rel, info.Name()))
			if err != nil {
				target = info
			}
			info = named{target, info.Name()}
		}
		kept = append(kept, info)
	}
	return kept
}

// lineFormat writes entries as the library does for the command that asks.
func (f *files) lineFormat(folder string) (func(os.FileInfo) string, error) {
	switch command := f.client.GetLastCommand(); command {
	case "MLSD":
		return func(i os.FileInfo) string {
			kind := "file"
			if i.IsDir() {
				kind = "dir"
			}
			return fmt.Sprintf("Type=%s;Size=%d;Modify=%s; %s", kind, i.Size(), i.ModTime().UTC().Format("20060102150405"), i.Name())
		}, nil
	case "NLST":
		below, err := filepath.Rel(f.client.Path(), folder)
		return func(i os.FileInfo) string { return path.Join(below, i.Name()) }, err
	case "LIST":
		connected := f.session.connected
		return func(i os.FileInfo) string {
			layout := "Jan _2 15:04"
			if connected.Sub(i.ModTime()) > 180*24*time.Hour {
				layout = "Jan _2  2006"
			}
			return fmt.Sprintf("%s 1 ftp ftp %12d %s %s", i.Mode(), i.Size(), i.ModTime().Format(layout), i.Name())
		}, nil
	}
	return nil, errLargeFolder // in a reply (STAT) it would be all in memory
}

// listing is a large folder on its way to the client, and the information on the next file in it. The library asks each entry for
// its name last, and writes that as it is: there the lines of the others of a block follow.
type listing struct {
	place   place
	visible func(name string) bool
	format  func(os.FileInfo) string
	broken  func() // it can't be read to its end: the client must not take what it has for all

	mu     sync.Mutex
	dir    *os.File
	blocks int // that are still to come
	block  []os.FileInfo
	last   os.FileInfo
}

var _ os.FileInfo = (*listing)(nil)

// count counts what is visible, and rewinds.
func (l *listing) count() (n int, err error) {
	if _, err := l.dir.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	for {
		names, err := l.dir.Readdirnames(entriesAtOnce)
		for _, name := range names {
			if l.visible(name) {
				n++
			}
		}
		if errors.Is(err, io.EOF) {
			_, err = l.dir.Seek(0, io.SeekStart)
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

// next is the first entry of the block, which is read if it is not there yet. The last block takes all that is left; should files
// have gone meanwhile, so that none is, the one before comes again.
func (l *listing) next() os.FileInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.dir != nil && (len(l.block) < entriesAtOnce || l.blocks == 1) {
		infos, err := l.dir.Readdir(entriesAtOnce)
		l.block = append(l.block, l.place.shown(infos, l.visible)...)
		if err != nil {
			l.closeDir()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.broken()
		}
	}
	if len(l.block) == 0 && l.last == nil {
		return folder{"."}
	}
	if len(l.block) == 0 {
		return l.last
	}
	return l.block[0]
}

// Name implements [os.FileInfo]: the name, and the lines of the other entries of the block.
func (l *listing) Name() string {
	first := l.next()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.block), entriesAtOnce)
	if l.blocks == 1 {
		n = len(l.block)
	}
	var b strings.Builder
	b.WriteString(first.Name())
	for _, info := range l.block[min(1, n):n] {
		b.WriteString("\r\n" + l.format(info))
	}
	l.last = first
	l.block = append(l.block[:0], l.block[n:]...)
	if l.blocks--; l.blocks == 0 {
		l.closeDir()
	}
	return b.String()
}

// Size implements [os.FileInfo].
func (l *listing) Size() int64 { return l.next().Size() }

// Mode implements [os.FileInfo].
func (l *listing) Mode() fs.FileMode { return l.next().Mode() }

// ModTime implements [os.FileInfo].
func (l *listing) ModTime() time.Time { return l.next().ModTime() }

// IsDir implements [os.FileInfo].
func (l *listing) IsDir() bool { return l.next().IsDir() }

// Sys implements [os.FileInfo].
func (*listing) Sys() any { return nil }

func (l *listing) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeDir()
}

// closeDir is called with the lock.
func (l *listing) closeDir() {
	if l.dir != nil {
		_ = l.dir.Close()
		l.dir = nil
	}
}
