package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

func TestPasswords(t *testing.T) {
	strict := policy.Passwords{MinimumLength: 11, MinimumStrength: 3}
	for name, c := range map[string]struct {
		rules    policy.Passwords
		password string
		want     []string // parts of the refusal; none: accepted
	}{
		"random":                     {strict, "tPz7!wq0Lm-x", nil},
		"unrelated words":            {strict, "gravel umbrella ninety tango", nil},
		"empty":                      {policy.Passwords{}, "", []string{"empty"}},
		"short":                      {strict, "tPz7!w", []string{"6 characters", "at least 11"}},
		"counted in characters":      {policy.Passwords{MinimumLength: 6}, "пароль", nil},
		"counted after NFC":          {policy.Passwords{MinimumLength: 4}, "e\u0301e\u0301e\u0301", []string{"3 characters"}},
		"common":                     {strict, "password123", []string{"too easy", "common word"}},
		"the account's own name":     {strict, "briansmith1", []string{"too easy"}},
		"repeated":                   {strict, "密码密码密码密码", []string{"repeats itself"}},
		"repeated random":            {strict, "x9#Kx9#Kx9#Kx9#K", []string{"repeats itself"}},
		"short and not ascii":        {strict, "пароль", []string{"too easy"}},
		"too long is not cut":        {policy.Passwords{}, strings.Repeat("aB3$", 51), []string{"204 characters", "at most 200"}},
		"not UTF-8":                  {policy.Passwords{}, "\xff\xfe\xfd", []string{"UTF-8"}},
		"line break":                 {policy.Passwords{}, "a\r\nb", []string{"control character"}},
		"classes":                    {policy.Passwords{CharacterRequirements: policy.Classes()}, "abc", []string{"uppercase", "digit", "symbol"}},
		"classes met":                {policy.Passwords{CharacterRequirements: policy.Classes()}, "aB3 ", nil},
		"all reasons at once":        {policy.Passwords{MinimumLength: 11, MinimumStrength: 3, CharacterRequirements: policy.Classes()}, "hello", []string{"5 characters", "too easy", "symbol"}},
		"no rule, no estimate asked": {policy.Passwords{}, "a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.rules.Check(secret.New(c.password), "brian smith", "brian@example.org")
			if c.want == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var refusal *policy.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a *Refusal", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if len(c.password) > 5 && strings.Contains(err.Error(), c.password) {
				t.Error("the refusal holds the password")
			}
		})
	}
}

// The longest password allowed must not cost more than a moment: zxcvbn's time grows with the cube.
func BenchmarkLongestPassword(b *testing.B) {
	password := secret.New(strings.Repeat("aB3$ pass 2001-01-01 ", 10)[:policy.MaximumLength])
	for b.Loop() {
		_ = policy.Passwords{MinimumStrength: 4}.Check(password)
	}
}
