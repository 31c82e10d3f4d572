package ftps

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport-ftps/sallyport/events"
)

// commandsToLogin is how many commands a client may send before it is logged in: enough for every FEAT, OPTS and second USER, and
// few enough that nobody keeps the server busy without a password.
const commandsToLogin = 64

var (
	errSlow = errors.New("no login in the time for it")
	errBusy = errors.New("more commands than are allowed")
)

// commands counts those of a control connection. The library asks from one goroutine.
type commands struct {
	left    int // before the login
	in      bool
	limiter *rate.Limiter // nil: no bound
}

func newCommands(s *settings) commands {
	c := commands{left: commandsToLogin}
	if s.CommandRate > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(s.CommandRate), s.CommandRate) // a second's worth at once
	}
	return c
}

// take counts a command, and reports whether it is not too many.
func (c *commands) take(now time.Time) bool {
	if !c.in {
		c.left--
		return c.left >= 0
	}
	return c.limiter == nil || c.limiter.AllowN(now, 1)
}

func (c *commands) loggedIn() { c.in = true }

// tooManyCommands ends the session.
func (sess *session) tooManyCommands() {
	if sess.loggedIn() {
		sess.service.options.Log.Warn("session ended", "service", sess.service.options.Name, "peer", sess.peer, "user", sess.grant.User, "reason", events.TooManyCommands, "login", sess.login().LoginID)
	} else {
		if !sess.control.flooded.Load() {
			sess.service.refused(sess.peer.String(), events.TooManyCommands, errBusy)
		}
		if sess.control.plain != nil { // not under TLS yet
			_, _ = fmt.Fprint(sess.control.Conn, goodbye(events.TooManyCommands))
		}
	}
	sess.closeFor(events.TooManyCommands)
}
