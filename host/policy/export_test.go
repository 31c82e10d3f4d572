package policy

// Size is how many counters there are.
func (a *Attempts) Size() int { return len(a.accounts) + len(a.sources) }

// SetMost bounds each table.
func (a *Attempts) SetMost(n int) { a.most = n }
