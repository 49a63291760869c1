package keys

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/agent/alarm"
)

// Fetch gets the key set document of one issuer. It obeys ctx and limits what it reads.
type Fetch func(ctx context.Context, issuer string) (document []byte, err error)

// Policy says which issuers are trusted and when they are asked. The zero value trusts no issuer.
type Policy struct {
	// Servers are the issuers in the order in which to try them: the keys of the first that answers are held, and those
	// of every other that had to be asked since (KEY-1, KEY-2).
	Servers []string
	// Pending reports that discovery has not found a server yet, so that it is not known which issuers are trusted.
	Pending bool
	// Unread returns the server whose metadata must be read to know whether this issuer is trusted, "" if there is none
	// (KEY-8).
	Unread  func(iss string) string
	Trusts  func(iss string) bool // whether keys of another issuer may be fetched because a token names it (KEY-5)
	Refresh time.Duration         // how often an issuer's keys are fetched (KEY-1)
	Retry   time.Duration         // minimum time between two fetches caused by tokens, per issuer (KEY-6)
}

// Event is one attempt to fetch an issuer's keys, for the log.
type Event struct {
	Issuer  string
	Err     error   // nil if the set was replaced
	Left    []error // keys that were left out of it
	Keys    int     // how many are held now
	Changed bool    // they differ from those held before
	Next    time.Duration
}

const (
	maxJitter     = time.Minute      // KEY-1
	firstBackOff  = time.Second      // KEY-2, of an issuer of which no keys are held
	maxBackOff    = 5 * time.Minute  // KEY-2, likewise
	maxLearned    = 16               // issuers learned from tokens (KEY-6)
	maxLookUps    = 4                // fetches for learned issuers without keys in each Retry, in total (KEY-6)
	maxInFlight   = 4                // concurrent fetches, so that a server that hangs does not delay the others
	maxLearning   = 2                // of these, for learned issuers: they must not delay the configured ones
	fetchTime     = 15 * time.Second // limit of one fetch: a server that hangs has failed
	inFlightGuess = 2 * time.Second  // how long a caller should wait for a fetch in progress

	// suspectRetryFactor is the minimum time between fetches for a token that a fetch did not help, in units of Retry
	// (KEY-6).
	suspectRetryFactor = 10
)

// phase is the state of an issuer.
type phase int

const (
	idle     phase = iota // a server whose turn has not come
	due                   // to be fetched for the first time
	fetching              // being fetched; the previous fetch did not fail
	healthy               // the last fetch brought keys, or they were kept from before the restart
	failing               // the last fetch failed
	retrying              // being fetched again after a failure
)

func (p phase) inFlight() bool { return p == fetching || p == retrying }

// failed reports whether the last completed fetch failed.
func (p phase) failed() bool { return p == failing || p == retrying }

// issuerState is the schedule of one issuer. Guarded by Store.mu.
type issuerState struct {
	phase
	server   bool      // one of the policy's Servers
	learning bool      // in flight, and not a server when the fetch began
	followUp time.Time // when another fetch is to follow the one in flight; zero if none is to
	number   uint64    // of the last fetch, counted over the Store
	ended    uint64    // of the last fetch that has ended
	last     time.Time // when it began
	next     time.Time // when the next is due; zero while idle
	place    time.Time // this device's own place in the interval, next or past; zero before it has one

	byToken  bool      // a token brought next forward
	asked    time.Time // when the last fetch brought forward by a token began
	failures int       // in a row
	rested   time.Time // end of KEY-2's back-off for waiting tokens; next is later if there are keys to decide by

	err     error     // of the last failed fetch
	errTime time.Time // when it failed
}

// Store holds the current Set and renews it. The hot path only loads a pointer.
type Store struct {
	set     atomic.Pointer[Set]
	fetch   Fetch
	report  func(Event)
	alarm   alarm.Alarm // has Run look at the schedule
	changed func()      // nil, or called for another Set

	mu       sync.Mutex
	policy   Policy
	schedule map[string]*issuerState // of every trusted issuer in use
	sights   sights
	fetches  uint64 // begun so far
	inFlight int
	learning int                   // of these, for learned issuers
	lookUps  [maxLookUps]time.Time // ring of when the last look-ups of learned issuers without keys began
	lookUp   int                   // the oldest of them
	renewed  time.Time             // when the fetches that RenewNow last requested were due
}

// errDropped is reported for a fetch whose issuer is no longer trusted.
var errDropped = errors.New("the issuer was dropped during the fetch")

// NewStore returns a Store that holds no keys. report is called after every attempt, from the fetching goroutine.
func NewStore(fetch Fetch, report func(Event)) *Store {
	s := &Store{
		fetch: fetch, report: report, alarm: alarm.New(),
		schedule: map[string]*issuerState{},
	}
	s.sights.init()
	s.set.Store(&Set{})
	return s
}

// OnChange has f called whenever another Set is there. It is called before Run. f must neither wait nor call s.
func (s *Store) OnChange(f func()) { s.changed = f }

