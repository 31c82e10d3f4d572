package policy

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Within reports whether path is the folder or lies in it, by their names.
func Within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// HomeApart returns an error if a home folder is, holds, or lies in the folder of keys and
// accounts. Of a home with {username} the part before it counts too. Names are compared: whoever
// opens the folder resolves links first.
func HomeApart(home, private string) error {
	fixed, _, _ := strings.Cut(home, "{username}")
	if Within(filepath.Clean(home), private) || Within(private, filepath.Clean(home)) || Within(filepath.Clean(fixed), private) {
		return fmt.Errorf("%q: it must not hold or lie in %s, where keys and accounts are", home, private)
	}
	return nil
}

// VirtualFolder is a folder of the server that a session sees in its home.
type VirtualFolder struct {
	Path string // as the client sees it: absolute and clean
	Real string // absolute; may hold {username} in a configuration
}

// maxFolders is how many virtual folders, or folders of a new home, one login has at most.
const maxFolders = 100

// CheckVirtualFolder refuses what can't be a virtual folder.
func CheckVirtualFolder(v VirtualFolder) error {
	switch {
	case !strings.HasPrefix(v.Path, "/") || v.Path == "/" || path.Clean(v.Path) != v.Path || strings.ContainsFunc(v.Path, unicode.IsControl):
		return fmt.Errorf("virtual folder %q: an absolute path such as \"/shared\" is expected", v.Path)
	case !filepath.IsAbs(v.Real) || strings.ContainsRune(v.Real, 0):
		return fmt.Errorf("virtual folder %q: the real folder %q must be an absolute path", v.Path, v.Real)
	}
	return nil
}

// ParseVirtualFolders reads virtual folders as a plugin writes them: one a line, the path that the client
// sees, a tab, and the real folder.
func ParseVirtualFolders(text string) (all []VirtualFolder, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			continue
		}
		virtual, actual, ok := strings.Cut(line, "\t")
		v := VirtualFolder{virtual, actual}
		if !ok {
			return nil, fmt.Errorf("virtual folder %.80q: a path, a tab, and the real folder are expected", line)
		}
		if err := CheckVirtualFolder(v); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other VirtualFolder) bool { return other.Path == v.Path }) {
			return nil, fmt.Errorf("virtual folder %q is there twice", v.Path)
		}
		if all = append(all, v); len(all) > maxFolders {
			return nil, fmt.Errorf("more than %d virtual folders", maxFolders)
		}
	}
	return all, nil
}

// ParseStructure reads the folders of a new home: relative paths, one a line.
func ParseStructure(text string) (all []string, err error) {
	for line := range strings.Lines(text) {
		name := strings.Trim(strings.TrimSuffix(line, "\n"), "/")
		if name == "" {
			continue
		}
		if !filepath.IsLocal(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return nil, fmt.Errorf("folder %q of the home must be a relative path below it", name)
		}
		if all = append(all, path.Clean(name)); len(all) > maxFolders {
			return nil, fmt.Errorf("more than %d folders", maxFolders)
		}
	}
	return all, nil
}
