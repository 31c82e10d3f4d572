package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/policy"
)

// String names the verdict as traces and events do.
func (v Verdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case Unknown:
		return "unknown"
	case skipped:
		return "skipped"
	}
	return "failed"
}

// ask walks the chain. The rules, in the words of the design:
//
//	accepts          its second factors are asked; no further first-factor method is
//	rejects          refused, unless on_reject = "next"
//	does not know    the next method; at the end refused
//	fails            refused at once, unless on_failure = "next"
//	is stopped       skipped
func (a *Authority) ask(ctx context.Context, attempt Attempt) Outcome {
	out := Outcome{Reason: events.UnknownUser}
	known := "" // the name, once some method knew it
	steps, release := attempt.Chain()
	defer release()
	for _, step := range steps {
		attempt, err := a.splitCode(ctx, attempt, step)
		if err != nil { // whether a code is part of the password is not known
			out.Reason, out.Detail, out.Grant = events.AccountDamaged, err.Error(), Grant{Method: step.ID}
			return out
		}
		answer := a.askOne(ctx, attempt, step, false, &out.Trace)
		if answer.Verdict == Accepted || answer.Verdict == Rejected {
			known = attempt.User
		}
		out.rejected = out.rejected || answer.Verdict == Rejected
		switch {
		case answer.Verdict == Accepted:
			return a.askFactors(ctx, attempt, step, answer, out)
		case answer.Verdict == Rejected && !step.NextOnReject, answer.Verdict == Failed && (!step.NextOnFailure || ctx.Err() != nil):
			out.Reason, out.Detail, out.Grant = answer.Reason, answer.Detail, Grant{Method: step.ID, User: known}
			return out
		case answer.Verdict == Rejected || answer.Verdict == Failed:
			// What the administrator let pass is still the reason if nobody else has a better one.
			out.Reason, out.Detail, out.Grant = answer.Reason, answer.Detail, Grant{Method: step.ID, User: known}
		}
	}
	if allSkipped(out.Trace) {
		out.Reason, out.Detail = events.NoMethod, "the service has no method, or all are stopped"
	}
	return out
}

// askFactors asks the second factors of a method that accepted:
//
//	accepts              the login is accepted
//	rejects, or fails    refused (after a failure on_failure = "next" moves on)
//	does not know, or is stopped   the next; at the end refused, unless the factor is optional
func (a *Authority) askFactors(ctx context.Context, attempt Attempt, first Step, answer Answer, out Outcome) Outcome {
	out.Grant = answer.Grant
	out.Grant.Method, out.Grant.User, out.Grant.LoginID = first.ID, attempt.User, attempt.ID
	out.Accepted, out.Reason, out.Detail, out.wrongGuess = true, "", "", answer.WrongGuess
	factors, optional := factorsOf(first, answer.Grant.SecondFactors)
	if len(factors) == 0 {
		return out
	}
	failed := false
	for _, step := range factors {
		answer := a.askFactor(ctx, attempt, first, out.Grant, step, &out.Trace)
		switch {
		case answer.Verdict == Accepted:
			return out
		case answer.Verdict == Rejected, answer.Verdict == Failed && (!step.NextOnFailure || ctx.Err() != nil):
			out.Accepted, out.Reason, out.Detail = false, answer.Reason, answer.Detail
			out.Grant.Method = step.ID
			return out
		}
		failed = failed || answer.Verdict == Failed
	}
	if optional && !failed {
		return out
	}
	out.Accepted, out.Reason, out.Detail = false, events.FactorMissing, "no second factor knows the user, or they are stopped"
	return out
}

// factorsOf are the second factors of a user: those of the first method, or their own, which are never optional. One that is
// not there any more is asked too, and fails.
func factorsOf(first Step, own []string) (steps []Step, optional bool) {
	if len(own) == 0 {
		return first.SecondFactors, first.FactorOptional
	}
	if len(own) == 1 && own[0] == policy.NoFactor {
		return nil, true
	}
	for _, id := range own {
		if first.Factor != nil {
			if step, ok := first.Factor(id); ok {
				steps = append(steps, step)
				continue
			}
		}
		steps = append(steps, Step{ID: id, Method: missing{}, Timeout: time.Second})
	}
	return steps, false
}

// missing is a second factor that the configuration has no longer.
type missing struct{}

// Authenticate implements Method.
func (missing) Authenticate(context.Context, Attempt) Answer {
	return Answer{Verdict: Failed, Reason: events.FactorMissing, Detail: "the account names a second factor that the configuration does not have, or that is disabled"}
}

