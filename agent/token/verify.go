package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"hash/maphash"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// Options of a Verifier.
type Options struct {
	Names    Names // of this device
	MaxBytes int   // of a token; 0 is MaxBytes, and no more than that
	Cached   int   // verified tokens remembered; 0 is DefaultCached
	Parallel int   // cold verifications at once; 0 is 1. It bounds what a flood of forged tokens can occupy.
	Leeway   int64 // microseconds, for exp, iat and nbf
}

// DefaultCached is how many verified tokens are remembered: a device has few controllers.
const DefaultCached = 64

// Clock is the time at which a token is judged.
type Clock struct {
	Now     int64 // microseconds since 1970, UTC
	Trusted bool  // false: the clock may not have been set, so that nothing is said about times (OPS-1)
}

// Outcome is what Check found.
type Outcome struct {
	Reason wire.Reason // OK where the token may be believed
	Hit    bool        // it was remembered
	// Fetch says that the issuer's keys should be fetched (once in a while; the caller bounds it). Reason is then
	// KeysPending, to be answered once the caller has found the issuer trusted; KeyUnknown, where that did not help; or
	// Signature.
	Fetch bool
}

// Verifier checks tokens and remembers what it found. Its configuration is fixed; a changed one needs a new Verifier, which
// starts with nothing remembered. It is safe for concurrent use.
type Verifier struct {
	options Options
	seed    maphash.Seed
	cache   *cache
	refused *refused
	scratch chan *scratch
}

// scratch is what one cold verification works in.
type scratch struct {
	buf  []byte // decoded segments
	text []byte // of the header
	json reader
}

// NewVerifier returns a Verifier that remembers nothing yet.
func NewVerifier(o Options) *Verifier {
	if o.MaxBytes <= 0 || o.MaxBytes > MaxBytes {
		o.MaxBytes = MaxBytes
	}
	if o.Cached <= 0 {
		o.Cached = DefaultCached
	}
	o.Parallel = max(o.Parallel, 1)
	v := &Verifier{
		options: o,
		seed:    maphash.MakeSeed(),
		cache:   newCache(o.Cached),
		refused: newRefused(),
		scratch: make(chan *scratch, o.Parallel),
	}
	for range o.Parallel {
		v.scratch <- new(scratch)
	}
	return v
}

// Held is how many verified tokens are remembered, and how many can be.
func (v *Verifier) Held() (n, limit int) { return v.cache.held(), v.options.Cached }

// Check verifies a compact JWS against the keys of its issuer in set and judges its times and audience. Where Reason is OK, or
// one of the faults that a verified token can have (ClockUntrusted, Expired, IssuedLater, NotYetValid, Audience), t holds the
// token; else t permits nothing, and of its methods only Issuer says what the token claims.
func (v *Verifier) Check(raw []byte, clock Clock, set *keys.Set, t *Token) Outcome {
	t.Reset()
	if len(raw) > v.options.MaxBytes {
		return Outcome{Reason: wire.TokenTooLarge}
	}
	hash := maphash.Bytes(v.seed, raw)
	switch v.cache.get(raw, hash, set, t) {
	case held:
		return Outcome{Reason: v.judge(t, clock), Hit: true}
	case keyGone:
		// KEY-7. Its issuer's keys have been fetched since it was verified: nothing is pending.
		t.Reset()
		v.refused.put(v.refused.identify(raw, hash), refusal{reason: wire.KeyUnknown}, set)
		return Outcome{Reason: wire.KeyUnknown}
	}
	id := v.refused.identify(raw, hash)
	before, known := v.refused.get(id)
	if known && before.generation == set.Generation {
		if before.fetch { // the caller needs to know whose keys
			return v.again(raw, before.reason, t)
		}
		return Outcome{Reason: before.reason, Hit: true}
	}
	sc := <-v.scratch
	reason, issuer := v.verify(raw, set, sc, t)
	v.scratch <- sc
	switch reason {
	case wire.OK:
		v.cache.put(raw, hash, set, t, clock.Now)
		return Outcome{Reason: v.judge(t, clock)}
	case wire.KeysPending:
		if issuer == nil { // no signature was checked, so nothing is worth remembering
			return Outcome{Reason: reason, Fetch: true}
		}
		// It is pending until its issuer's keys have been fetched once more; a second look at it then says no, and so does every
		// later one until its key is there.
		e := refusal{reason: wire.KeysPending, fetches: issuer.Fetches, fetch: true}
		if known && before.reason == wire.KeysPending {
			e.fetches = before.fetches
		}
		if known && (before.reason == wire.KeyUnknown || issuer.Fetches > e.fetches) {
			e.reason = wire.KeyUnknown
		}
		v.refused.put(id, e, set)
		return Outcome{Reason: e.reason, Fetch: true}
	case wire.Signature:
		v.refused.put(id, refusal{reason: reason}, set)
		// A token without kid may be under a key that is not held yet, where the server names none (KEY-6).
		return Outcome{Reason: reason, Fetch: issuer != nil}
	}
	if issuer != nil { // the signature was checked, which cost something
		v.refused.put(id, refusal{reason: reason}, set)
	}
	return Outcome{Reason: reason}
}

