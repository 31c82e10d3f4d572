package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// rewritten is a module as it is compiled.
type rewritten struct {
	wasm    []byte
	globals []string // exports by which the mutable globals can be put back
	memory  int      // bytes that its memory may grow to
	// resettable: memory and these globals are all that a run can change.
	resettable bool

	fuel   uint32 // the global that counts down to the next look at the deadline
	effort int    // what compiling takes, roughly; see maxEffort
}

// globalExport begins the names under which mutable globals are exported.
const globalExport = "sallyport_global_"

// rewrite returns the module with a tick at each function entry and loop, and before each bulk
// operation, so that a deadline stops whatever a plugin does; with bounded memory and tables, with its
// mutable globals exported, and without custom sections. RATIONALE.md, "Why is every plugin rewritten?".
func (m *module) rewrite(limits Limits) (*rewritten, error) {
	done := &rewritten{resettable: true, fuel: uint32(len(m.globals))}
	out := []byte("\x00asm\x01\x00\x00\x00")
	hasGlobals := false
	for _, s := range m.sections {
		if s.id == sectionExport && !hasGlobals { // it comes right before
			out = appendVector(append(out, sectionGlobal), addFuel([]byte{0}))
		}
		hasGlobals = hasGlobals || s.id == sectionGlobal
		body, err := m.rewriteSection(s, limits, done)
		if err != nil {
			return nil, err
		}
		if s.id != sectionCustom {
			out = appendVector(append(out, s.id), body)
		}
	}
	done.wasm = out
	return done, nil
}

func (m *module) rewriteSection(s section, limits Limits, done *rewritten) ([]byte, error) {
	switch s.id {
	case sectionFunction:
		return s.body, atMost("functions", s.body, maxFunctions)
	case sectionTable:
		return rewriteTables(s.body, limits.Table)
	case sectionMemory:
		return rewriteMemory(s.body, limits.Memory, done)
	case sectionGlobal:
		return addFuel(s.body), nil
	case sectionExport:
		return m.exportGlobals(s.body, done)
	case sectionElement:
		if len(s.body) > limits.Elements {
			return nil, fmt.Errorf("its tables are filled with %d bytes, at most %d are allowed", len(s.body), limits.Elements)
		}
	case sectionCode:
		return rewriteCode(s.body, limits, done)
	case sectionData:
		return s.body, atMost("data segments", s.body, maxSegments)
	}
	return s.body, nil
}

// addFuel adds a mutable i32 to the globals. It is the last one, so that no other changes its number.
func addFuel(globals []byte) []byte {
	r := &reader{rest: globals}
	n := r.u32()
	fuel := []byte{0x7f, 1, 0x41, 0, 0x0b} // i32, mutable, first 0
	return slices.Concat(binary.AppendUvarint(nil, uint64(n)+1), r.rest, fuel)
}

// maxGlobals is how many globals a module may change: compilers make less than 20.
const maxGlobals = 1000

func (m *module) exportGlobals(exports []byte, done *rewritten) ([]byte, error) {
	for name := range m.exports {
		if strings.HasPrefix(name, globalExport) {
			return nil, fmt.Errorf("it exports %.40q; names that begin with %s are ours", name, globalExport)
		}
	}
	var more []byte
	for name, e := range m.exports {
		if e.kind == kindGlobal && int(e.index) >= len(m.globals) {
			return nil, fmt.Errorf("its export %.40q is a global that it does not have", name)
		}
	}
	for i, g := range append(m.globals[:len(m.globals):len(m.globals)], global{mutable: true, numeric: true}) { // the last is the fuel
		if !g.mutable {
			continue
		}
		if !g.numeric {
			done.resettable = false
			continue
		}
		name := globalExport + strconv.Itoa(i)
		done.globals = append(done.globals, name)
		more = binary.AppendUvarint(append(appendVector(more, []byte(name)), kindGlobal), uint64(i))
	}
	if n := len(done.globals) - 1; n > maxGlobals {
		return nil, fmt.Errorf("it has %d mutable globals, at most %d are allowed", n, maxGlobals)
	}
	r := &reader{rest: exports}
	n := r.u32()
	return slices.Concat(binary.AppendUvarint(nil, uint64(n)+uint64(len(done.globals))), r.rest, more), r.err
}

