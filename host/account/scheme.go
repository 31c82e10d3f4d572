package account

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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

// What a hash from elsewhere may cost: what the configuration allows for new ones, see [policy.Scheme.Cost].
const (
	mostArgonKiB  = 1 << 20
	mostArgonWork = 2 << 20 // KiB times passes
	mostBcrypt    = 16
	mostScryptLog = 20
	mostScryptMiB = 1 << 10
	mostPBKDF2    = 10_000_000
	mostSHACrypt  = 10_000_000
	mostLanes     = 16
)

// bearable refuses a hash that costs more than a login may, or that nothing can compute.
func bearable(encoded string) error {
	fields := strings.Split(encoded, "$")
	if len(fields) < 4 {
		return nil // the decoder has seen to it
	}
	number := parameters(fields)
	within := func(name string, n, least, most int) error {
		if n < least || n > most {
			return fmt.Errorf("a hash with %s = %d; %d to %d is allowed", name, n, least, most)
		}
		return nil
	}
	switch kind := fields[1]; {
	case strings.HasPrefix(kind, "argon2"):
		m, t, p := number["m"], number["t"], number["p"]
		return errors.Join(within("m", m, 8, mostArgonKiB), within("t", t, 1, 64), within("p", p, 1, mostLanes), within("m * t", m*min(t, 64), 8, mostArgonWork))
	case kind == "scrypt":
		ln, r, p := number["ln"], number["r"], number["p"]
		if err := errors.Join(within("ln", ln, 1, mostScryptLog), within("r", r, 1, 64), within("p", p, 1, mostLanes)); err != nil {
			return err
		}
		return within("memory in MiB", 128*r*p<<ln>>20, 0, mostScryptMiB)
	case strings.HasPrefix(kind, "bcrypt"):
		return within("r", number["r"], 4, mostBcrypt)
	case strings.HasPrefix(kind, "2"):
		return within("cost", first(fields[2]), 4, mostBcrypt)
	case strings.HasPrefix(kind, "pbkdf2"):
		return within("rounds", max(number["i"], first(fields[2])), 1, mostPBKDF2)
	case kind == "5" || kind == "6":
		return within("rounds", number["rounds"], 0, mostSHACrypt)
	}
	return nil
}

// parameters are the numbers that have a name, such as m=19456.
func parameters(fields []string) map[string]int {
	numbers := map[string]int{}
	for _, field := range fields[:len(fields)-1] {
		for pair := range strings.SplitSeq(field, ",") {
			if name, value, ok := strings.Cut(pair, "="); ok {
				numbers[name] = max(numbers[name], first(value)) // a salt may look like one, too
			}
		}
	}
	return numbers
}

// first is the number that a text is; what is none is 0, and one that is too large is large.
func first(text string) int {
	n, err := strconv.ParseInt(text, 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt32
	}
	return int(n)
}
