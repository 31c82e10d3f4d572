package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// One-time codes (RFC 6238) as authenticator apps have them, and codes on paper for a lost phone.
const (
	codeDigits     = 6
	codeStep       = 30 * time.Second
	codeDrift      = 1  // steps before and after
	seedSize       = 20 // bytes, RFC 4226, section 4
	recoveryCodes  = 10
	recoveryDigits = 10
)

// enrolment is what an account has for codes. The seed is sealed with a key that is not in the store.
type enrolment struct {
	Seed     []byte    `json:"seed"`
	Last     int64     `json:"last"`            // step of the last code that was used: each is used once
	Recovery [][]byte  `json:"recovery"`        // sealed digests of the codes on paper that are left
	Spent    []byte    `json:"spent,omitempty"` // of the last one that was used
	Since    time.Time `json:"since"`
}

// What is sealed, for open.
const (
	seedPurpose     = "seed"
	recoveryPurpose = "recovery"
)

// sealed lists all that is, by purpose.
func (e *enrolment) sealed() map[string][]*[]byte {
	all := map[string][]*[]byte{seedPurpose: {&e.Seed}}
	for i := range e.Recovery {
		all[recoveryPurpose] = append(all[recoveryPurpose], &e.Recovery[i])
	}
	if e.Spent != nil {
		all[recoveryPurpose] = append(all[recoveryPurpose], &e.Spent)
	}
	return all
}

// Enrolment is what a user gets, once.
type Enrolment struct {
	URL      string   `json:"url"`      // otpauth://, as a QR code for the app
	Recovery []string `json:"recovery"` // codes on paper, each good once
}

// EnrolCodes gives an account one-time codes, or new ones. The issuer is the name that the app shows.
func (a *Accounts) EnrolCodes(ctx context.Context, name, issuer string) (Account, Enrolment, error) {
	a.enrolling.RLock()
	defer a.enrolling.RUnlock()
	found, _, err := a.get(ctx, name)
	if err != nil {
		return Account{}, Enrolment{}, err
	}
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed)
	e := enrolment{Seed: a.key.seal(seedPurpose, found.Name, seed), Since: a.now().UTC()}
	given := Enrolment{URL: keyURL(issuer, found.Name, seed)}
	for range recoveryCodes {
		code := randomDigits(recoveryDigits)
		given.Recovery = append(given.Recovery, code)
		digest := sha256.Sum256([]byte(code)) // it has too few digits to be stored like this: it is sealed
		e.Recovery = append(e.Recovery, a.key.seal(recoveryPurpose, found.Name, digest[:]))
	}
	after, err := a.change(ctx, found.Name, changed(events.AccountChangedType, found.Name, "codes"), func(r *record) bool {
		r.Codes, r.CodesSince = &e, e.Since
		return true
	})
	return after, given, err
}

// RemoveCodes takes the one-time codes from an account.
func (a *Accounts) RemoveCodes(ctx context.Context, name string) (Account, error) {
	return a.change(ctx, name, changed(events.AccountChangedType, "", "codes"), func(r *record) bool {
		r.Codes, r.CodesSince = nil, time.Time{}
		return true
	})
}

// keyURL is what apps read: https://github.com/google/google-authenticator/wiki/Key-Uri-Format.
func keyURL(issuer, name string, seed []byte) string {
	escape := func(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
	encoded := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)
	return "otpauth://totp/" + escape(issuer) + ":" + escape(name) + "?secret=" + encoded + "&issuer=" + escape(issuer) + "&algorithm=SHA1&digits=6&period=30"
}

func randomDigits(n int) string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	number, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return fmt.Sprintf("%0*d", n, number)
}

