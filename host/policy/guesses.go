package policy

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// guesses is how many an attacker needs at most who knows the word lists, and tries words, dates and years before
// letters: the cheapest way to put the password together, counted as zxcvbn's reference does (Wheeler, "zxcvbn:
// Low-Budget Password Strength Estimation", USENIX Security 2016, section 4). zxcvbn-go knows fewer words and no short dates.
func (w *Words) guesses(text []rune, context []string) float64 {
	if w == nil {
		return math.Inf(1)
	}
	const unreached = math.MaxFloat64
	// cheapest[parts][end] is the smallest product of the guesses of so many parts.
	most := len(text)
	cheapest := make([][]float64, most+1)
	for parts := range cheapest {
		cheapest[parts] = slices.Repeat([]float64{unreached}, len(text)+1)
	}
	cheapest[0][0] = 1
	for from := range text {
		for to := from + 1; to <= len(text); to++ {
			cost := w.guessesOf(text[from:to], context)
			for parts := range most {
				if before := cheapest[parts][from]; before < unreached {
					cheapest[parts+1][to] = min(cheapest[parts+1][to], before*cost)
				}
			}
		}
	}
	best, factorial := math.Inf(1), 1.0
	for parts := 1; parts <= most; parts++ {
		factorial *= float64(parts)
		if product := cheapest[parts][len(text)]; product < unreached {
			best = min(best, factorial*product+math.Pow(10_000, float64(parts-1)))
		}
	}
	return best
}

// guessesOf is of one part: letter by letter, or a word, something repeated, a year or a date.
func (w *Words) guessesOf(part []rune, context []string) float64 {
	best := math.Pow(10, float64(len(part)))
	if len(part) == 1 {
		return best + 1
	}
	best = max(best, 51)
	if rank := w.rank(string(part), context); rank > 0 {
		best = min(best, rank)
	}
	if unit := []rune(repeatedUnit(string(part))); len(unit) > 0 {
		best = min(best, w.guesses(unit, context)*float64(len(part)/len(unit)))
	}
	if years, ok := date(part); ok {
		best = min(best, max(years, 20)*365)
	}
	if years, ok := year(part); ok {
		best = min(best, max(years, 20))
	}
	return best
}

// rank is of a word, however it is written: 0 if it is none.
func (w *Words) rank(text string, context []string) (best float64) {
	lower := strings.ToLower(text)
	written := 1.0
	if lower != text {
		written = 2
		if rest := strings.TrimLeftFunc(text, unicode.IsUpper); rest != strings.ToLower(rest) {
			written = 4 // not only at the beginning
		}
	}
	reversed := []rune(lower)
	slices.Reverse(reversed)
	for i, word := range []string{lower, string(reversed), unswap(lower, "i"), unswap(lower, "l")} {
		rank := float64(w.lists().ranks[word])
		if slices.Contains(context, word) {
			rank = 1
		}
		if i > 0 {
			rank *= 2
		}
		if rank > 0 && (best == 0 || rank*written < best) {
			best = rank * written
		}
	}
	return best
}

// unswap puts back the letters that people swap for digits and signs; a 1 is an i or an l.
func unswap(text, one string) string {
	return strings.NewReplacer("@", "a", "4", "a", "8", "b", "(", "c", "3", "e", "6", "g", "9", "g", "1", one, "!", one, "|", one,
		"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "2", "z").Replace(text)
}

// thisYear is from where years are counted: people choose near ones.
const thisYear = 2026

// year reads a year of somebody's life.
func year(part []rune) (distance float64, ok bool) {
	n, ok := number(part)
	if !ok || len(part) != 4 || n < 1900 || n > 2050 {
		return 0, false
	}
	return math.Abs(float64(n - thisYear)), true
}

// date reads a date with signs between, in the orders that people use.
func date(part []rune) (distance float64, ok bool) {
	at := slices.IndexFunc(part, func(r rune) bool { return strings.ContainsRune("./-_ ", r) })
	if at < 1 || len(part) > 10 {
		return 0, false
	}
	fields := strings.Split(string(part), string(part[at]))
	if len(fields) != 3 {
		return 0, false
	}
	var n [3]int
	for i, field := range fields {
		if n[i], ok = number([]rune(field)); !ok {
			return 0, false
		}
	}
	for _, order := range [][3]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}} {
		day, month, y := n[order[0]], n[order[1]], n[order[2]]
		if y < 100 {
			y += 1900
			if y < 1950 {
				y += 100
			}
		}
		if day >= 1 && day <= 31 && month >= 1 && month <= 12 && y >= 1000 && y <= 2050 {
			return 4 * math.Abs(float64(y-thisYear)), true // four kinds of signs
		}
	}
	return 0, false
}

func number(digits []rune) (n int, ok bool) {
	if len(digits) == 0 || len(digits) > 4 {
		return 0, false
	}
	for _, r := range digits {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	return n, true
}
