package keys

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Fetch gets the key set document of one issuer. It obeys ctx and limits what it reads.
type Fetch func(ctx context.Context, issuer string) (document []byte, err error)

// Policy is what configuration and discovery say about issuers. The zero value trusts nobody.
type Policy struct {
	// Servers are issuers in the order in which to try them: the keys of the first that answers are held, and those of
	// every other that had to be asked since (KEY-1, KEY-2).
	Servers []string
	// Pending says that servers are being looked for and none is known yet: which issuers are trusted will show.
	Pending bool
	Trusts  func(iss string) bool // whether keys of another issuer may be fetched because a token names it (KEY-5)
	Refresh time.Duration         // how often an issuer's keys are fetched (KEY-1)
	Retry   time.Duration         // least time between two fetches that tokens cause, per issuer (KEY-6)
}

// Event is one attempt to fetch an issuer's keys, for the log.
type Event struct {
	Issuer  string
	Err     error   // nil: the set was replaced
	Left    []error // keys that were left out of it
	Keys    int     // how many there are now
	Changed bool    // whether they differ from those held before
	Next    time.Duration
}

const (
	maxJitter     = time.Minute      // KEY-1
	firstBackOff  = time.Second      // KEY-2, of an issuer of which no keys are held
	maxBackOff    = 5 * time.Minute  // KEY-2, likewise
	maxLearned    = 16               // issuers learned from tokens that are remembered at once
	maxInFlight   = 4                // fetches at once, so that one server that hangs does not hold up the others
	maxLearning   = 2                // of these, for issuers learned from tokens: what those name must not hold up the configured
	fetchTime     = 15 * time.Second // of one fetch at most: a server that hangs is one that failed
	inFlightGuess = 2 * time.Second  // what a caller is told to wait for a fetch under way
)

// issuerState is the schedule of one issuer. Guarded by Store.mu.
type issuerState struct {
	server   bool      // one of the policy's Servers
	next     time.Time // when its keys are fetched again; zero: never, a server whose turn has not come
	last     time.Time // when the last fetch started
	place    time.Time // this device's own place in the interval, the next or one that has passed; zero: it has none yet
	backOff  time.Duration
	inFlight bool
	learning bool // in flight, and no server when that began

	err    error     // of the last attempt that failed
	failed time.Time // when that was
}

// failing tells whether the last attempt failed.
func (st *issuerState) failing() bool { return st.backOff > 0 }

// Store holds the current Set and renews it. The hot path only loads a pointer.
type Store struct {
	set    atomic.Pointer[Set]
	fetch  Fetch
	report func(Event)
	wake   chan struct{}

	mu       sync.Mutex
	policy   Policy
	schedule map[string]*issuerState
	inFlight int
	learning int // of these, for issuers learned from tokens
}

// errDropped is reported for a fetch whose issuer is not followed any more.
var errDropped = errors.New("the issuer was dropped meanwhile")

// NewStore returns a Store that holds no keys. report is called after every attempt, from the fetching goroutine.
func NewStore(fetch Fetch, report func(Event)) *Store {
	s := &Store{fetch: fetch, report: report, wake: make(chan struct{}, 1), schedule: map[string]*issuerState{}}
	s.set.Store(&Set{})
	return s
}

// Set returns the current snapshot.
func (s *Store) Set() *Set { return s.set.Load() }

// Configure puts a policy into force. Keys of issuers that it no longer trusts are dropped; those of others are kept.
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
	s.nudge()
}

// choose sees to it that one of the servers answers, or that all have been tried: where none is well the next of the list has
// its turn at once (KEY-2). One whose keys are held from before is taken for well until it is asked. The caller holds mu.
func (s *Store) choose() {
	next := (*issuerState)(nil)
	for _, name := range s.policy.Servers {
		switch st := s.schedule[name]; {
		case !st.next.IsZero() && !st.failing(), st.inFlight && !st.failing():
			return // this one is well, or about to be asked
		case st.next.IsZero() && next == nil:
			next = st
		}
	}
	if next != nil {
		next.next = time.Now()
		if s.serves() {
			next.place = next.next // that of the server before it; else this is the start, which devices have in common
		}
	}
}

// dropUnscheduled publishes a set without the keys of issuers that are no longer followed. The caller holds mu.
func (s *Store) dropUnscheduled() {
	followed := func(name string) bool { return s.schedule[name] != nil }
	set := s.set.Load()
	for _, i := range set.Issuers() {
		if !followed(i.Name) {
			s.set.Store(set.without(func(name string) bool { return !followed(name) }))
			return
		}
	}
}

