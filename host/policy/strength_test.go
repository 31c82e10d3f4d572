package policy

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Ours and the reference's scores of 1,500 passwords; testdata/strength.mjs makes the file.
func TestStrengthAgainstTheReference(t *testing.T) {
	content, err := os.ReadFile("testdata/strength.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Password string
		Score    int
	}
	if err := json.Unmarshal(content, &all); err != nil || len(all) < 1000 {
		t.Fatalf("%d passwords, %v", len(all), err)
	}
	words := NewWords(nil)
	above, below, same := 0, 0, 0
	for _, one := range all {
		ours, _ := words.strength(one.Password, nil)
		switch {
		case ours >= one.Score+2:
			above++
			t.Logf("%q: %d, the reference says %d", one.Password, ours, one.Score)
		case ours <= one.Score-2:
			below++
		case ours == one.Score:
			same++
		}
		rules := Passwords{MinimumStrength: 3, Words: words}
		if one.Score <= 1 && rules.Check(secret.New(one.Password)) == nil {
			t.Errorf("%q is accepted at 3, the reference says %d", one.Password, one.Score)
		}
	}
	t.Logf("of %d: %d equal, %d two or more above, %d two or more below", len(all), same, above, below)
	if above*100 > len(all) {
		t.Errorf("%d of %d are two or more above the reference", above, len(all))
	}
}

func TestKnownPasswords(t *testing.T) {
	k := NewWords([]string{"VPServer2026"})
	for password, want := range map[string]bool{
		"password": true, "P@ssw0rd": true, "pa55word!": true, "ｐａｓｓｗｏｒｄ": true, "iloveyou1": true, "!!Dragon42": true, "vpserver2026": true, "VP5erver2o26": true,
		"gravel umbrella": false, "dragon839271": false, "Zq8#": false, "": false,
	} {
		if got := k.isKnown(password); got != want {
			t.Errorf("%q: %v", password, got)
		}
	}
	if (*Words)(nil).isKnown("password") {
		t.Error("no list has no password")
	}
}

// A stricter policy never accepts what a laxer one refuses for the same rule.
func FuzzPolicyIsMonotone(f *testing.F) {
	f.Add("gravel umbrella ninety tango", 11, 3)
	f.Add("пароль", 4, 1)
	f.Add("a\x00b", 0, 0)
	f.Fuzz(func(t *testing.T, password string, length, score int) {
		length, score = min(max(length, 0), 100), min(max(score, 0), 3)
		lax := Passwords{MinimumLength: length, MinimumStrength: score}
		strict := Passwords{MinimumLength: length + 1, MinimumStrength: score + 1, CharacterRequirements: Classes(), MaximumLength: 100}
		if err := lax.Check(secret.New(password)); err != nil && strict.Check(secret.New(password)) == nil {
			t.Errorf("the stricter policy accepts what the laxer one refuses: %v", err)
		}
	})
}
