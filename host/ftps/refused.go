package ftps

import (
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// refusedWindow is how long connections that are refused for the same reason are summed up, after the first one. Strangers cause
// as many as they like.
const refusedWindow = time.Minute

// refusedSums are those of a service, by reason.
type refusedSums struct {
	mu   sync.Mutex
	sums map[events.Reason]*refusedSum
}

type refusedSum struct {
	peer   string // of the last one
	detail string
	count  int
	logged int
	timer  *time.Timer
}

// mostLogged is how many of a kind have a line of the log each within a minute.
const mostLogged = 20

var errCrowded = errors.New("as many connections as are allowed are open")

// maxDetail is how many bytes of a reason are told: names in a certificate, or protocols that are offered, can be as long as a stranger likes.
const maxDetail = 300

// briefly is the text of a reason.
func briefly(why error) string {
	text := why.Error()
	if len(text) > maxDetail {
		text = text[:maxDetail] + "..."
	}
	return strings.ToValidUTF8(text, "")
}

var errStranger = errors.New("nobody waits for a data connection from this address")

// stranger ends a data connection that comes from another address than a control connection that waits for one.
func (s *Service) stranger(conn net.Conn) {
	_ = conn.Close()
	s.refused(conn.RemoteAddr().String(), events.StrangeData, errStranger)
}

// refused tells of a connection that was ended before a login: at once of the first of its kind, and of others within the minute together.
func (s *Service) refused(peer string, reason events.Reason, why error) {
	s.refusals.mu.Lock()
	defer s.refusals.mu.Unlock()
	sum := s.refusals.sums[reason]
	if sum == nil {
		s.recorder.Note(&events.ConnectionRefused{Service: s.options.Name, Peer: peer, Reason: reason, Detail: briefly(why), Count: 1})
		sum = &refusedSum{count: -1, timer: time.AfterFunc(refusedWindow, func() { s.sumUp(reason) })}
		s.refusals.sums[reason] = sum
	}
	sum.count++
	sum.peer, sum.detail = peer, briefly(why)
	if sum.logged++; sum.logged <= mostLogged {
		s.options.Log.Info("connection refused", "service", s.options.Name, "peer", peer, "reason", reason, "detail", sum.detail)
	}
}

// sumUp ends the minute of a reason.
func (s *Service) sumUp(reason events.Reason) {
	s.refusals.mu.Lock()
	sum := s.refusals.sums[reason]
	delete(s.refusals.sums, reason)
	s.refusals.mu.Unlock()
	if sum == nil || sum.count == 0 {
		return
	}
	if more := sum.logged - mostLogged; more > 0 {
		s.options.Log.Info("more connections refused", "service", s.options.Name, "last", sum.peer, "reason", reason, "count", more)
	}
	s.recorder.Note(&events.ConnectionRefused{Service: s.options.Name, Peer: sum.peer, Reason: reason, Detail: sum.detail, Count: sum.count})
}

// sumUpAll ends all minutes.
func (s *Service) sumUpAll() {
	s.refusals.mu.Lock()
	var reasons []events.Reason
	for reason, sum := range s.refusals.sums {
		sum.timer.Stop()
		reasons = append(reasons, reason)
	}
	s.refusals.mu.Unlock()
	for _, reason := range reasons {
		s.sumUp(reason)
	}
}
