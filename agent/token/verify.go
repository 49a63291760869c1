package token

import (
	"crypto/sha512"
	"hash/maphash"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// Options of a Verifier.
type Options struct {
	Names    Names // of this device
	MaxBytes int   // of a token; at most, and by default, the constant MaxBytes
	Cached   int   // verified tokens remembered; 0 means DefaultCached
	Parallel int   // concurrent cold verifications; 0 means 1. It bounds what a flood of forged tokens can occupy.
	Leeway   int64 // microseconds, for exp, iat and nbf
	// Bounds are those of earlier Verifiers, since they hold whatever is configured; if nil, the Verifier has its own.
	Bounds *Bounds
	// Background has a function run by a thread that gives way to all others of this process, and need not wait for its
	// end; if nil, a verification is made by whoever asks.
	Background func(func())
}

// DefaultCached is how many verified tokens are remembered: a device has few controllers.
const DefaultCached = 64

// Clock is the time at which a token is judged (OPS-1).
type Clock struct {
	Now     int64 // microseconds since 1970, UTC
	Trusted bool  // false if the clock may not have been set, so that no time can be judged
	// Unsynchronised reports that a trusted clock may be behind: tokens themselves may show that it is later, and
	// one that seems to come from the future may be good.
	Unsynchronised bool
	Run            int64 // microseconds since the daemon started, by a clock that is never set
}

// Outcome is what Check found.
type Outcome struct {
	Reason wire.Reason // OK if the token may be believed
	Hit    bool        // it was remembered
	// Missing reports that no held key verifies the token. Reason is then the answer if its key cannot be fetched
	// either, KeyUnknown or Signature; keys.Store.Seek, given KID and the token's Issuer, says whether it may be.
	Missing bool
	KID     keys.KID
	Later   int64 // microseconds: a verified token was judged by a time so much later than Clock.Now (OPS-1)
}

// Verifier checks tokens and remembers what it found. Its configuration is fixed; a changed one needs a new Verifier,
// which starts with nothing remembered. It is safe for concurrent use.
type Verifier struct {
	options Options
	seed    maphash.Seed
	cache   *cache
	refused *refused
	turns   *turns
	peek    peek
}

// scratch is what one cold verification works in.
type scratch struct {
	buf  []byte // decoded segments
	text []byte // of the header
	json reader

	work    func() // for the background: verifies token from raw by set
	done    chan struct{}
	raw     []byte
	set     *keys.Set
	token   *Token
	outcome Outcome
	issuer  *keys.Issuer
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
	if o.Bounds == nil {
		o.Bounds = new(Bounds)
	}
	v := &Verifier{
		options: o,
		seed:    maphash.MakeSeed(),
		cache:   newCache(o.Cached),
		refused: newRefused(),
		turns:   newTurns(o.Parallel),
	}
	return v
}

// Held returns the number of verified tokens remembered, and the capacity.
func (v *Verifier) Held() (n, limit int) { return v.cache.held(), v.options.Cached }

// Gone returns how many of the tokens that are remembered no key in set vouches for any more, by issuer (KEY-7).
func (v *Verifier) Gone(set *keys.Set) map[string]int { return v.cache.gone(set) }

// Check verifies a compact JWS against the keys of its issuer in set and judges its times and audience. If Reason is
// OK, or one of the faults that a verified token can have (ClockUntrusted, Expired, IssuedLater, NotYetValid,
// Audience), t holds the token; else t permits nothing, and of its methods only Issuer says what the token claims.
func (v *Verifier) Check(raw []byte, clock Clock, set *keys.Set, t *Token) Outcome {
	return v.CheckFor(nil, raw, clock, set, t)
}

// CheckFor is Check for a connection, which gets its turn among others if many tokens are to be verified. It may be
// nil.
func (v *Verifier) CheckFor(by *Asker, raw []byte, clock Clock, set *keys.Set, t *Token) Outcome {
	t.Reset()
	if len(raw) > v.options.MaxBytes {
		return Outcome{Reason: wire.TokenTooLarge}
	}
	place := v.hash(raw)
	found := v.cache.get(raw, place, set, t)
	if found == held {
		o := Outcome{Hit: true}
		o.Reason, o.Later = v.judge(t, clock)
		return o
	}
	id := v.refused.identify(raw, maphash.Bytes(v.seed, raw))
	if found == keyGone { // KEY-7: its key has left the set, under whatever kid
		e := refusal{reason: wire.KeyUnknown, missing: true, kid: keys.KIDRetired, issuer: set.Issuer(t.Issuer()).Name}
		v.refused.put(id, e, set)
		return Outcome{Reason: e.reason, Missing: true, KID: e.kid}
	}
	before, known := v.refused.get(id)
	if known && before.generation == set.Generation {
		if before.missing {
			t.claimIssuer(before.issuer)
		}
		return Outcome{Reason: before.reason, Hit: true, Missing: before.missing, KID: before.kid}
	}
	sc := v.place(by, raw, set)
	o, issuer := v.verifyAside(raw, set, sc, t)
	v.turns.give(sc)
	switch {
	case o.Reason == wire.OK:
		v.cache.put(raw, place, set, t, clock.Now)
		o.Reason, o.Later = v.judge(t, clock)
	case issuer != nil: // the signature was checked, which cost something
		if o.Missing && o.KID == keys.KIDUnknown && before.kid == keys.KIDRetired {
			o.KID = before.kid // it has no kid, or one forgotten since; still, its key is known to have left the set
		}
		v.refused.put(id, refusal{reason: o.Reason, missing: o.Missing, kid: o.KID, issuer: issuer.Name}, set)
	}
	return o
}

// hash returns the hash by which the cache finds a token, of the end of its signature: no two tokens that are verified
// are alike there, and all of a token takes an eighth of the time of a whole answer.
func (v *Verifier) hash(raw []byte) uint64 {
	const end = 64
	return maphash.Bytes(v.seed, raw[max(0, len(raw)-end):])
}

// room returns n bytes of scratch.
func (sc *scratch) room(n int) []byte {
	if cap(sc.buf) < n {
		sc.buf = make([]byte, n)
	}
	return sc.buf[:n]
}

// verifyAside is verify in the background, if there is one.
func (v *Verifier) verifyAside(raw []byte, set *keys.Set, sc *scratch, t *Token) (Outcome, *keys.Issuer) {
	if v.options.Background == nil {
		return v.verify(raw, set, sc, t)
	}
	if sc.work == nil {
		sc.done = make(chan struct{}, 1)
		sc.work = func() {
			sc.outcome, sc.issuer = v.verify(sc.raw, sc.set, sc, sc.token)
			sc.done <- struct{}{}
		}
	}
	sc.raw, sc.set, sc.token = raw, set, t
	v.options.Background(sc.work)
	<-sc.done
	sc.raw, sc.set, sc.token = nil, nil, nil // a place outlives the question
	return sc.outcome, sc.issuer
}

// verify is the cold path: form, signature, claims. issuer is nil if no signature was checked.
func (v *Verifier) verify(raw []byte, set *keys.Set, sc *scratch, t *Token) (o Outcome, issuer *keys.Issuer) {
	s, ok := split(raw, sc.room(len(raw)))
	if !ok {
		return Outcome{Reason: wire.TokenMalformed}, nil
	}
	var h header
	if h, sc.text, ok = sc.json.header(s.header, sc.text[:0]); !ok {
		return Outcome{Reason: wire.TokenJSON}, nil
	}
	if h.fault != wire.OK {
		return Outcome{Reason: h.fault}, nil
	}
	fault, ok := sc.json.claims(s.payload, t)
	if !ok {
		t.Reset()
		return Outcome{Reason: wire.TokenJSON}, nil
	}
	if fault == wire.IssuerMissing {
		return Outcome{Reason: fault}, nil // without an issuer there is no key to check it by
	}
	if issuer = set.Issuer(t.Issuer()); issuer == nil {
		return Outcome{Reason: wire.KeyUnknown, Missing: true}, nil
	}
	key := findKey(issuer, h.kid, &s)
	if key == nil {
		o = Outcome{Reason: wire.KeyUnknown, Missing: true, KID: issuer.KID(h.kid)}
		if len(h.kid) == 0 || o.KID == keys.KIDHeld { // no key is named that could be unknown
			o.Reason = wire.Signature
		}
		return o, issuer
	}
	if fault != wire.OK {
		return Outcome{Reason: fault}, issuer
	}
	t.verified, t.key, t.kid = true, key.Thumbprint, key.KID
	t.audience = sc.json.names(v.options.Names)
	t.bound = v.options.Bounds.of(t.Issuer(), set)
	if len(t.ID()) == 0 {
		t.digest = DigestOf(raw)
	}
	return Outcome{Reason: wire.OK}, issuer
}

// findKey returns the key of the issuer that verifies the signature, or nil. One that kid names is tried first, then
// every other (KEY-4).
func findKey(issuer *keys.Issuer, kid []byte, s *segments) *keys.Key {
	digest := sha512.Sum512(s.signed)
	for _, named := range []bool{true, false} {
		for i := range issuer.Keys {
			k := &issuer.Keys[i]
			if named == (k.KID == string(kid)) && k.Verifies(&digest, s.signature) {
				return k
			}
		}
	}
	return nil
}

// judge decides on a verified token's times and audience. later is how far behind the clock is known to be, in
// microseconds. It is called at every use.
func (v *Verifier) judge(t *Token, c Clock) (reason wire.Reason, later int64) {
	// A synchronised clock shows which iat are wrong.
	if !c.Trusted || c.Unsynchronised || t.issued <= c.Now+plausible {
		t.bound.raise(t.issued, c.Run)
	}
	reached := t.bound.reached(c.Run)
	now, leeway := c.Now, v.options.Leeway
	future, early := wire.IssuedLater, wire.NotYetValid
	if c.Unsynchronised {
		now = max(now, reached) // OPS-1 (b)
		future, early = wire.ClockUntrusted, wire.ClockUntrusted
	}
	switch {
	case !c.Trusted && reached < t.expires:
		reason = wire.ClockUntrusted // OPS-1 (c)
	case !c.Trusted, now-leeway >= t.expires:
		reason = wire.Expired // CLM-7
	case t.issued != noTime && t.issued > now+leeway:
		reason = future // CLM-8
	case reached >= t.expires:
		reason = wire.Expired // OPS-1: in every state
	case t.notBefore != noTime && now+leeway < t.notBefore:
		reason = early // CLM-8
	case !t.audience:
		reason = wire.Audience // CLM-6
	default:
		reason = wire.OK
	}
	return reason, now - c.Now
}
