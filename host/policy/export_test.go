package policy

// Size is how many counters there are.
func (a *Attempts) Size() int { return len(a.accounts) + len(a.sources) }

// SetMost bounds each table.
func (a *Attempts) SetMost(n int) { a.most = n }

// Waiting is how many changes wait to be kept.
func (a *Attempts) Waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.changes)
}
