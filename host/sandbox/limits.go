package sandbox

import (
	"runtime"
	"time"
)

// Limits bound what a plugin may use. Each exceeding one gets an error that names it.
type Limits struct {
	Module    int           // bytes of a module
	Body      int           // bytes of one function body
	Locals    int           // local variables of one function
	Memory    int           // bytes of linear memory, in steps of 64 KiB
	Table     uint32        // entries of all tables together
	Elements  int           // bytes of what tables are filled with
	Run       time.Duration // one run, without the time in host calls
	Load      time.Duration // _initialize and describe at the start of the host
	Executing int           // guests that execute at once
	Instances int           // guests that are there at once, most of them waiting for the host
}

// DefaultLimits are the limits of the design.
func DefaultLimits() Limits {
	return Limits{
		Module:    32 << 20,
		Body:      1 << 20,
		Locals:    10_000,
		Memory:    64 << 20,
		Table:     65_536,
		Elements:  1 << 20,
		Run:       250 * time.Millisecond,
		Load:      2 * time.Second,
		Executing: runtime.GOMAXPROCS(0),
		Instances: 64,
	}
}
