package token

import (
	"bytes"
	"encoding/base64"
)

// segments are the three parts of a compact JWS (RFC 7515 §7.1), decoded. They borrow from scratch space.
type segments struct {
	header, payload, signature []byte
	signed                     []byte // what the signature is over; borrows from the token
}

// RFC 7515 §2: no padding; Strict also refuses unused trailing bits that are not zero, so that one token has one form.
var base64url = base64.RawURLEncoding.Strict()

// split takes a compact JWS apart and decodes it into buf, which must have room for len(raw) bytes (TOK-1). The signature may
// be empty, as that of alg "none" is: that is for the algorithm's check to say.
func split(raw, buf []byte) (s segments, ok bool) {
	first := bytes.IndexByte(raw, '.')
	last := bytes.LastIndexByte(raw, '.')
	if first <= 0 || last <= first+1 || bytes.IndexByte(raw[first+1:last], '.') >= 0 {
		return s, false
	}
	// The decoder passes over line ends; RFC 7515 §2 has none.
	if bytes.IndexByte(raw, '\n') >= 0 || bytes.IndexByte(raw, '\r') >= 0 {
		return s, false
	}
	s.signed = raw[:last]
	if s.header, buf, ok = decode(buf, raw[:first]); !ok {
		return s, false
	}
	if s.payload, buf, ok = decode(buf, raw[first+1:last]); !ok {
		return s, false
	}
	s.signature, _, ok = decode(buf, raw[last+1:])
	return s, ok
}

// decode decodes src into the front of buf and returns it with what is left of buf.
func decode(buf, src []byte) (decoded, rest []byte, ok bool) {
	n, err := base64url.Decode(buf, src)
	return buf[:n:n], buf[n:], err == nil
}
