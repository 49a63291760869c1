package keys

import (
	"slices"
	"time"
)

// Status describes one issuer, for people.
type Status struct {
	Issuer  string
	Server  bool      // from the configuration or discovery, not from a token
	Used    bool      // the first healthy server: the one whose keys are fetched on schedule
	KIDs    []string  // of the keys held, "" for a key without; empty if no keys are held
	Fetched time.Time // when they were fetched; zero if unknown, or if there are none
	Kept    bool      // they are from before the restart
	Next    time.Time // when they are fetched again; zero if the server's turn has not come
	Failing bool      // the last attempt failed
	Err     error     // of the last attempt that failed, at Failed; nil if none did
	Failed  time.Time
}

// Status describes each issuer: the servers in their order, then the others by name.
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
	all := make([]Status, len(names))
	for i, name := range names {
		status, st := &all[i], s.schedule[name]
		status.Issuer, status.Server, status.Next = name, st.server, st.next
		status.Failing, status.Err, status.Failed = st.failed(), st.err, st.errTime
		if issuer := set.issuers[name]; issuer != nil {
			status.Fetched, status.Kept = issuer.Fetched, issuer.Kept
			for _, k := range issuer.Keys {
				status.KIDs = append(status.KIDs, k.KID)
			}
		}
		if !used && st.server && !st.failed() && len(status.KIDs) > 0 {
			status.Used, used = true, true
		}
	}
	return all
}
