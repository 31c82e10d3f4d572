package ftps

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// Replies of RFC 2228, section 5, RFC 2428 and RFC 4217, for which the library has no names.
const (
	statusNotProtected     = 521
	statusOtherProtocol    = 522
	statusLevelRefused     = 534
	statusLevelNotPossible = 536
)

const (
	textMustBeProtected = "Data connections must be encrypted: PROT P."
	textHelp            = "FEAT lists the extensions. SITE knows CHMOD, UTIME, PSWD, QUOTA, WHO and HELP."
	textAborted         = "ABOR: nothing is under way."
	textCut             = "The data connection was cut."
)

// reply is what we say to a command. Code 0: it is the library's, which hears only what is here or in takes, and complete.
func (c *control) reply(command, param string) (code int, text string) {
	word := strings.ToUpper(strings.TrimSpace(param))
	switch command {
	case "AUTH":
		return c.auth(word)
	case "PBSZ", "PROT":
		return c.protection(command, word)
	case "HELP":
		return ftpserver.StatusHelpMessage, textHelp
	case "USER", "PASS":
		return c.order(command, param)
	case "OPTS":
		if option, names, _ := strings.Cut(word, " "); option == "MLST" {
			return ftpserver.StatusOK, strings.TrimSuffix("MLST OPTS "+c.session.chooseFacts(names), " ")
		}
	case "STAT":
		if param == "" {
			return ftpserver.StatusSystemStatus, c.session.status()
		}
	}
	known, needs := takes(command)
	switch {
	case !c.session.loggedIn():
	case command == "STRU" && word == "F":
		return ftpserver.StatusOK, "Structure is file."
	case command == "STRU":
		return ftpserver.StatusNotImplementedParam, "STRU F is expected."
	case command == "PORT", command == "EPRT", command == "PASV", command == "EPSV":
		return c.dataPort(command, word)
	case command == "MLST":
		return c.mlst(param)
	case command == "RNTO" && !c.renames:
		return ftpserver.StatusBadCommandSequence, "RNFR comes first."
	case command == "REST":
		if n, err := strconv.ParseInt(word, 10, 64); err != nil || n < 0 {
			return ftpserver.StatusSyntaxErrorParameters, "A number of bytes is expected."
		}
	}
	switch {
	case !known:
		return ftpserver.StatusCommandNotImplemented, "This command is not implemented."
	case needs && word == "":
		return ftpserver.StatusSyntaxErrorParameters, command + " needs something behind it."
	}
	return 0, ""
}

func (c *control) auth(mechanism string) (code int, text string) {
	switch {
	case c.session.isSecured():
		return ftpserver.StatusBadCommandSequence, "The connection is secured already."
	case mechanism != "TLS" && mechanism != "TLS-C" && mechanism != "SSL":
		return ftpserver.StatusNotImplementedParam, "Only AUTH TLS is known here."
	}
	return ftpserver.StatusAuthAccepted, "Begin with TLS."
}

// protection is for PBSZ and PROT. With implicit TLS, who says nothing has said P.
func (c *control) protection(command, level string) (code int, text string) {
	switch {
	case !c.session.isSecured():
		return ftpserver.StatusBadCommandSequence, "AUTH TLS comes first."
	case command == "PBSZ":
		if _, err := strconv.ParseUint(level, 10, 32); err != nil {
			return ftpserver.StatusSyntaxErrorParameters, "PBSZ 0 is expected."
		}
		return ftpserver.StatusOK, "PBSZ=0"
	}
	switch level {
	case "P":
		c.protected, c.assumed = true, false
		return ftpserver.StatusOK, "Data connections are encrypted."
	case "C":
		c.protected, c.assumed = c.protected && !c.assumed, false
		return statusLevelRefused, textMustBeProtected
	case "S", "E":
		return statusLevelNotPossible, "TLS has PROT P only."
	}
	return ftpserver.StatusNotImplementedParam, "PROT P is expected."
}

