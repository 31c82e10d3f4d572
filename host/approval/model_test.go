package approval

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/secret"
)

var seed = flag.Uint64("approval.seed", 0, "seed of TestModel; 0: some fixed ones and a new one, which is printed")

// Whatever comes in whatever order, a request has one end, nobody is accepted without an approval, and nobody is asked
// twice at once.
func TestModel(t *testing.T) {
	seeds := []uint64{1, 2, 3, rand.Uint64()}
	if *seed != 0 {
		seeds = []uint64{*seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Logf("-approval.seed=%d", seed)
			synctest.Test(t, func(t *testing.T) { newModel(t, seed).run(400) })
		})
	}
}

// model drives a desk at random, and watches what it says.
type model struct {
	*testing.T
	random *rand.Rand
	desk   *Desk[string]

	mu       sync.Mutex
	lives    map[string][]string // events by the login that began the request
	open     map[string]int      // requests at once, by user
	people   []*callee           // who are being asked
	approved map[string]bool     // logins whose request was approved
	waiting  sync.WaitGroup
	leave    []context.CancelFunc
	next     int
}

// callee is somebody with a request on the phone.
type callee struct {
	login  string
	tell   func(State)
	answer chan Decision
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, random: rand.New(rand.NewPCG(seed, seed)), lives: map[string][]string{}, open: map[string]int{}, approved: map[string]bool{}}
	m.desk = New[string](Options{
		Limits: Limits{PerPerson: 4, Window: time.Minute, Pause: 10 * time.Second}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Store: func(_ context.Context, e events.Payload) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			a := e.(*events.Approval)
			name := strings.TrimPrefix(string(a.State), "sallyport.v1.approval.")
			m.lives[a.LoginID] = append(m.lives[a.LoginID], name)
			if name == "approved" {
				m.approved[a.LoginID] = true
			}
			return nil
		},
	})
	return m
}

func (m *model) run(steps int) {
	for range steps {
		switch m.random.IntN(10) {
		case 0, 1, 2, 3:
			m.ask()
		case 4:
			m.giveUp()
		case 5, 6, 7:
			m.onPhone()
		case 8:
			time.Sleep(time.Duration(m.random.IntN(20)) * time.Second)
		case 9:
			if all := m.desk.List(); len(all) > 0 && m.random.IntN(4) == 0 {
				m.desk.Revoke(all[m.random.IntN(len(all))].ID)
			}
		}
		synctest.Wait()
	}
	m.desk.Close()
	for _, leave := range m.leave {
		leave()
	}
	m.waiting.Wait()
	synctest.Wait()
	m.check()
}

// ask lets a client log in.
func (m *model) ask() {
	m.next++
	q := Question{
		Login:  events.Login{LoginID: fmt.Sprint("login-", m.next), User: []string{"alice", "bob", "carol"}[m.random.IntN(3)]},
		Factor: "phone", First: "local", Source: netip.AddrFrom4([4]byte{192, 0, 2, byte(m.random.IntN(3))}),
		Password: secret.New([]string{"x", "y"}[m.random.IntN(2)]), Remember: time.Duration(m.random.IntN(2)) * 30 * time.Second,
		Linger: time.Duration(m.random.IntN(3)) * 5 * time.Second, Queue: m.random.IntN(2) == 0,
	}
	ctx, leave := context.WithCancel(m.Context())
	m.leave = append(m.leave, leave)
	m.waiting.Go(func() {
		defer leave()
		got := m.desk.Ask(ctx, q, func(ctx context.Context, r Request) (string, Decision) { return m.person(ctx, q, r) })
		m.mu.Lock()
		defer m.mu.Unlock()
		if got.Asked && strings.HasSuffix(got.Value, " accepted") && !m.approved[strings.TrimSuffix(got.Value, " accepted")] {
			m.Errorf("%s is accepted without an approval", q.Login.LoginID)
		}
	})
}

// person is a factor: a request on somebody's phone.
func (m *model) person(ctx context.Context, q Question, r Request) (string, Decision) {
	phone := map[string]string{"alice": "one", "bob": "two", "carol": "one"}[q.Login.User] // alice and carol are one person
	if err := r.Claim(ctx, phone); err != nil {
		return q.Login.LoginID, Rejected
	}
	m.mu.Lock()
	m.open[phone]++
	if m.open[phone] > 1 {
		m.Errorf("%s is asked twice at once", phone)
	}
	me := &callee{q.Login.LoginID, r.Tell, make(chan Decision, 1)}
	m.people = append(m.people, me)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open[phone]--
	}()
	r.Tell(Requested)
	select {
	case d := <-me.answer:
		if d == Accepted {
			return q.Login.LoginID + " accepted", d
		}
		return q.Login.LoginID, d
	case <-ctx.Done():
		return q.Login.LoginID, Failed
	}
}

// onPhone is whatever a person, or the other system, may do, in order or not.
func (m *model) onPhone() {
	m.mu.Lock()
	var one *callee
	if len(m.people) > 0 {
		one = m.people[m.random.IntN(len(m.people))]
	}
	m.mu.Unlock()
	if one == nil {
		return
	}
	told := []State{Requested, Delivered, Approved, Denied, Expired, Suspended, Frozen, Cancelled}
	for range m.random.IntN(3) {
		one.tell(told[m.random.IntN(len(told))])
	}
	select {
	case one.answer <- []Decision{Accepted, Accepted, Rejected, Failed, Expire}[m.random.IntN(5)]:
	default:
	}
}

func (m *model) giveUp() {
	if len(m.leave) > 0 {
		m.leave[m.random.IntN(len(m.leave))]()
	}
}

// check looks at what became of each request.
func (m *model) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	requests := 0
	for login, life := range m.lives {
		var own []string
		for _, name := range life {
			if name != "remembered" {
				own = append(own, name)
			}
		}
		if len(own) == 0 {
			continue
		}
		requests++
		state := State("")
		for _, name := range own {
			allowed := false
			for _, s := range next(state) {
				allowed = allowed || s == State(name)
			}
			if !allowed {
				m.Errorf("%s: %q after %q in %q", login, name, state, own)
			}
			state = State(name)
		}
		if next(state) != nil {
			m.Errorf("%s has no end: %q", login, own)
		}
	}
	for user, n := range m.open {
		if n != 0 {
			m.Errorf("%s is still being asked", user)
		}
	}
	if requests < 5 {
		m.Errorf("only %d requests: the model does not try much", requests)
	}
}