// swap makes set the current snapshot. The caller holds mu.
func (s *Store) swap(set *Set) {
	s.set.Store(set)
	if s.changed != nil {
		s.changed()
	}
}

// Set returns the current snapshot.
func (s *Store) Set() *Set { return s.set.Load() }

// Configure applies a policy. Keys of issuers that it no longer trusts are dropped; the others are kept.
func (s *Store) Configure(p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	servers := p.Servers
	p.Servers = nil
	for _, name := range servers {
		if name = TrimIssuer(name); !slices.Contains(p.Servers, name) {
			p.Servers = append(p.Servers, name)
		}
	}
	s.policy = p
	now := time.Now()
	latest := now.Add(p.Refresh)
	for name, st := range s.schedule {
		st.server = slices.Contains(p.Servers, name)
		if !st.server && !s.trusts(name) {
			delete(s.schedule, name)
			continue
		}
		if st.next.After(latest) {
			st.next = now.Add(anyPart(p.Refresh))
		}
		if st.place.After(latest) {
			st.place = st.next
		}
	}
	for _, name := range p.Servers {
		if s.schedule[name] == nil {
			s.schedule[name] = &issuerState{server: true}
		}
	}
	s.dropUnscheduled()
	s.alarm.Ring()
}

// scheduleServer schedules the next server in the list if no earlier one is healthy (KEY-2). One with keys from before
// the restart counts as healthy until it is asked. The caller holds mu.
func (s *Store) scheduleServer() {
	next := (*issuerState)(nil)
	for _, name := range s.policy.Servers {
		switch st := s.schedule[name]; st.phase {
		case due, fetching, healthy:
			return
		case idle:
			if next == nil {
				next = st
			}
		}
	}
	if next != nil {
		next.phase, next.next = due, time.Now()
		if s.serves() {
			next.place = next.next // no common start of devices: another server's keys are held already
		}
	}
}

// Forget drops a learned issuer and its keys. It reports whether there was one. A token may
// bring it back if the policy trusts it.
func (s *Store) Forget(issuer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := TrimIssuer(issuer)
	st := s.schedule[name]
	if st == nil || st.server {
		return false
	}
	delete(s.schedule, name)
	s.dropUnscheduled()
	return true
}

// dropUnscheduled publishes a set without the keys of issuers that are no longer followed. The caller holds mu.
func (s *Store) dropUnscheduled() {
	followed := func(name string) bool { return s.schedule[name] != nil }
	set := s.set.Load()
	for _, i := range set.Issuers() {
		if !followed(i.Name) {
			s.swap(set.without(func(name string) bool { return !followed(name) }))
			return
		}
	}
}

// trusts reports whether the policy trusts an issuer. One trailing slash has been trimmed; with another it is not the
// issuer that it looks like (CLM-1).
func (s *Store) trusts(name string) bool {
	return slices.Contains(s.policy.Servers, name) ||
		s.policy.Trusts != nil && TrimIssuer(name) == name && s.policy.Trusts(name)
}

// Ask makes a server due now if its turn has not come.
func (s *Store) Ask(issuer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.schedule[TrimIssuer(issuer)]; st != nil && st.phase == idle {
		st.phase, st.next = due, time.Now()
		s.alarm.Ring()
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// RenewNow makes the next fetch of every issuer whose turn has come due immediately: the caller knows of a change that
// may make failed fetches succeed or alter the keys, such as a clock that was set (OPS-1). A fetch
// in flight may have begun before the change, so another follows it.
func (s *Store) RenewNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.renewed.After(now) { // else it is pending already
		s.renewed = latest(now, s.renewed.Add(renewalRest))
	}
	for _, st := range s.schedule {
		switch {
		case st.inFlight():
			st.followUp = s.renewed
		case st.phase != idle && st.next.After(s.renewed):
			st.next = s.renewed
		}
	}
	s.alarm.Ring()
}

// Refresh makes the next fetch of an issuer due, or if name is empty, of each issuer whose turn has come: an
// administrator knows that its keys have changed. However often that is asked for, an issuer is fetched at most once in
// renewalRest by it, and one that a token brought only if its keys are held (KEY-6). It returns which they are, and
// what Refreshed wants to know.
func (s *Store) Refresh(name string) (names []string, since uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, only := time.Now(), TrimIssuer(name)
	for name, st := range s.schedule {
		if only != "" && name != only || only == "" && st.phase == idle || !st.server && s.held(name) == 0 {
			continue
		}
		names = append(names, name)
		at := latest(now, st.last.Add(renewalRest))
		switch {
		case st.inFlight(): // it may have begun before the change
			st.followUp = at
		case st.phase == idle:
			st.phase, st.next = due, at
		case st.next.After(at):
			st.next = at
		}
	}
	sort.Strings(names)
	s.alarm.Ring()
	return names, s.fetches
}

// Refreshed reports whether a fetch of an issuer that Refresh returned has ended, and how. since is what that returned.
func (s *Store) Refreshed(name string, since uint64) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.schedule[name]
	switch {
	case st == nil:
		return true, errDropped
	case st.ended <= since:
		return false, nil
	case st.failed():
		return true, st.err
	}
	return true, nil
}

