package keys

import (
	"cmp"
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
	// Unread returns which server's metadata must be read before it is known whether this issuer is trusted, "" if none
	// (KEY-8).
	Unread  func(iss string) string
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
	maxLearned    = 16               // issuers learned from tokens that are remembered (KEY-6)
	maxLookUps    = 4                // of learned issuers without keys, in all, in each Retry (KEY-6)
	maxInFlight   = 4                // concurrent fetches, so that one server that hangs does not hold up the others
	maxLearning   = 2                // of these, for learned issuers: what tokens name must not hold up the configured
	patience      = 10               // times Retry between fetches for a token that a fetch did not help (KEY-6)
	fetchTime     = 15 * time.Second // of one fetch at most: a server that hangs is one that failed
	inFlightGuess = 2 * time.Second  // what a caller is told to wait for a fetch under way
)

// phase is where an issuer stands.
type phase int

const (
	idle     phase = iota // a server whose turn has not come
	due                   // to be asked for the first time
	fetching              // being asked, and the fetch before did not fail
	healthy               // the last fetch brought keys, or they were kept from before the start
	failing               // the last fetch failed
	retrying              // being asked again after a failure
)

func (p phase) inFlight() bool { return p == fetching || p == retrying }

// failed reports whether the last fetch that ended failed.
func (p phase) failed() bool { return p == failing || p == retrying }

// issuerState is the schedule of one issuer. Guarded by Store.mu.
type issuerState struct {
	phase
	server   bool      // one of the policy's Servers
	learning bool      // in flight, and not a server when that began
	again    time.Time // when another fetch is to follow the one under way; zero if none is
	number   uint64    // of the last fetch, among all of the Store
	last     time.Time // when that began
	next     time.Time // when the next is due; zero while idle
	place    time.Time // this device's own place in the interval, the next or one that has passed; zero if it has none yet

	byToken  bool      // a token brought next forward
	asked    time.Time // when the last fetch began that a token had brought forward
	failures int       // in a row
	rested   time.Time // when KEY-2's back-off ends for tokens that wait; next is later if there are keys to decide by

	err     error     // of the last fetch that failed
	errTime time.Time // when that was
}

// Store holds the current Set and renews it. The hot path only loads a pointer.
type Store struct {
	set    atomic.Pointer[Set]
	fetch  Fetch
	report func(Event)
	wake   chan struct{}

	mu       sync.Mutex
	policy   Policy
	schedule map[string]*issuerState // of every trusted issuer that is followed
	sights   sights
	fetches  uint64 // begun so far
	inFlight int
	learning int                   // of these, for issuers learned from tokens
	lookUps  [maxLookUps]time.Time // when the last ones of learned issuers without keys began, in a ring
	lookUp   int                   // the oldest of them
	renewed  time.Time             // when the fetches were due that RenewNow asked for last
}

// errDropped is reported for a fetch whose issuer is not followed any more.
var errDropped = errors.New("the issuer was dropped meanwhile")

// NewStore returns a Store that holds no keys. report is called after every attempt, from the fetching goroutine.
func NewStore(fetch Fetch, report func(Event)) *Store {
	s := &Store{
		fetch: fetch, report: report, wake: make(chan struct{}, 1),
		schedule: map[string]*issuerState{}, sights: newSights(),
	}
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

// choose schedules the next server in the list if no earlier one is well (KEY-2). One whose keys are held from before
// the start is taken for well until it is asked. The caller holds mu.
func (s *Store) choose() {
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
			next.place = next.next // that of the server before it; else this is the start, which devices have in common
		}
	}
}

// Forget drops an issuer that is not one of the servers, with its keys. It reports whether there was one. A token may
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
			s.set.Store(set.without(func(name string) bool { return !followed(name) }))
			return
		}
	}
}

// trusts reports whether the policy trusts an issuer. The name has lost one slash; with another it is not the issuer
// that it looks like (CLM-1).
func (s *Store) trusts(name string) bool {
	return slices.Contains(s.policy.Servers, name) ||
		s.policy.Trusts != nil && TrimIssuer(name) == name && s.policy.Trusts(name)
}

// Prospect says whether a key may still come for a token.
type Prospect int

const (
	Untrusted Prospect = iota // its issuer is not trusted: no packet leaves for it (KEY-5)
	Stale                     // keys came since it was checked, by which it may be good: check again
	Awaited                   // a fetch is under way or due that may bring its key
	Hopeless                  // its key is not among those that its issuer publishes
)

