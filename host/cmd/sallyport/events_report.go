package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
)

type eventsStats struct {
	sinceFlag
	eventsFilter
	output
}

// Run implements the command.
func (cmd eventsStats) Run(ctx context.Context, c *cli, s streams) error {
	since, err := cmd.time(time.Now().Add(-24 * time.Hour))
	if err == nil {
		err = cmd.check()
	}
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, withEvents)
	if err != nil {
		return err
	}
	defer closing()
	sum := newSummary(since)
	err = client.Follow(ctx, since, false, func(e events.Event) error {
		if cmd.matches(e) {
			sum.add(e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return cmd.print(s.out, sum, sum.write)
}

// summary is what "events stats" says.
type summary struct {
	Since     time.Time               `json:"since"`
	Events    int                     `json:"events"`
	Methods   map[string]*methodSum   `json:"methods"`
	Reasons   map[events.Reason]int   `json:"refused"` // why
	Approvals map[string]*approvalSum `json:"approvals"`
	Sessions  int                     `json:"sessions"`
	Received  int64                   `json:"bytes_received"`
	Sent      int64                   `json:"bytes_sent"`
	took      map[string][]int64      // of approvals, in milliseconds, by factor
}

// methodSum are the logins that a method decided. Without a name: those that no method did.
type methodSum struct {
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
}

// approvalSum are the requests of a second factor.
type approvalSum struct {
	Approved int   `json:"approved"`
	Denied   int   `json:"denied"`
	Expired  int   `json:"expired"`
	P50MS    int64 `json:"p50_ms"`
	P95MS    int64 `json:"p95_ms"`
}

func newSummary(since time.Time) *summary {
	return &summary{Since: since.UTC(), Methods: map[string]*methodSum{}, Reasons: map[events.Reason]int{}, Approvals: map[string]*approvalSum{}, took: map[string][]int64{}}
}

// at returns the entry of a key, which is made if it is not there.
func at[V any](m map[string]*V, key string) *V {
	if m[key] == nil {
		m[key] = new(V)
	}
	return m[key]
}

func (s *summary) add(e events.Event) {
	s.Events++
	switch d := e.Data.(type) {
	case *events.LoginAccepted:
		if d.Trial {
			return
		}
		at(s.Methods, d.Method).Accepted++
	case *events.LoginRefused:
		if d.Trial { // by an administrator's command
			return
		}
		at(s.Methods, d.Method).Refused++
		s.Reasons[d.Reason]++
	case *events.Refusals:
		for reason, n := range d.Reasons {
			at(s.Methods, "").Refused += n
			s.Reasons[reason] += n
		}
	case *events.Approval:
		a := at(s.Approvals, d.Factor)
		switch d.State {
		case events.ApprovalApprovedType:
			a.Approved++
			s.took[d.Factor] = append(s.took[d.Factor], d.DurationMS)
			took := slices.Sorted(slices.Values(s.took[d.Factor]))
			s.took[d.Factor] = took
			a.P50MS, a.P95MS = took[len(took)/2], took[len(took)*95/100]
		case events.ApprovalDeniedType:
			a.Denied++
		case events.ApprovalExpiredType:
			a.Expired++
		}
	case *events.SessionClosed:
		s.Sessions++
		s.Received += d.BytesReceived
		s.Sent += d.BytesSent
	}
}

func (s *summary) write(w io.Writer) {
	fmt.Fprintf(w, "%d events since %s\n\nMETHOD\tACCEPTED\tREFUSED\n", s.Events, s.Since.Local().Format("2006-01-02 15:04"))
	for _, id := range slices.Sorted(maps.Keys(s.Methods)) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", orText(id, "(none)"), s.Methods[id].Accepted, s.Methods[id].Refused)
	}
	if len(s.Reasons) > 0 {
		fmt.Fprintf(w, "\nREFUSED BECAUSE\tCOUNT\n")
	}
	reasons := slices.Collect(maps.Keys(s.Reasons))
	slices.SortFunc(reasons, func(x, y events.Reason) int { return cmp.Or(s.Reasons[y]-s.Reasons[x], cmp.Compare(x, y)) })
	for _, reason := range reasons {
		fmt.Fprintf(w, "%s\t%d\n", reason, s.Reasons[reason])
	}
	if len(s.Approvals) > 0 {
		fmt.Fprintf(w, "\nSECOND FACTOR\tAPPROVED\tDENIED\tEXPIRED\tHALF WITHIN\t95 %% WITHIN\n")
	}
	for _, id := range slices.Sorted(maps.Keys(s.Approvals)) {
		a := s.Approvals[id]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f s\t%.1f s\n", id, a.Approved, a.Denied, a.Expired, float64(a.P50MS)/1000, float64(a.P95MS)/1000)
	}
	fmt.Fprintf(w, "\n%d sessions, %d bytes received, %d sent\n", s.Sessions, s.Received, s.Sent)
}

type eventsVerify struct {
	sinceFlag
	output
}

// Run implements the command.
func (cmd eventsVerify) Run(ctx context.Context, c *cli, s streams) error {
	since, err := cmd.time(time.Unix(0, 0))
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, withEvents)
	if err != nil {
		return err
	}
	defer closing()
	v := newVerification()
	if err := client.Follow(ctx, since, false, func(e events.Event) error { return v.add(e) }); err != nil {
		return err
	}
	v.finish()
	if err := cmd.print(s.out, v, v.write); err != nil {
		return err
	}
	if len(v.Problems) > 0 {
		return fmt.Errorf("%d problem(s) in the stored events", len(v.Problems))
	}
	return nil
}

// verification is what "events verify" finds.
type verification struct {
	Streams  map[string]*streamSum `json:"streams"`
	Problems []string              `json:"problems"`
	ids      map[string]bool
}

// streamSum is one stream. Two copies of the same events have the same digest.
type streamSum struct {
	Events int       `json:"events"`
	Boots  int       `json:"boots"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Digest string    `json:"sha256"`

	digest hash.Hash
	boot   string
	seen   map[string]bool // boots
	next   uint64
}

func newVerification() *verification {
	return &verification{Streams: map[string]*streamSum{}, Problems: []string{}, ids: map[string]bool{}}
}

// clockSlack is how far an event may be older than the one before: its time is taken before its turn to be stored comes.
const clockSlack = 10 * time.Second

func (v *verification) add(e events.Event) error {
	s := v.Streams[e.Stream]
	if s == nil {
		s = &streamSum{digest: sha256.New(), First: e.Time.UTC(), seen: map[string]bool{}, boot: e.Boot, next: e.Sequence}
		v.Streams[e.Stream] = s
		s.Boots, s.seen[e.Boot] = 1, true
	}
	problem := func(format string, args ...any) {
		v.Problems = append(v.Problems, e.Stream+": event "+e.ID+": "+fmt.Sprintf(format, args...))
	}
	if v.ids[e.ID] {
		problem("it is there twice")
	}
	v.ids[e.ID] = true
	if e.Boot != s.boot {
		if s.seen[e.Boot] {
			problem("it belongs to a run that had ended: %s", e.Boot)
		}
		s.boot, s.next, s.seen[e.Boot] = e.Boot, 1, true
		s.Boots++
	}
	if e.Sequence != s.next {
		problem("its number is %d, and %d was to come: %d missing", e.Sequence, s.next, int64(e.Sequence)-int64(s.next))
	}
	s.next = e.Sequence + 1
	if e.Time.Before(s.Last.Add(-clockSlack)) {
		problem("it is of %s, after one of %s", e.Time.UTC().Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	s.Events++
	s.Last = e.Time.UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, _ = s.digest.Write(append(body, '\n'))
	return nil
}

func (v *verification) finish() {
	for _, s := range v.Streams {
		s.Digest = hex.EncodeToString(s.digest.Sum(nil))
	}
}

func (v *verification) write(w io.Writer) {
	fmt.Fprintln(w, "STREAM\tEVENTS\tRUNS\tFROM\tTO\tSHA-256")
	for _, name := range slices.Sorted(maps.Keys(v.Streams)) {
		s := v.Streams[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", name, s.Events, s.Boots, s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339), s.Digest)
	}
	for _, problem := range v.Problems {
		fmt.Fprintln(w, problem)
	}
	if len(v.Problems) == 0 {
		fmt.Fprintln(w, "\nno event is missing between these, none is there twice, and all are in order")
	}
}
