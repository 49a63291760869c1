package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"

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
	// forgetAfter is how long a server whose keys are held stays trusted though it is no longer advertised: an answer
	// may be incomplete for a while, and keys must not be lost by that (KEY-3, DIS-6).
	forgetAfter = 24 * time.Hour
	// firstKeep and keepEvery are when a change that can wait is kept: flash wears out, and whoever is on the link
	// could make changes without end.
	firstKeep = 10 * time.Minute
	keepEvery = time.Hour
	// renameEvery is the minimum time between two changes of the issuer that a server names: each is fetched
	// immediately.
	renameEvery = 5 * time.Minute
)

// Servers keeps the store's policy up to date: the configured issuers first, then those that discovery finds (DIS-6).
// Nobody who can answer on the link becomes an issuer by that alone: see DIS-2, DIS-6 and KEY-8 at the places below.
type Servers struct {
	store *keys.Store
	keep  func([]FoundServer)
	tell  func(ServerEvent)
	wake  chan struct{}

	mu       sync.Mutex
	base     keys.Policy
	find     Find
	admits   func(server, domain string) error
	revision int       // of the three
	found    []*server // in the order in which to try them
	looked   time.Time // when find last returned
	err      error     // with what find returned
	events   []ServerEvent

	keeping sync.Mutex    // also held while it is kept; never waited for with mu held: a disk may hang
	kept    []FoundServer // last
}

// unlock reports the events once mu is free, because a log may hang.
func (s *Servers) unlock() {
	events := s.events
	s.events = nil
	s.mu.Unlock()
	for _, e := range events {
		s.tell(e)
	}
}

//go:noinline
func (s *Servers) event(e ServerEvent) { s.events = append(s.events, e) }

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
//go:noinline
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

// ServerEvent is something that happened to a server that was found, for the log.
type ServerEvent struct {
	What   string
	Server string   // its URL
	Issuer string   // "" if it is implied
	Why    string   // "" if there is nothing to add
	Found  []string // the URLs of all, if there are others than before; then the rest is empty
}

// NewServers returns a Servers for the store. keep is called with what is to be kept across restarts, and not at the
// same time from two goroutines; tell for each event. Neither may call s.
func NewServers(store *keys.Store, keep func([]FoundServer), tell func(ServerEvent)) *Servers {
	return &Servers{store: store, keep: keep, tell: tell, wake: make(chan struct{}, 1)}
}

// Found is the result of discovery.
type Found struct {
	Servers []FoundStatus // in the order in which they are tried
	Looked  time.Time     // when discovery last looked; zero if not yet
	Err     error         // of that look
}

// FoundStatus is one of them.
type FoundStatus struct {
	FoundServer
	Issuers    []string // under which tokens may name it now
	Advertised bool     // when its domain answered last
}

// Found returns the result of discovery.
func (s *Servers) Found() Found {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := Found{Looked: s.looked, Err: s.err}
	for _, f := range s.found {
		found.Servers = append(found.Servers, FoundStatus{f.state(time.Now()), f.issuers(), f.listed})
	}
	return found
}

// Configure applies a policy, whose Servers are the configured ones. find is nil if discovery is off. What was
// found before and admits returns an error for is no longer trusted: KEY-3 does not protect it (DIS-6).
func (s *Servers) Configure(base keys.Policy, find Find, admits func(server, domain string) error) {
	s.mu.Lock()
	s.base, s.find, s.admits = base, find, admits
	s.revision++
	s.found = slices.DeleteFunc(s.found, func(f *server) bool { return !s.admitted(f.FoundServer) })
	s.apply()
	s.unlock()
	s.save(listChanges)
	s.LookNow()
}

// LookNow has Run look for servers immediately, and once more if it is just looking.
func (s *Servers) LookNow() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// admitted reports whether the configuration admits a server, and logs if not. The caller holds mu.
func (s *Servers) admitted(f FoundServer) bool {
	err := s.admits(f.URL, f.Domain)
	if err != nil {
		s.event(ServerEvent{
			What: "server dropped: the configuration does not admit it", Server: f.URL, Issuer: f.Issuer,
			Why: err.Error(),
		})
	}
	return err == nil
}

