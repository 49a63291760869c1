package keys

import (
	"math/rand/v2"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
)

// interval returns how long to wait after a fetch that succeeded: until the next place, which is anywhere in the
// interval the first time. Failures or a token may make many devices ask at one moment but do not move it, so that
// they do not all ask together every hour from then on. The caller holds mu.
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

// leastInterval is the minimum time between two fetches on schedule.
const leastInterval = time.Second

// renewalRest is the minimum time between two fetches that RenewNow requests, since clocks may be set repeatedly.
const renewalRest = 5 * time.Second

// backOff returns how long to wait after a failed fetch (KEY-2). If there are keys to decide by there is no
// hurry (KEY-3), and many devices that lost their server at the same time must not flood it when it returns:
// the waits start at a quarter of the interval and end at half of it. The caller holds mu.
func (s *Store) backOff(name string, st *issuerState, now time.Time) time.Duration {
	wait := st.rested.Sub(now)
	if s.decides(name, st) {
		wait = backOff(st.failures, s.policy.Refresh/4, s.policy.Refresh/2)
	}
	if !st.server {
		wait += s.policy.Retry // only tokens need it, so it is limited as their fetches are (KEY-6)
	}
	return wait
}

// backOff is that of package alarm, which starts at a second at least, however short the configured interval is.
func backOff(failures int, first, most time.Duration) time.Duration {
	return alarm.BackOff(failures, max(first, firstBackOff), max(most, firstBackOff))
}

// decides reports whether there are keys to decide by while an issuer fails: its own or, of a server, another server's.
// The caller holds mu.
func (s *Store) decides(name string, st *issuerState) bool {
	return s.held(name) > 0 || st.server && s.serves()
}

// serves reports whether keys of one of the servers are held. The caller holds mu.
func (s *Store) serves() bool {
	return slices.ContainsFunc(s.policy.Servers, func(name string) bool { return s.held(name) > 0 })
}

// jitter takes a random part of up to a minute off the interval, so that devices drift apart and none waits longer
// than the interval (KEY-1). Of a short interval, as in tests, half remains at least.
func jitter(interval time.Duration) time.Duration {
	return interval - rand.N(min(maxJitter, interval/2)+1)
}

// anyPart returns any part of an interval that jitter has shortened: so many devices, each at its place in its
// interval, come at the same rate all the time.
func anyPart(interval time.Duration) time.Duration { return rand.N(jitter(interval) + 1) }
