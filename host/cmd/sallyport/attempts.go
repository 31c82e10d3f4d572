package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/outbox"
	"github.com/sallyport-ftps/sallyport/host/policy"
	"github.com/sallyport-ftps/sallyport/host/state"
)

const attemptsBucket = "attempts"

// attemptsKeeper keeps counters of wrong logins in the store, each lock and ban together with its event. Nobody else
// writes there.
type attemptsKeeper struct {
	store     state.Store
	outbox    *outbox.Outbox
	revisions map[string]state.Revision
}

func keyOf(k policy.Counted) string { return k.Kind + "/" + hex.EncodeToString([]byte(k.Key)) }

// Load implements policy.Keeper. A record that can't be read is left out: a lock is lost, and nobody is kept out for ever.
func (k *attemptsKeeper) Load(ctx context.Context) (all []policy.Counted, err error) {
	for after := ""; ; {
		records, err := k.store.List(ctx, attemptsBucket, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("counters of wrong logins: %w", err)
		}
		if len(records) == 0 {
			return all, nil
		}
		for _, r := range records {
			k.revisions[r.Key], after = r.Revision, r.Key
			var one policy.Counted
			if err := json.Unmarshal(r.Value, &one); err == nil && keyOf(one) == r.Key {
				all = append(all, one)
			}
		}
	}
}

// Keep implements policy.Keeper.
func (k *attemptsKeeper) Keep(ctx context.Context, one policy.Counted) error {
	var also []state.Addition
	if e := lockEvent(one); e != nil {
		entry, err := k.outbox.Entry(e)
		if err != nil {
			return err
		}
		also = append(also, entry)
		defer k.outbox.Wake()
	}
	key := keyOf(one)
	was := k.revisions[key]
	if one.Empty() && was != 0 {
		if err := k.store.Delete(ctx, attemptsBucket, key, was, also...); err != nil {
			return fmt.Errorf("counter of wrong logins: %w", err)
		}
		delete(k.revisions, key)
		return nil
	}
	if one.Empty() && also == nil {
		return nil
	}
	value, err := json.Marshal(one)
	if err != nil {
		return err
	}
	now, err := k.store.Put(ctx, attemptsBucket, key, value, was, also...)
	if err != nil {
		return fmt.Errorf("counter of wrong logins: %w", err)
	}
	k.revisions[key] = now
	return nil
}

func lockEvent(one policy.Counted) events.Payload {
	switch {
	case one.Kind == policy.KindSource && one.Change == policy.Locked:
		return &events.SourceChanged{Change: events.SourceBannedType, Source: one.Key, Until: one.Until.UTC()}
	case one.Kind == policy.KindSource && one.Change == policy.Lifted:
		return &events.SourceChanged{Change: events.SourceUnbannedType, Source: one.Key}
	case one.Change == policy.Locked:
		name, source, _ := strings.Cut(one.Key, "\x00")
		return &events.AccountChanged{Change: events.AccountLockedType, Account: name, Until: one.Until.UTC(), Source: source}
	}
	return nil
}
