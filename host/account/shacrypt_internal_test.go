package account

import (
	"strings"
	"testing"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

func matches(t *testing.T, password, encoded string) bool {
	t.Helper()
	digest, err := crypt.Decode(encoded)
	if err != nil {
		t.Fatalf("%q: %v", encoded, err)
	}
	ok, err := match(digest, encoded, password)
	if err != nil {
		t.Fatalf("%q: %v", encoded, err)
	}
	return ok
}

// These are what glibc makes of "Hello world!".
func TestMatchSHACrypt(t *testing.T) {
	for _, encoded := range []string{
		"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
		"$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
		"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
		"$6$rounds=1400$anotherlongsalts$5FGyu8c4BZDX4wJgs0Un26YOw2XibT5eTkHF1I1aP3QqStoJI9BHD2YPJYsAjEePVGUyBjdZxcNqMWlrrbIOC.",
	} {
		if !matches(t, "Hello world!", encoded) {
			t.Errorf("%s: not matched", encoded)
		}
		if matches(t, "Hello world", encoded) || matches(t, "Hello world!", encoded[:len(encoded)-1]+"x") {
			t.Errorf("%s: matched what is something else", encoded)
		}
	}
}

// What is not as crypt(5) has it is go-crypt's business.
func TestShaCryptOddities(t *testing.T) {
	for _, odd := range []string{"$5$rounds=1000$key", "$6$rounds=1000", "$6$rounds=x$salt$key", "$6$cost=5$salt$key", "$6$rounds=1000$a$b$key", "$7$salt$key", ""} {
		if inner, rounds := shaCrypt(odd); inner != nil && rounds != shacrypt.IterationsDefaultOmitted {
			t.Errorf("%q: %d rounds", odd, rounds)
		}
	}
}

// What is matched is what go-crypt makes, for any password and salt.
func FuzzMatchSHACrypt(f *testing.F) {
	for length := range 70 {
		f.Add(strings.Repeat("a", length), "saltsalt", true)
		f.Add(strings.Repeat("b", length), "saltsaltsaltsalt", false)
	}
	f.Fuzz(func(t *testing.T, password, salt string, long bool) {
		variant := shacrypt.WithSHA256()
		if long {
			variant = shacrypt.WithSHA512()
		}
		hasher, err := shacrypt.New(variant, shacrypt.WithIterations(1000))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := hasher.HashWithSalt(password, []byte(salt))
		if err != nil || len(password) > 300 {
			return
		}
		if _, err := crypt.Decode(digest.Encode()); err != nil {
			return // a "$" in the salt
		}
		if !matches(t, password, digest.Encode()) {
			t.Errorf("%q, salt %q", password, salt)
		}
		if matches(t, password+"x", digest.Encode()) {
			t.Errorf("%q with something behind it, salt %q", password, salt)
		}
	})
}
