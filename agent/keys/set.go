// Package keys holds the Authorization Servers' public keys: one immutable Set at a time, swapped atomically, and the
// schedule by which each issuer's keys are fetched again. It fetches nothing itself: a function is handed in.
//
// A Set may be read by any number of goroutines. A Store starts no work before Run and ends with Run's context.
package keys

import (
	"crypto/rsa"
	"slices"
	"strings"
	"time"

	"filippo.io/bigmod"
)

// Thumbprint is the RFC 7638 SHA-256 thumbprint of a key. It does not depend on the kid.
type Thumbprint [32]byte

// Key is one RSA key that may verify RS512.
type Key struct {
	KID        string // "" if the set gives none
	Public     *rsa.PublicKey
	Thumbprint Thumbprint
	modulus    *bigmod.Modulus // that of Public, set up for Verifies
}

// Issuer is the key set of one Authorization Server. It always holds at least one key.
type Issuer struct {
	Name    string // without a trailing slash
	Keys    []Key
	Fetched time.Time // when the keys were fetched, by the clock as it was set then; zero if unknown
	Kept    bool      // they were fetched before the restart, and kept
	fetch   uint64    // the number of that fetch; 0 if they were kept
	retired []string  // the kids that left the set, newest last
}

// maxRetired limits the number of retired kids that are remembered.
const maxRetired = 16

// KID is the state of a token's kid in an issuer's set.
type KID int

const (
	KIDUnknown KID = iota // the token has no kid, or one that is not and was not in the set
	KIDHeld               // it names a key in the set
	KIDRetired            // it names one that has left the set and has not come back
)

// KID returns the state of a kid. It allocates nothing.
func (i *Issuer) KID(kid []byte) KID {
	if len(kid) == 0 {
		return KIDUnknown
	}
	for k := range i.Keys {
		if i.Keys[k].KID == string(kid) {
			return KIDHeld
		}
	}
	for _, k := range i.retired {
		if k == string(kid) {
			return KIDRetired
		}
	}
	return KIDUnknown
}

// Holds reports whether the key is in the issuer's set.
func (i *Issuer) Holds(t *Thumbprint) bool {
	for k := range i.Keys {
		if i.Keys[k].Thumbprint == *t {
			return true
		}
	}
	return false
}

// Set is an immutable snapshot of all issuers' keys.
type Set struct {
	Generation uint64 // differs between any two sets of one Store
	issuers    map[string]*Issuer
}

// Issuer returns the keys of the issuer, or nil if none are held. It allocates nothing.
func (s *Set) Issuer(iss []byte) *Issuer {
	return s.issuers[string(TrimIssuer(iss))]
}

// HoldsKID reports whether any issuer's key was published under this kid.
func (s *Set) HoldsKID(kid []byte) bool {
	for _, issuer := range s.issuers {
		for i := range issuer.Keys {
			if issuer.Keys[i].KID == string(kid) {
				return true
			}
		}
	}
	return false
}

// Issuers returns all issuers with keys, sorted by name.
func (s *Set) Issuers() []*Issuer {
	all := make([]*Issuer, 0, len(s.issuers))
	for _, i := range s.issuers {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *Issuer) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// with returns a set in which name has the keys that were fetched; kids that are gone are retired.
func (s *Set) with(name string, keys []Key, fetch uint64) *Set {
	old := s.issuers[name]
	if old == nil {
		return s.replacing(&Issuer{Name: name, Keys: keys, Fetched: time.Now(), fetch: fetch})
	}
	gone := slices.Clone(old.retired)
	for _, k := range old.Keys {
		if k.KID != "" && !slices.Contains(gone, k.KID) {
			gone = append(gone, k.KID)
		}
	}
	gone = slices.DeleteFunc(gone, func(kid string) bool {
		return slices.ContainsFunc(keys, func(k Key) bool { return k.KID == kid })
	})
	return s.replacing(&Issuer{
		Name: name, Keys: keys, Fetched: time.Now(), fetch: fetch, retired: gone[max(0, len(gone)-maxRetired):],
	})
}

// holding returns a set with the kept keys of an issuer, which do not count as fetched.
func (s *Set) holding(h Held) *Set {
	return s.replacing(
		&Issuer{Name: TrimIssuer(h.Name), Keys: h.Keys, Fetched: h.Fetched, Kept: true, retired: h.Retired})
}

// replacing returns a set with this issuer in place of the one with its name.
func (s *Set) replacing(issuer *Issuer) *Set {
	next := &Set{Generation: s.Generation + 1, issuers: make(map[string]*Issuer, len(s.issuers)+1)}
	for n, i := range s.issuers {
		next.issuers[n] = i
	}
	next.issuers[issuer.Name] = issuer
	return next
}

// without returns a set without the issuers for which drop returns true.
func (s *Set) without(drop func(name string) bool) *Set {
	next := &Set{Generation: s.Generation + 1, issuers: make(map[string]*Issuer, len(s.issuers))}
	for n, i := range s.issuers {
		if !drop(n) {
			next.issuers[n] = i
		}
	}
	return next
}
