package ftps

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// place is a path of the client with the folder that it is in: the home, or a virtual one.
type place struct {
	name string // absolute, as the client sees it
	root *os.Root
	rel  string // below the root; "." is the root itself
}

// mount is a virtual folder.
type mount struct {
	at   string
	root *os.Root
}

// locate finds the virtual folder that the path is in, the innermost, or else the home.
func (f *files) locate(name string) place {
	p := place{name: name, root: f.root, rel: relative(name, "/")}
	longest := 0
	for _, m := range f.mounts {
		if (name == m.at || strings.HasPrefix(name, m.at+"/")) && len(m.at) > longest {
			longest = len(m.at)
			p.root, p.rel = m.root, relative(name, m.at)
		}
	}
	return p
}

func relative(name, folder string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(name, folder), "/")
	if rel == "" {
		return "."
	}
	return rel
}

// holdsMount reports whether the path is a virtual folder, or one on the way to it.
func (f *files) holdsMount(name string) bool {
	for _, m := range f.mounts {
		if m.at == name || strings.HasPrefix(m.at, strings.TrimSuffix(name, "/")+"/") {
			return true
		}
	}
	return false
}

// mountsIn lists the virtual folders that are in a folder, and those on the way to others.
func (f *files) mountsIn(name string) (infos []os.FileInfo) {
	seen := map[string]bool{}
	for _, m := range f.mounts {
		rest, ok := strings.CutPrefix(m.at, strings.TrimSuffix(name, "/")+"/")
		first, _, _ := strings.Cut(rest, "/")
		if !ok || first == "" || seen[first] {
			continue
		}
		seen[first] = true
		if info, err := m.root.Stat("."); err == nil && first == rest {
			infos = append(infos, named{info, first})
		} else {
			infos = append(infos, folder{first})
		}
	}
	return infos
}

// maxMoved is how many files a folder may hold that is renamed where rules by path count.
const maxMoved = 10_000

// staysAsItIs refuses to rename where rules by path count, if anything could be done under the new name, with the file or
// with one in the folder, that could not under the old one: rules would only be names to be changed. And what is moved to a
// place must be allowed to be made there.
func (f *files) staysAsItIs(old place, fresh string) error {
	if !f.access.HasRules() {
		return nil
	}
	info, err := old.root.Lstat(old.rel)
	if err != nil {
		return plain(err)
	}
	if info.Mode()&fs.ModeSymlink != 0 { // where it leads to may depend on where it is
		return errDenied
	}
	needs := policy.Write
	if info.IsDir() {
		needs = policy.CreateFolder
	}
	if !f.access.At(fresh).Has(needs) {
		return errDenied
	}
	count := 0
	return fs.WalkDir(old.root.FS(), old.rel, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return plain(err)
		}
		if count++; count > maxMoved {
			return fmt.Errorf("it holds more than %d files, and there are rules for some paths: rename in parts", maxMoved)
		}
		below := relative("/"+name, "/"+old.rel)
		if f.access.At(path.Join(fresh, below))&^f.access.At(path.Join(old.name, below)) != 0 {
			return errDenied
		}
		return nil
	})
}

// folder is the information on a folder that is only there because a virtual folder is in it.
type folder struct{ name string }

// Name implements [os.FileInfo].
func (f folder) Name() string { return f.name }

// Size implements [os.FileInfo].
func (folder) Size() int64 { return 0 }

// Mode implements [os.FileInfo].
func (folder) Mode() fs.FileMode { return fs.ModeDir | 0o555 }

// ModTime implements [os.FileInfo].
func (folder) ModTime() time.Time { return time.Unix(0, 0) }

// IsDir implements [os.FileInfo].
func (folder) IsDir() bool { return true }

// Sys implements [os.FileInfo].
func (folder) Sys() any { return nil }
