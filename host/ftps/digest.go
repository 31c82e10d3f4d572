package ftps

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// Digests says of which files the events have one.
type Digests string

// The choices. To compute one costs about half a second of a core for each GiB.
const (
	DigestUploads Digests = "uploads"
	DigestAll     Digests = "all"
	DigestNone    Digests = "none"
)

// maxKnown is how many files a session remembers the digests of.
const maxKnown = 256

// digests are computed while a file comes or goes.
type digests map[ftpserver.HASHAlgo]hash.Hash

func newHash(algo ftpserver.HASHAlgo) (hash.Hash, error) {
	switch algo {
	case ftpserver.HASHAlgoCRC32:
		return crc32.NewIEEE(), nil
	case ftpserver.HASHAlgoMD5: // clients ask for it; nothing here rests on it
		return md5.New(), nil
	case ftpserver.HASHAlgoSHA1:
		return sha1.New(), nil
	case ftpserver.HASHAlgoSHA256:
		return sha256.New(), nil
	case ftpserver.HASHAlgoSHA512:
		return sha512.New(), nil
	}
	return nil, errors.New("unknown hash algorithm")
}

func (d digests) write(p []byte) {
	for _, h := range d {
		_, _ = h.Write(p) // never fails
	}
}

// sum is one in hexadecimal digits; empty: it was not computed.
func (d digests) sum(algo ftpserver.HASHAlgo) string {
	if h, ok := d[algo]; ok {
		return hex.EncodeToString(h.Sum(nil))
	}
	return ""
}

// knownFile is a file whose digests were computed already, as it was then.
type knownFile struct {
	info os.FileInfo
	sums map[ftpserver.HASHAlgo]string
}

// is reports whether it is this file, unchanged. Clients set the time of a file as they like, and rename: so its identity counts, and the
// time of the last change of any kind, which nobody sets.
func (k knownFile) is(info os.FileInfo) bool {
	return k.info != nil && os.SameFile(k.info, info) && k.info.Size() == info.Size() && k.info.ModTime().Equal(info.ModTime()) && changed(k.info).Equal(changed(info))
}

// wantedDigests are those that a session asked for before: who asks after one upload asks after the next, and then nothing is read again.
func (f *files) wantedDigests() []ftpserver.HASHAlgo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.wanted))
}

// remember keeps digests of a file as it is now.
func (f *files) remember(name string, info os.FileInfo, sums map[ftpserver.HASHAlgo]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.known[name]; ok && known.is(info) {
		maps.Copy(known.sums, sums)
		return
	}
	if f.known == nil || len(f.known) >= maxKnown {
		f.known = map[string]knownFile{}
	}
	f.known[name] = knownFile{info, sums}
}

// rememberUpload keeps what was computed of a file that came whole, if it is the one that has the name now, and nobody has written to it
// since. A file that grows in its place anybody may write to.
func (f *files) rememberUpload(u *upload) {
	if len(u.digests) == 0 || u.aside == "" || u.before == nil {
		return
	}
	info, err := u.root.Lstat(u.rel)
	if err != nil || info.Size() != u.bytes || !os.SameFile(info, u.before) || !info.ModTime().Equal(u.before.ModTime()) {
		return
	}
	sums := map[ftpserver.HASHAlgo]string{}
	for algo := range u.digests {
		sums[algo] = u.digests.sum(algo)
	}
	f.remember(u.name, info, sums)
}

// ComputeHash implements ftpserver.ClientDriverExtensionHasher: HASH, XCRC, XSHA256 and so on. A file that this session has
// just sent is not read again.
func (f *files) ComputeHash(name string, algo ftpserver.HASHAlgo, start, end int64) (string, error) {
	digest, err := newHash(algo)
	if err != nil {
		return "", err
	}
	p, err := f.resolve(name, policy.Read)
	if err != nil {
		return "", err
	}
	info, err := p.root.Stat(p.rel)
	if err != nil {
		return "", plain(err)
	}
	whole := start == 0 && end == info.Size()
	f.mu.Lock()
	if f.wanted == nil {
		f.wanted = map[ftpserver.HASHAlgo]bool{}
	}
	f.wanted[algo] = true
	known := f.known[p.name]
	sum := known.sums[algo]
	f.mu.Unlock()
	if whole && sum != "" && known.is(info) {
		return sum, nil
	}
	if start < 0 || end < start || end > info.Size() {
		return "", fmt.Errorf("bytes %d to %d are not within the file of %d bytes", start, end, info.Size())
	}
	if err := f.read(name, start, end-start, digest); err != nil {
		return "", err
	}
	sum = hex.EncodeToString(digest.Sum(nil))
	if whole {
		f.remember(p.name, info, map[ftpserver.HASHAlgo]string{algo: sum})
	}
	return sum, nil
}

// read reads a part of a file.
func (f *files) read(name string, start, n int64, to io.Writer) error {
	if err := f.begin(); err != nil {
		return err
	}
	file, err := f.download(name, start, false)
	if err != nil {
		f.finish()
		return err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return plain(err)
	}
	if _, err := io.CopyN(to, file, n); err != nil && !errors.Is(err, io.EOF) {
		return plain(err)
	}
	return nil
}
