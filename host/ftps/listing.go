package ftps

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// entriesAtOnce is how many entries of a folder are in memory at once. RATIONALE.md, "How is a folder with a million files listed?".
const entriesAtOnce = 1000

var errLargeFolder = fmt.Errorf("it holds more than %d files: use MLSD or LIST", entriesAtOnce)

// list reads what of a folder is visible, and the virtual folders in it, sorted if it is not large. For a data connection that is one listing,
// the rest of which is read while it is sent.
func (f *files) list(p place, visible func(name string) bool, virtual []os.FileInfo) ([]os.FileInfo, error) {
	f.endListing()
	l := &listing{files: f, place: p, visible: visible, entries: virtual}
	if err := l.open(); err != nil && (len(virtual) == 0 || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if l.dir == nil {
		slices.SortFunc(l.entries, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	}
	line, err := f.lineFormat(p.name)
	switch {
	case err != nil:
		l.close()
		return nil, err
	case line == nil && l.dir != nil: // for a reply, which is in memory
		l.close()
		return nil, errLargeFolder
	case line == nil:
		for i, info := range l.entries {
			l.entries[i] = named{info, info.Name()}
		}
		return l.entries, nil
	case len(l.entries) == 0 && l.dir == nil:
		return nil, nil
	}
	l.line = line
	f.mu.Lock()
	f.listing = l
	f.mu.Unlock()
	return []os.FileInfo{listed{}}, nil
}

// endListing frees what is left of a listing that was not read to its end.
func (f *files) endListing() {
	if l := f.takeListing(); l != nil {
		l.close()
	}
}

func (f *files) takeListing() *listing {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.listing
	f.listing = nil
	return l
}

// shown are the entries that are visible.
func (l *listing) shown(infos []os.FileInfo) []os.FileInfo {
	kept := infos[:0]
	for _, info := range infos {
		if !l.visible(info.Name()) {
			continue
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			info = l.files.link(l.place, info)
		}
		kept = append(kept, info)
	}
	return kept
}

// link is a symbolic link as the link that it is: a client that deletes a folder must not follow it.
type link struct {
	os.FileInfo
	to string
}

// link reads where a link in a folder leads to. What is outside, by a path of the server, or may not be seen is nobody's business.
func (f *files) link(folder place, info os.FileInfo) link {
	to, err := folder.root.Readlink(path.Join(folder.rel, info.Name()))
	inside := err == nil && !path.IsAbs(to) && filepath.IsLocal(path.Join(folder.rel, to)) && !strings.ContainsAny(to, "\r\n")
	if !inside || f.access.At(path.Join(folder.name, to)) == 0 {
		to = elsewhere
	}
	return link{info, to}
}

// elsewhere is what is said of other links.
const elsewhere = "elsewhere"

// lsLine is a line of LIST, as ls writes it: with the time of this year, and the year of others.
func lsLine(i os.FileInfo, now time.Time) string {
	layout := "Jan _2 15:04"
	if age := now.Sub(i.ModTime()); age > 180*24*time.Hour || age < -24*time.Hour {
		layout = "Jan _2  2006"
	}
	name := i.Name()
	if l, ok := i.(link); ok {
		name += " -> " + l.to
	}
	return fmt.Sprintf("%s 1 ftp ftp %12d %s %s", lsMode(i.Mode()), i.Size(), i.ModTime().Format(layout), name)
}

// lsMode is a mode as clients know it from ls. Go writes others.
func lsMode(mode fs.FileMode) string {
	kind := "-"
	switch mode.Type() {
	case fs.ModeDir:
		kind = "d"
	case fs.ModeSymlink:
		kind = "l"
	case fs.ModeNamedPipe:
		kind = "p"
	case fs.ModeSocket:
		kind = "s"
	case fs.ModeDevice:
		kind = "b"
	case fs.ModeDevice | fs.ModeCharDevice:
		kind = "c"
	}
	return kind + mode.Perm().String()[1:]
}

// lineFormat writes the entries of a folder for the command that asks, on a data connection; nil: it has none.
func (f *files) lineFormat(folder string) (func(os.FileInfo) string, error) {
	switch f.session.asks() {
	case "MLSD":
		facts := f.session.chosenFacts()
		return func(i os.FileInfo) string { return f.factsOf(facts, i, path.Join(folder, i.Name())) + i.Name() }, nil
	case "NLST":
		below, err := filepath.Rel(f.client.Path(), folder)
		return func(i os.FileInfo) string { return path.Join(below, i.Name()) }, err
	case "LIST":
		now := time.Now()
		return func(i os.FileInfo) string { return lsLine(i, now) }, nil
	}
	return nil, nil
}

// listing is a folder on its way to the client.
type listing struct {
	files   *files
	place   place
	visible func(name string) bool
	line    func(os.FileInfo) string

	mu      sync.Mutex
	dir     *os.File // nil: all is read
	entries []os.FileInfo
}

// open reads the first entries.
func (l *listing) open() (err error) {
	if l.dir, err = l.place.root.Open(l.place.rel); err != nil {
		return err
	}
	for err == nil && l.more() && len(l.entries) <= entriesAtOnce {
		err = l.read()
	}
	return err
}

// read adds some entries. Only io.EOF is the end: those that are gone when they are looked at make a batch short.
func (l *listing) read() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil {
		return fs.ErrClosed
	}
	infos, err := l.dir.Readdir(entriesAtOnce)
	l.entries = append(l.entries, l.shown(infos)...)
	if err != nil {
		_ = l.dir.Close()
		l.dir = nil
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (l *listing) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dir != nil
}

func (l *listing) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir != nil {
		_ = l.dir.Close()
		l.dir = nil
	}
}

// writeTo writes the lines in records full.
func (l *listing) writeTo(w io.Writer) error {
	out := bufio.NewWriterSize(w, tlsRecord)
	for {
		for _, info := range l.entries {
			if _, err := out.WriteString(l.line(info) + "\r\n"); err != nil {
				return err
			}
		}
		l.entries = l.entries[:0]
		if !l.more() {
			return out.Flush()
		}
		if err := l.read(); err != nil {
			return plain(err)
		}
	}
}

// listed stands for a listing where the library wants to know each entry. It writes what it is told and then the name.
type listed struct{ folder }

// instead is a name that no file has: the lines are ours.
const instead = "\x00"

// Name implements [os.FileInfo].
func (listed) Name() string { return instead }

// lines is a data connection for a listing.
type lines struct {
	*tls.Conn
	files *files
}

// Write implements [io.Writer], for a line of the library.
func (l lines) Write(line []byte) (int, error) {
	if !bytes.Contains(line, []byte(instead)) {
		return l.Conn.Write(line)
	}
	if err := l.Handshake(); err != nil { // also if there are no lines
		return 0, err
	}
	if listing := l.files.takeListing(); listing != nil {
		defer listing.close()
		return len(line), listing.writeTo(l.Conn)
	}
	return 0, fs.ErrClosed
}
