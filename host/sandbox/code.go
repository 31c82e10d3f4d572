package sandbox

import (
	"fmt"
)

// instruction is one step through a function body: where it starts, and whether it may work for long
// without a loop: bulk memory and table instructions.
type instruction struct {
	at   int
	bulk bool
}

// walk calls visit for each instruction of a body (WebAssembly Core 2.0, section 5.4, without SIMD).
// An instruction that it does not know is an error: what can't be read can't be bounded.
func walk(code []byte, visit func(instruction)) error {
	r := &reader{rest: code}
	for len(r.rest) > 0 && r.err == nil {
		i := instruction{at: len(code) - len(r.rest)}
		op := r.byte()
		switch {
		case op == 0x02 || op == 0x03 || op == 0x04: // block, loop, if
			r.signed()
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
		case op >= 0x20 && op <= 0x26: // locals, globals, table.get, table.set
			r.u32()
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
		case op == 0xfc:
			i.bulk = r.bulk()
		case op == 0x00 || op == 0x01 || op == 0x05 || op == 0x0b || op == 0x0f || op == 0x1a || op == 0x1b || (op >= 0x45 && op <= 0xc4) || op == 0xd1:
			// no immediates
		default:
			return fmt.Errorf("instruction %#x, which plugins may not use", op)
		}
		if r.err == nil {
			visit(i)
		}
	}
	return r.err
}

// bulk reads what follows the prefix 0xfc and reports whether it is a bulk operation.
func (r *reader) bulk() bool {
	op := r.u32()
	switch {
	case op <= 7: // saturating truncations
		return false
	case op == 8 || op == 10 || op == 12 || op == 14: // memory.init, memory.copy, table.init, table.copy
		r.u32()
		r.u32()
	case op == 9 || op == 11 || op == 13 || (op >= 15 && op <= 17): // data.drop, memory.fill, elem.drop, table.grow, table.size, table.fill
		r.u32()
	default:
		r.fail(fmt.Errorf("instruction 0xfc %d, which plugins may not use", op))
	}
	return true
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