// Remember restores the servers that discovery had found before a restart, best first. The configuration may have
// changed since.
func (s *Servers) Remember(found []FoundServer) {
	s.keeping.Lock()
	s.kept = found
	s.keeping.Unlock()
	s.mu.Lock()
	defer s.unlock()
	for _, f := range found {
		if s.admitted(f) && s.byURL(f.URL) == nil {
			s.found = append(s.found, &server{FoundServer: f})
		}
	}
	s.apply()
}

// byURL returns the server that was advertised by this URL; nil if none was. The caller holds mu.
func (s *Servers) byURL(url string) *server {
	for _, f := range s.found {
		if f.URL == url {
			return f
		}
	}
	return nil
}

// apply gives the store its policy. The caller holds mu.
func (s *Servers) apply() {
	policy := s.base
	policy.Servers = slices.Clone(s.base.Servers)
	policy.Pending = s.find != nil && len(s.base.Servers) == 0 && len(s.found) == 0
	// Once unicast gives a server, what mDNS found stays trusted until that server's keys are fetched (DIS-2). So does
	// who is no longer advertised while others are. But neither is taken for a server by which these need not be asked.
	listed := slices.ContainsFunc(s.found, func(f *server) bool { return f.listed })
	unicast := slices.ContainsFunc(s.found, func(f *server) bool { return f.listed && !f.ByMDNS() })
	var beside []string
	unread := map[string]string{} // by origin, whom to ask
	for _, f := range s.found {
		for _, issuer := range f.issuers() {
			switch {
			case unicast && f.ByMDNS(), listed && !f.listed && (f.Missing > 0 || !f.absent.IsZero()):
				beside = append(beside, keys.TrimIssuer(issuer))
			case !keys.ContainsIssuer(policy.Servers, issuer):
				policy.Servers = append(policy.Servers, issuer)
			}
		}
		if origin := keys.Origin(f.URL); !f.read && unread[origin] == "" {
			unread[origin] = f.issuers()[0]
		}
	}
	if len(beside) > 0 {
		policy.Trusts = func(iss string) bool {
			return slices.Contains(beside, iss) || s.base.Trusts != nil && s.base.Trusts(iss)
		}
	}
	if len(unread) > 0 {
		policy.Unread = func(iss string) string { return unread[keys.Origin(iss)] }
	}
	s.store.Configure(policy)
}

// Server returns the URL by which the server of this issuer was advertised, if discovery found it. A configured issuer
// is asked as configured.
func (s *Servers) Server(issuer string) (url string, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys.ContainsIssuer(s.base.Servers, issuer) {
		return "", false
	}
	for _, f := range s.found {
		if keys.ContainsIssuer(f.issuers(), issuer) {
			return f.URL, true
		}
	}
	return "", false
}

// NamedError is why the keys of an issuer are not fetched: its server speaks for another one.
type NamedError struct{ Issuer string }

func (e *NamedError) Error() string {
	return fmt.Sprintf("the server's metadata now names the issuer %q", e.Issuer)
}

// Named says that the metadata of a server, read to fetch the keys of the issuer asked, names this one (KEY-8). It
// counts from then on, and the one before until the new one's keys are fetched. The error is a *NamedError if the keys
// are not those of asked.
func (s *Servers) Named(url, asked, named string) error {
	s.mu.Lock()
	defer s.unlock()
	named = keys.TrimIssuer(named)
	f := s.byURL(url)
	if f == nil || !keys.MayName(url, named) {
		return &NamedError{named}
	}
	before, first := f.issuers(), !f.read
	f.read = true
	switch now := time.Now(); {
	case named == f.Issuer:
		f.next = ""
	case named == f.next:
	case f.renamed.IsZero() || now.Sub(f.renamed) >= renameEvery:
		f.next, f.renamed = named, now
		what := "server names its issuer"
		if f.Issuer != "" {
			what = "server names another issuer; the one before counts until the new one's keys are fetched"
		}
		s.event(ServerEvent{What: what, Server: f.URL, Issuer: named, Why: f.Issuer})
	}
	if first || !slices.Equal(before, f.issuers()) {
		s.apply()
	}
	if named != keys.TrimIssuer(asked) {
		if slices.Contains(f.issuers(), named) {
			s.store.Ask(named) // whichever other server is well
		}
		return &NamedError{named}
	}
	return nil
}

