//go:build !linux

package sandbox

import (
	"errors"
	"os"
)

// Elsewhere every run has a fresh instance.
const canReset = false

type image struct{ size int }

func newImage([]byte) (*image, error) { return nil, errors.ErrUnsupported }

func (*image) close() {}

// linearMemory implements experimental.LinearMemory.
type linearMemory struct {
	bytes []byte
	tick  func()
}

func newLinearMemory(most uint64) (*linearMemory, error) {
	return &linearMemory{bytes: make([]byte, 0, most), tick: func() {}}, nil
}

// Reallocate implements experimental.LinearMemory.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(cap(m.bytes)) {
		m.tick()
		return nil
	}
	m.bytes = m.bytes[:size]
	return m.bytes
}

// Free implements experimental.LinearMemory.
func (m *linearMemory) Free() {}

func (m *linearMemory) release() { clear(m.bytes) }

func (*linearMemory) use(*image) error { return errors.ErrUnsupported }

func (*linearMemory) reset(*image, *os.File) error { return errors.ErrUnsupported }

func openPagemap() *os.File { return nil }
