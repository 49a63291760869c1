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

var dot = []byte(".")

// split takes a compact JWS apart and decodes it into buf, which must have room for len(raw) bytes (TOK-1). The
// signature may be empty, as that of alg "none" is: the check of the algorithm refuses it.
func split(raw, buf []byte) (s segments, ok bool) {
	header, rest, _ := bytes.Cut(raw, dot)
	payload, signature, found := bytes.Cut(rest, dot)
	if !found || len(header) == 0 || len(payload) == 0 { // another "." is not base64url
		return s, false
	}
	// The decoder skips line ends, which RFC 7515 §2 forbids.
	if bytes.ContainsRune(raw, '\n') || bytes.ContainsRune(raw, '\r') {
		return s, false
	}
	s.signed = bytes.TrimSuffix(raw[:len(raw)-len(signature)], dot)
	if s.header, buf, ok = decode(buf, header); !ok {
		return s, false
	}
	if s.payload, buf, ok = decode(buf, payload); !ok {
		return s, false
	}
	s.signature, _, ok = decode(buf, signature)
	return s, ok
}

// decode decodes src into the front of buf and returns it with what is left of buf.
func decode(buf, src []byte) (decoded, rest []byte, ok bool) {
	n, err := base64url.Decode(buf, src)
	return buf[:n:n], buf[n:], err == nil
}