// order is for USER and PASS: one login a connection, and the name first.
func (c *control) order(command, param string) (code int, text string) {
	switch {
	case c.session.loggedIn():
		return ftpserver.StatusBadCommandSequence, "You are logged in; open another connection for another user."
	case command == "USER" && param == "":
		return ftpserver.StatusSyntaxErrorParameters, "A name is expected."
	case command == "USER":
		c.named = true
	case !c.named:
		return ftpserver.StatusBadCommandSequence, "USER comes first."
	}
	return 0, ""
}

// dataPort is for what asks for a data connection: RFC 2428 has the arguments of EPSV.
func (c *control) dataPort(command, param string) (code int, text string) {
	own := "1"
	if addr, ok := c.LocalAddr().(*net.TCPAddr); ok && addr.IP.To4() == nil {
		own = "2"
	}
	switch {
	case !c.protected:
		return statusNotProtected, textMustBeProtected
	case command == "PORT" || command == "EPRT":
		return ftpserver.StatusCommandNotImplemented, "Active mode is off: use EPSV or PASV."
	case command == "PASV" && c.onlyEPSV:
		return ftpserver.StatusBadCommandSequence, "Only EPSV is possible after EPSV ALL."
	case command == "PASV" && own != "1":
		return ftpserver.StatusCannotOpenDataConnection, "PASV is for IPv4; use EPSV."
	case command == "PASV" || param == "" || param == own:
		return c.passive(command)
	case param == "ALL":
		c.onlyEPSV = true
		return ftpserver.StatusOK, "Only EPSV is possible from now on."
	case param == "1" || param == "2" || param == "3":
		return statusOtherProtocol, "Use (" + own + ")."
	}
	return ftpserver.StatusSyntaxErrorParameters, "EPSV, EPSV " + own + " or EPSV ALL is expected."
}

// passive opens a port for the next data connection and says which. RFC 959, section 4.1.2, and RFC 2428, section 3.
func (c *control) passive(command string) (code int, text string) {
	addr, err := c.session.listen()
	tcp, ok := addr.(*net.TCPAddr)
	switch {
	case errors.Is(err, errNoPort):
		return ftpserver.StatusCannotOpenDataConnection, "No port for a data connection is free; try again."
	case err != nil || !ok:
		return ftpserver.StatusCannotOpenDataConnection, "No data connection is possible."
	case command == "PASV":
		host := strings.ReplaceAll(c.session.publicAddress(), ".", ",")
		return ftpserver.StatusEnteringPASV, fmt.Sprintf("Entering Passive Mode (%s,%d,%d)", host, tcp.Port>>8, tcp.Port&0xff)
	}
	return ftpserver.StatusEnteringEPSV, fmt.Sprintf("Entering Extended Passive Mode (|||%d|)", tcp.Port)
}

// mlst answers MLST, about the working folder or what is named.
func (c *control) mlst(name string) (code int, text string) {
	listed, err := c.session.files.mlst(name)
	if err != nil {
		return ftpserver.StatusActionNotTaken, "Not listed: " + err.Error()
	}
	return ftpserver.StatusFileOK, listed
}

// status is STAT without a name.
func (sess *session) status() string {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	lines := []string{
		"Status of the session:",
		fmt.Sprintf(" Connected from %s for %s", sess.peer, time.Since(sess.connected).Round(time.Second)),
		" Not logged in",
		fmt.Sprintf(" %d bytes received, %d sent, in %d files", sess.received.Load(), sess.sent.Load(), sess.filesUp.Load()+sess.filesDown.Load()),
		"End",
	}
	if sess.files != nil {
		lines[2] = " Logged in as " + sess.grant.User
	}
	if len(sess.data) > 0 {
		lines = slices.Insert(lines, 4, " A transfer is under way")
	}
	return strings.Join(lines, "\n")
}

// say writes a reply of ours, all of its lines at once.
func (c *control) say(code int, text string) error {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		switch {
		case i == len(lines)-1:
			lines[i] = fmt.Sprintf("%d %s", code, line)
		case i == 0:
			lines[i] = fmt.Sprintf("%d-%s", code, line)
		}
	}
	return c.write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
}

