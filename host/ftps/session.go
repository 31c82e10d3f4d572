package ftps

import (
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/auth"
)

// session is one control connection with what happens on it.
type session struct {
	service   *Service
	settings  *settings
	id        string
	peer      netip.AddrPort
	connected time.Time
	control   *control
	listener  *oneListener
	closing   sync.Once

	mu          sync.Mutex
	grant       auth.Grant // of the login; LoginID is empty before
	files       *files
	opened      time.Time
	closed      func()        // tells the authority
	why         events.Reason // why it ended, the first that was noticed
	passive     *passiveListener
	data        map[*dataConn]bool // data connections that are open
	tls         *tls.Conn
	secured     *tls.Config // see controlTLS
	securedData *tls.Config // see dataTLS
	// certificate is the client's, if it showed one that is believed.
	certificate *auth.Certificate
	rates       *rates     // of its user; nil before the login
	counted     string     // the user that takeUser counted; guarded by the service
	told        bool       // of a refused certificate
	asked       string     // see asks
	facts       []string   // of MLST and MLSD; OPTS makes others
	fate        *fate      // of the last transfer
	starting    bool       // a transfer's command is the library's, and it has not said anything of it
	ends        bool       // see over
	handshaking bool       // the control connection is about to get TLS, or has it
	turn        *sync.Cond // of mu: a reply was written, or the session ends
	unsaid      bool       // a transfer ended and its reply is not written yet

	filesUp, filesDown, received, sent, dataConns, dataResumed atomic.Int64

	notResumed atomic.Bool // a data connection did not resume, and that was said
}

func newSession(s *Service, conn net.Conn) *session {
	sess := &session{service: s, connected: time.Now(), settings: s.settings.Load(), id: uuid.Must(uuid.NewV7()).String(), facts: factNames(), fate: &fate{}}
	if addr, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		sess.peer = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	sess.turn = sync.NewCond(&sess.mu)
	sess.control = newControl(conn, sess)
	return sess
}

// open starts the session of an accepted login.
func (sess *session) open(grant auth.Grant, files *files) {
	sess.service.limits(sess, grant.User, grant.Limits.UploadRate, grant.Limits.DownloadRate)
	sess.mu.Lock()
	sess.grant, sess.files, sess.opened = grant, files, time.Now()
	sess.closed = sess.service.authority.Opened(grant, sess.peer.Addr())
	sess.mu.Unlock()
	sess.service.recorder.Note(&events.SessionOpened{Login: sess.login(), SessionID: sess.id, TLS: sess.tlsVersion()})
}

// end closes what the session holds and sums it up, if anybody was logged in.
func (sess *session) end() {
	sess.mu.Lock()
	files, opened, why := sess.files, sess.opened, sess.why
	sess.mu.Unlock()
	if files == nil {
		return
	}
	files.close()
	sess.service.unlimit(sess, sess.grant.User)
	sess.closed()
	if why == "" {
		why = events.ConnectionLost
	}
	sess.service.recorder.Note(&events.SessionClosed{
		Login:         sess.login(),
		SessionID:     sess.id,
		Reason:        why,
		DurationMS:    time.Since(opened).Milliseconds(),
		FilesUp:       sess.filesUp.Load(),
		FilesDown:     sess.filesDown.Load(),
		BytesReceived: sess.received.Load(),
		BytesSent:     sess.sent.Load(),
		DataConns:     sess.dataConns.Load(),
		DataResumed:   sess.dataResumed.Load(),
	})
}

func (sess *session) login() events.Login {
	return events.Login{LoginID: sess.grant.LoginID, Service: sess.service.options.Name, User: sess.grant.User, Peer: sess.peer.String()}
}

func (sess *session) tlsVersion() string {
	return tls.VersionName(sess.tls.ConnectionState().Version)
}

func (sess *session) mustChange() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.grant.MustChange
}

func (sess *session) loggedIn() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.files != nil
}

// ended notes why the session ends; the first reason stays.
func (sess *session) ended(why events.Reason) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.why == "" {
		sess.why = why
	}
}

// isSecured reports whether TLS is there.
func (sess *session) isSecured() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.tls != nil
}

// closeFor ends the session from outside, once.
func (sess *session) closeFor(why events.Reason) { sess.closing.Do(func() { sess.sayGoodbye(why) }) }

