package account

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
	xcrypt "github.com/go-crypt/x/crypt"
)

// match reports whether a password has a digest. Of SHA-crypt, go-crypt allocates the sum of each round, megabytes for a login: so its key
// function gets a hash here that does not. RATIONALE.md, "Why is SHA-crypt matched otherwise?".
func match(digest algorithm.Digest, encoded, password string) (bool, error) {
	sha, ok := digest.(*shacrypt.Digest)
	if !ok {
		return digest.MatchAdvanced(password)
	}
	inner, rounds := shaCrypt(encoded)
	if inner == nil {
		return digest.MatchAdvanced(password)
	}
	key := xcrypt.KeySHACrypt(func() hash.Hash { return &frugal{Hash: inner()} }, []byte(password), sha.Salt(), rounds)
	return len(key) > 0 && subtle.ConstantTimeCompare(sha.Key(), key) == 1, nil
}

// shaCrypt is the hash function of an encoded SHA-crypt hash, and its number of rounds; nil: it is not as crypt(5) has it.
func shaCrypt(encoded string) (inner func() hash.Hash, rounds int) {
	rest, is256 := strings.CutPrefix(encoded, "$5$")
	inner = sha256.New
	if !is256 {
		var is512 bool
		if rest, is512 = strings.CutPrefix(encoded, "$6$"); !is512 {
			return nil, 0
		}
		inner = sha512.New
	}
	fields := strings.Split(rest, "$")
	if len(fields) == 2 {
		return inner, shacrypt.IterationsDefaultOmitted
	}
	text, given := strings.CutPrefix(fields[0], "rounds=")
	rounds, err := strconv.Atoi(text)
	if err != nil || !given || len(fields) != 3 {
		return nil, 0
	}
	return inner, rounds
}

// frugal is a hash whose sums share a few buffers, each good until four more are asked for. The key function needs three at once.
type frugal struct {
	hash.Hash
	sums [4][sha512.Size]byte
	next int
}

// Sum implements [hash.Hash].
func (f *frugal) Sum(b []byte) []byte {
	if b != nil {
		return f.Hash.Sum(b)
	}
	f.next = (f.next + 1) % len(f.sums)
	return f.Hash.Sum(f.sums[f.next][:0])
}