// atMost bounds the length of a list: each entry costs the compiler more than it costs the author.
func atMost(what string, list []byte, most uint32) error {
	r := &reader{rest: list}
	if n := r.u32(); n > most {
		return fmt.Errorf("it has %d %s, at most %d are allowed", n, what, most)
	}
	return r.err
}

const page = 64 << 10 // bytes of a page of WebAssembly

// tickPages is more than any memory may grow by: a growth by so much never succeeds, but it is our
// allocator that refuses it, and looks at the deadline (see linearMemory).
const tickPages = 2 * maxMemory / page

// rewriteMemory bounds the memory by what it declares and by most bytes. The engine is told a higher
// bound, so that it asks our allocator.
func rewriteMemory(memories []byte, most int, done *rewritten) ([]byte, error) {
	r := &reader{rest: memories}
	n := r.u32()
	if n != 1 {
		return nil, fmt.Errorf("it has %d memories, one is allowed", n)
	}
	least, declared, bounded := r.limits()
	if r.err != nil || len(r.rest) > 0 {
		return nil, fmt.Errorf("memory: %w", errors.Join(r.err, errDamagedNumber))
	}
	limit := uint32(most / page)
	if least > limit {
		return nil, fmt.Errorf("its memory starts with %d MiB, at most %d are allowed: raise limits { memory }", uint64(least)*page>>20, most>>20)
	}
	if !bounded || declared > limit {
		declared = limit
	}
	if declared < least {
		return nil, errors.New("memory: its maximum is below its minimum")
	}
	done.memory = int(declared) * page
	out := binary.AppendUvarint([]byte{1, 1}, uint64(least))
	return binary.AppendUvarint(out, 1<<16), nil
}

// fuelForATick is how many bytes of code may execute between two looks at the deadline: a millisecond's
// worth or less, unless each instruction misses the processor's caches. Nothing else of the process can stop the guest in between, not even the
// garbage collector.
const fuelForATick = 100_000

// tick is code that takes cost from the fuel, and if there is none left, looks at the deadline:
//
//	fuel -= cost; if fuel < 0 { memory.grow(tickPages); fuel = fuelForATick }
func (r *rewritten) tick(cost int) []byte {
	fuel := binary.AppendUvarint(nil, uint64(r.fuel))
	return slices.Concat(
		[]byte{0x23}, fuel, []byte{0x41}, signedLEB(cost), []byte{0x6b, 0x24}, fuel, // global.get, i32.const, i32.sub, global.set
		[]byte{0x23}, fuel, []byte{0x41, 0, 0x48, 0x04, 0x40, 0x41}, // global.get, i32.const 0, i32.lt_s, if, i32.const
		signedLEB(tickPages), []byte{0x40, 0, 0x1a, 0x41}, signedLEB(fuelForATick), []byte{0x24}, fuel, []byte{0x0b}, // memory.grow, drop, i32.const, global.set, end
	)
}

// signedLEB is a number as i32.const has it.
func signedLEB(n int) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func rewriteCode(code []byte, limits Limits, done *rewritten) ([]byte, error) {
	r := &reader{rest: code}
	n := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(code)+len(code)/8), uint64(n))
	for i := range n {
		body := r.vector()
		if r.err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, r.err)
		}
		body, err := rewriteBody(body, limits, done)
		if err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, err)
		}
		out = appendVector(out, body)
	}
	if len(r.rest) > 0 {
		return nil, errors.New("code section is longer than its functions")
	}
	return out, nil
}

