package sandbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// image is a plugin's memory after _initialize, in a file without a name. Instances map it
// privately: what one changes is its own, and dropping the changes is one system call.
type image struct {
	file *os.File
	size int    // bytes
	view []byte // to copy from
}

const canReset = true

// newImage keeps a copy of memory. Pages of zeros take no room.
func newImage(memory []byte) (*image, error) {
	fd, err := unix.MemfdCreate("sallyport-plugin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory image: %w", err)
	}
	i := &image{file: os.NewFile(uintptr(fd), "sallyport-plugin"), size: len(memory)}
	if err := i.fill(memory); err != nil {
		i.close()
		return nil, fmt.Errorf("memory image: %w", err)
	}
	if i.size > 0 {
		if i.view, err = unix.Mmap(fd, 0, i.size, unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
			i.close()
			return nil, fmt.Errorf("memory image: %w", err)
		}
	}
	return i, nil
}

func (i *image) fill(memory []byte) error {
	if err := i.file.Truncate(int64(len(memory))); err != nil {
		return err
	}
	page := unix.Getpagesize()
	zeros := make([]byte, page)
	for at := 0; at < len(memory); at += page {
		if part := memory[at:min(at+page, len(memory))]; !bytes.Equal(part, zeros[:len(part)]) {
			if _, err := i.file.WriteAt(part, int64(at)); err != nil {
				return err
			}
		}
	}
	_, err := unix.FcntlInt(i.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	return err
}

func (i *image) close() {
	if i.view != nil {
		_ = unix.Munmap(i.view)
	}
	_ = i.file.Close()
}

// linearMemory is an instance's memory at an address of its own, which never moves: so no copy of
// it stays behind when it grows. It implements experimental.LinearMemory.
type linearMemory struct {
	reserved []byte
	size     int    // bytes that the guest has
	tick     func() // looks at the deadline; see tickPages
	pages    []byte // what the kernel says of each page; kept to be used again
}

func newLinearMemory(most uint64) (*linearMemory, error) {
	reserved, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("linear memory: %w", err)
	}
	_ = unix.Madvise(reserved, unix.MADV_DONTDUMP) // passwords don't belong in a core dump
	return &linearMemory{reserved: reserved, tick: func() {}}, nil
}

// Reallocate implements experimental.LinearMemory.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		m.tick()
		return nil
	}
	if int(size) > m.size {
		if err := unix.Mprotect(m.reserved[m.size:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		m.size = int(size)
	}
	return m.reserved[:size:size]
}

// Free implements experimental.LinearMemory. It does nothing: a module can be closed while
// its guest still runs. See release.
func (m *linearMemory) Free() {}

// release gives the memory back. No guest may run on it any more.
func (m *linearMemory) release() { _ = unix.Munmap(m.reserved) }

// use puts the image in place of what is there.
func (m *linearMemory) use(i *image) error {
	if i.size == 0 {
		return nil
	}
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(m.reserved)), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("memory image: %w", err)
	}
	_ = unix.Madvise(m.reserved[:i.size], unix.MADV_DONTDUMP)
	return nil
}

// reset drops all changes since use. The kernel knows which pages are copies of our own; few of them are
// overwritten with the image, since taking them away would cost a page fault each in the next run.
func (m *linearMemory) reset(i *image, pagemap *os.File) error {
	if i.size == 0 {
		return nil
	}
	changed, known := m.changedPages(i, pagemap)
	if !known || len(changed) > maxCopied {
		return unix.Madvise(m.reserved[:i.size], unix.MADV_DONTNEED)
	}
	size := unix.Getpagesize()
	for _, n := range changed {
		copy(m.reserved[n*size:(n+1)*size], i.view[n*size:])
	}
	return nil
}

// maxCopied is how many pages are copied at most; from there on dropping them is cheaper.
const maxCopied = 512

// changedPages lists the pages that are not the image's any more (Documentation/admin-guide/mm/pagemap.rst).
// False: it is not known.
func (m *linearMemory) changedPages(i *image, pagemap *os.File) (changed []int, known bool) {
	const (
		present = 1 << 63
		swapped = 1 << 62
		ofFile  = 1 << 61 // and so not a copy of our own
	)
	count := i.size / unix.Getpagesize()
	if m.pages == nil {
		m.pages = make([]byte, 8*count)
	}
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved)))) / int64(unix.Getpagesize())
	if pagemap == nil {
		return nil, false
	}
	if n, err := pagemap.ReadAt(m.pages, 8*first); err != nil || n != len(m.pages) {
		return nil, false
	}
	for n := range count {
		entry := binary.NativeEndian.Uint64(m.pages[8*n:])
		if entry&(present|swapped) != 0 && entry&ofFile == 0 {
			changed = append(changed, n)
		}
	}
	return changed, true
}

// openPagemap is nil where the kernel does not tell.
func openPagemap() *os.File {
	file, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil
	}
	return file
}
