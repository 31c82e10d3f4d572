package account

import (
	"fmt"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// scheme makes a hasher, and how its hashes begin.
func scheme(h policy.Hashing) (hasher algorithm.Hash, prefix string, err error) {
	cost := h.Cost
	if cost == 0 {
		_, cost, _, _ = h.Scheme.Cost()
	}
	switch h.Scheme {
	case policy.Argon2id, "":
		cost -= cost % (8 * argonLanes) // as argon2 itself does: else each login would make the hash anew (RFC 9106, section 3.2)
		hasher, err = argon2.New(argon2.WithVariantID(), argon2.WithMemoryInKiB(uint32(cost)), argon2.WithIterations(argonPasses), argon2.WithParallelism(argonLanes))
		prefix = fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$", cost, argonPasses, argonLanes)
	case policy.BcryptSHA256:
		hasher, err = bcrypt.NewSHA256(bcrypt.WithCost(cost))
		prefix = fmt.Sprintf("$bcrypt-sha256$v=2,t=2b,r=%d$", cost)
	case policy.Scrypt:
		hasher, err = scrypt.New(scrypt.WithLN(cost), scrypt.WithR(8), scrypt.WithP(1))
		prefix = fmt.Sprintf("$scrypt$ln=%d,r=8,p=1$", cost)
	case policy.PBKDF2:
		hasher, err = pbkdf2.NewSHA512(pbkdf2.WithIterations(cost))
		prefix = fmt.Sprintf("$pbkdf2-sha512$%d$", cost)
	case policy.SHA512Crypt:
		hasher, err = shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithRounds(cost))
		prefix = fmt.Sprintf("$6$rounds=%d$", cost)
	default:
		err = fmt.Errorf("hashing scheme %q is not known", h.Scheme)
	}
	return hasher, prefix, err
}

// isCurrent reports whether a hash is what a new one would be, or else has to be made anew.
func isCurrent(encoded string, h policy.Hashing) bool {
	_, prefix, err := scheme(h)
	return err != nil || strings.HasPrefix(encoded, prefix)
}
