package agent

import (
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
)

// FoundServer is an authorization server that discovery has found, as it is kept across restarts.
type FoundServer struct {
	URL    string // by which it was advertised
	Domain string // in which it was advertised last; "" if unknown, which counts as config.DomainMDNS
	Issuer string // that its metadata named when its keys were fetched last (KEY-8); "" if they never were
	// Missing is for how long it has not been advertised: running time in which its domain answered (DIS-6). 0 if it
	// is.
	Missing time.Duration
}

// ByMDNS reports whether anybody on the link may have advertised it.
//
//go:noinline // for flash
func (f *FoundServer) ByMDNS() bool { return f.Domain == config.DomainMDNS || f.Domain == "" }

// MaxFoundState is the most that an encoded list of found servers has, bytes.
const MaxFoundState = 1 << 20

const (
	foundFormat = 1 // raised when a reader of the format before would misread it
	// maxFound bounds the list: those of one look, and maxMissing that are no longer advertised.
	maxFound   = 128
	maxMissing = 8
)

type foundForm struct {
	Format  int               `json:"format"`
	Servers []foundServerForm `json:"servers"`
}

type foundServerForm struct {
	URL     string `json:"url"`
	Domain  string `json:"domain,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Missing int64  `json:"missing_seconds,omitempty"`
}

// EncodeFound returns the bytes to keep: a line of JSON, and its checksum.
func EncodeFound(found []FoundServer) ([]byte, error) {
	form := foundForm{Format: foundFormat}
	for _, f := range found {
		form.Servers = append(form.Servers, foundServerForm{f.URL, f.Domain, f.Issuer, int64(f.Missing / time.Second)})
	}
	line, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("servers found: %w", err)
	}
	return keys.WithChecksum(line), nil
}

// DecodeFound reads what EncodeFound made. An error says what is wrong with it; nothing of it is to be used then.
func DecodeFound(data []byte) ([]FoundServer, error) {
	var form foundForm
	if err := keys.Unmarshal(data, &form); err != nil {
		return nil, err
	}
	if form.Format != foundFormat {
		return nil, fmt.Errorf("format %d; this release reads %d", form.Format, foundFormat)
	}
	var found []FoundServer
	for _, f := range form.Servers[:min(len(form.Servers), maxFound)] {
		if keys.Origin(f.URL) == "" {
			return nil, fmt.Errorf("%+.100q cannot be a server", f.URL)
		}
		if !keys.MayName(f.URL, f.Issuer) {
			f.Issuer = ""
		}
		missing := time.Duration(min(max(f.Missing, 0), int64(forgetAfter/time.Second))) * time.Second
		found = append(found, FoundServer{f.URL, f.Domain, f.Issuer, missing})
	}
	return found, nil
}

// firstKeep and keepEvery are when a change that can wait is kept: flash wears out, and whoever is on the link could
// make changes without end.
const (
	firstKeep = 10 * time.Minute
	keepEvery = time.Hour
)

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
