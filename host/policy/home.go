package policy

import (
	"fmt"
	"path/filepath"
	"strings"
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
