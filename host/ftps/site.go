package ftps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// Site implements ftpserver.ClientDriverExtensionSite: the library's own SITE makes links,
// changes owners, and removes whole trees.
func (f *files) Site(param string) *ftpserver.AnswerCommand {
	command, rest, _ := strings.Cut(strings.TrimLeft(param, " "), " ")
	switch strings.ToUpper(command) {
	case "CHMOD":
		digits, name, _ := strings.Cut(rest, " ")
		mode, err := strconv.ParseUint(digits, 8, 32)
		if err != nil || name == "" || mode > 0o777 {
			return &ftpserver.AnswerCommand{Code: ftpserver.StatusSyntaxErrorParameters, Message: "SITE CHMOD MODE NAME is expected, with a mode of 000 to 777."}
		}
		if err := f.Chmod(name, os.FileMode(mode)); err != nil {
			return &ftpserver.AnswerCommand{Code: ftpserver.StatusActionNotTaken, Message: "Mode not changed: " + err.Error()}
		}
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusOK, Message: "Mode changed."}
	case "HELP":
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusHelpMessage, Message: textHelp}
	case "PSWD":
		return f.changePassword(rest)
	case "UTIME":
		return f.siteUTIME(rest)
	case "WHO":
		return f.siteWHO()
	case "QUOTA":
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusOK, Message: f.quotaText()}
	case "SYMLINK":
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusNotImplementedParam, Message: "Not allowed: " + errLink.Error()}
	}
	return &ftpserver.AnswerCommand{Code: ftpserver.StatusNotImplementedParam, Message: "SITE HELP says what there is."}
}

// siteUTIME is SITE UTIME in both forms that clients use: YYYYMMDDhhmm[ss] NAME, and NAME accessed modified created UTC.
func (f *files) siteUTIME(rest string) *ftpserver.AnswerCommand {
	name, when, ok := utime(rest)
	if !ok {
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusSyntaxErrorParameters, Message: "SITE UTIME YYYYMMDDhhmmss NAME is expected, in UTC."}
	}
	if err := f.Chtimes(name, when, when); err != nil {
		return &ftpserver.AnswerCommand{Code: ftpserver.StatusActionNotTaken, Message: "Time not changed: " + err.Error()}
	}
	return &ftpserver.AnswerCommand{Code: ftpserver.StatusOK, Message: "Time changed."}
}

func utime(rest string) (name string, when time.Time, ok bool) {
	const seconds, minutes = "20060102150405", "200601021504"
	first, name, _ := strings.Cut(rest, " ")
	for _, layout := range []string{seconds, minutes} {
		if when, err := time.Parse(layout, first); err == nil && len(first) == len(layout) && name != "" {
			return name, when, true
		}
	}
	words := strings.Split(rest, " ") // the name may have blanks
	if len(words) < 5 || words[len(words)-1] != "UTC" {
		return "", time.Time{}, false
	}
	when, err := time.Parse(seconds, words[len(words)-3])
	return strings.Join(words[:len(words)-4], " "), when, err == nil
}

// siteWHO lists the user's own sessions; others are none of a user's business.
func (f *files) siteWHO() *ftpserver.AnswerCommand {
	lines := []string{"Your sessions:"}
	for _, s := range f.service.Sessions() {
		if s.User == f.session.grant.User {
			lines = append(lines, fmt.Sprintf(" since %s from %s, %s", s.Since.UTC().Format(time.DateTime), s.Peer, s.TLS))
		}
	}
	return &ftpserver.AnswerCommand{Code: ftpserver.StatusOK, Message: strings.Join(append(lines, "End"), "\n")}
}

// quotaText is SITE QUOTA.
func (f *files) quotaText() string {
	if f.usage == nil {
		return "There is no quota."
	}
	now := f.usage.now(f.root)
	of := func(n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf(" of %d", n)
	}
	return fmt.Sprintf("%d%s bytes, %d%s files.", now.bytes, of(f.limits.Bytes), now.files, of(f.limits.Files))
}

// changePassword is SITE PSWD old new, in SFTPPlus's words. What it says to a wrong old password it says to a lock, too.
func (f *files) changePassword(words string) (answer *ftpserver.AnswerCommand) {
	say := func(code int, text string) *ftpserver.AnswerCommand {
		return &ftpserver.AnswerCommand{Code: code, Message: text}
	}
	defer func() {
		if recover() != nil { // else the library logs the command, which holds passwords
			f.session.service.options.Log.Error("changing a password panicked", "peer", f.session.peer)
			answer = say(ftpserver.StatusActionNotTaken, "Password not changed.")
		}
	}()
	old, rest, ok := word(words)
	password, rest, ok2 := word(rest)
	if !ok || !ok2 || rest != "" {
		return say(ftpserver.StatusSyntaxErrorParameters, `SITE PSWD old new is expected; a password with blanks in it in quotes: "like this", and a quote in it twice.`)
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.session.settings.LoginTimeout)
	defer cancel()
	err := f.session.service.authority.ChangePassword(ctx, f.session.grant, f.session.peer.Addr(), secret.New(old), secret.New(password))
	var refusal *policy.Refusal
	var locked *policy.Refused
	switch {
	case err == nil && f.session.grant.MustChange:
		return say(ftpserver.StatusOK, "Password changed. Log in with it.")
	case err == nil:
		return say(ftpserver.StatusOK, "Password changed.")
	case errors.As(err, &refusal):
		return say(ftpserver.StatusActionNotTaken, "Password not changed: "+strings.Join(refusal.Reasons, "; ")+".")
	case errors.Is(err, auth.ErrNotYours):
		return say(ftpserver.StatusActionNotTaken, "This password can't be changed here; ask the administrator.")
	case errors.Is(err, auth.ErrOldPassword), errors.As(err, &locked):
		return say(ftpserver.StatusActionNotTaken, "Password not changed: the old one is wrong.")
	}
	f.session.service.options.Log.Error("password not changed", "user", f.session.grant.User, "err", err)
	return say(ftpserver.StatusActionNotTaken, "Password not changed.")
}

// word takes the first word off, which may be in double quotes.
func word(text string) (first, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		first, rest, _ = strings.Cut(text, " ")
		return first, rest, first != ""
	}
	var b strings.Builder
	for text = text[1:]; ; {
		before, after, found := strings.Cut(text, `"`)
		b.WriteString(before)
		if !found {
			return "", "", false
		}
		if text = after; !strings.HasPrefix(text, `"`) {
			break
		}
		b.WriteByte('"')
		text = text[1:]
	}
	rest, blank := strings.CutPrefix(text, " ")
	return b.String(), rest, b.Len() > 0 && (blank || rest == "")
}
