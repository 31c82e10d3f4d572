package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// rewrite returns the module with an empty loop at each function entry, so that a deadline also
// stops recursion and straight-line code (wazero looks for it at loop headers only), with bounded
// tables, and without custom sections. RATIONALE.md, "Why is every plugin rewritten?".
func (m *module) rewrite(limits Limits) ([]byte, error) {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range m.sections {
		body := s.body
		var err error
		switch s.id {
		case sectionCustom:
			continue
		case sectionTable:
			body, err = rewriteTables(body, limits.Table)
		case sectionCode:
			body, err = rewriteCode(body, limits.Body)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s.id)
		out = appendVector(out, body)
	}
	return out, nil
}

// entryCheck is "loop (no result) end": nothing but a place where wazero looks at the deadline.
var entryCheck = [3]byte{0x03, 0x40, 0x0b}

func rewriteCode(code []byte, most int) ([]byte, error) {
	r := &reader{rest: code}
	n := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(code)+len(code)/8), uint64(n))
	for i := range n {
		body := r.vector()
		if r.err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, r.err)
		}
		if len(body) > most {
			return nil, fmt.Errorf("function body %d has %d bytes, at most %d are allowed", i, len(body), most)
		}
		locals := &reader{rest: body}
		locals.each(func() {
			locals.u32()
			locals.byte()
		})
		if locals.err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, locals.err)
		}
		head := body[:len(body)-len(locals.rest)]
		out = binary.AppendUvarint(out, uint64(len(body)+len(entryCheck)))
		out = append(out, head...)
		out = append(out, entryCheck[:]...)
		out = append(out, locals.rest...)
	}
	if len(r.rest) > 0 {
		return nil, errors.New("code section is longer than its functions")
	}
	return out, nil
}

func rewriteTables(tables []byte, most uint32) ([]byte, error) {
	r := &reader{rest: tables}
	n := r.u32()
	out := binary.AppendUvarint(nil, uint64(n))
	for i := range n {
		kind := r.byte()
		least, declared, bounded := r.limits()
		if r.err != nil {
			return nil, fmt.Errorf("table %d: %w", i, r.err)
		}
		if least > most {
			return nil, fmt.Errorf("table %d starts with %d entries, at most %d are allowed", i, least, most)
		}
		if !bounded || declared > most {
			declared = most
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