// Run fetches what is due until ctx ends, and returns once no fetch is under way.
func (s *Store) Run(ctx context.Context) {
	var fetches sync.WaitGroup
	defer fetches.Wait()
	s.alarm.Run(ctx, func() time.Duration {
		due, wait := s.take()
		for name, st := range due {
			fetches.Go(func() { s.renew(ctx, name, st) })
		}
		return wait
	})
}

// take marks the issuers that are due as in flight and returns them, with the time until the next is due.
func (s *Store) take() (started map[string]*issuerState, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	started = make(map[string]*issuerState)
	s.scheduleServer()
	now := time.Now()
	wait = time.Hour
	for _, name := range s.waiting() {
		st := s.schedule[name]
		at := st.next
		lookUp := !st.server && s.held(name) == 0
		if lookUp {
			at = latest(at, s.nextLookUp())
		}
		if left := at.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if s.inFlight == maxInFlight || !st.server && s.learning == maxLearning {
			continue // a fetch that ends rings
		}
		if lookUp {
			s.lookUps[s.lookUp] = now
			s.lookUp = (s.lookUp + 1) % maxLookUps
		}
		s.begin(st, now)
		started[name] = st
	}
	return started, wait
}

// waiting returns the issuers that wait for their next fetch, the one that has waited longest first: whoever names new
// issuers all the time must not keep another from its turn. The caller holds mu.
func (s *Store) waiting() (names []string) {
	for name, st := range s.schedule {
		if st.phase != idle && !st.inFlight() {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, j int) bool { return s.schedule[names[i]].next.Before(s.schedule[names[j]].next) })
	return names
}

// begin marks an issuer as in flight. The caller holds mu.
func (s *Store) begin(st *issuerState, now time.Time) {
	if st.phase == failing {
		st.phase = retrying
	} else {
		st.phase = fetching
	}
	s.fetches++
	st.number, st.last = s.fetches, now
	if st.byToken {
		st.byToken, st.asked = false, now
	}
	s.inFlight++
	if st.learning = !st.server; st.learning {
		s.learning++
	}
}

// renew fetches one issuer's keys and schedules the next fetch. What arrives after the issuer was dropped is discarded,
// even if the issuer has been added again since: it was fetched under another policy, and a new fetch is
// in progress.
func (s *Store) renew(ctx context.Context, name string, st *issuerState) {
	event := Event{Issuer: name}
	bounded, cancel := context.WithTimeout(ctx, fetchTime)
	document, err := s.fetch(bounded, name)
	cancel()
	var keys []Key
	if err == nil {
		keys, event.Left, err = Parse(document)
	}

	s.mu.Lock()
	s.inFlight--
	if st.learning {
		st.learning = false
		s.learning--
	}
	if s.schedule[name] != st {
		err = cmp.Or(err, errDropped)
	} else {
		now := time.Now()
		st.ended = st.number
		if err == nil {
			event.Changed = s.publish(name, keys, st.number)
			st.phase, st.failures, st.rested = healthy, 0, time.Time{}
			event.Next = s.interval(st)
		} else {
			st.phase, st.err, st.errTime = failing, err, now
			st.failures++
			st.rested = now.Add(backOff(st.failures, firstBackOff, min(maxBackOff, s.policy.Refresh)))
			event.Next = s.backOff(name, st, now)
		}
		if !st.followUp.IsZero() {
			event.Next = max(st.followUp.Sub(now), leastInterval)
			st.followUp = time.Time{}
		}
		st.next = now.Add(event.Next)
	}
	event.Keys = s.held(name)
	event.Err = err
	s.alarm.Ring()
	s.mu.Unlock()

	if ctx.Err() == nil {
		s.report(event)
	}
}

// publish swaps in a set in which name has the fetched keys, and reports whether they differ from those
// before. The caller holds mu.
func (s *Store) publish(name string, keys []Key, fetch uint64) (changed bool) {
	set := s.set.Load()
	next := set.with(name, keys, fetch)
	s.swap(next)
	old := set.issuers[name]
	return old == nil || !slices.EqualFunc(old.Keys, keys, sameKey)
}

// held returns how many keys are held of an issuer.
func (s *Store) held(name string) int {
	if issuer := s.set.Load().issuers[name]; issuer != nil {
		return len(issuer.Keys)
	}
	return 0
}

// Hold replaces the keys of an issuer that the policy trusts by keys from a file; those of other issuers
// are ignored. They are good until the next fetch, which comes at a random time within the interval: after a
// power cut every device of a facility starts in the same second. Call it before Run, which asks a server
// immediately if none are held.
func (s *Store) Hold(h Held) {
	name := TrimIssuer(h.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(h.Keys) == 0 || !s.trusts(name) {
		return
	}
	st := s.schedule[name]
	if st == nil {
		st = &issuerState{}
		s.schedule[name] = st
	}
	st.phase = healthy
	st.place = time.Now().Add(anyPart(s.policy.Refresh))
	st.next = st.place
	h.Keys = affordable(h.Keys)
	s.swap(s.set.Load().holding(h))
	s.alarm.Ring()
}