func rewriteBody(body []byte, limits Limits, done *rewritten) ([]byte, error) {
	if len(body) > limits.Body {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed: raise limits { function }", len(body), limits.Body)
	}
	r := &reader{rest: body}
	locals := uint64(0)
	r.each(func() {
		locals += uint64(r.u32())
		r.byte()
	})
	if r.err != nil {
		return nil, r.err
	}
	if locals > uint64(limits.Locals) { // the compiler would take minutes, and then panic
		return nil, fmt.Errorf("it has %d local variables, at most %d are allowed", locals, limits.Locals)
	}
	code := r.rest
	ticks, err := done.places(code)
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), body[:len(body)-len(code)]...)
	copied := 0
	for _, t := range ticks {
		out = append(append(out, code[copied:t.at]...), done.tick(t.cost)...)
		copied = t.at
	}
	return append(out, code[copied:]...), nil
}

// place is where a tick goes, and what is executed at most until the next one.
type place struct{ at, cost int }

// places finds where ticks go: at the start of the body, in each loop, before each bulk operation. Between
// two of them code goes forward only, so it executes no more bytes than the body, or the loop, has.
func (r *rewritten) places(code []byte) (ticks []place, err error) {
	ticks = []place{{0, len(code)}}
	var open []int // the ticks of the blocks that are open; -1: not a loop
	loops, blocks, foreign := 0, 0, false
	err = walk(code, func(i instruction) {
		r.resettable = r.resettable && !i.lasting
		foreign = foreign || i.global >= int(r.fuel) // ours is not its own, and there are no others
		if i.opens {
			blocks++
		}
		if i.loop {
			loops++
		}
		switch {
		case i.bulk:
			ticks = append(ticks, place{i.at, fuelForATick})
		case i.opens && i.loop:
			open = append(open, len(ticks))
			ticks = append(ticks, place{i.next, 0})
		case i.opens:
			open = append(open, -1)
		case i.end && len(open) > 0:
			last := open[len(open)-1]
			if open = open[:len(open)-1]; last >= 0 {
				ticks[last].cost = i.next - ticks[last].at
			}
		}
	})
	if r.effort += loops*loops + blocks*blocks/100; err == nil && r.effort > maxEffort {
		err = fmt.Errorf("too many loops and blocks in one function, %d and %d: compiling it would take too long", loops, blocks)
	}
	if err == nil && foreign {
		err = errors.New("it uses a global that it does not have")
	}
	return ticks, err
}

// maxEffort bounds the time that the compiler takes, which grows with the square of the loops, and less so of the
// blocks, of a function: this is some seconds. The largest Go plugins come to a tenth.
const maxEffort = 10_000_000

// maxTables is how many tables a module may have: a compiler makes one.
const maxTables = 16

// rewriteTables gives each table a maximum, so that all together stay within most entries.
func rewriteTables(tables []byte, most uint32) ([]byte, error) {
	r := &reader{rest: tables}
	n := r.u32()
	if n > maxTables {
		return nil, fmt.Errorf("it has %d tables, at most %d are allowed", n, maxTables)
	}
	out := binary.AppendUvarint(nil, uint64(n))
	for i := range n {
		kind := r.byte()
		least, declared, bounded := r.limits()
		if r.err != nil {
			return nil, fmt.Errorf("table %d: %w", i, r.err)
		}
		if share := most / n; least > share {
			return nil, fmt.Errorf("table %d starts with %d entries, at most %d are allowed", i, least, share)
		} else if !bounded || declared > share {
			declared = share
		}
		out = append(out, kind, 1)
		out = binary.AppendUvarint(out, uint64(least))
		out = binary.AppendUvarint(out, uint64(declared))
	}
	if len(r.rest) > 0 {
		return nil, errors.New("table section is longer than its tables")
	}
	return out, nil
}

func appendVector(out, body []byte) []byte {
	return append(binary.AppendUvarint(out, uint64(len(body))), body...)
}
