package agent

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nmosauthd/agent/keys"
)

// Find looks for authorization servers and returns their issuers, best first, and how long that is good for. None found is an
// error.
type Find func(ctx context.Context) (issuers []string, again time.Duration, err error)

const (
	firstFindBackOff = time.Second
	maxFindBackOff   = time.Minute
	shortestFind     = 10 * time.Second // however short the records' TTL is
	longestFind      = time.Hour        // however long it is
	// forget is how long a server of which keys are held stays trusted though it is no longer advertised: an answer may be
	// incomplete for a while, and keys must not be lost by that (KEY-3).
	forget = 24 * time.Hour
)

// Servers keeps the store's policy up to date: the configured issuers first, then those that discovery finds (DIS-6).
type Servers struct {
	store   *keys.Store
	changed func(found []string)
	wake    chan struct{}

	mu       sync.Mutex
	base     keys.Policy
	find     Find
	revision int          // of base and find
	found    []advertised // in the order in which to try them
	looked   time.Time    // when find last returned
	err      error        // and with what
}

// Found is what discovery has found.
type Found struct {
	Issuers []string  // in the order in which they are tried
	Looked  time.Time // last; zero: not yet
	Err     error     // of that look
}

// Found returns what discovery has found.
func (s *Servers) Found() Found {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Found{names(s.found), s.looked, s.err}
}

type advertised struct {
	issuer string
	last   time.Time // when it was last seen
}

// NewServers returns a Servers for the store. changed is called with what discovery has found when that differs from before,
// not at the same time from two goroutines.
func NewServers(store *keys.Store, changed func(found []string)) *Servers {
	return &Servers{store: store, changed: changed, wake: make(chan struct{}, 1)}
}

// Configure puts a policy into force, whose Servers are the configured ones. find is nil where discovery is off; what it found
// before is then trusted no more.
func (s *Servers) Configure(base keys.Policy, find Find) {
	s.mu.Lock()
	s.base, s.find = base, find
	s.revision++
	forgotten := find == nil && len(s.found) > 0
	if forgotten {
		s.found = nil
	}
	s.apply()
	s.mu.Unlock()
	if forgotten {
		s.changed(nil)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Remember takes up what discovery had found before a restart, best first.
func (s *Servers) Remember(found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find == nil {
		return
	}
	for _, issuer := range found {
		s.found = append(s.found, advertised{issuer, time.Now()})
	}
	s.apply()
}

// apply gives the store its policy. The caller holds mu.
func (s *Servers) apply() {
	policy := s.base
	policy.Servers = slices.Clone(s.base.Servers)
	policy.Pending = s.find != nil && len(s.base.Servers) == 0 && len(s.found) == 0
	for _, a := range s.found {
		if !slices.ContainsFunc(policy.Servers, func(p string) bool { return keys.TrimIssuer(p) == keys.TrimIssuer(a.issuer) }) {
			policy.Servers = append(policy.Servers, a.issuer)
		}
	}
	s.store.Configure(policy)
}

// Run looks for servers until ctx ends: again when what was found has had its time, and, while nothing is found, at growing
// intervals moved at random.
func (s *Servers) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	backOff := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		s.mu.Lock()
		find, revision := s.find, s.revision
		s.mu.Unlock()
		if find == nil {
			timer.Stop() // until Configure wakes us
			continue
		}
		issuers, again, err := find(ctx)
		s.mu.Lock()
		s.looked, s.err = time.Now(), err
		s.mu.Unlock()
		if err != nil || len(issuers) == 0 {
			backOff = min(max(2*backOff, firstFindBackOff), maxFindBackOff)
			timer.Reset(backOff/2 + rand.N(backOff))
			continue
		}
		backOff = 0
		s.take(issuers, revision)
		again = min(max(again, shortestFind), longestFind)
		timer.Reset(again + rand.N(again/10+1))
	}
}

// take puts a new list in place of the old one; those of the old that are missing in it, but not their keys, follow for a while.
// What was found under another configuration is not taken: its Configure has woken Run to look again.
func (s *Servers) take(issuers []string, revision int) {
	s.mu.Lock()
	if s.revision != revision {
		s.mu.Unlock()
		return
	}
	now := time.Now()
	before := names(s.found)
	next := make([]advertised, 0, len(issuers))
	for _, issuer := range issuers {
		next = append(next, advertised{issuer, now})
	}
	held := s.store.Set()
	for _, old := range s.found {
		if !slices.Contains(issuers, old.issuer) && now.Sub(old.last) < forget && held.Issuer([]byte(old.issuer)) != nil {
			next = append(next, old)
		}
	}
	s.found = next
	after := names(next)
	if !slices.Equal(before, after) {
		s.apply()
	}
	s.mu.Unlock()
	// The order changes at random among equals; that is not worth a write to flash.
	if !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
		s.changed(after)
	}
}

func names(list []advertised) []string {
	issuers := make([]string, len(list))
	for i, a := range list {
		issuers[i] = a.issuer
	}
	return issuers
}
