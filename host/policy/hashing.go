package policy

// Scheme is how passwords are hashed, in the words of SFTPPlus where it has one.
type Scheme string

// The schemes. All are verified, whichever is configured.
const (
	Argon2id     Scheme = "argon2id"
	BcryptSHA256 Scheme = "bcrypt-sha256" // bcrypt alone would cut a password after 72 bytes
	Scrypt       Scheme = "scrypt"
	PBKDF2       Scheme = "pbkdf2-sha512"
	SHA512Crypt  Scheme = "crypt-sha512"
)

// Schemes are all of them; the first is the default.
func Schemes() []Scheme { return []Scheme{Argon2id, BcryptSHA256, Scrypt, PBKDF2, SHA512Crypt} }

// Hashing is how new passwords are hashed. The zero value is argon2id.
type Hashing struct {
	Scheme Scheme
	Cost   int // 0: the default of Cost
}

// Cost is what the number means, its default (OWASP Password Storage Cheat Sheet, where that says one), and its limits.
func (s Scheme) Cost() (meaning string, unset, least, most int) {
	switch s {
	case BcryptSHA256:
		return "the logarithm of the rounds", 12, 10, 16
	case Scrypt:
		return "the logarithm of the memory in KiB", 17, 14, 20
	case PBKDF2:
		return "iterations", 210_000, 100_000, 10_000_000
	case SHA512Crypt:
		return "rounds", 500_000, 80_000, 10_000_000
	case Argon2id:
	}
	return "memory in KiB, for two passes", 19 * 1024, 19 * 1024, 1024 * 1024
}
