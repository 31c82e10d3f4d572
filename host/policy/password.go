package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	zxcvbn "github.com/nbutton23/zxcvbn-go"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Passwords are the rules that every new password meets.
type Passwords struct {
	MinimumLength   int // in characters, after NFC
	MinimumStrength int // 0 to 4, by zxcvbn
	MaximumLength   int // in characters, at most MaximumLength; 0: that. A longer one is refused, never cut
	// CharacterRequirements lists classes of which at least one character must be there.
	CharacterRequirements []Class
	// Words are what passwords are made of, and passwords that nobody may have. Nil: none are known.
	Words *Words
	// History is how many of an account's last passwords may not come again, the present one among them.
	History int
	// Lifetime is how long a password is good; 0: for ever.
	Lifetime time.Duration
	Hashing  Hashing
}

// A Rule is a part of the policy, for events.
type Rule string

// The rules.
const (
	RuleForm     Rule = "form" // what no client can send
	RuleLength   Rule = "length"
	RuleStrength Rule = "strength"
	RuleClasses  Rule = "classes"
	RuleKnown    Rule = "known"
	RuleHistory  Rule = "history"
)

// Class is a kind of character that a rule can demand, in SFTPPlus's words.
type Class string

// The classes.
const (
	Lowercase Class = "lowercase"
	Uppercase Class = "uppercase"
	Digit     Class = "digit"
	Symbol    Class = "symbol"
)

// Classes are all classes, for messages and checks.
func Classes() []Class { return []Class{Lowercase, Uppercase, Digit, Symbol} }

// MaximumLength of a password in characters. A longer one is refused, never cut.
const MaximumLength = 200

// estimated is how many characters zxcvbn looks at: its time grows with the cube of the length.
const estimated = 48

// Refusal says why a password is refused and what would help. It never holds the password.
type Refusal struct {
	Reasons []string
	Rules   []Rule // of each reason
}

func (r *Refusal) add(rule Rule, reason string, values ...any) {
	r.Reasons, r.Rules = append(r.Reasons, fmt.Sprintf(reason, values...)), append(r.Rules, rule)
}

// Reused is the refusal of a password that the account had before.
func Reused(history int) *Refusal {
	r := &Refusal{}
	r.add(RuleHistory, "it is one of the account's last %d passwords; another one is needed", history)
	return r
}

// Error joins the reasons to one sentence.
func (r *Refusal) Error() string { return "password refused: " + strings.Join(r.Reasons, "; ") }

// Check returns nil, or a *Refusal with every reason at once. The context is what an
// attacker would try first: the account's name, its e-mail address, its groups.
func (p Passwords) Check(password secret.Text, context ...string) error {
	text := norm.NFC.String(password.Reveal())
	if r := unfit(text, p.longest()); r != nil {
		return r
	}
	r := &Refusal{}
	if length := utf8.RuneCountInString(text); length < p.MinimumLength {
		r.add(RuleLength, "it has %d characters, at least %d are needed", length, p.MinimumLength)
	}
	if p.Words.isKnown(text) {
		r.add(RuleKnown, "it is a well-known password, or nearly one; several unrelated words would help")
	}
	if score, why := p.Words.strength(text, context); score < p.MinimumStrength {
		r.add(RuleStrength, "it is too easy to guess (strength %d of 4, at least %d is needed%s); several unrelated words, or more random characters, would help",
			score, p.MinimumStrength, why)
	}
	for _, class := range p.CharacterRequirements {
		if !strings.ContainsFunc(text, class.has) {
			r.add(RuleClasses, "it needs at least one character of the class %s", class)
		}
	}
	if r.Reasons == nil {
		return nil
	}
	return r
}

func (p Passwords) longest() int {
	if p.MaximumLength > 0 {
		return min(p.MaximumLength, MaximumLength)
	}
	return MaximumLength
}

// unfit refuses what is no password at all, or too long to look at.
func unfit(text string, longest int) *Refusal {
	r := &Refusal{}
	switch length := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		r.add(RuleForm, "it is not valid UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		r.add(RuleForm, "it holds a control character, which no FTP client can send")
	case length == 0:
		r.add(RuleLength, "it is empty")
	case length > longest:
		r.add(RuleLength, "it has %d characters, at most %d are allowed", length, longest)
	default:
		return nil
	}
	return r
}

func (c Class) has(r rune) bool {
	switch c {
	case Lowercase:
		return unicode.IsLower(r)
	case Uppercase:
		return unicode.IsUpper(r)
	case Digit:
		return unicode.IsDigit(r)
	case Symbol:
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	return false
}

// strength is zxcvbn's score, corrected (RATIONALE.md, "Why not zxcvbn's own score?"), and what it found.
func (w *Words) strength(text string, context []string) (score int, why string) {
	if unit := repeatedUnit(text); unit != "" {
		score, _ = w.strength(unit, context)
		return min(score, 2), ": it repeats itself"
	}
	runes := []rune(text)
	runes = runes[:min(len(runes), estimated)]
	estimate := zxcvbn.PasswordStrength(string(runes), contextWords(context))
	guesses := min(0.5*math.Exp2(estimate.Entropy), math.Pow(10, float64(len(runes))), w.guesses(runes, contextWords(context)))
	for _, threshold := range []float64{1e3, 1e6, 1e8, 1e10} { // the reference's own thresholds
		if guesses >= threshold {
			score++
		}
	}
	var found []string
	for _, m := range estimate.MatchSequence {
		if text := patternName(m.Pattern, m.DictionaryName); text != "" && !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	if found != nil {
		why = ": " + strings.Join(found, ", ")
	}
	return score, why
}

func patternName(pattern, dictionary string) string {
	switch {
	case strings.HasPrefix(dictionary, "user"):
		return "it holds the account's name, group or address"
	case strings.HasPrefix(pattern, "dictionary"):
		return "it holds a common word or password"
	case pattern == "spatial":
		return "it follows the keyboard"
	case pattern == "repeat":
		return "it repeats itself"
	case pattern == "sequence":
		return "it holds a sequence"
	case strings.HasPrefix(pattern, "date"):
		return "it holds a date"
	}
	return ""
}

// contextWords splits names and addresses into the parts that people build passwords from.
func contextWords(context []string) []string {
	words := []string{"sallyport"}
	for _, text := range context {
		text = strings.ToLower(text)
		parts := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		words = append(append(words, text), parts...)
	}
	return slices.DeleteFunc(words, func(w string) bool { return len(w) < 3 })
}

// repeatedUnit returns what text repeats from end to end, if it does.
func repeatedUnit(text string) string {
	for n := 1; n <= len(text)/2; n++ {
		if len(text)%n == 0 && strings.Repeat(text[:n], len(text)/n) == text && utf8.ValidString(text[:n]) {
			return text[:n]
		}
	}
	return ""
}
