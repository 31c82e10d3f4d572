package ftps

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/events"
)

// fate is what happens to one transfer, guarded by its session's lock.
type fate struct {
	aborted bool
	why     error // no data moves, or not all of it
}

// transfer is the fate of the last one.
func (sess *session) transfer() *fate {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.fate
}

// abort notes that the client wants no more of a transfer, if there is one.
func (sess *session) abort() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if !sess.starting && len(sess.data) == 0 {
		return
	}
	sess.fate.aborted = true
	if errors.Is(sess.fate.why, errNotOpen) {
		sess.fate.why = errGivenUp
	}
}

// broke notes why there is no data connection.
func (sess *session) broke(why error) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.fate.why = why
}

func (sess *session) whyBroken() error {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.fate.why
}

// ending is what an error on the way of the data is, to the client and in the event.
type ending struct {
	code   int
	text   string
	reason events.Reason
}

// endingOf knows the errors of connections. The reason is empty for others: of files.
func endingOf(err error) ending {
	var noTLS tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.Is(err, errNoData):
		return ending{ftpserver.StatusCannotOpenDataConnection, "No data connection came.", events.NoDataConnection}
	case errors.Is(err, errNotOpen):
		return ending{ftpserver.StatusCannotOpenDataConnection, "EPSV or PASV comes first.", events.NoDataConnection}
	case errors.Is(err, errGivenUp):
		return ending{ftpserver.StatusCannotOpenDataConnection, "The transfer was given up.", events.TransferAborted}
	case errors.Is(err, errNotResumed):
		return ending{statusOtherProtocol, "The data connection must resume the TLS session of its control connection.", events.NotResumed}
	case errors.Is(err, errNoTLS), errors.As(err, &noTLS):
		return ending{statusNotProtected, "The data connection does not begin with TLS: PROT P.", events.TLSFailed}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ending{ftpserver.StatusTransferAborted, "The transfer is given up: nothing moved for too long.", events.DataStalled}
	case errors.Is(err, errCut), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ending{ftpserver.StatusTransferAborted, textCut, events.ConnectionLost}
	case errors.Is(err, errHandshake):
		return ending{ftpserver.StatusCannotOpenDataConnection, "TLS on the data connection failed.", events.TLSFailed}
	case errors.Is(err, net.ErrClosed), errors.As(err, &network):
		return ending{ftpserver.StatusTransferAborted, textCut, events.ConnectionLost}
	}
	return ending{}
}

// fullness says of an error what is full, if anything is.
func fullness(err error) events.Reason {
	switch {
	case errors.Is(err, errQuota):
		return events.QuotaExceeded
	case errors.Is(err, ftpserver.ErrStorageExceeded):
		return events.DiskFull
	}
	return ""
}

// interruption says why a transfer ended before its end: since something is full, with its session, by ABOR, or by an error.
func (sess *session) interruption(of *fate, err error) events.Reason {
	sess.mu.Lock()
	why, over, fate := sess.why, sess.ends, *of
	var conn *dataConn
	for one := range sess.data { // there is one at most
		conn = one
	}
	sess.mu.Unlock()
	err = errors.Join(err, fate.why)
	if conn != nil {
		err = errors.Join(err, conn.why())
	}
	switch full, end := fullness(err), endingOf(err); {
	case full != "":
		return full
	case why != "":
		return why
	case fate.aborted:
		return events.TransferAborted
	case over:
		return events.ConnectionLost
	case end.reason != "":
		return end.reason
	}
	return events.InternalError
}
