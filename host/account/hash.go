package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-crypt/crypt"

	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// The cost of argon2id beside its memory: OWASP's figures (Password Storage Cheat Sheet, two passes, one lane).
const (
	argonPasses = 2
	argonLanes  = 1
)

// How many checks may wait. Beyond that a login fails at once, rather than everybody's in a minute.
const (
	maxWaiting       = 1024
	maxWaitingSource = 128
)

// ErrOverloaded says that too many passwords wait to be checked.
var ErrOverloaded = errors.New("too many password checks are waiting")

// Hasher computes password hashes: at most as many at once as it has workers, the sources
// taking turns, and equal checks sharing one computation. Without the bound, 64 clients
// would compute 64 hashes side by side and all of them slower (see make bench).
type Hasher struct {
	workers int
	// OnHash hears how long each hash took; nil: nobody does. It is set before the first.
	OnHash func(time.Duration)

	key []byte // keys the fingerprints of equal checks

	mu      sync.Mutex
	running int
	waiting int
	turns   []string // sources with waiting checks, in turn
	queues  map[string][]*check
	shared  map[[sha256.Size]byte]*check
}

// check is one computation; several callers may wait for it. While it runs it stays in shared only.
type check struct {
	run     func() (bool, error)
	print   [sha256.Size]byte
	source  string
	callers int // guarded by Hasher.mu; none left: not worth running
	done    chan struct{}
	match   bool
	err     error
}

// NewHasher makes a Hasher; workers is usually the number of cores.
func NewHasher(workers int) *Hasher {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &Hasher{
		workers: max(1, workers),
		key:     key,
		queues:  map[string][]*check{},
		shared:  map[[sha256.Size]byte]*check{},
	}
}

// Hash returns the encoded hash of a new password. It waits its turn like any check.
func (h *Hasher) Hash(ctx context.Context, how policy.Hashing, password secret.Text) (string, error) {
	hasher, err := scheme(how)
	if err != nil {
		return "", err
	}
	var encoded string
	var print [sha256.Size]byte
	_, _ = rand.Read(print[:]) // never shared: each hash has its own salt
	_, err = h.wait(ctx, netip.Addr{}, print, func() (bool, error) {
		digest, err := hasher.Hash(password.Reveal())
		if err == nil {
			encoded = digest.Encode()
		}
		return err == nil, err
	})
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return encoded, nil
}

// Match reports whether password has the encoded hash. Source decides whose turn it is; equal checks of the same owner share
// one computation.
// The error is ErrOverloaded, the context's, or says that the hash can't be read.
func (h *Hasher) Match(ctx context.Context, source netip.Addr, owner, encoded string, password secret.Text) (bool, error) {
	mac := hmac.New(sha256.New, h.key)
	_, _ = fmt.Fprintf(mac, "%d:%s%d:%s%s", len(owner), owner, len(encoded), encoded, password.Reveal())
	var print [sha256.Size]byte
	mac.Sum(print[:0])
	return h.wait(ctx, source, print, func() (bool, error) {
		digest, err := crypt.Decode(encoded)
		if err != nil {
			return false, fmt.Errorf("%w: hash can't be read", ErrDamaged)
		}
		if err := bearable(encoded); err != nil {
			return false, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return match(digest, encoded, password.Reveal())
	})
}

// wait joins an equal check or queues a new one, and waits for its end.
func (h *Hasher) wait(ctx context.Context, source netip.Addr, print [sha256.Size]byte, run func() (bool, error)) (bool, error) {
	c, err := h.join(policy.SourceKey(source), print, run)
	if err != nil {
		return false, err
	}
	select {
	case <-c.done:
		return c.match, c.err
	case <-ctx.Done():
		h.leave(c)
		return false, context.Cause(ctx)
	}
}

func (h *Hasher) join(source string, print [sha256.Size]byte, run func() (bool, error)) (*check, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.shared[print]; c != nil {
		c.callers++
		return c, nil
	}
	if len(h.queues[source]) >= maxWaitingSource || (h.waiting >= maxWaiting && !h.displace(source)) {
		return nil, ErrOverloaded
	}
	c := &check{run: run, print: print, source: source, callers: 1, done: make(chan struct{})}
	h.shared[print] = c
	if len(h.queues[source]) == 0 {
		h.turns = append(h.turns, source)
	}
	h.queues[source] = append(h.queues[source], c)
	h.waiting++
	if h.running < h.workers {
		h.running++
		go h.work()
	}
	return c, nil
}

// displace makes room for a source by dropping the newest check of the source that waits for most,
// so that those who flood the queue lose, not those who come to it.
func (h *Hasher) displace(source string) bool {
	longest := source
	for s, queue := range h.queues {
		if len(queue) > len(h.queues[longest]) {
			longest = s
		}
	}
	if len(h.queues[longest]) <= len(h.queues[source])+1 {
		return false
	}
	last := h.queues[longest][len(h.queues[longest])-1]
	h.remove(last)
	last.err = ErrOverloaded
	close(last.done)
	return true
}

// leave is for a caller who does not wait any more: a check without callers gives its place up.
func (h *Hasher) leave(c *check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.callers--; c.callers == 0 && slices.Contains(h.queues[c.source], c) {
		h.remove(c)
	}
}

// remove takes a waiting check out of its queue.
func (h *Hasher) remove(c *check) {
	delete(h.shared, c.print)
	h.waiting--
	queue := h.queues[c.source]
	if len(queue) == 1 {
		delete(h.queues, c.source)
		h.turns = slices.DeleteFunc(h.turns, func(s string) bool { return s == c.source })
		return
	}
	h.queues[c.source] = slices.DeleteFunc(slices.Clone(queue), func(q *check) bool { return q == c })
}

// compute turns a panic into damage: what a library makes of a hash that came from elsewhere must not end the server.
func compute(run func() (bool, error)) (match bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			match, err = false, fmt.Errorf("%w: hash can't be computed", ErrDamaged)
		}
	}()
	return run()
}

// work runs checks until none waits.
func (h *Hasher) work() {
	for c := h.next(); c != nil; c = h.next() {
		start := time.Now()
		c.match, c.err = compute(c.run)
		if h.OnHash != nil {
			h.OnHash(time.Since(start))
		}
		h.mu.Lock()
		delete(h.shared, c.print)
		h.mu.Unlock()
		close(c.done)
	}
}

// next takes the first check of the source whose turn it is, or ends the worker.
func (h *Hasher) next() *check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.turns) == 0 {
		h.running--
		return nil
	}
	source := h.turns[0]
	queue := h.queues[source]
	h.waiting--
	h.turns = h.turns[1:]
	if len(queue) > 1 {
		h.queues[source] = queue[1:]
		h.turns = append(h.turns, source)
	} else {
		delete(h.queues, source)
	}
	return queue[0]
}