// Fetched says that the keys of an issuer were fetched.
func (s *Servers) Fetched(issuer string) {
	s.mu.Lock()
	changed := false
	for _, f := range s.found {
		if !slices.Contains(f.issuers(), issuer) || f.fetched && f.Issuer == issuer {
			continue
		}
		if f.next == issuer || f.Issuer == "" {
			if f.Issuer != "" {
				s.event(ServerEvent{What: "issuer replaced", Server: f.URL, Issuer: issuer, Why: "before: " + f.Issuer})
			}
			f.Issuer, f.next = issuer, ""
		}
		f.fetched, changed = true, true
	}
	if changed {
		s.preferUnicast()
		s.apply()
	}
	s.unlock()
	if changed {
		s.save(issuerChanges)
	}
}

// preferUnicast drops what mDNS found once unicast has given a server whose keys were fetched (DIS-2). The caller holds
// mu.
func (s *Servers) preferUnicast() {
	if !slices.ContainsFunc(s.found, func(f *server) bool { return f.listed && f.fetched && !f.ByMDNS() }) {
		return
	}
	s.found = slices.DeleteFunc(s.found, func(f *server) bool {
		if f.ByMDNS() {
			s.event(ServerEvent{
				What: "server dropped: mDNS found it, and unicast DNS-SD has found one since", Server: f.URL,
				Issuer: f.Issuer,
			})
		}
		return f.ByMDNS()
	})
}

// Forget drops a server that discovery found, by its URL or its issuer, or an issuer learned from a token. It reports
// whether there was one. Configured ones are not dropped.
func (s *Servers) Forget(issuer string) bool {
	s.mu.Lock()
	issuer = keys.TrimIssuer(issuer)
	names := []string{issuer}
	s.found = slices.DeleteFunc(s.found, func(f *server) bool {
		is := f.URL == issuer || keys.ContainsIssuer(f.issuers(), issuer)
		if is {
			names = append(names, f.issuers()...)
		}
		return is
	})
	s.apply()
	forgotten := len(names) > 1
	for _, name := range names {
		forgotten = s.store.Forget(name) || forgotten // one that is trusted by a pattern, too
	}
	s.unlock()
	s.save(listChanges)
	return forgotten
}

// Run looks for servers until ctx ends: again when what was found has had its time, and, while nothing is found, at
// growing intervals moved at random.
func (s *Servers) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	keep := time.NewTimer(firstKeep)
	defer keep.Stop()
	defer s.save(anyChange)
	backOff := time.Duration(0)
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
			backOff = min(max(2*backOff, firstFindBackOff), maxFindBackOff)
			timer.Reset(backOff/2 + rand.N(backOff))
			continue
		}
		backOff = 0
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
	missing = s.forget(next, missing)
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
		s.event(e) // one for all: whoever is on the link can advertise many
	}
	s.unlock()
	s.save(issuerChanges)
}

// forget leaves out the missing whose time is up, what mDNS found first, but never the last of which keys are held
// (KEY-3). The caller holds mu.
func (s *Servers) forget(next, missing []*server) []*server {
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
			s.event(ServerEvent{
				What: "server forgotten: it has not been advertised for 24 hours", Server: f.URL, Issuer: f.Issuer,
			})
		}
	}
	return missing
}

// urgency says which changes are worth a write to flash.
type urgency int

const (
	anyChange     urgency = iota // of the count, too: firstKeep after the start, every keepEvery, and at the end
	listChanges                  // now
	issuerChanges                // now, if servers whose keys were fetched differ: others come and go as the link likes
)

// save keeps what has changed.
func (s *Servers) save(u urgency) {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	now, state := time.Now(), make([]FoundServer, len(s.found))
	for i, f := range s.found {
		state[i] = f.state(now)
	}
	s.mu.Unlock()
	changed := !maps.Equal(worthKeeping(state, u), worthKeeping(s.kept, u))
	if changed || len(s.kept) == 0 && len(state) > 0 {
		s.kept = state
		s.keep(state)
	}
}

// worthKeeping is the list without what is not worth a write, as a set: the order of the list changes at random among
// equals.
//
//go:noinline
func worthKeeping(all []FoundServer, u urgency) map[FoundServer]bool {
	kept := make(map[FoundServer]bool, len(all))
	for _, f := range all {
		if u != anyChange {
			f.Missing = 0
		}
		if u != issuerChanges || f.Issuer != "" {
			kept[f] = true
		}
	}
	return kept
}
