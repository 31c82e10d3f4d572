package sandbox

import (
	"errors"
	"fmt"
	"time"
)

// ErrLimit says that a plugin used more than it may; the text says of what.
var ErrLimit = errors.New("over a limit")

// Limits bound what one method's plugin may use. Each has an error that names it, and what was used.
type Limits struct {
	Module   int           // bytes of a module
	Body     int           // bytes of one function body
	Locals   int           // local variables of one function
	Memory   int           // bytes of linear memory, in steps of 64 KiB
	Table    uint32        // entries of all tables together
	Elements int           // bytes of what tables are filled with
	Load     time.Duration // _initialize and describe, when the plugin is loaded

	Run      time.Duration // one run, executing
	Runs     int           // runs of one attempt, and calls of the host while it has sockets
	Recorded int           // bytes of answers that one attempt read
	Request  int           // bytes of one HTTP request
	Response int           // bytes of one HTTP response's body
	HTTP     time.Duration // one HTTP request, from connecting to the last byte
	Requests int           // HTTP requests under way at once
	Open     int           // instances held by open sockets at once
	Sockets  int           // sockets of one attempt
	Logs     int           // log lines of one run
	Withdraw time.Duration // what a plugin has to clean up after its attempt was given up
}

// DefaultLimits are the limits of the design.
func DefaultLimits() Limits {
	return Limits{
		Module:   32 << 20,
		Body:     1 << 20,
		Locals:   10_000,
		Memory:   64 << 20,
		Table:    65_536,
		Elements: 1 << 20,
		Load:     2 * time.Second,

		Run:      250 * time.Millisecond,
		Runs:     200,
		Recorded: 64 << 10,
		Request:  64 << 10,
		Response: 1 << 20,
		HTTP:     10 * time.Second,
		Requests: 256,
		Open:     64,
		Sockets:  8,
		Logs:     20,
		Withdraw: 10 * time.Second,
	}
}

// What no configuration changes.
const (
	maxMemory      = 1 << 30         // bytes of linear memory, whatever limits { memory } says
	maxFunctions   = 100_000         // that a module defines
	maxSegments    = 100_000         // data segments of a module
	maxRecorded    = 512 << 20       // bytes of answers that all attempts read, and of responses not yet read
	maxHeader      = 32 << 10        // bytes of an HTTP response's header
	connectTimeout = 3 * time.Second // one address
	socketBuffer   = 64 << 10        // bytes that a socket holds for either side
	maxDatagrams   = 64              // that a UDP socket holds
	maxPolls       = 64              // subscriptions of one poll_oneoff
	maxRandom      = 1024            // bytes of get("random:N")
	maxApprovals   = 20              // changes that an attempt tells
	maxWrite       = 64 << 10        // bytes of one write to the log
	maxKeys        = 256             // names of fields that an instance remembers
	withdrawals    = 2               // HTTP requests after an attempt was given up
)

func overLimit(name string, used, most any) error {
	return fmt.Errorf("%w: %s: %v of %v; limits { %s } changes it", ErrLimit, name, used, most, name)
}
