package policy

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Access says what a session may do with each path. It is made of layers, such as what a plugin and
// what the group says; a path may be used as all of them allow. Without a layer nothing may be done.
type Access []Layer

// Layer is what one of those who decide says: general permissions, and rules for some paths.
type Layer struct {
	General Permissions
	Rules   []PathRule // the first that matches a path replaces General
}

// PathRule is the permissions of the paths that match an expression.
type PathRule struct {
	Expression  string
	Permissions Permissions
	matches     *regexp.Regexp
	weight      int
}

// maxExpression bounds an expression, and maxRules how many a layer has.
const (
	maxExpression = 512
	maxRules      = 1000
)

// NewPathRule reads an expression as SFTPPlus users know them: a glob over the whole path, such as
// "/incoming/*", in which * also stands for slashes, ? for one character and [a-z] for one of some; or a
// regular expression that is searched for, as "m/^\/in(coming)?\//". Case counts.
func NewPathRule(expression string, permissions Permissions) (PathRule, error) {
	if expression == "" || len(expression) > maxExpression || strings.ContainsFunc(expression, unicode.IsControl) {
		return PathRule{}, fmt.Errorf("path expression %.40q: 1 to %d characters are expected, none of them a control character", expression, maxExpression)
	}
	pattern, err := regularExpression(expression)
	if err != nil {
		return PathRule{}, fmt.Errorf("path expression %q: %w", expression, err)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return PathRule{}, fmt.Errorf("path expression %q: %w", expression, err)
	}
	size := weight(parsed)
	if size > maxWeight {
		return PathRule{}, fmt.Errorf("path expression %q is too large: it repeats too much", expression)
	}
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return PathRule{}, fmt.Errorf("path expression %q: %w", expression, err)
	}
	return PathRule{expression, permissions, matches, size}, nil
}

// maxWeight bounds the memory of an expression, and the time that a path costs, and maxWeights that of a layer.
const (
	maxWeight  = 2000
	maxWeights = 20_000
)

// weight is about how many instructions an expression becomes: counted repetitions are written out.
func weight(re *syntax.Regexp) int {
	total := 1 + len(re.Rune)
	for _, inner := range re.Sub {
		total = min(total+weight(inner), 1<<20)
	}
	if re.Op == syntax.OpRepeat {
		total = min(total*max(1, re.Min, re.Max), 1<<20)
	}
	return total
}

func regularExpression(expression string) (string, error) {
	if inner, ok := strings.CutPrefix(expression, "m/"); ok {
		inner, ended := strings.CutSuffix(inner, "/")
		if !ended {
			return "", errors.New("m/ must end with /")
		}
		return "(?s)" + inner, nil
	}
	if !strings.HasPrefix(expression, "/") && !strings.HasPrefix(expression, "*") {
		return "", errors.New("it can match no path: begin it with / or *")
	}
	return glob(expression)
}

// glob is the regular expression of a glob.
func glob(expression string) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := expression; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch r {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '[':
			class, after, ok := strings.Cut(rest, "]")
			if !ok || class == "" {
				return "", errors.New("[ without ]")
			}
			negated := ""
			if strings.HasPrefix(class, "!") {
				negated, class = "^", class[1:]
			}
			b.WriteString("[" + negated + strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(class) + "]")
			rest = after
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// FullAccess allows everything everywhere.
func FullAccess() Access { return Access{{General: FullControl}} }

// Narrow adds a layer.
func (a Access) Narrow(layers ...Layer) Access {
	return append(append(Access(nil), a...), layers...)
}

// At is what may be done with the path: absolute, as the client sees it.
func (a Access) At(name string) Permissions {
	if len(a) == 0 {
		return 0
	}
	name = path.Clean("/" + name)
	may := FullControl
	for _, layer := range a {
		may &= layer.at(name)
	}
	return may
}

func (l Layer) at(name string) Permissions {
	for _, rule := range l.Rules {
		if rule.matches.MatchString(name) {
			return rule.Permissions
		}
	}
	return l.General
}

// HasRules reports whether some paths differ from others.
func (a Access) HasRules() bool {
	return slices.ContainsFunc(a, func(l Layer) bool { return len(l.Rules) > 0 })
}

// General is what may be done where no rule says otherwise.
func (a Access) General() Permissions {
	if len(a) == 0 {
		return 0
	}
	may := FullControl
	for _, layer := range a {
		may &= layer.General
	}
	return may
}

// Words lists the general permissions and the rules of all layers, for an administrator.
func (a Access) Words() []string {
	words := a.General().Words()
	for _, layer := range a {
		for _, rule := range layer.Rules {
			words = append(words, rule.Expression+": "+strings.Join(rule.Permissions.denyOrWords(), " "))
		}
	}
	return words
}

func (p Permissions) denyOrWords() []string {
	if p == 0 {
		return []string{denyFullControl}
	}
	return p.Words()
}

// ParseRules reads rules as a plugin writes them: one a line, an expression and words, with a tab after
// the expression and blanks or commas between the words.
func ParseRules(text string) (rules []PathRule, err error) {
	total := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		expression, words, ok := strings.Cut(line, "\t")
		if !ok {
			return nil, fmt.Errorf("rule %.80q: an expression, a tab, and permissions are expected", line)
		}
		permissions, err := ParsePermissions(SplitWords(words))
		if err != nil {
			return nil, fmt.Errorf("rule %.80q: %w", expression, err)
		}
		rule, err := NewPathRule(expression, permissions)
		if err != nil {
			return nil, err
		}
		total += rule.weight
		if rules = append(rules, rule); len(rules) > maxRules || total > maxWeights {
			return nil, fmt.Errorf("more than %d rules, or they are too large together", maxRules)
		}
	}
	return rules, nil
}

// SplitWords splits a list of words at commas and white space.
func SplitWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}