// Seek is told of a token that no key of set verifies, and says whether its key may still come, and if so after how
// long asking again is worthwhile (KEY-6). Keys are fetched for it in the background: never sooner than the policy's
// Retry after the last time that a token had them fetched, whatever arrives, and not before a server that failed has
// had its rest. kid is what the issuer's set says of the token's kid. Seek does not block and sends nothing itself.
func (s *Store) Seek(set *Set, iss, token []byte, kid KID) (p Prospect, retryAfter time.Duration) {
	iss = TrimIssuer(iss)
	id := s.sights.identify(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	st := s.schedule[string(iss)]
	if st == nil {
		st = s.unread(iss)
	}
	if st == nil {
		switch name := string(iss); {
		case s.trusts(name):
			if st = s.learn(name, now); st == nil {
				return Awaited, s.policy.Retry
			}
		case s.policy.Pending: // which issuers are trusted will show; until then no packet leaves for it (KEY-5)
			return Awaited, inFlightGuess
		default:
			return Untrusted, 0
		}
	}
	issuer := set.issuers[string(iss)]
	first := s.sights.first(id, s.fetches)
	if s.set.Load().issuers[string(iss)] != issuer {
		return Stale, inFlightGuess
	}
	answered := issuer != nil && issuer.fetch > first
	earliest := latest(st.asked.Add(s.policy.Retry), st.rested)
	if answered {
		earliest = latest(earliest, st.last.Add(patience*s.policy.Retry))
	}
	s.bring(st, latest(earliest, now))
	if answered || issuer != nil && kid != KIDUnknown {
		return Hopeless, 0
	}
	return Awaited, s.wait(st, now, issuer == nil && !st.server)
}

// unread returns the schedule of the server whose metadata must be read before it is known whether an issuer that is
// not followed is trusted (KEY-8); nil if there is none. The caller holds mu.
func (s *Store) unread(iss []byte) *issuerState {
	if s.policy.Unread == nil || s.trusts(string(iss)) {
		return nil
	}
	return s.schedule[s.policy.Unread(string(iss))]
}

// Ask has the keys of a server, whose turn may not have come, fetched now.
func (s *Store) Ask(issuer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.schedule[TrimIssuer(issuer)]; st != nil && st.phase == idle {
		st.phase, st.next = due, time.Now()
		s.nudge()
	}
}

// bring makes an issuer's next fetch due at a time at the latest, for a token. The caller holds mu.
func (s *Store) bring(st *issuerState, at time.Time) {
	switch {
	case st.phase == idle:
		st.phase = due
	case st.phase == due || st.inFlight() || !st.next.After(at):
		return
	}
	st.next, st.byToken = at, true
	s.nudge()
}

// wait returns how long it takes until the issuer's next fetch, which may be a look-up, has probably ended. The
// caller holds mu.
func (s *Store) wait(st *issuerState, now time.Time, lookUp bool) time.Duration {
	if st.inFlight() {
		return inFlightGuess
	}
	next := st.next
	if lookUp {
		next = latest(next, s.nextLookUp())
	}
	return max(next.Sub(now), 0) + inFlightGuess
}

// nextLookUp returns from when on a learned issuer without keys may be asked (KEY-6). The caller holds mu.
func (s *Store) nextLookUp() time.Time { return s.lookUps[s.lookUp].Add(s.policy.Retry) }

// learn follows an issuer that a token names, if there is room. The caller holds mu.
func (s *Store) learn(name string, now time.Time) *issuerState {
	if !s.makeRoom(now) {
		return nil
	}
	st := &issuerState{phase: due, next: now, byToken: true}
	s.schedule[name] = st
	s.nudge()
	return st
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// RenewNow makes the next fetch of every issuer whose turn has come due immediately: the caller knows of something that
// may have mended those that failed, or changed which keys there are, such as a clock that was set (OPS-1). A fetch
// under way may have begun before that, so another follows it.
func (s *Store) RenewNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.renewed.After(now) { // else it is asked for already
		s.renewed = latest(now, s.renewed.Add(renewalRest))
	}
	for _, st := range s.schedule {
		switch {
		case st.inFlight():
			st.again = s.renewed
		case st.phase != idle && st.next.After(s.renewed):
			st.next = s.renewed
		}
	}
	s.nudge()
}

// makeRoom keeps the number of learned issuers bounded, whatever names tokens bring: one without keys that has been
// tried gives way. The caller holds mu.
func (s *Store) makeRoom(now time.Time) bool {
	learned, victim := 0, ""
	for name, st := range s.schedule {
		if st.server {
			continue
		}
		learned++
		// Its next attempt must not come sooner for having been forgotten, so one tried a moment ago is kept.
		if st.phase == failing && s.held(name) == 0 && now.Sub(st.last) > s.policy.Retry {
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
func (s *Store) take() (started map[string]*issuerState, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	started = make(map[string]*issuerState)
	s.choose()
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
			continue // the end of a fetch nudges
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
	slices.SortFunc(names, func(a, b string) int { return s.schedule[a].next.Compare(s.schedule[b].next) })
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

// renew fetches one issuer's keys and schedules the next fetch. What comes in after the issuer was dropped is thrown
// away, even where it has been taken up again since: it was fetched under another policy, and the next fetch is under
// way.
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
		if err == nil {
			event.Changed = s.publish(name, keys, st.number)
			st.phase, st.failures, st.rested = healthy, 0, time.Time{}
			event.Next = s.interval(st)
		} else {
			st.phase, st.err, st.errTime = failing, err, now
			st.failures++
			st.rested = now.Add(spread(doubled(firstBackOff, min(maxBackOff, s.policy.Refresh), st.failures)))
			event.Next = s.backOff(name, st, now)
		}
		if !st.again.IsZero() {
			event.Next = max(st.again.Sub(now), leastInterval)
			st.again = time.Time{}
		}
		st.next = now.Add(event.Next)
	}
	event.Keys = s.held(name)
	event.Err = err
	s.nudge()
	s.mu.Unlock()

	if ctx.Err() == nil {
		s.report(event)
	}
}

// publish swaps in a set in which name has the keys that a fetch brought, and reports whether they differ from those
// before. The caller holds mu.
func (s *Store) publish(name string, keys []Key, fetch uint64) (changed bool) {
	set := s.set.Load()
	next := set.with(name, keys, fetch)
	s.set.Store(next)
	old := set.issuers[name]
	return old == nil || !slices.EqualFunc(old.Keys, keys, sameKey)
}

// interval returns how long to wait after a fetch that succeeded: until the next place, which is anywhere in the
// interval the first time. Whatever else made devices come together, failures or a token, does not move it, so that
// they do not come together every hour from then on. The caller holds mu.
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

// renewalRest is the least time between two that RenewNow asks for: of clocks that are set again and again.
const renewalRest = 5 * time.Second

// backOff returns how long to wait after a fetch that failed (KEY-2). Where there are keys to decide by there is no
// hurry (KEY-3), and many devices that lost their server at the same time must not make up for each other in asking:
// the waits start at a quarter of the interval and end at half of it. The caller holds mu.
func (s *Store) backOff(name string, st *issuerState, now time.Time) time.Duration {
	wait := st.rested.Sub(now)
	if s.decides(name, st) {
		wait = spread(doubled(s.policy.Refresh/4, s.policy.Refresh/2, st.failures))
	}
	if !st.server {
		wait += s.policy.Retry // only tokens want it, so it comes no more often than they may have it (KEY-6)
	}
	return wait
}

// doubled returns a back-off that starts at first and doubles with each further failure, to most. It is never under a
// second.
func doubled(first, most time.Duration, failures int) time.Duration {
	for first = max(first, firstBackOff); failures > 1 && first < most; failures-- {
		first *= 2
	}
	return min(first, max(most, firstBackOff))
}

// spread moves a back-off at random by half of it.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// decides reports whether there are keys to decide by while an issuer fails: its own or, of a server, another server's.
// The caller holds mu.
func (s *Store) decides(name string, st *issuerState) bool {
	return s.held(name) > 0 || st.server && s.serves()
}

// serves reports whether keys of one of the servers are held. The caller holds mu.
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

// jitter takes a random part of up to a minute off the interval, so that devices drift apart and none waits longer
// than the interval (KEY-1). Of a short interval, as in tests, half remains at least.
func jitter(interval time.Duration) time.Duration {
	return interval - rand.N(min(maxJitter, interval/2)+1)
}

// anyPart returns any part of an interval that jitter has shortened: so many devices, each at its place in its
// interval, come at the same rate all the time.
func anyPart(interval time.Duration) time.Duration { return rand.N(jitter(interval) + 1) }

// Hold puts keys that came another way, from a file, in place of those held of an issuer that the policy trusts;
// others are ignored. They are good until the next fetch, which comes anywhere in the interval, at random: after a
// power cut every device of a facility starts in the same second. It is to be called before Run, which asks a server
// at once where none are held.
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
	s.set.Store(s.set.Load().holding(h))
	s.nudge()
}
