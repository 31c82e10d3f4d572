package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Bolt is the embedded [Store].
type Bolt struct {
	path string

	mu sync.RWMutex // held, for reading, by whoever uses db
	db *bolt.DB
}

var _ Store = (*Bolt)(nil)

// Each record is stored as revision (8 bytes), CRC-32C of key, revision and value (4), value.
// The sum is there because bbolt does not check its data pages: a flipped bit in a record
// must be seen as damage, not as another record.
const headerSize = 12

// OpenBolt opens or creates the file at path and checks the whole of it, so that a damaged
// file is refused at the start, unchanged. The error says what to do.
func OpenBolt(path string) (*Bolt, error) {
	if err := verify(path); err != nil {
		return nil, fmt.Errorf("state file %s is damaged (%w): restore it from a backup, or move it away to start without accounts", path, err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("state file %s is in use by another process", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	return &Bolt{db: db, path: path}, nil
}

// verify reads every page and record of an existing file without changing it.
func verify(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0) {
		return nil
	}
	// A shortened file is a hole in the memory map: make reading it an error, not the end of the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("unreadable pages: %v", p)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil // in use; the caller's own open says so
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bolt.Tx) error {
		if size := tx.Size(); size > info.Size() {
			return fmt.Errorf("%d bytes are missing at the end", size-info.Size())
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if _, err := decode(k, v); err != nil {
					return fmt.Errorf("bucket %s: %w", name, err)
				}
				return nil
			})
		})
	})
}

// Close closes the file.
func (s *Bolt) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Close()
}

// compactBatch is how much is copied in one transaction, in bytes.
const compactBatch = 16 << 20

// Compact implements [Store]: another file takes the place of this one. Others wait meanwhile.
func (s *Bolt) Compact(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	aside := s.path + ".compact"
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("compact the state file: %w", err)
	}
	fresh, err := bolt.Open(aside, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("compact the state file: %w", err)
	}
	if err := errors.Join(bolt.Compact(fresh, s.db, compactBatch), fresh.Sync()); err != nil {
		return errors.Join(fmt.Errorf("compact the state file: %w", err), fresh.Close(), os.Remove(aside))
	}
	if err := os.Rename(aside, s.path); err != nil {
		return errors.Join(fmt.Errorf("compact the state file: %w", err), fresh.Close(), os.Remove(aside))
	}
	old := s.db
	s.db = fresh // it goes by its new name
	return errors.Join(old.Close(), SyncFolder(filepath.Dir(s.path)))
}

// SyncFolder keeps on the disk which names stand in a folder: after a rename, a power failure would undo that.
func SyncFolder(name string) error {
	folder, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Snapshot writes the whole file as it is at one moment, while others go on. Begin hears first how many bytes come.
func (s *Bolt) Snapshot(ctx context.Context, w io.Writer, begin func(size int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.View(func(tx *bolt.Tx) error {
		if err := begin(tx.Size()); err != nil {
			return err
		}
		_, err := tx.WriteTo(w)
		return err
	})
}

// Get implements [Store].
func (s *Bolt) Get(ctx context.Context, bucket, key string) (Record, error) {
	var record Record
	err := s.view(ctx, bucket, func(b *bolt.Bucket) error {
		var err error
		record, err = lookup(b, key)
		return err
	})
	return record, err
}

// Put implements [Store].
func (s *Bolt) Put(ctx context.Context, bucket, key string, value []byte, was Revision, also ...Addition) (Revision, error) {
	var next Revision
	err := s.update(ctx, bucket, key, was, also, func(b *bolt.Bucket) (err error) {
		next, err = write(b, bucket, key, value)
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// Delete implements [Store].
func (s *Bolt) Delete(ctx context.Context, bucket, key string, was Revision, also ...Addition) error {
	if was == 0 {
		return fmt.Errorf("%s/%s: %w", bucket, key, ErrNotFound)
	}
	return s.update(ctx, bucket, key, was, also, func(b *bolt.Bucket) error { return b.Delete([]byte(key)) })
}

// List implements [Store].
func (s *Bolt) List(ctx context.Context, bucket, after string, limit int) ([]Record, error) {
	var records []Record
	err := s.view(ctx, bucket, func(b *bolt.Bucket) error {
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, v := c.Seek([]byte(after))
		if k != nil && string(k) == after {
			k, v = c.Next()
		}
		for ; k != nil && len(records) < limit; k, v = c.Next() {
			record, err := decode(k, v)
			if err != nil {
				return err
			}
			records = append(records, record)
		}
		return nil
	})
	return records, err
}

func (s *Bolt) view(ctx context.Context, bucket string, read func(*bolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.View(func(tx *bolt.Tx) error { return read(tx.Bucket([]byte(bucket))) })
}

// update runs change in a transaction if the record still has the revision named.
func (s *Bolt) update(ctx context.Context, bucket, key string, was Revision, also []Addition, change func(*bolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return fmt.Errorf("bucket %s: %w", bucket, err)
		}
		now, err := lookup(b, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if now.Revision != was {
			return fmt.Errorf("%s/%s: %w", bucket, key, ErrConflict)
		}
		if err := change(b); err != nil {
			return err
		}
		for _, one := range also {
			if err := add(tx, one); err != nil {
				return err
			}
		}
		return nil
	})
}

func add(tx *bolt.Tx, one Addition) error {
	b, err := tx.CreateBucketIfNotExists([]byte(one.Bucket))
	if err != nil {
		return fmt.Errorf("bucket %s: %w", one.Bucket, err)
	}
	if b.Get([]byte(one.Key)) != nil {
		return fmt.Errorf("%s/%s: %w", one.Bucket, one.Key, ErrConflict)
	}
	_, err = write(b, one.Bucket, one.Key, one.Value)
	return err
}

func write(b *bolt.Bucket, bucket, key string, value []byte) (Revision, error) {
	if key == "" || len(key) > MaxKey || len(value) > MaxValue {
		return 0, fmt.Errorf("record %s/%.40q: key of 1 to %d bytes and value of at most %d bytes allowed", bucket, key, MaxKey, MaxValue)
	}
	n, err := b.NextSequence() // of the bucket: a record that is made anew is not mistaken for the old one
	if err != nil {
		return 0, err
	}
	return Revision(n), b.Put([]byte(key), encode(key, value, Revision(n)))
}

func lookup(b *bolt.Bucket, key string) (Record, error) {
	if b != nil {
		if stored := b.Get([]byte(key)); stored != nil {
			return decode([]byte(key), stored)
		}
	}
	return Record{}, fmt.Errorf("%s: %w", key, ErrNotFound)
}

func encode(key string, value []byte, r Revision) []byte {
	stored := make([]byte, headerSize, headerSize+len(value))
	binary.BigEndian.PutUint64(stored, uint64(r))
	binary.BigEndian.PutUint32(stored[8:], sum([]byte(key), r, value))
	return append(stored, value...)
}

func decode(key, stored []byte) (Record, error) {
	if len(stored) < headerSize {
		return Record{}, fmt.Errorf("%s: %w", key, ErrDamaged)
	}
	r, value := Revision(binary.BigEndian.Uint64(stored)), stored[headerSize:]
	if binary.BigEndian.Uint32(stored[8:]) != sum(key, r, value) {
		return Record{}, fmt.Errorf("%s: %w", key, ErrDamaged)
	}
	return Record{Key: string(key), Value: bytes.Clone(value), Revision: r}, nil
}

func sum(key []byte, r Revision, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(0, table, key)
	crc = crc32.Update(crc, table, binary.BigEndian.AppendUint64(nil, uint64(r)))
	return crc32.Update(crc, table, value)
}
