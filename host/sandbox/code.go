package sandbox

import (
	"fmt"
)

// instruction is one step through a function body.
type instruction struct {
	at, next int // where it starts, and where the one after it does
	// bulk: it may work for long without a loop, as bulk memory and table instructions do.
	bulk bool
	// lasting: it changes what can't be put back after a run: tables, and which segments are dropped.
	lasting bool
	global  int // which one it reads or writes; -1: none
	// opens is a block, loop or if; loop is one of them. end closes such, or the body.
	opens, loop, end bool
}

// walk calls visit for each instruction of a body (WebAssembly Core 2.0, section 5.4, without SIMD).
// An instruction that it does not know is an error: what can't be read can't be bounded.
func walk(code []byte, visit func(instruction)) error {
	r := &reader{rest: code}
	for len(r.rest) > 0 && r.err == nil {
		at := len(code) - len(r.rest)
		i := r.instruction()
		i.at, i.next = at, len(code)-len(r.rest)
		if r.err == nil {
			visit(i)
		}
	}
	return r.err
}

// instruction reads one instruction with its immediates.
func (r *reader) instruction() (i instruction) {
	i.global = -1
	switch op := r.byte(); {
	case op == 0x02 || op == 0x03 || op == 0x04: // block, loop, if
		r.signed()
		i.opens, i.loop = true, op == 0x03
	case op == 0x0c || op == 0x0d || op == 0x10: // br, br_if, call
		r.u32()
	case op == 0x0e: // br_table
		r.each(func() { r.u32() })
		r.u32()
	case op == 0x11: // call_indirect
		r.u32()
		r.u32()
	case op == 0x1c: // select with types
		r.vector()
	case op == 0x23 || op == 0x24: // global.get, global.set
		i.global = int(r.u32())
	case op >= 0x20 && op <= 0x26: // locals, table.get, table.set
		r.u32()
		i.lasting = op == 0x26
	case op >= 0x28 && op <= 0x3e: // loads and stores
		r.u32()
		r.u32()
	case op == 0x3f || op == 0x40: // memory.size, memory.grow
		r.u32()
	case op == 0x41 || op == 0x42: // i32.const, i64.const
		r.signed()
	case op == 0x43: // f32.const
		r.skip(4)
	case op == 0x44: // f64.const
		r.skip(8)
	case op == 0xd0 || op == 0xd2: // ref.null, ref.func
		r.u32()
	case op == 0x0b:
		i.end = true
	case op == 0xfc:
		i.bulk, i.lasting = r.bulk()
	case op == 0x00 || op == 0x01 || op == 0x05 || op == 0x0f || op == 0x1a || op == 0x1b || (op >= 0x45 && op <= 0xc4) || op == 0xd1:
		// no immediates
	default:
		r.fail(fmt.Errorf("instruction %#x, which plugins may not use", op))
	}
	return i
}

// bulk reads what follows the prefix 0xfc.
func (r *reader) bulk() (bulk, lasting bool) {
	op := r.u32()
	switch {
	case op <= 7: // saturating truncations
		return false, false
	case op == 8 || op == 10 || op == 12 || op == 14: // memory.init, memory.copy, table.init, table.copy
		r.u32()
		r.u32()
	case op == 9 || op == 11 || op == 13 || (op >= 15 && op <= 17): // data.drop, memory.fill, elem.drop, table.grow, table.size, table.fill
		r.u32()
	default:
		r.fail(fmt.Errorf("instruction 0xfc %d, which plugins may not use", op))
	}
	return true, op != 10 && op != 11 && op != 16
}

// signed skips a signed LEB128 number of up to 64 bits.
func (r *reader) signed() {
	for range 10 {
		if r.byte()&0x80 == 0 {
			return
		}
	}
	r.fail(errDamagedNumber)
}

func (r *reader) skip(n int) {
	if n > len(r.rest) {
		r.fail(errTruncated)
		return
	}
	r.rest = r.rest[n:]
}
