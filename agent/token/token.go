// Package token turns a compact JWS into a verified Token.
//
// The order is that of TOK-6: form, then signature, then claims; a claim is believed only once a key of its issuer has
// verified the signature. Nothing here allocates but a signature's check, once buffers have grown to the tokens in use.
// Limits: a token of MaxBytes, JSON nested MaxDepth deep. The package has no clock and no network: the caller passes
// the time and fetches keys when told that they are missing.
package token

import (
	"crypto/sha256"

	"nmosauthd/agent/keys"
)

// Limits on what is read at all (TOK-5).
const (
	MaxBytes = 16 << 10 // of the whole compact form
	MaxDepth = 16       // of nested JSON values
)

// Times in microseconds: noTime is that of an absent claim, and the claims that are present lie between it and maxTime.
const (
	maxTime = int64(1) << 62
	noTime  = -maxTime
)

// Token is the compiled form of one access token: fixed fields, and one arena that holds all text of the claims that
// are used, never longer than the token's payload. It belongs to the caller, who may reuse it; what its methods return
// is valid until then. The zero value, and one that Verifier.Check did not accept, permits nothing.
type Token struct {
	verified  bool
	audience  bool // whether aud names this device
	expires   int64
	issued    int64 // noTime if absent
	notBefore int64 // noTime if absent
	issuer    span
	subject   span
	client    span
	id        span // empty if there is no jti that can be shown
	key       keys.Thumbprint
	kid       string
	bound     *bound // of its issuer; nil until verified
	digest    Digest
	text      []byte
}

// span is a part of Token.text.
type span struct{ at, len uint16 }

func (t *Token) slice(s span) []byte { return t.text[s.at : s.at+s.len : s.at+s.len] }

// Reset makes t permit nothing and keeps its arena for reuse.
func (t *Token) Reset() { *t = Token{text: t.text[:0]} }

// copyFrom makes t a copy that shares nothing with from.
//
//go:noinline // for flash
func (t *Token) copyFrom(from *Token) {
	text := append(t.text[:0], from.text...)
	*t = *from
	t.text = text
}

// Verified reports whether a key of the issuer verified the signature and the claims are well formed.
func (t *Token) Verified() bool { return t.verified }

// Issuer returns iss as it stands in the token. It is unverified text until Verified.
func (t *Token) Issuer() []byte { return t.slice(t.issuer) }

// claimIssuer makes t an unverified token that states only its issuer.
//
//go:noinline // for flash
func (t *Token) claimIssuer(name string) {
	t.Reset()
	at := t.open(recordText)
	t.text = append(t.text, name...)
	t.issuer = t.close(at)
}

// Subject returns sub.
func (t *Token) Subject() []byte { return t.slice(t.subject) }

// Client returns client_id, or azp if there is none.
func (t *Token) Client() []byte { return t.slice(t.client) }

// ID returns jti (RFC 7519 §4.1.7), empty if there is none that can be shown.
func (t *Token) ID() []byte { return t.slice(t.id) }

// KeyID returns the kid under which the key that verified the token was published, which may be empty.
func (t *Token) KeyID() string { return t.kid }

// Digest identifies a token that must not be shown itself (OPS-2): the first half of the SHA-256 of its compact form.
type Digest [16]byte

// DigestOf returns the digest of a token.
func DigestOf(raw []byte) (d Digest) {
	sum := sha256.Sum256(raw)
	copy(d[:], sum[:])
	return d
}

// Digest returns the digest of a verified token without ID. It is zero if there is an ID.
func (t *Token) Digest() Digest { return t.digest }

// Expires returns exp in microseconds since 1970.
func (t *Token) Expires() int64 { return t.expires }

// Apart from the text that spans point to, the arena holds records: a kind, a length of two bytes and that many bytes.
// A text that no span or record covers is never looked at.
const (
	recordAPI   = 'a' // the <api> of an x-nmos-<api> claim; the specifiers that follow are of it
	recordRead  = 'r' // a specifier of its read permission
	recordWrite = 'w'
	recordScope = 's' // the scope string
	recordText  = 't' // text that a span points into
)

const recordHead = 3 // bytes before the record's own

// record splits off the first record of b.
func record(b []byte) (kind byte, value, rest []byte) {
	end := recordHead + (int(b[1]) | int(b[2])<<8)
	return b[0], b[recordHead:end], b[end:]
}

// Grants reports whether the token has a claim x-nmos-<api>, or names api in its scope (PATH-4).
func (t *Token) Grants(api []byte) bool {
	if !t.verified {
		return false
	}
	for b := t.text; len(b) > 0; {
		var kind byte
		var value []byte
		kind, value, b = record(b)
		if kind == recordAPI && string(value) == string(api) || kind == recordScope && hasWord(value, api) {
			return true
		}
	}
	return false
}

// hasWord reports whether word is one of the space-separated words of list.
func hasWord(list, word []byte) bool {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ' ' {
			end++
		}
		if end > 0 && string(list[:end]) == string(word) {
			return true
		}
		list = list[min(end+1, len(list)):]
	}
	return false
}

// Specifiers iterates over the path specifiers that a token holds for one API and permission.
type Specifiers struct {
	rest []byte
	api  []byte
	kind byte
	in   bool
}

// Specifiers returns the token's path specifiers for reading, or for writing, in the API; none unless it is verified.
func (t *Token) Specifiers(api []byte, write bool) Specifiers {
	if !t.verified {
		return Specifiers{}
	}
	s := Specifiers{rest: t.text, api: api, kind: recordRead}
	if write {
		s.kind = recordWrite
	}
	return s
}

// Next returns the next specifier, or false after the last.
func (s *Specifiers) Next() ([]byte, bool) {
	for len(s.rest) > 0 {
		var kind byte
		var value []byte
		kind, value, s.rest = record(s.rest)
		switch {
		case kind == recordAPI:
			s.in = string(value) == string(s.api)
		case kind == s.kind && s.in:
			return value, true
		}
	}
	return nil, false
}
