package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// rewrite returns the module with an empty loop at each function entry and before each bulk
// operation, so that a deadline also stops recursion and straight-line code (wazero looks for it at
// loop headers only), with bounded tables, and without custom sections. RATIONALE.md, "Why is every
// plugin rewritten?".
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
		case sectionElement:
			if len(body) > limits.Elements {
				err = fmt.Errorf("its tables are filled with %d bytes, at most %d are allowed", len(body), limits.Elements)
			}
		case sectionCode:
			body, err = rewriteCode(body, limits)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s.id)
		out = appendVector(out, body)
	}
	return out, nil
}

// check is "loop (no result) end": nothing but a place where wazero looks at the deadline.
const check = "\x03\x40\x0b"

func rewriteCode(code []byte, limits Limits) ([]byte, error) {
	r := &reader{rest: code}
	n := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(code)+len(code)/8), uint64(n))
	for i := range n {
		body := r.vector()
		if r.err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, r.err)
		}
		rewritten, err := rewriteBody(body, limits)
		if err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, err)
		}
		out = appendVector(out, rewritten)
	}
	if len(r.rest) > 0 {
		return nil, errors.New("code section is longer than its functions")
	}
	return out, nil
}

func rewriteBody(body []byte, limits Limits) ([]byte, error) {
	if len(body) > limits.Body {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(body), limits.Body)
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
	out := append([]byte(nil), body[:len(body)-len(code)]...)
	out = append(out, check...)
	copied := 0
	err := walk(code, func(i instruction) {
		if i.bulk {
			out = append(append(out, code[copied:i.at]...), check...)
			copied = i.at
		}
	})
	return append(out, code[copied:]...), err
}

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