// mend makes of a line that the library says what it should be. RATIONALE.md, "What would we change in the library?".
func (c *control) mend(line []byte) []byte {
	code, text, _ := strings.Cut(string(line), " ")
	switch code {
	case "":
		return []byte(c.mendListed(" " + text))
	case "200", "250":
		text = plainly(text)
	case "425", "450", "550", "552", "553", "501":
		code, text = c.mendRefusal(code, text)
	case "257":
		if quoted, ok := strings.CutPrefix(text, "Created dir "); ok { // RFC 959, appendix II: the name comes first
			text = strings.TrimSuffix(quoted, "\r\n") + " created.\r\n"
		}
	default:
		return line
	}
	return []byte(code + " " + text)
}

// plainly is what the library says when all is well.
func plainly(text string) string {
	for _, m := range [][2]string{
		{"Done !", "Done."},
		{"Good to know", "Noted."},
		{"I'm in UTF8 only anyway", "Names are UTF-8."},
	} {
		if rest, ok := strings.CutPrefix(text, m[0]); ok {
			return m[1] + rest
		}
	}
	if folder, ok := strings.CutPrefix(text, "CD worked on "); ok {
		return "The working folder is " + folder
	}
	return text
}

// mendListed is for lines of FEAT, and of STAT of a folder.
func (c *control) mendListed(line string) string {
	switch line {
	case " EPRT\r\n": // it is off
		return ""
	case " MLST\r\n":
		return " MLST " + c.session.offered() + "\r\n"
	}
	if listed, ok := strings.CutPrefix(line, " %s"); ok {
		return " " + listed
	}
	if all, ok := algorithms(line); ok {
		slices.Sort(all)
		return " HASH " + strings.Join(all, ";") + "\r\n"
	}
	return line
}

// algorithms are those of HASH, if that is what the library lists in a line.
func algorithms(line string) (all []string, ok bool) {
	list, ok := strings.CutSuffix(line, ";\r\n")
	if !ok {
		return nil, false
	}
	all = strings.Split(strings.TrimPrefix(list, " "), ";")
	for _, one := range all {
		switch strings.TrimSuffix(one, "*") {
		case "CRC32", "MD5", "SHA-1", "SHA-256", "SHA-512":
		default:
			return nil, false
		}
	}
	return all, true
}

// mendRefusal has two tasks: a code that tells a client rightly whether to try again, and words for people.
func (c *control) mendRefusal(code, text string) (string, string) {
	for _, m := range []struct{ begins, code, says string }{
		{"Could not access file: driver error: calling GetHandle: ", code, "Not opened: "},
		{"Could not list: file access error: couldn't stat: ", "550", "Not listed: "}, // lftp tries for ever after 450
		{"Could not list: listing a file isn't allowed", "501", "MLSD is for folders, and MLST for files."},
		{"Could not list: ", "550", "Not listed: "},
		{"Could not STAT: ", "550", "Not listed: "},
		{"Couldn't alloInt: ", code, "No room: "},
		{"unable to open transfer: no transfer connection", "425", "EPSV or PASV comes first."},
	} {
		if rest, ok := strings.CutPrefix(text, m.begins); ok {
			return m.code, m.says + rest
		}
	}
	if rest, ok := strings.CutPrefix(text, "Issue during transfer: network error: error transferring data: "); ok && code == "552" {
		return code, "Not stored: " + rest
	}
	switch _, why, _ := strings.Cut(text, ", err: "); {
	case strings.HasPrefix(text, "Couldn't parse size: "):
		return code, "A number is expected.\r\n"
	case strings.HasPrefix(text, "Couldn't parse mtime, "):
		return code, "A time is expected, YYYYMMDDhhmmss in UTC.\r\n"
	case strings.HasPrefix(text, "Couldn't set mtime "):
		return code, "Time not changed: " + why
	case strings.HasPrefix(text, "SIZE not allowed in ASCII mode"):
		return code, "SIZE is for TYPE I.\r\n"
	case code == "425", strings.HasPrefix(text, "Issue during transfer: "):
		if end := endingOf(c.session.whyBroken()); end.text != "" {
			return strconv.Itoa(end.code), end.text + "\r\n"
		}
	}
	if strings.HasPrefix(text, "Issue during transfer: ") && lists(c.session.asks()) {
		return "451", "The folder can't be read to its end.\r\n"
	}
	return code, text
}
