package ftps

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// factNames are the facts that MLST and MLSD say of a file, in this order (RFC 3659, section 7.5; UNIX.mode is everybody's).
func factNames() []string { return []string{"Type", "Size", "Modify", "Perm", "UNIX.mode"} }

// chooseFacts takes the argument of OPTS MLST: those of the names that we know are said from now on, and are the answer.
func (sess *session) chooseFacts(names string) (chosen string) {
	wanted := strings.Split(strings.ToUpper(names), ";")
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.facts = slices.DeleteFunc(factNames(), func(name string) bool { return !slices.Contains(wanted, strings.ToUpper(name)) })
	for _, name := range sess.facts {
		chosen += name + ";"
	}
	return chosen
}

func (sess *session) chosenFacts() []string {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.facts
}

// offered is the line of FEAT: an asterisk is behind each that is said.
func (sess *session) offered() string {
	var b strings.Builder
	chosen := sess.chosenFacts()
	for _, name := range factNames() {
		b.WriteString(name)
		if slices.Contains(chosen, name) {
			b.WriteString("*")
		}
		b.WriteString(";")
	}
	return b.String()
}

// factsOf are those of a file, up to its name in the line. Its path is absolute.
func (f *files) factsOf(facts []string, info os.FileInfo, name string) string {
	var b strings.Builder
	for _, fact := range facts {
		b.WriteString(fact + "=" + f.fact(fact, info, name) + ";")
	}
	return b.String() + " "
}

func (f *files) fact(fact string, info os.FileInfo, name string) string {
	switch fact {
	case "Size":
		return fmt.Sprint(info.Size())
	case "Modify":
		return info.ModTime().UTC().Format("20060102150405")
	case "Perm":
		return f.perm(info, name)
	case "UNIX.mode":
		return fmt.Sprintf("%04o", info.Mode().Perm())
	}
	switch {
	case info.IsDir():
		return "dir"
	case info.Mode()&os.ModeSymlink == 0:
		return "file"
	}
	if l, ok := info.(link); ok && l.to != elsewhere && !strings.ContainsAny(l.to, " ;") {
		return "OS.unix=slink:" + l.to // so lftp and FileZilla know where to
	}
	return "OS.unix=symlink"
}

// right is a letter of the fact Perm (RFC 3659, section 7.5.5) with what it takes.
type right struct {
	letter string
	needs  policy.Permissions
	within bool // for what is in the folder
}

func fileRights() []right {
	return []right{{"a", policy.Write, false}, {"d", policy.DeleteFile, false}, {"f", policy.Rename, false}, {"r", policy.Read, false}, {"w", policy.Write, false}}
}

func folderRights() []right {
	return []right{
		{"c", policy.Write, true},
		{"d", policy.DeleteFolder, false},
		{"e", policy.Traverse, false},
		{"f", policy.Rename, false},
		{"l", policy.List, false},
		{"m", policy.CreateFolder, true},
		{"p", policy.DeleteFile, true},
	}
}

// perm are the letters for what the client may do by its permissions. The file system may still say no, and other rules may be for other names in a folder.
func (f *files) perm(info os.FileInfo, name string) string {
	rights, may := fileRights(), f.access.At(name)
	within := may
	if info.IsDir() {
		rights = folderRights()
		if f.access.HasRules() {
			within = f.access.At(path.Join(name, "a"))
		}
		if name == "/" || f.holdsMount(name) {
			may &^= policy.DeleteFolder | policy.Rename
		}
	}
	letters := ""
	for _, r := range rights {
		if r.within && within.Has(r.needs) || !r.within && may.Has(r.needs) {
			letters += r.letter
		}
	}
	return letters
}

// mlst answers MLST: it is about a name that the client sees, and says it in full.
func (f *files) mlst(name string) (string, error) {
	name = f.clean(name)
	info, err := f.Stat(name)
	if err != nil {
		return "", err
	}
	return "Listed:\n " + f.factsOf(f.session.chosenFacts(), info, name) + name + "\nEnd", nil
}
