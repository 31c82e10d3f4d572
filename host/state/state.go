// Package state keeps accounts and whatever else must outlive a restart, in named
// buckets of small records. [Store] is all that the rest of the host knows of it;
// [OpenBolt] is the embedded one, a single bbolt file with an fsync at every commit.
package state

import (
	"context"
	"errors"
)

// Revision names one state of one record, and grows with each change. It never comes back, not even
// when a record is deleted and made anew. Zero means "not there".
type Revision uint64

// Record is a stored value with the revision that a compare-and-swap must name.
type Record struct {
	Key      string
	Value    []byte
	Revision Revision
}

// Addition is a record that is written together with a change of another one. Its key must be new.
type Addition struct {
	Bucket, Key string
	Value       []byte
}

// Store holds records in named buckets. A bucket exists once something was put in it.
// All methods are safe for concurrent use, and what they return is the caller's own.
type Store interface {
	// Get returns one record, or ErrNotFound.
	Get(ctx context.Context, bucket, key string) (Record, error)
	// Put writes value if the record's revision is still the one named (0: if there is
	// none), and returns the new revision; otherwise ErrConflict. Also are written with it, or none
	// of all that. It is on disk on return.
	Put(ctx context.Context, bucket, key string, value []byte, was Revision, also ...Addition) (Revision, error)
	// Delete removes a record whose revision is still the one named, and writes also with that, or ErrConflict,
	// or ErrNotFound.
	Delete(ctx context.Context, bucket, key string, was Revision, also ...Addition) error
	// List returns up to limit records with keys after the one named, in key order.
	List(ctx context.Context, bucket, after string, limit int) ([]Record, error)
	// Compact leaves nothing on the disk of what was changed or deleted. Others wait meanwhile.
	Compact(ctx context.Context) error
}

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that somebody else changed the record meanwhile.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrDamaged says that a record is there and can't be trusted: whoever asked must refuse.
	ErrDamaged = errors.New("record is damaged")
)

// Limits of one record; what exceeds them is a programming error or an attack.
const (
	MaxKey   = 1024
	MaxValue = 1 << 20
)
