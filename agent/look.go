package agent

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
)

// Look is the outcome of one look for authorization servers.
type Look struct {
	Servers  []FoundServer // best first; only URL and Domain are set
	Answered []string      // the domains that answered in full, DomainMDNS if anybody did
	Again    time.Duration // how long it is good for
}

// Find looks for authorization servers. noMDNS says why mDNS must not be used even if unicast DNS-SD finds none; "" if
// it may. An error means that not everything could be asked; what the Look has counts all the same.
type Find func(ctx context.Context, noMDNS string) (Look, error)

const (
	firstFindBackOff = time.Second
	maxFindBackOff   = time.Minute
	shortestFind     = 10 * time.Second // however short the records' TTL is
	longestFind      = time.Hour        // however long it is
)

// forgetAfter is how long a server whose keys are held stays trusted though it is no longer advertised: an answer may
// be incomplete for a while, and keys must not be lost by that (KEY-3, DIS-6).
const forgetAfter = 24 * time.Hour

// server is one that was found.
type server struct {
	FoundServer
	next    string    // the issuer that its metadata names now, until its keys are fetched; "" if that is Issuer
	renamed time.Time // when next was last set
	read    bool      // its metadata was, since the start (KEY-8)
	fetched bool      // its keys were, since the start
	listed  bool      // its domain listed it when it answered last
	absent  time.Time // since when its domain's last answer, without it, counts into Missing; zero if it does not
	known   time.Time // when it was found first; zero if that was before the start
}

// state returns what is to be kept of the server.
func (f *server) state(now time.Time) FoundServer {
	kept := f.FoundServer
	if !f.absent.IsZero() {
		kept.Missing = min(kept.Missing+now.Sub(f.absent), forgetAfter)
	}
	return kept
}

// look takes up whether its domain answered, and lists it. Only running time counts, and only after a look that was
// answered (DIS-6).
func (f *server) look(now time.Time, answered, listed bool) {
	f.Missing, f.absent = f.state(now).Missing, time.Time{}
	switch {
	case listed:
		f.Missing, f.listed = 0, true
	case answered:
		f.absent, f.listed = now, false
	}
}

// issuers are the names under which tokens may name it.
//
//go:noinline // for flash
func (f *server) issuers() []string {
	switch {
	case f.Issuer == "" && f.next == "":
		return []string{f.URL}
	case f.next == "":
		return []string{f.Issuer}
	case f.Issuer == "":
		return []string{f.next}
	}
	return []string{f.Issuer, f.next}
}

// LookNow has Run look for servers immediately, and once more if it is just looking.
func (s *Servers) LookNow() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run looks for servers until ctx ends: again when what was found has had its time, and, while nothing is found, at
// growing intervals moved at random.
func (s *Servers) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	keep := time.NewTimer(firstKeep)
	defer keep.Stop()
	defer s.save(anyChange)
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-keep.C:
			s.save(anyChange)
			keep.Reset(keepEvery)
			continue
		case <-s.wake:
		case <-timer.C:
		}
		s.mu.Lock()
		find, revision, noMDNS := s.find, s.revision, s.noMDNS()
		s.mu.Unlock()
		if find == nil {
			timer.Stop() // until Configure wakes us
			continue
		}
		look, err := find(ctx, noMDNS)
		if ctx.Err() != nil {
			return
		}
		s.take(look, err, revision)
		if len(look.Servers) == 0 {
			failures++
			timer.Reset(alarm.BackOff(failures, firstFindBackOff, maxFindBackOff))
			continue
		}
		failures = 0
		again := min(max(look.Again, shortestFind), longestFind)
		timer.Reset(again + rand.N(again/10+1))
	}
}

// noMDNS says why mDNS must not be used: if unicast ever gave an issuer that is still held, silence of the name servers
// for a moment, or what looks like it, must not open the door to whoever is on the link (DIS-2). The caller holds mu.
func (s *Servers) noMDNS() string {
	held := s.store.Set()
	for _, f := range s.found {
		if !f.ByMDNS() && f.state(time.Now()).Missing < forgetAfter && holdsAny(held, f) {
			return "unicast DNS-SD has found " + f.URL + " before, and it has not been missing for 24 hours"
		}
	}
	return ""
}

// holdsAny reports whether keys of a server are held.
func holdsAny(held *keys.Set, f *server) bool {
	return slices.ContainsFunc(f.issuers(), func(issuer string) bool { return held.Issuer([]byte(issuer)) != nil })
}

// take takes up a look: what it lists comes first, in its order; those of before that it does not list, but whose keys
// are held, follow for a while. What was found under another configuration is not taken: its Configure has woken Run to
// look again.
func (s *Servers) take(look Look, err error, revision int) {
	s.mu.Lock()
	if s.revision != revision {
		s.unlock()
		return
	}
	now := time.Now()
	s.looked, s.err = now, err
	before := slices.Clone(s.found)
	var next, missing []*server
	for _, seen := range look.Servers {
		f := s.byURL(seen.URL)
		if f == nil && len(next) >= maxFound-maxMissing {
			continue // but whoever is known is not crowded out
		}
		if f == nil {
			f = &server{FoundServer: FoundServer{URL: seen.URL}, known: now}
		}
		f.Domain = seen.Domain
		f.look(now, true, true)
		next = append(next, f)
	}
	held := s.store.Set()
	for _, f := range s.found {
		if slices.Contains(next, f) {
			continue
		}
		// A domain that did not answer says nothing of who is no longer advertised in it.
		answered := slices.Contains(look.Answered, cmp.Or(f.Domain, config.DomainMDNS))
		f.look(now, answered, false)
		if holdsAny(held, f) || !answered && len(next) == 0 {
			missing = append(missing, f)
		}
	}
	missing = s.forget(missing)
	// Those known longest stay: whoever advertises others without end must not crowd them out.
	sort.SliceStable(missing, func(i, j int) bool { return missing[i].known.Before(missing[j].known) })
	s.found = append(next, missing[:min(len(missing), maxMissing)]...)
	s.preferUnicast()
	s.apply()
	isNew := func(f *server) bool { return !slices.Contains(before, f) }
	if len(s.found) != len(before) || slices.ContainsFunc(s.found, isNew) {
		e := ServerEvent{What: "servers found"}
		for _, f := range s.found {
			e.Found = append(e.Found, f.URL)
		}
		s.events = append(s.events, e) // one for all: whoever is on the link can advertise many
	}
	s.unlock()
	s.save(issuerChanges)
}

// forget leaves out the missing whose time is up, what mDNS found first, but never the last of which keys are held
// (KEY-3). The caller holds mu.
func (s *Servers) forget(missing []*server) []*server {
	held := map[string]bool{}
	for _, i := range s.store.Set().Issuers() {
		held[i.Name] = true
	}
	for _, byMDNS := range []bool{true, false} {
		for i := len(missing) - 1; i >= 0; i-- {
			f := missing[i]
			if f.Missing < forgetAfter || f.ByMDNS() != byMDNS {
				continue
			}
			others := len(held)
			for _, issuer := range f.issuers() {
				if held[issuer] {
					others--
				}
			}
			if others == 0 {
				continue
			}
			for _, issuer := range f.issuers() {
				delete(held, issuer)
			}
			missing = slices.Delete(missing, i, i+1)
			s.event("server forgotten: it has not been advertised for 24 hours", f.URL, f.Issuer, "")
		}
	}
	return missing
}
