package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"sync/atomic"
	"time"
)

// errOtherWay says that a run did not repeat the one before it.
var errOtherWay = errors.New("plugin took another way when it was run again: what it does before a call to the host may depend only on what it read from the host; " +
	"see \"Running again\" in sdk/ABI.md")

// record is what an attempt has heard from the host so far: enough to run the plugin again to the
// place where it waited. What the plugin did not read is not in it.
type record struct {
	answers []answer
	calls   digest // of all calls up to the last answer
	bytes   int
	total   *atomic.Int64 // of all attempts
}

// digest sums up the calls of a run.
type digest [16]byte

// answer is one answer of the host, and the attempt's clock when it came.
type answer struct {
	at time.Duration
	*said
}

// said is what the host said; equal ones in a row are one.
type said struct {
	call   waitingCall
	code   int32
	fields []field // what the plugin read of it
	// whole is what there is to read of a response, until the next is asked for.
	whole    *response
	verified *Verified // of verify
	why      string    // it failed; for the administrator, not the guest
}

// field is a value, or the negative code in its place.
type field struct {
	name  string
	value []byte
	code  int32
}

type waitingCall string

// The calls at which a plugin waits for the host.
const (
	callHTTP   waitingCall = "http"
	callVerify waitingCall = "verify"
	callAsk    waitingCall = "ask"
	callDial   waitingCall = "dial" // the first one: there is a place among those with sockets
)

// add puts an answer at the end. What it replaces is not readable any more.
func (r *record) add(s *said, at time.Duration, calls digest) error {
	last := len(r.answers) - 1
	if last > 0 && r.answers[last].whole == nil && r.answers[last].equal(r.answers[last-1].said) && r.answers[last].said != r.answers[last-1].said {
		r.charge(-r.answers[last].size())
		r.answers[last].wipe()
		r.answers[last].said = r.answers[last-1].said
	}
	r.answers = append(r.answers, answer{at, s})
	r.calls = calls
	if s.whole != nil {
		r.total.Add(int64(len(s.whole.body)))
	}
	if r.total.Load() > maxRecorded {
		return ErrOverloaded
	}
	return nil
}

// read returns a field of what the host said.
func (r *record) read(s *said, name string, most int) (string, int32, error) {
	for _, f := range s.fields { // few
		if f.name == name {
			return string(f.value), f.code, nil
		}
	}
	if s.whole == nil {
		return "", 0, errOtherWay // the first time round it did not read this
	}
	value, code := s.whole.field(name)
	s.fields = append(s.fields, field{name, []byte(value), code})
	r.charge(len(name) + len(value))
	if r.bytes > most {
		return "", 0, overLimit("recorded", r.bytes, most)
	}
	return value, code, nil
}

func (r *record) charge(n int) {
	r.bytes += n
	r.total.Add(int64(n))
}

// forgetParsed forgets what responses were parsed into: it is much larger than they are.
func (r *record) forgetParsed() {
	for _, a := range r.answers {
		if a.whole != nil {
			a.whole.parsed = nil
		}
	}
}

// forgetResponses forgets what the plugin did not read.
func (r *record) forgetResponses() {
	for _, a := range r.answers {
		if a.whole != nil {
			r.total.Add(-int64(len(a.whole.body)))
			clear(a.whole.body)
			a.whole = nil
		}
	}
}

// wipe forgets everything, and overwrites what was read.
func (r *record) wipe() {
	r.forgetResponses()
	for _, a := range r.answers {
		a.wipe()
	}
	r.charge(-r.bytes)
	r.answers = nil
}

func (s *said) equal(other *said) bool {
	return s.call == other.call && s.code == other.code && slices.EqualFunc(s.fields, other.fields, func(a, b field) bool {
		return a.name == b.name && a.code == b.code && bytes.Equal(a.value, b.value)
	})
}

func (s *said) size() (n int) {
	for _, f := range s.fields {
		n += len(f.name) + len(f.value)
	}
	return n
}

func (s *said) wipe() {
	for _, f := range s.fields {
		clear(f.value)
	}
}

// calls hashes what a run asks of the host, in order.
type calls struct {
	hash hash.Hash
	text []byte
}

// note adds one call: its name and its arguments.
func (c *calls) note(words ...string) {
	c.text = binary.AppendUvarint(c.text[:0], uint64(len(words)))
	for _, word := range words {
		c.text = append(binary.AppendUvarint(c.text, uint64(len(word))), word...)
	}
	_, _ = c.hash.Write(c.text)
}

func (c *calls) sum() (d digest) {
	copy(d[:], c.hash.Sum(nil))
	return d
}
