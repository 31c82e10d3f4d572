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

// cost is the configured one, as the scheme itself takes it.
func cost(h policy.Hashing) int {
	cost := h.Cost
	if cost == 0 {
		_, cost, _, _ = h.Scheme.Cost()
	}
	if h.Scheme == policy.Argon2id || h.Scheme == "" {
		cost -= cost % (8 * argonLanes) // as argon2 does: else each login would make the hash anew (RFC 9106, section 3.2)
	}
	return cost
}

// scheme makes a hasher.
func scheme(h policy.Hashing) (algorithm.Hash, error) {
	cost := cost(h)
	switch h.Scheme {
	case policy.Argon2id, "":
		return argon2.New(argon2.WithVariantID(), argon2.WithMemoryInKiB(uint32(cost)), argon2.WithIterations(argonPasses), argon2.WithParallelism(argonLanes))
	case policy.BcryptSHA256:
		return bcrypt.NewSHA256(bcrypt.WithCost(cost))
	case policy.Scrypt:
		return scrypt.New(scrypt.WithLN(cost), scrypt.WithR(8), scrypt.WithP(1))
	case policy.PBKDF2:
		return pbkdf2.NewSHA512(pbkdf2.WithIterations(cost))
	case policy.SHA512Crypt:
		return shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithRounds(cost))
	}
	return nil, fmt.Errorf("hashing scheme %q is not known", h.Scheme)
}

// isCurrent reports whether a hash is what a new one would be, or else has to be made anew. Each login asks.
func isCurrent(encoded string, h policy.Hashing) bool {
	format := "$argon2id$v=19$m=%d,t=" + fmt.Sprint(argonPasses) + ",p=" + fmt.Sprint(argonLanes) + "$"
	switch h.Scheme {
	case policy.BcryptSHA256:
		format = "$bcrypt-sha256$v=2,t=2b,r=%d$"
	case policy.Scrypt:
		format = "$scrypt$ln=%d,r=8,p=1$"
	case policy.PBKDF2:
		format = "$pbkdf2-sha512$%d$"
	case policy.SHA512Crypt:
		format = "$6$rounds=%d$"
	case policy.Argon2id:
	}
	return strings.HasPrefix(encoded, fmt.Sprintf(format, cost(h)))
}
