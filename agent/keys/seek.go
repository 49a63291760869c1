package keys

import "time"

// Prospect says whether a key may still come for a token.
type Prospect int

const (
	Untrusted Prospect = iota // its issuer is not trusted: no packet is sent for it (KEY-5)
	Stale                     // keys that may verify it arrived since it was checked: check again
	Awaited                   // a fetch in flight or due may bring its key
	Hopeless                  // its issuer does not publish its key
)

// Seek takes a token that no key of set verifies, and returns whether its key may still come, and if so after how
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
		case s.policy.Pending: // not known to be trusted yet: no packet is sent for it (KEY-5)
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
		earliest = latest(earliest, st.last.Add(suspectRetryFactor*s.policy.Retry))
	}
	s.bringForward(st, latest(earliest, now))
	if answered || issuer != nil && kid != KIDUnknown {
		return Hopeless, 0
	}
	return Awaited, s.wait(st, now, issuer == nil && !st.server)
}

// unread returns the schedule of the server whose metadata must be read before it is known whether an issuer that is
// not in use is trusted (KEY-8); nil if there is none. The caller holds mu.
func (s *Store) unread(iss []byte) *issuerState {
	if s.policy.Unread == nil || s.trusts(string(iss)) {
		return nil
	}
	return s.schedule[s.policy.Unread(string(iss))]
}

// bringForward makes an issuer's next fetch due at a time at the latest, for a token. The caller holds mu.
func (s *Store) bringForward(st *issuerState, at time.Time) {
	switch {
	case st.phase == idle:
		st.phase = due
	case st.phase == due || st.inFlight() || !st.next.After(at):
		return
	}
	st.next, st.byToken = at, true
	s.alarm.Ring()
}

// wait returns the estimated time until the end of the issuer's next fetch, which may be a look-up. The
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

// nextLookUp returns when a learned issuer without keys may be asked again (KEY-6). The caller holds mu.
func (s *Store) nextLookUp() time.Time { return s.lookUps[s.lookUp].Add(s.policy.Retry) }

// learn adds an issuer that a token names, if there is room. The caller holds mu.
func (s *Store) learn(name string, now time.Time) *issuerState {
	if !s.makeRoom(now) {
		return nil
	}
	st := &issuerState{phase: due, next: now, byToken: true}
	s.schedule[name] = st
	s.alarm.Ring()
	return st
}

// makeRoom bounds the number of learned issuers, whatever names tokens bring: one without keys that has been
// tried gives way. The caller holds mu.
func (s *Store) makeRoom(now time.Time) bool {
	learned, victim := 0, ""
	for name, st := range s.schedule {
		if st.server {
			continue
		}
		learned++
		// Being forgotten must not bring the next attempt forward, so an issuer that was just tried stays.
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
