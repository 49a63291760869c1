package token

import (
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// ReadUnsigned reads a header and a payload into t as a verification does, and takes the signature for good: signing is
// what makes fuzzing slow.
func ReadUnsigned(header, payload []byte, names Names, t *Token) (kid []byte, fault wire.Reason) {
	r := new(reader)
	h, _, ok := r.header(header, nil)
	switch {
	case !ok:
		return nil, wire.TokenJSON
	case h.fault != wire.OK:
		return nil, h.fault
	}
	fault, ok = r.claims(payload, t)
	if !ok {
		return nil, wire.TokenJSON
	}
	t.verified, t.audience = fault == wire.OK, r.names(names)
	return h.kid, fault
}

// Judge is what a verified token is worth at a time, without leeway.
func Judge(t *Token, c Clock) wire.Reason {
	reason, _ := new(Verifier).judge(t, c)
	return reason
}

// Bounds are those of the Verifier.
func (v *Verifier) Bounds() *Bounds { return v.options.Bounds }

// Len is how many issuers are remembered.
func (b *Bounds) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.named)
}

// Raise takes an iat of an issuer, and returns the time that is then known to have been reached, noTime if unknown.
func (b *Bounds) Raise(issuer string, iat, run int64, held *keys.Set) (reached int64) {
	one := b.of([]byte(issuer), held)
	one.raise(iat, run)
	return one.reached(run)
}

// Named reports whether a token that waits for its turn is one whose kid names a held key.
func (v *Verifier) Named(raw []byte, set *keys.Set) bool { return v.peek.kind(raw, set) == named }

// Split reports whether raw is a compact JWS.
func Split(raw []byte) bool {
	_, ok := split(raw, make([]byte, len(raw)))
	return ok
}

// Verifies reports whether one of the issuer's keys verifies a signature of signed.
func Verifies(issuer *keys.Issuer, signed, signature []byte) bool {
	return findKey(issuer, nil, &segments{signed: signed, signature: signature}) != nil
}
