package sandbox

import (
	"runtime"
	"time"
)

// Limits bound what a plugin may use. Each exceeding one gets an error that names it.
type Limits struct {
	Module    int           // bytes of a module
	Body      int           // bytes of one function body
	Memory    int           // bytes of linear memory, in steps of 64 KiB
	Table     uint32        // entries of one table
	Run       time.Duration // one run, without the time in host calls
	Load      time.Duration // _initialize and describe at the start of the host
	Executing int           // guests that execute at once
}

// DefaultLimits are the limits of the design.
func DefaultLimits() Limits {
	return Limits{
		Module:    32 << 20,
		Body:      1 << 20,
		Memory:    64 << 20,
		Table:     65_536,
		Run:       250 * time.Millisecond,
		Load:      2 * time.Second,
		Executing: runtime.GOMAXPROCS(0),
	}
}
