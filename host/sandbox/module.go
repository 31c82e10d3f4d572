package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Section ids of the binary format (WebAssembly Core 2.0, section 5.5.2).
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionGlobal   = 6
	sectionExport   = 7
	sectionElement  = 9
	sectionCode     = 10
	sectionData     = 11
)

// module is what the loader must know of a module before it is compiled.
type module struct {
	sections  []section
	types     []signature
	imports   []imported
	functions []uint32 // type index of each function that the module defines
	globals   []global
	exports   map[string]exported
}

type global struct{ mutable, numeric bool }

type section struct {
	id   byte
	body []byte
}

type signature struct{ params, results string } // one letter for each value: i, I, f, F, other

type imported struct {
	module, name string
	kind         byte
	typeIndex    uint32 // of a function
}

type exported struct {
	kind  byte
	index uint32
}

// The kinds of imports and exports.
const (
	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3
)

var (
	errTruncated     = errors.New("ends in the middle")
	errDamagedNumber = errors.New("damaged number")
)

// parse splits a module into sections and reads those that the checks need. It bounds every
// length by what is there, so that a hostile file costs no more than its size.
func parse(wasm []byte) (*module, error) {
	if len(wasm) < 8 || !bytes.Equal(wasm[:4], []byte("\x00asm")) {
		return nil, errors.New("not a WebAssembly module: it does not start with \\0asm")
	}
	if version := binary.LittleEndian.Uint32(wasm[4:]); version != 1 {
		return nil, fmt.Errorf("WebAssembly binary version %#x, only core modules (version 1) are supported, not components", version)
	}
	m := &module{exports: map[string]exported{}}
	r := &reader{rest: wasm[8:]}
	for len(r.rest) > 0 {
		s := section{id: r.byte(), body: r.vector()}
		if r.err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, r.err)
		}
		m.sections = append(m.sections, s)
		if err := m.read(s); err != nil {
			return nil, fmt.Errorf("section %d: %w", s.id, err)
		}
	}
	return m, nil
}

func (m *module) read(s section) error {
	r := &reader{rest: s.body}
	switch s.id {
	case sectionType:
		r.each(func() { m.types = append(m.types, r.signature()) })
	case sectionImport:
		r.each(func() { m.imports = append(m.imports, r.imported()) })
	case sectionFunction:
		r.each(func() { m.functions = append(m.functions, r.u32()) })
	case sectionGlobal:
		r.each(func() { m.globals = append(m.globals, r.global()) })
	case sectionExport:
		r.each(func() {
			name := string(r.vector())
			m.exports[name] = exported{kind: r.byte(), index: r.u32()}
		})
	default:
		return nil
	}
	if r.err == nil && len(r.rest) > 0 {
		return errors.New("it is longer than what is in it")
	}
	return r.err
}

// signatureOf returns the type of a function by its index, imported ones first.
func (m *module) signatureOf(function uint32) (signature, bool) {
	for _, i := range m.imports {
		if i.kind != kindFunction {
			continue
		}
		if function == 0 {
			return m.typeAt(i.typeIndex)
		}
		function--
	}
	if uint64(function) >= uint64(len(m.functions)) {
		return signature{}, false
	}
	return m.typeAt(m.functions[function])
}

func (m *module) typeAt(index uint32) (signature, bool) {
	if uint64(index) >= uint64(len(m.types)) {
		return signature{}, false
	}
	return m.types[index], true
}

func (s signature) String() string {
	return "(" + typeNames(s.params) + ") -> (" + typeNames(s.results) + ")"
}

func typeNames(letters string) string {
	names := make([]string, len(letters))
	for i, letter := range letters {
		switch letter {
		case 'i':
			names[i] = "i32"
		case 'I':
			names[i] = "i64"
		case 'f':
			names[i] = "f32"
		case 'F':
			names[i] = "f64"
		default:
			names[i] = "?"
		}
	}
	return strings.Join(names, " ")
}

// reader reads the binary format; the first error stays and everything after it reads as zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) byte() byte {
	if r.err != nil || len(r.rest) == 0 {
		r.fail(errTruncated)
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		r.fail(errDamagedNumber)
		return 0
	}
	r.rest = r.rest[n:]
	return uint32(v)
}

func (r *reader) vector() []byte {
	n := r.u32()
	if r.err != nil || uint64(n) > uint64(len(r.rest)) {
		r.fail(errTruncated)
		return nil
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v
}

// each calls read for each element of a vector.
func (r *reader) each(read func()) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		read()
	}
}

func (r *reader) signature() signature {
	if r.byte() != 0x60 {
		r.fail(errors.New("unknown kind of type"))
	}
	return signature{params: r.valueTypes(), results: r.valueTypes()}
}

func (r *reader) valueTypes() string {
	var text []byte
	for _, t := range r.vector() {
		text = append(text, letter(t))
	}
	return string(text)
}

func (r *reader) imported() imported {
	i := imported{module: string(r.vector()), name: string(r.vector()), kind: r.byte()}
	switch i.kind {
	case kindFunction:
		i.typeIndex = r.u32()
	case kindTable:
		r.byte()
		r.limits()
	case kindMemory:
		r.limits()
	case kindGlobal:
		r.byte()
		r.byte()
	default:
		r.fail(errors.New("unknown kind of import"))
	}
	return i
}

func (r *reader) global() global {
	kind := r.byte()
	g := global{mutable: r.byte() == 1, numeric: kind >= 0x7c && kind <= 0x7f}
	for r.err == nil && !r.instruction().end { // its first value
	}
	return g
}

func (r *reader) limits() (least, most uint32, bounded bool) {
	flags := r.byte()
	if flags > 1 {
		r.fail(errors.New("unknown kind of limits"))
	}
	least = r.u32()
	if flags == 1 {
		most = r.u32()
	}
	return least, most, flags == 1
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