// askOne asks one method within its own deadline and records what it said.
func (a *Authority) askOne(ctx context.Context, attempt Attempt, step Step, factor bool, traces *[]Trace) Answer {
	if a.Stopped(step.ID) {
		answer := Answer{Verdict: skipped, Reason: events.MethodStopped}
		a.record(attempt, step, factor, answer, 0, traces)
		return answer
	}
	if answer, held := a.heldBack(attempt, step.ID); held {
		a.record(attempt, step, factor, answer, 0, traces)
		return answer
	}
	if attempt.Password.Empty() && step.Password { // many a directory takes an empty one for right
		answer := Answer{Verdict: Unknown, Reason: events.EmptyPassword}
		if factor {
			answer.Verdict = Rejected // who is unknown to all factors may be let in
		}
		a.record(attempt, step, factor, answer, 0, traces)
		return answer
	}
	start := time.Now()
	methodCtx, cancel := context.WithTimeout(ctx, step.Timeout)
	defer cancel()
	answer := safely(methodCtx, attempt, step)
	a.noteCrash(ctx, attempt, step.ID, answer)
	// Neither an answer after the end nor a verdict that is none lets anybody in.
	switch {
	case ctx.Err() != nil:
		answer = Answer{Verdict: Failed, Reason: endReason(ctx), Detail: context.Cause(ctx).Error()}
	case methodCtx.Err() != nil:
		answer = Answer{Verdict: Failed, Reason: events.TimedOut, Detail: fmt.Sprintf("method %s took longer than %v", step.ID, step.Timeout)}
	case answer.Verdict < Failed || answer.Verdict > Unknown:
		answer = Answer{Verdict: Failed, Reason: events.MethodFailed, Detail: fmt.Sprintf("verdict %d", int(answer.Verdict))}
	}
	answer.Reason = reasonFor(answer)
	a.record(attempt, step, factor, answer, time.Since(start), traces)
	return answer
}

// safely turns a panic of a method into a failure. What it says may hold the password: it is not kept.
func safely(ctx context.Context, attempt Attempt, step Step) (answer Answer) {
	defer func() {
		if recover() != nil {
			answer = Answer{Verdict: Failed, Reason: events.InternalError, Detail: "method " + step.ID + " panicked", Crashed: true}
		}
	}()
	return step.Method.Authenticate(ctx, attempt)
}

// reasonFor keeps a method's reason if it is in the closed list and fits the verdict.
func reasonFor(answer Answer) events.Reason {
	switch answer.Verdict {
	case Accepted:
		return ""
	case Unknown:
		return events.UnknownUser
	case Rejected:
		switch answer.Reason {
		case events.WrongPassword, events.WrongCode, events.AccountDisabled, events.AccountExpired, events.AccountUnused, events.AccountLocked, events.GroupNotAllowed,
			events.ApprovalDenied, events.ApprovalExpired, events.ApprovalFrozen, events.ApprovalLost, events.ApproverBusy, events.ApprovalsPaused, events.TooManyApprovals,
			events.PasswordExpired, events.MustChange, events.NotAtThisTime, events.SourceNotAllowed, events.NameNotAllowed, events.OtherCertificate:
			return answer.Reason
		}
		return events.Rejected
	}
	if answer.Reason.Known() {
		return answer.Reason
	}
	return events.MethodFailed
}

func (a *Authority) record(attempt Attempt, step Step, factor bool, answer Answer, took time.Duration, traces *[]Trace) {
	*traces = append(*traces, Trace{
		Method: step.ID, Factor: factor, Verdict: answer.Verdict.String(), Reason: answer.Reason, Detail: answer.Detail,
		Ignored: answer.Ignored, Log: answer.Log, Duration: took,
	})
	types := map[Verdict]events.Type{
		Accepted: events.MethodAcceptedType, Rejected: events.MethodRejectedType, Unknown: events.MethodUnknownType,
		Failed: events.MethodFailedType, skipped: events.MethodSkippedType,
	}
	a.Recorder.Note(&events.MethodResult{
		Login:      login(attempt, a.NameUnknown || attempt.Trial || answer.Verdict == Accepted || answer.Verdict == Rejected),
		Verdict:    types[answer.Verdict],
		Method:     step.ID,
		Reason:     answer.Reason,
		DurationMS: took.Milliseconds(),
		Ignored:    answer.Ignored,
	})
	if answer.Verdict == Failed {
		a.Log.Warn("method failed", "login", attempt.ID, "method", step.ID, "reason", answer.Reason, "detail", answer.Detail)
	}
}

func allSkipped(traces []Trace) bool {
	for _, t := range traces {
		if t.Verdict != skipped.String() {
			return false
		}
	}
	return true
}
