package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/state"
)

// keySize is the size of one key in the file, in bytes.
const keySize = 32

// Key seals what nobody may read from the store alone. It lies in a file beside the store, which holds the key, and while
// a rotation is not over the one before it as well.
type Key struct {
	file string

	mu      sync.RWMutex
	raw     []byte        // the key that seals
	aeads   []cipher.AEAD // of the key that seals, then of those before it: what was read a moment ago is sealed with one
	pending []byte        // the key that a rotation, which is not over, takes out of use
}

// LoadKey reads the key file, and makes it (mode 0600) if it is not there.
func LoadKey(file string) (*Key, error) {
	if err := sweep(file); err != nil {
		return nil, fmt.Errorf("key of the one-time codes: %w", err)
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		raw = newKey()
		err = replaceFile(file, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the one-time codes: %w", err)
	}
	if len(raw) != keySize && len(raw) != 2*keySize {
		return nil, fmt.Errorf("key of the one-time codes: %s has %d bytes, not %d", file, len(raw), keySize)
	}
	k := &Key{file: file, raw: raw[:keySize], pending: raw[keySize:]}
	for one := range slices.Chunk(raw, keySize) {
		aead, err := sealing(one)
		if err != nil {
			return nil, err
		}
		k.aeads = append(k.aeads, aead)
	}
	return k, nil
}

func newKey() []byte {
	raw := make([]byte, keySize)
	_, _ = rand.Read(raw) // never fails
	return raw
}

func sealing(raw []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, raw, nil, "sallyport seal", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sweep removes what replaceFile left when it was cut off: there is a key in it.
func sweep(file string) error {
	left, err := filepath.Glob(file + ".*")
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// replaceFile writes a file to the disk, whole or not at all.
func replaceFile(name string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return state.SyncFolder(filepath.Dir(name))
}

// seal makes what only open reads, for the same purpose of the same account.
func (k *Key) seal(purpose, name string, plain []byte) []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aeads[0].Seal(nil, nil, plain, []byte(purpose+"\x00"+name))
}

// open returns what was sealed with this key or one before it.
func (k *Key) open(purpose, name string, sealed []byte) (plain []byte, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, aead := range k.aeads {
		if plain, err := aead.Open(nil, nil, sealed, []byte(purpose+"\x00"+name)); err == nil {
			return plain, true
		}
	}
	return nil, false
}

// begin puts a new key in place of the one in use, or goes on with a rotation that did not end.
func (k *Key) begin() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) > 0 {
		return nil
	}
	raw := newKey()
	aead, err := sealing(raw)
	if err != nil {
		return err
	}
	if err := replaceFile(k.file, slices.Concat(raw, k.raw)); err != nil {
		return err
	}
	k.pending, k.raw = k.raw, raw
	k.aeads = slices.Insert(k.aeads, 0, aead)
	return nil
}

// end takes the key before out of the file. This process still opens with it what it read before.
func (k *Key) end() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := replaceFile(k.file, k.raw); err != nil {
		return err
	}
	k.pending = nil
	return nil
}

// RotateKey makes a new key, seals all seeds and codes on paper with it, and destroys the one before. A rotation that was
// cut, by whatever, goes on with the next one: nobody loses a code. It returns how many accounts have codes, and the names
// of those whose codes no key opens: they are left as they are.
func (a *Accounts) RotateKey(ctx context.Context) (n int, lost []string, err error) {
	a.rotating.Lock()
	defer a.rotating.Unlock()
	a.enrolling.Lock() // whoever sealed with the key so far has stored it
	err = a.key.begin()
	a.enrolling.Unlock()
	if err != nil {
		return 0, nil, fmt.Errorf("new key: %w", err)
	}
	for stored, err := range a.all(ctx) {
		if err != nil {
			return n, lost, fmt.Errorf("key rotation is not over, run it again: %w", err)
		}
		sealed, err := a.reseal(ctx, stored.Key)
		switch {
		case errors.Is(err, ErrDamaged):
			lost = append(lost, stored.Key)
		case err != nil:
			return n, lost, fmt.Errorf("key rotation is not over, run it again: %w", err)
		case sealed:
			n++
		}
	}
	err = a.outbox.Store(ctx, &events.KeyRotated{Accounts: n})
	if err == nil {
		err = a.store.Compact(ctx) // what the key before opens is in pages that are not used any more
	}
	if err == nil {
		err = a.key.end()
	}
	if err != nil {
		return n, lost, fmt.Errorf("key rotation is not over, run it again: %w", err)
	}
	return n, lost, nil
}

// reseal seals the codes of one account with the key in use.
func (a *Accounts) reseal(ctx context.Context, name string) (sealed bool, err error) {
	for {
		r, revision, err := a.get(ctx, name)
		if errors.Is(err, ErrNotFound) || err == nil && r.Codes == nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for purpose, all := range r.Codes.sealed() {
			for _, one := range all {
				plain, ok := a.key.open(purpose, r.Name, *one)
				if !ok {
					return false, fmt.Errorf("%s: %w: its one-time codes are sealed with another key", r.Name, ErrDamaged)
				}
				*one = a.key.seal(purpose, r.Name, plain)
			}
		}
		if err = a.put(ctx, r, revision); !errors.Is(err, state.ErrConflict) {
			return err == nil, err
		}
	}
}

// Steady runs f while no key is exchanged, so that f sees a key and what it sealed.
func (a *Accounts) Steady(f func() error) error {
	a.rotating.Lock()
	defer a.rotating.Unlock()
	return f()
}
