package policy

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

//go:embed words.txt
var wordLists string // (c) 2012-2016 Dan Wheeler and Dropbox, Inc., MIT licence; testdata/strength.mjs says what is where

// Words are what people make passwords of: the lists of zxcvbn, and passwords that nobody may have: the 30,000 that
// leaked most often, and the administrator's own.
type Words struct{ lists func() lists }

type lists struct {
	known map[string]struct{} // as plain makes them
	ranks map[string]int      // of words, the most common one is 1
}

// NewWords makes the lists. They are read when they are needed for the first time.
func NewWords(own []string) *Words {
	return &Words{sync.OnceValue(func() lists {
		l := lists{map[string]struct{}{}, map[string]int{}}
		for _, password := range own {
			l.known[plain(password)] = struct{}{}
		}
		rank := 0
		for line := range strings.Lines(wordLists) {
			rank++
			for i, word := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
				if _, ok := l.ranks[word]; !ok && word != "" {
					l.ranks[word] = rank
				}
				if i == 0 {
					l.known[plain(word)] = struct{}{}
				}
			}
		}
		return l
	})}
}

// maxDecoration is how many digits and signs around a known password do not make another one of it.
const maxDecoration = 4

// isKnown reports whether the password is one that nobody may have, whatever its case, with letters swapped for digits and signs, and
// with a few of them around it.
func (w *Words) isKnown(password string) bool {
	if w == nil {
		return false
	}
	bare := strings.TrimFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, text := range []string{password, bare} {
		if len(password)-len(text) > maxDecoration || text == "" {
			continue
		}
		if _, ok := w.lists().known[plain(text)]; ok {
			return true
		}
	}
	return false
}

// plain takes out of a password what people change in a word to make a password of it.
func plain(password string) string {
	folded := cases.Fold().String(norm.NFKC.String(password))
	return strings.ReplaceAll(unswap(folded, "i"), "l", "i")
}