// trusts tells whether the policy trusts an issuer. The name has lost one slash; with another it is not the issuer that it looks
// like (CLM-1).
func (s *Store) trusts(name string) bool {
	return slices.Contains(s.policy.Servers, name) ||
		s.policy.Trusts != nil && TrimIssuer(name) == name && s.policy.Trusts(name)
}

// Want says that a token of this issuer could not be judged by the keys held. It returns whether the issuer is trusted, or may
// turn out to be, and if so after how long asking again is worthwhile: a fetch is under way or has been scheduled, never sooner
// than the policy's Retry after the last one, whatever arrives (KEY-5, KEY-6). It does not block and sends nothing itself.
func (s *Store) Want(iss []byte) (trusted bool, retryAfter time.Duration) {
	name := string(TrimIssuer(iss))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.trusts(name):
	case s.policy.Pending: // no packet leaves for it, whatever the token says (KEY-5)
		return true, inFlightGuess
	default:
		return false, 0
	}
	now := time.Now()
	st := s.schedule[name]
	if st == nil {
		if !s.makeRoom() {
			return true, s.policy.Retry
		}
		st = &issuerState{next: now}
		s.schedule[name] = st
		s.nudge()
	}
	if st.inFlight {
		return true, inFlightGuess
	}
	soonest := now
	if !st.last.IsZero() && st.last.Add(s.policy.Retry).After(now) {
		soonest = st.last.Add(s.policy.Retry)
	}
	if st.next.IsZero() || st.next.After(soonest) {
		st.next = soonest
		s.nudge()
	}
	return true, max(st.next.Sub(now), 0) + inFlightGuess
}

// patience is how many times Retry lie between two fetches for tokens under a key that a fetch did not bring.
const patience = 10

// Suspect says that a token names a key that is still not in its issuer's set. The server may publish it late, or a fetch may have
// been under way when it did: the keys are fetched again, but not so soon that whoever repeats a forged token gains by it.
func (s *Store) Suspect(iss []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.schedule[string(TrimIssuer(iss))]
	if st == nil || st.inFlight || st.last.IsZero() {
		return
	}
	if soonest := st.last.Add(patience * s.policy.Retry); st.next.After(soonest) {
		st.next = soonest
		s.nudge()
	}
}

// Hurry makes fetches that failed due at once where there are no keys to decide by: the caller knows of something that may have
// mended them, such as a clock that was set, without which no certificate is valid.
func (s *Store) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, st := range s.schedule {
		if st.failing() && !s.decides(name, st) {
			st.next = time.Now()
		}
	}
	s.nudge()
}

// makeRoom keeps the number of learned issuers bounded, whatever names tokens bring: one of which no keys are held gives way.
// The caller holds mu.
func (s *Store) makeRoom() bool {
	learned, victim := 0, ""
	set := s.set.Load()
	for name, st := range s.schedule {
		if st.server {
			continue
		}
		learned++
		// Its next attempt must not come sooner for having been forgotten, so one tried a moment ago is kept.
		if set.issuers[name] == nil && !st.inFlight && time.Since(st.last) > s.policy.Retry && !st.last.IsZero() {
			victim = name
		}
	}
	if learned < maxLearned {
		return true
	}
	if victim == "" {
		return false
	}
	delete(s.schedule, victim)
	return true
}

// nudge makes Run look at the schedule again.
func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run fetches what is due until ctx ends, and returns once no fetch is under way.
func (s *Store) Run(ctx context.Context) {
	var fetches sync.WaitGroup
	defer fetches.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		due, wait := s.take()
		for name, st := range due {
			fetches.Go(func() { s.renew(ctx, name, st) })
		}
		timer.Reset(wait)
	}
}

// take marks the issuers that are due as in flight and returns them, with the time until the next one is.
func (s *Store) take() (due map[string]*issuerState, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due = make(map[string]*issuerState)
	s.choose()
	now := time.Now()
	wait = time.Hour
	for name, st := range s.schedule {
		if st.inFlight || st.next.IsZero() {
			continue
		}
		if left := st.next.Sub(now); left > 0 {
			wait = min(wait, left)
		} else if s.inFlight < maxInFlight && (st.server || s.learning < maxLearning) { // else the end of a fetch nudges
			st.inFlight, st.last, st.learning = true, now, !st.server
			s.inFlight++
			if st.learning {
				s.learning++
			}
			due[name] = st
		}
	}
	return due, wait
}

