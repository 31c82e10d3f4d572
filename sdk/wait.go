package sdk

import "time"

// Sleep waits without keeping anything of the host busy. It works as time.Sleep does, and also says
// ErrGivenUp when nobody waits for the verdict any more.
func (a Attempt) Sleep(d time.Duration) error {
	return a.host.Sleep(uint32(max(0, min(d/time.Millisecond, 1<<31))))
}

// Ask asks an approver of the host for a decision, showing the prompt, and waits for it. Only a second factor may. ErrAbsent:
// nobody is enrolled to decide for this user.
func (a Attempt) Ask(prompt string) (bool, error) {
	if err := a.host.Set("ask.prompt", prompt); err != nil {
		return false, err
	}
	answer, err := a.host.Ask()
	return answer == AskYes, err
}

// Claim says whom the request goes to, by the name that the person has with the other system, such as an ID there. Call it before
// the request: the host lets no other login ask the same person meanwhile. By its settings the next HTTP or Ask waits for the
// other login, or this one ends.
func (a Attempt) Claim(person string) error { return a.host.Set("approval.person", person) }

// Approval tells how far a request is that a person answers: one of ApprovalStates. Ref is what the
// other system calls it, prompt what the person compares; both may be empty. Each change becomes one event.
func (a Attempt) Approval(state, ref, prompt string) error {
	if err := a.host.Set("approval.ref", ref); err != nil {
		return err
	}
	if err := a.host.Set("approval.prompt", prompt); err != nil {
		return err
	}
	return a.host.Set("approval", state)
}
