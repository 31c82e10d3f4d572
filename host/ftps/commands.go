package ftps

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport-ftps/sallyport/events"
)

// commandsToLogin is how many commands a client may send before it is logged in: enough for every FEAT, OPTS and second USER, and
// few enough that nobody keeps the server busy without a password.
const commandsToLogin = 64

var (
	errBusy = errors.New("more commands than are allowed")

	errLongLine = fmt.Errorf("a command of more than %d bytes", maxLine)
)

// takes says which commands the library takes, and which of them need a parameter.
func takes(command string) (known, needs bool) {
	switch command {
	case "ALLO", "APPE", "CWD", "DELE", "HASH", "MD5", "MDTM", "MFMT", "MKD", "MODE", "OPTS", "REST", "RETR", "RMD", "RNFR", "RNTO", "SIZE", "STOR", "TYPE", "USER",
		"XCRC", "XCWD", "XMD5", "XMKD", "XRMD", "XSHA", "XSHA1", "XSHA256", "XSHA512":
		return true, true
	case "ABOR", "AVBL", "CDUP", "CLNT", "EPRT", "EPSV", "FEAT", "LIST", "MLSD", "MLST", "NLST", "NOOP", "PASS", "PASV", "PORT", "PWD", "QUIT", "SITE", "STAT", "STRU", "SYST", "XPWD":
		return true, false
	}
	return false, false
}

// lists reports whether a command has a listing on its data connection.
func lists(command string) bool { return command == "LIST" || command == "NLST" || command == "MLSD" }

// spelled is a command as the library knows it. Some have bytes of Telnet in front of them, from clients that follow RFC 959, section 4.1.3.
func spelled(command string) string {
	for _, urgent := range []string{"ABOR", "STAT", "QUIT"} {
		if strings.HasSuffix(command, urgent) {
			return urgent
		}
	}
	if command == "XCUP" {
		return "CDUP"
	}
	return command
}

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