// SplitCode takes the code off the end of what a user typed, or with alone takes all of it, if the account has codes and they are one that is good
// now: so nobody's password is harmed that ends in digits. A code that was just used is split off too, since a client
// sends it again with each connection; UseCode does not take it twice.
func (a *Accounts) SplitCode(ctx context.Context, name string, typed secret.Text, alone bool) (rest secret.Text, code string, ok bool, err error) {
	r, _, err := a.get(ctx, name)
	if errors.Is(err, ErrNotFound) || err == nil && r.Codes == nil {
		return typed, "", false, nil
	}
	if err != nil {
		return typed, "", false, err
	}
	text := typed.Reveal()
	for _, digits := range []int{codeDigits, recoveryDigits} {
		at := len(text) - digits
		if at < 0 || at == 0 && !alone || strings.Trim(text[at:], "0123456789") != "" {
			continue
		}
		code := text[at:]
		step, err := a.stepOf(r, code)
		if err != nil {
			return typed, "", false, err
		}
		if step > 0 || a.recoveryOf(r, code) >= 0 || a.isRecovery(r, r.Codes.Spent, code) {
			return secret.New(text[:at]), code, true, nil
		}
	}
	return typed, "", false, nil
}

// CodeCheck is the answer to "is this a code of the account?".
type CodeCheck struct {
	Enrolled bool
	Right    bool
	Reason   events.Reason
}

// UseCode checks a code, and uses it up: of several that come at once, one is right.
func (a *Accounts) UseCode(ctx context.Context, name, code string) (CodeCheck, error) {
	for {
		r, revision, err := a.get(ctx, name)
		if errors.Is(err, ErrNotFound) || err == nil && r.Codes == nil {
			return CodeCheck{Reason: events.UnknownUser}, nil
		}
		if err != nil {
			return CodeCheck{}, err
		}
		wrong := CodeCheck{Enrolled: true, Reason: events.WrongCode}
		step, err := a.stepOf(r, code)
		if err != nil {
			return CodeCheck{}, err
		}
		var tell []events.Payload
		switch at := a.recoveryOf(r, code); {
		case step > r.Codes.Last:
			r.Codes.Last = step
		case at >= 0:
			r.Codes.Spent = r.Codes.Recovery[at]
			r.Codes.Recovery = slices.Delete(r.Codes.Recovery, at, at+1)
			tell = append(tell, changed(events.AccountChangedType, r.Name, "recovery_codes"))
		default:
			return wrong, nil
		}
		err = a.put(ctx, r, revision, tell...)
		if errors.Is(err, state.ErrConflict) {
			continue // somebody else used one
		}
		if err != nil {
			return CodeCheck{}, err
		}
		return CodeCheck{Enrolled: true, Right: true}, nil
	}
}

// stepOf is the step that a code is of: one that is good now, or the one that was used last. 0: of none.
func (a *Accounts) stepOf(r record, code string) (int64, error) {
	if len(code) != codeDigits {
		return 0, nil
	}
	seed, ok := a.key.open(seedPurpose, r.Name, r.Codes.Seed)
	if !ok {
		return 0, fmt.Errorf("%s: %w: its one-time codes are sealed with another key", r.Name, ErrDamaged)
	}
	encoded := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)
	now := a.now().Unix() / int64(codeStep.Seconds())
	steps := []int64{r.Codes.Last}
	for step := now - codeDrift; step <= now+codeDrift; step++ {
		steps = append(steps, step)
	}
	for _, step := range slices.Backward(steps) { // the newest first
		if step <= 0 {
			continue
		}
		right, err := hotp.ValidateCustom(code, uint64(step), encoded, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, fmt.Errorf("%s: one-time code: %w", r.Name, err)
		}
		if right {
			return step, nil
		}
	}
	return 0, nil
}

// recoveryOf finds a code on paper; -1: it is none.
func (a *Accounts) recoveryOf(r record, code string) int {
	if len(code) != recoveryDigits {
		return -1
	}
	return slices.IndexFunc(r.Codes.Recovery, func(sealed []byte) bool { return a.isRecovery(r, sealed, code) })
}

func (a *Accounts) isRecovery(r record, sealed []byte, code string) bool {
	digest := sha256.Sum256([]byte(code))
	plain, ok := a.key.open(recoveryPurpose, r.Name, sealed)
	return ok && hmac.Equal(plain, digest[:])
}