func (sess *session) sayGoodbye(why events.Reason) {
	sess.ended(why)
	sess.over()
	sess.closePassive(nil)
	sess.mu.Lock()
	secured := sess.tls
	handshaking := sess.handshaking
	sess.mu.Unlock()
	sess.control.lastReply()
	switch { // nobody else writes: the session is idle, or its time is up
	case secured != nil:
		if _, err := io.WriteString(secured, goodbye(why)); err != nil {
			_ = sess.control.Conn.Close() // else TLS takes five seconds more to say that it ends
		}
		_ = secured.CloseWrite()
	case !sess.service.options.Implicit && !handshaking:
		_, _ = io.WriteString(sess.control.Conn, goodbye(why))
	}
	switch why {
	case events.TooManyCommands, events.TooManySessions, events.InputTooLong:
		sess.control.drain()
	}
	sess.cutTransfers()
	_ = sess.control.Close()
}

func goodbye(why events.Reason) string {
	switch why {
	case events.Revoked:
		return "421 An administrator ended the session.\r\n"
	case events.TooManyCommands:
		return "421 These are too many commands.\r\n"
	case events.TooManySessions:
		return "421 The account has as many sessions as it may have.\r\n"
	case events.InputTooLong:
		return "421 This command is too long.\r\n"
	case events.LoginTimeout:
		return "421 The time to log in is over.\r\n"
	case events.IdleTimeout:
		return "421 There was no command for too long.\r\n"
	}
	return "421 The server is shutting down.\r\n"
}

// closePassive ends the waiting for a data connection.
func (sess *session) closePassive(next *passiveListener) {
	sess.mu.Lock()
	last := sess.passive
	sess.passive = next
	sess.mu.Unlock()
	if last != nil {
		_ = last.Close()
	}
}

// busy reports whether a transfer is under way, or its reply not written yet.
func (sess *session) busy() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return len(sess.data) > 0 || sess.unsaid
}

// moves is busy, for who asks whether the client is idle. A reply that is due is waited for once.
func (sess *session) moves() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	moves := len(sess.data) > 0 || sess.unsaid
	sess.unsaid = false
	return moves
}

// awaitTurn waits until a command may be answered: behind the reply to a transfer, or, if it is one about the transfer, behind its first
// reply. The library would not wait in all cases, and replies would get mixed. It reports whether a transfer is under way, and whether the
// session is.
func (sess *session) awaitTurn(command, param string) (transfers, alive bool) {
	if command == "STAT" && param == "" {
		return false, true
	}
	if command == "ABOR" {
		sess.abort()
		sess.closePassive(nil) // the library would wait until the data connection comes, or does not
	}
	urgent := command == "ABOR" || command == "QUIT"
	sess.mu.Lock()
	defer sess.mu.Unlock()
	for !sess.ends && sess.mustWait(urgent) {
		stop := onHangup(sess.control.Conn, sess.service.options.Limits.Hangup, sess.over)
		sess.turn.Wait()
		stop()
	}
	if !urgent {
		sess.asked = command
	}
	return len(sess.data) > 0, !sess.ends
}

// mustWait is called with the lock.
func (sess *session) mustWait(urgent bool) bool {
	switch {
	case sess.starting:
		return true
	case len(sess.data) == 0:
		return sess.unsaid
	}
	return !urgent
}

// handOver notes that the library gets a command.
func (sess *session) handOver(command string) {
	switch command {
	case "RETR", "STOR", "APPE", "LIST", "NLST", "MLSD":
		sess.mu.Lock()
		defer sess.mu.Unlock()
		sess.starting = sess.files != nil
		sess.fate = &fate{why: errNotOpen} // unless it gets further
	}
}

// asks is the command that the library is about, or we are, also while it is aborted.
func (sess *session) asks() string {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.asked
}

// over is the end: no command is waited for, and no transfer begins.
func (sess *session) over() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.ends = true
	sess.turn.Broadcast()
}

// transferBegins reports whether a transfer may take a data connection.
func (sess *session) transferBegins(conn *dataConn) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.ends {
		return false
	}
	if sess.data == nil {
		sess.data = map[*dataConn]bool{}
	}
	sess.data[conn] = true
	conn.fate = sess.fate
	conn.fate.why = nil
	return true
}

// cutTransfers ends the transfers that are under way: they would go on without a control connection.
func (sess *session) cutTransfers() {
	sess.mu.Lock()
	open := slices.Collect(maps.Keys(sess.data))
	sess.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close()
	}
}

// transferEnds is told of each data connection that is closed, also of one that no transfer took.
func (sess *session) transferEnds(conn *dataConn, why error) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.data[conn] {
		conn.fate.why = why
		delete(sess.data, conn)
		sess.unsaid = true
	}
}

// replied notes that something was written to the client.
func (sess *session) replied() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.starting = false
	if len(sess.data) == 0 {
		sess.unsaid = false
	}
	sess.turn.Broadcast()
}
