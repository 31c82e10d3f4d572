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

	errLongLine = fmt.Errorf("a command of more than %d bytes", maxLine)
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

// refuse ends a connection that asks too much, with a reply and an event.
func (sess *session) refuse(reason events.Reason, why error) {
	if sess.loggedIn() {
		sess.service.options.Log.Warn("session ended", "service", sess.service.options.Name, "peer", sess.peer, "user", sess.grant.User, "reason", reason, "login", sess.login().LoginID)
	} else {
		sess.service.refused(sess.peer.String(), reason, why)
	}
	sess.closeFor(reason)
}
