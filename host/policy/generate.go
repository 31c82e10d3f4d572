package policy

import (
	"crypto/rand"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Generate makes a password of at least so many characters, and no less than about 70 bits from crypto/rand: groups of
// five letters that can be read aloud, with a capital letter and a digit, so that it has a character of each class.
func Generate(length int) secret.Text {
	const consonants, vowels, groups = "bdfgjkmnprstvz", "aeiou", 5 // without letters that look or sound alike
	var b strings.Builder
	for n := 0; n < groups || utf8.RuneCountInString(b.String()) < length-2; n++ {
		if n > 0 {
			b.WriteByte('-')
		}
		for i := range 5 {
			letters := []string{consonants, vowels}[i%2]
			letter := string(letters[random(len(letters))])
			if n == 0 && i == 0 {
				letter = strings.ToUpper(letter)
			}
			b.WriteString(letter)
		}
	}
	b.WriteByte('-')
	b.WriteByte("23456789"[random(8)])
	return secret.New(b.String())
}

func random(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(i.Int64())
}
