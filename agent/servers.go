package agent

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"nmosauthd/agent/keys"
)

// renameEvery is the minimum time between two changes of the issuer that a server names: each is fetched immediately.
const renameEvery = 5 * time.Minute

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

// event notes what happened to a server. The caller holds mu.
//
//go:noinline // for flash
func (s *Servers) event(what, server, issuer, why string) {
	s.events = append(s.events, ServerEvent{What: what, Server: server, Issuer: issuer, Why: why})
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
	found := Found{Looked: s.looked, Err: s.err}
	for _, f := range s.found {
		found.Servers = append(found.Servers, FoundStatus{f.state(time.Now()), f.issuers(), f.listed})
	}
	s.mu.Unlock()
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

// admitted reports whether the configuration admits a server, and logs if not. The caller holds mu.
func (s *Servers) admitted(f FoundServer) bool {
	err := s.admits(f.URL, f.Domain)
	if err != nil {
		s.event("server dropped: the configuration does not admit it", f.URL, f.Issuer, err.Error())
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
		s.event(what, f.URL, named, f.Issuer)
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
				s.event("issuer replaced", f.URL, issuer, "before: "+f.Issuer)
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
			s.event("server dropped: mDNS found it, and unicast DNS-SD has found one since", f.URL,
				f.Issuer, "")
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