// renew fetches one issuer's keys and schedules the next fetch. What comes in after the issuer was dropped is thrown away, even
// where it has been taken up again since: it was fetched under another policy, and the next fetch is under way.
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
		err = errDropped
	} else {
		st.inFlight = false
		var wait time.Duration
		if err == nil {
			event.Changed = s.publish(name, keys)
			st.backOff = 0
			wait = s.interval(st)
		} else {
			st.err, st.failed = err, time.Now()
			wait = s.backOff(name, st)
		}
		st.next = time.Now().Add(wait)
		event.Next = wait
	}
	event.Keys = s.held(name)
	event.Err = err
	s.nudge()
	s.mu.Unlock()

	if ctx.Err() == nil {
		s.report(event)
	}
}

// publish swaps in a set in which name has these keys, and tells whether they differ from those before. The caller holds mu.
func (s *Store) publish(name string, keys []Key) (changed bool) {
	set := s.set.Load()
	next := set.with(name, keys)
	s.set.Store(next)
	old := set.issuers[name]
	return old == nil || !slices.EqualFunc(old.Keys, keys, sameKey)
}

// interval returns how long to wait after a fetch that succeeded: until the next place, which is anywhere in the interval the
// first time. Whatever else made devices come together, failures or a token, does not move it, so that they do not come together
// every hour from then on. The caller holds mu.
func (s *Store) interval(st *issuerState) time.Duration {
	now, refresh := time.Now(), s.policy.Refresh
	if st.place.IsZero() {
		st.place = now.Add(anyPart(refresh))
	}
	for soonest := now.Add(max(min(s.policy.Retry, refresh/2), leastInterval)); st.place.Before(soonest); {
		st.place = st.place.Add(max(jitter(refresh), leastInterval))
	}
	return min(st.place.Sub(now), max(refresh, leastInterval))
}

// leastInterval is the least time between two fetches that nothing but the schedule asks for.
const leastInterval = time.Second

// backOff returns how long to wait after a fetch that failed: twice as long each time, moved at random by half of it. Where there
// are keys to decide by there is no hurry (KEY-3), and many devices that lost their server at the same time must not make up for
// each other in asking: the waits start at a quarter of the interval and end at half of it. The caller holds mu.
func (s *Store) backOff(name string, st *issuerState) time.Duration {
	first, most := firstBackOff, min(maxBackOff, s.policy.Refresh)
	if s.decides(name, st) {
		first, most = s.policy.Refresh/4, s.policy.Refresh/2
	}
	st.backOff = min(max(2*st.backOff, first), max(most, firstBackOff))
	wait := st.backOff/2 + rand.N(st.backOff)
	if !st.server {
		wait += s.policy.Retry // only tokens want it, so it comes no more often than they may have it (KEY-6)
	}
	return wait
}

// decides tells whether there are keys to decide by while an issuer fails: its own or, of a server, another server's. The caller
// holds mu.
func (s *Store) decides(name string, st *issuerState) bool {
	return s.held(name) > 0 || st.server && s.serves()
}

// serves tells whether keys of one of the servers are held. The caller holds mu.
func (s *Store) serves() bool {
	return slices.ContainsFunc(s.policy.Servers, func(name string) bool { return s.held(name) > 0 })
}

// held returns how many keys are held of an issuer.
func (s *Store) held(name string) int {
	if issuer := s.set.Load().issuers[name]; issuer != nil {
		return len(issuer.Keys)
	}
	return 0
}

// jitter takes a random part of up to a minute off the interval, so that devices drift apart and none waits longer than the
// interval (KEY-1). Of a short interval, as in tests, half remains at least.
func jitter(interval time.Duration) time.Duration {
	return interval - rand.N(min(maxJitter, interval/2)+1)
}

// anyPart returns any part of an interval that jitter has shortened: so many devices, each at its place in its interval, come at
// the same rate all the time.
func anyPart(interval time.Duration) time.Duration { return rand.N(jitter(interval) + 1) }

// Hold puts keys that came another way, from a file, in place of those held of an issuer that the policy trusts; others are
// ignored. They are good until the next fetch, which comes anywhere in the interval, at random: after a power cut every device
// of a facility starts in the same second. It is to be called before Run, which asks a server at once where none are held.
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
	st.place = time.Now().Add(anyPart(s.policy.Refresh))
	st.next = st.place
	h.Keys = affordable(h.Keys)
	s.set.Store(s.set.Load().holding(h))
	s.nudge()
}
