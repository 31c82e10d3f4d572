package ftps

import (
	"io"
	"net"
	"time"

	"golang.org/x/time/rate"
)

// rates bound what one user moves a second, over all sessions.
type rates struct {
	sessions int
	up, down *rate.Limiter // nil: no bound
}

// smallestBurst is what moves at once at least, in bytes.
const smallestBurst = 16 << 10

// limiter makes a token bucket for so many bytes a second that holds a quarter of that; 0: none.
func limiter(bytes int64) *rate.Limiter {
	if bytes == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), int(max(bytes/4, smallestBurst)))
}

// limits gives a session the rates of its user. They are those of the first session that is open, so that all share them.
func (s *Service) limits(sess *session, user string, up, down int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rates[user] == nil {
		s.rates[user] = &rates{up: limiter(up), down: limiter(down)}
	}
	s.rates[user].sessions++
	sess.rates = s.rates[user]
}

// unlimit is the end of limits.
func (s *Service) unlimit(sess *session, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess.rates == nil {
		return
	}
	if sess.rates.sessions--; sess.rates.sessions == 0 && s.rates[user] == sess.rates {
		delete(s.rates, user)
	}
	sess.rates = nil
}

// slow reads at a rate.
type slow struct {
	io.Reader
	limiter *rate.Limiter
	closed  <-chan struct{} // nobody waits any more
}

// slowed is a reader that keeps to a limiter, or the reader itself if there is none.
func (sess *session) slowed(r io.Reader, l *rate.Limiter) io.Reader {
	if l == nil {
		return r
	}
	return slow{r, l, sess.control.closed}
}

// Read implements [io.Reader]. It reads no more than a bucket holds, and then waits until that is there again.
func (s slow) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p[:min(len(p), s.limiter.Burst())])
	delay := time.NewTimer(s.limiter.ReserveN(time.Now(), n).Delay())
	defer delay.Stop()
	select {
	case <-delay.C:
		return n, err
	case <-s.closed:
		return n, net.ErrClosed
	}
}
