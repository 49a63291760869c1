package keys

import (
	"slices"
	"time"
)

// Status is what is known of one issuer, for people.
type Status struct {
	Issuer  string
	Server  bool      // of the configuration or found by discovery; else learned from a token
	Used    bool      // the first of the servers that is well: the one whose keys are fetched on schedule
	KIDs    []string  // of the keys held, "" for one without; none: no keys are held
	Fetched time.Time // when they came; zero if unknown, or there are none
	Kept    bool      // they are from before the start
	Next    time.Time // when they are fetched again; zero: when the server's turn comes
	Failing bool      // the last attempt failed
	Err     error     // of the last attempt that failed, at Failed; nil: none did
	Failed  time.Time
}

// Status returns what is known of each issuer: the servers in their order, then the others by name.
func (s *Store) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Clone(s.policy.Servers)
	var learned []string
	for name, st := range s.schedule {
		if !st.server {
			learned = append(learned, name)
		}
	}
	slices.Sort(learned)
	names = append(names, learned...)
	set, used := s.set.Load(), false
	all := make([]Status, 0, len(names))
	for _, name := range names {
		st := s.schedule[name]
		status := Status{
			Issuer: name, Server: st.server, Next: st.next, Failing: st.failed(), Err: st.err, Failed: st.errTime,
		}
		if issuer := set.issuers[name]; issuer != nil {
			status.Fetched, status.Kept = issuer.Fetched, issuer.Kept
			for _, k := range issuer.Keys {
				status.KIDs = append(status.KIDs, k.KID)
			}
		}
		if !used && st.server && !st.failed() && len(status.KIDs) > 0 {
			status.Used, used = true, true
		}
		all = append(all, status)
	}
	return all
}
