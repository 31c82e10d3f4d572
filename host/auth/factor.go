package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

// asked is what a second factor said, and the trace of it, for all who waited.
type asked struct {
	answer Answer
	traces []Trace
}

// askFactor asks a second factor through the desk, which lets equal logins share one request. RATIONALE.md, "Why is one
// push enough?".
func (a *Authority) askFactor(ctx context.Context, attempt Attempt, first Step, grant Grant, step Step, traces *[]Trace) Answer {
	attempt.First = &grant
	if _, gone := step.Method.(missing); gone || a.Stopped(step.ID) { // nor does what it approved before count
		return a.askOne(ctx, attempt, step, true, traces)
	}
	password := attempt.proof()
	if step.Code { // what is remembered is this code, which a client sends again with each connection, and not that there was one
		password = secret.New(attempt.Code + "\x00" + password.Reveal())
	}
	got := a.desk.Ask(ctx, approval.Question{
		Login: login(attempt, true), Factor: step.ID, First: first.ID, Source: attempt.Peer.Addr(), Password: password,
		Remember: step.Remember, Linger: step.Linger, Queue: step.Queue, Parallel: step.Code,
	}, func(ctx context.Context, r approval.Request) (asked, approval.Decision) {
		attempt.Request = r
		var said asked
		said.answer = a.askOne(ctx, attempt, step, true, &said.traces)
		return said, decision(said.answer)
	})
	if got.Asked {
		*traces = append(*traces, got.Value.traces...)
		return got.Value.answer
	}
	answer, detail := Answer{Verdict: Rejected, Reason: got.Reason}, "nobody was asked"
	switch {
	case got.Remembered:
		answer, detail = Answer{Verdict: Accepted}, "it was approved a moment ago"
	case got.Reason == events.ClientLeft:
		answer.Verdict, answer.Reason, detail = Failed, endReason(ctx), "while it was asked"
	case got.Reason == events.ShuttingDown:
		answer.Verdict = Failed
	}
	answer.Detail = detail
	*traces = append(*traces, Trace{Method: step.ID, Factor: true, Verdict: answer.Verdict.String(), Reason: answer.Reason, Detail: detail})
	return answer
}

// splitCode takes the code off the password for a method whose second factors may check one.
func (a *Authority) splitCode(ctx context.Context, attempt Attempt, step Step) (Attempt, error) {
	if a.Codes == nil || !step.OwnCodes && !slices.ContainsFunc(step.SecondFactors, func(s Step) bool { return s.Code }) {
		return attempt, nil
	}
	rest, code, ok, err := a.Codes.SplitCode(ctx, attempt.User, attempt.Password, attempt.Certificate != nil)
	if ok {
		attempt.Password, attempt.Code = rest, code
	}
	return attempt, err
}

func decision(answer Answer) approval.Decision {
	switch {
	case answer.Verdict == Accepted:
		return approval.Accepted
	case answer.Verdict == Rejected && answer.Reason != events.ApprovalExpired:
		return approval.Rejected
	case answer.Reason == events.TimedOut, answer.Reason == events.ApprovalExpired:
		return approval.Expire
	}
	return approval.Failed
}

// Opened notes that a login has a session: what was approved for it counts as long as that is open.
func (a *Authority) Opened(grant Grant, source netip.Addr) (closed func()) {
	return a.desk.Session(grant.Method, grant.User, source)
}

// Approvals lists the second factors that are being asked, and those that are remembered.
func (a *Authority) Approvals() []approval.Entry { return a.desk.List() }

// Revoke takes back what has the ID, or all of a user. The error is ErrNothingToRevoke.
func (a *Authority) Revoke(idOrUser string) (int, error) {
	n := a.desk.Revoke(idOrUser)
	if n == 0 {
		return 0, ErrNothingToRevoke
	}
	return n, nil
}

// ForgetApprovals forgets what is remembered: the next login asks again.
func (a *Authority) ForgetApprovals() { a.desk.ForgetAll() }

// ErrNothingToRevoke says that there is neither a request nor an approval of that ID or user.
var ErrNothingToRevoke = errors.New("no request and no remembered approval has this ID or user")

// SetApprovalLimits changes how often people are asked, from now on.
func (a *Authority) SetApprovalLimits(l approval.Limits) { a.desk.SetLimits(l) }
