package ftps

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

// Info is a session as an administrator sees it.
type Info struct {
	ID       string
	Service  string
	User     string
	Peer     netip.AddrPort
	TLS      string
	Since    time.Time
	Busy     bool // a transfer is under way
	Received int64
	Sent     int64
}

// Sessions lists those that are logged in, the oldest first.
func (s *Service) Sessions() []Info {
	all := []Info{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions {
		if info, in := sess.info(); in {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Connections counts those that are open, logged in or not.
func (s *Service) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

func (sess *session) info() (info Info, loggedIn bool) {
	busy := sess.busy()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.files == nil {
		return Info{}, false
	}
	return Info{
		ID: sess.id, Service: sess.service.options.Name, User: sess.grant.User, Peer: sess.peer, TLS: sess.tlsVersion(), Since: sess.opened,
		Busy: busy, Received: sess.received.Load(), Sent: sess.sent.Load(),
	}, true
}

// CloseSessions ends the session of an ID, or all of a user, also in the middle of a transfer. It returns how many there were.
func (s *Service) CloseSessions(idOrUser string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions {
		if info, in := sess.info(); in && (info.ID == idOrUser || info.User == idOrUser) {
			n++
			go sess.closeFor(events.Revoked) // a client that does not read must not hold up the others
		}
	}
	return n
}

// takeUser counts a session of a user, unless there are too many.
func (s *Service) takeUser(sess *session, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := sess.settings.MaxPerAccount; most > 0 && s.users[user] >= most {
		return false
	}
	s.users[user]++
	sess.counted = user
	return true
}

// leaveUser is the end of what takeUser counted, if it did.
func (s *Service) leaveUser(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess.counted == "" {
		return
	}
	if s.users[sess.counted]--; s.users[sess.counted] <= 0 {
		delete(s.users, sess.counted)
	}
	sess.counted = ""
}

// PublicAddress says which address clients of a network are told to connect to for data. The zero address: our own.
type PublicAddress struct {
	Network netip.Prefix
	Address netip.Addr
}

// publicAddress is what PASV says: the first that fits the client, or our own.
func (sess *session) publicAddress() string {
	peer := sess.peer.Addr()
	for _, p := range sess.settings.PublicAddresses {
		if p.Network.Contains(peer) && p.Address.IsValid() {
			return p.Address.String()
		} else if p.Network.Contains(peer) {
			break
		}
	}
	own, err := netip.ParseAddrPort(sess.control.LocalAddr().String())
	if err != nil {
		return ""
	}
	return own.Addr().Unmap().String()
}