// again answers for a token that its issuer's keys may yet come for; t gets the issuer's name.
func (v *Verifier) again(raw []byte, reason wire.Reason, t *Token) Outcome {
	sc := <-v.scratch
	defer func() { v.scratch <- sc }()
	if s, ok := split(raw, sc.room(len(raw))); ok {
		if _, ok = sc.json.claims(s.payload, nil, t); ok {
			return Outcome{Reason: reason, Hit: true, Fetch: true}
		}
	}
	return Outcome{Reason: wire.TokenMalformed}
}

// room returns n bytes of scratch.
func (sc *scratch) room(n int) []byte {
	if cap(sc.buf) < n {
		sc.buf = make([]byte, n)
	}
	return sc.buf[:n]
}

// verify is the cold path: form, signature, claims. issuer is set where a signature was checked, unless its key was named and
// held: then there is nothing to fetch.
func (v *Verifier) verify(raw []byte, set *keys.Set, sc *scratch, t *Token) (wire.Reason, *keys.Issuer) {
	s, ok := split(raw, sc.room(len(raw)))
	if !ok {
		return wire.TokenMalformed, nil
	}
	var h header
	if h, sc.text, ok = sc.json.header(s.header, sc.text[:0]); !ok {
		return wire.TokenJSON, nil
	}
	if h.fault != wire.OK {
		return h.fault, nil
	}
	fault, ok := sc.json.claims(s.payload, v.options.Names, t)
	if !ok {
		t.Reset()
		return wire.TokenJSON, nil
	}
	if fault == wire.IssuerMissing {
		return fault, nil // without an issuer there is no key to check it by
	}
	issuer := set.Issuer(t.Issuer())
	if issuer == nil {
		return wire.KeysPending, nil
	}
	key, fits := findKey(issuer, h.kid, &s)
	if key == nil {
		switch {
		case fits:
			return wire.Signature, nil
		case len(h.kid) == 0:
			return wire.Signature, issuer
		case issuer.Retired(h.kid):
			return wire.KeyUnknown, issuer
		}
		return wire.KeysPending, issuer
	}
	if fault != wire.OK {
		return fault, issuer
	}
	t.verified, t.key, t.kid = true, key.Thumbprint, key.KID
	if len(t.ID()) == 0 {
		t.digest = DigestOf(raw)
	}
	return wire.OK, issuer
}

// findKey returns the key of the issuer that verifies the signature, or nil. One that kid names is tried first, then every
// other (KEY-4); fits tells whether kid names one that is held.
func findKey(issuer *keys.Issuer, kid []byte, s *segments) (key *keys.Key, fits bool) {
	digest := sha512.Sum512(s.signed)
	verifies := func(k *keys.Key) bool {
		return rsa.VerifyPKCS1v15(k.Public, crypto.SHA512, digest[:], s.signature) == nil
	}
	for i := range issuer.Keys {
		if k := &issuer.Keys[i]; len(kid) > 0 && k.KID == string(kid) {
			fits = true
			if verifies(k) {
				return k, true
			}
		}
	}
	for i := range issuer.Keys {
		if k := &issuer.Keys[i]; (len(kid) == 0 || k.KID != string(kid)) && verifies(k) {
			return k, fits
		}
	}
	return nil, fits
}

// judge says what a verified token is worth now. It is asked again at every use.
func (v *Verifier) judge(t *Token, c Clock) wire.Reason {
	leeway := v.options.Leeway
	switch {
	case !c.Trusted:
		return wire.ClockUntrusted // OPS-1
	case c.Now-leeway >= t.expires:
		return wire.Expired // CLM-7
	case t.issued != notEver && t.issued > c.Now+leeway:
		return wire.IssuedLater // CLM-8
	case t.notYet != notEver && c.Now+leeway < t.notYet:
		return wire.NotYetValid // CLM-8
	case !t.audience:
		return wire.Audience // CLM-6
	}
	return wire.OK
}
