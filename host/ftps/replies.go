package ftps

import (
	"slices"
	"strconv"
	"strings"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// Replies of RFC 2228, section 5, and RFC 4217, for which the library has no names.
const (
	statusNotProtected     = 521
	statusLevelRefused     = 534
	statusLevelNotPossible = 536
)

const (
	textMustBeProtected = "Data connections must be encrypted: PROT P."
	textActive          = "Active mode is off: use EPSV or PASV."
	textHelp            = "FEAT lists the extensions. SITE knows CHMOD, UTIME, PSWD, QUOTA, WHO and HELP."

	facts = "Type;Size;Modify;" // what the library lists of a file (RFC 3659, section 7)
)

// answers reports whether a command is not the library's: it knows nothing of TLS, and others it does not know or says 421 to.
func (c *control) answers(command, param string) bool {
	switch in := c.session.loggedIn(); command {
	case "AUTH", "PBSZ", "PROT":
		return true
	case "OPTS":
		option, _, _ := strings.Cut(strings.ToUpper(param), " ")
		return option == "MLST"
	case "PASV", "EPSV":
		return in && !c.protected
	case "PORT", "EPRT", "STRU", "HELP":
		return in
	}
	return false
}

// answer is the reply to a command that answers is true of.
func (c *control) answer(command, param string) (code int, text string) {
	param = strings.ToUpper(strings.TrimSpace(param))
	switch command {
	case "AUTH":
		return c.auth(param)
	case "PBSZ", "PROT":
		if !c.session.isSecured() {
			return ftpserver.StatusBadCommandSequence, "AUTH TLS comes first."
		}
		if command == "PROT" {
			return c.protect(param)
		}
		if _, err := strconv.ParseUint(param, 10, 32); err != nil {
			return ftpserver.StatusSyntaxErrorParameters, "PBSZ 0 is expected."
		}
		return ftpserver.StatusOK, "PBSZ=0"
	case "PASV", "EPSV":
		return statusNotProtected, textMustBeProtected
	case "PORT", "EPRT":
		return ftpserver.StatusCommandNotImplemented, textActive
	case "STRU":
		if param != "F" {
			return ftpserver.StatusNotImplementedParam, "STRU F is expected."
		}
		return ftpserver.StatusOK, "Structure is file."
	case "HELP":
		return ftpserver.StatusHelpMessage, textHelp
	}
	return ftpserver.StatusOK, "MLST OPTS " + facts // all of them are always on
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

func (c *control) protect(level string) (code int, text string) {
	switch level {
	case "P":
		c.protected = true
		return ftpserver.StatusOK, "Data connections are encrypted."
	case "C":
		return statusLevelRefused, textMustBeProtected
	case "S", "E":
		return statusLevelNotPossible, "TLS has PROT P only."
	}
	return ftpserver.StatusNotImplementedParam, "PROT P is expected."
}

// algorithms are those of HASH, if that is what the library lists in a line.
func algorithms(line string) (all []string, ok bool) {
	list, ok := strings.CutSuffix(line, ";\r\n")
	if !ok || !strings.HasPrefix(list, " ") {
		return nil, false
	}
	all = strings.Split(list[1:], ";")
	for _, one := range all {
		switch strings.TrimSuffix(one, "*") {
		case "CRC32", "MD5", "SHA-1", "SHA-256", "SHA-512":
		default:
			return nil, false
		}
	}
	return all, true
}

// mend makes of a line that the library says what it should be. RATIONALE.md, "What would we change in the library?".
func mend(line []byte) []byte {
	if len(line) == 0 || line[0] != ' ' && line[0] != '4' && line[0] != '5' {
		return line
	}
	text := string(line)
	switch text {
	case " EPRT\r\n": // it is off
		return nil
	case " MLST\r\n":
		return []byte(" MLST " + strings.ReplaceAll(facts, ";", "*;") + "\r\n")
	}
	if listed, ok := strings.CutPrefix(text, " %s"); ok { // STAT of a folder
		return []byte(" " + listed)
	}
	if all, ok := algorithms(text); ok {
		slices.Sort(all)
		return []byte(" HASH " + strings.Join(all, ";") + "\r\n")
	}
	if code, _, ok := strings.Cut(text, " Couldn't parse size: strconv."); ok && len(code) == 3 {
		return []byte(code + " A number is expected.\r\n")
	}
	for _, words := range [][2]string{
		{"Could not access file: driver error: calling GetHandle: ", "Not opened: "},
		{"Could not list: file access error: couldn't stat: ", "Not listed: "},
		{"Couldn't alloInt: ", "No room: "},
	} {
		if code, rest, ok := strings.Cut(text, " "+words[0]); ok && len(code) == 3 {
			return []byte(code + " " + words[1] + rest)
		}
	}
	return line
}
