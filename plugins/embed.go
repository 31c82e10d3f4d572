// Package plugins carries the bundled methods inside the program: one file to copy.
// "make plugins" puts them into the folder wasm, which a fresh clone has with a placeholder only.
package plugins

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed wasm
var files embed.FS

// Bundled returns the module of a bundled method, or fs.ErrNotExist.
func Bundled(name string) ([]byte, error) {
	return fs.ReadFile(files, path.Join("wasm", name+".wasm"))
}

// Names lists the bundled methods.
func Names() []string {
	entries, _ := fs.ReadDir(files, "wasm") // the folder is embedded, so it is there
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".wasm"); ok {
			names = append(names, name)
		}
	}
	return names
}
