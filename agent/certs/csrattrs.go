package certs

import (
	"bytes"
	"errors"
)

// The object identifiers of /csrattrs that are honoured (CERT-25).
var (
	oidChallenge = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07} // 1.2.840.113549.1.9.7
	oidRSA       = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01} // 1.2.840.113549.1.1.1
	oidEC        = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}             // 1.2.840.10045.2.1
	oidP256      = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}       // 1.2.840.10045.3.1.7
)

// attributes is what a server wants of a request.
type attributes struct {
	challenge bool // the request has to be tied to its TLS session (CERT-24)
	keyed     bool // it names kinds of keys
	ecdsa     bool // P-256 is one of them
	rsaBits   int  // the shortest RSA key that it names and this device makes; 0 if none
}

// mostRSA is the longest key that is made; longer ones take an ARM device minutes.
const mostRSA = 4096

// parseAttributes reads the base64 of CsrAttrs (RFC 7030 §4.5.2): a sequence of identifiers, and of attributes with
// values. What is not known is skipped.
func parseAttributes(body []byte) (a attributes, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return a, nil
	}
	der, err := decode64(body)
	if err != nil {
		return a, err
	}
	all, rest, err := inside(der, tagSequence)
	if err != nil || len(rest) > 0 {
		return a, errors.New("not a sequence of attributes")
	}
	for len(all) > 0 {
		tag, content, after, err := element(all, maxDepth)
		if err != nil {
			return attributes{}, err
		}
		all = after
		switch tag {
		case tagOID:
			a.challenge = a.challenge || bytes.Equal(content, oidChallenge)
			a.key(content, nil)
		case tagSequence:
			oid, values, err := inside(content, tagOID)
			if err == nil {
				values, _, err = inside(values, tagSet)
			}
			if err != nil {
				return attributes{}, errors.New("an attribute without values")
			}
			a.challenge = a.challenge || bytes.Equal(oid, oidChallenge)
			if err := a.values(oid, values); err != nil {
				return attributes{}, err
			}
		default:
			return attributes{}, errors.New("neither an identifier nor an attribute")
		}
	}
	return a, nil
}

// values notes a kind of keys for each value, or for none.
func (a *attributes) values(oid, values []byte) error {
	if len(values) == 0 {
		a.key(oid, nil)
	}
	for len(values) > 0 {
		_, value, rest, err := element(values, maxDepth)
		if err != nil {
			return err
		}
		a.key(oid, value)
		values = rest
	}
	return nil
}

// key notes a kind of keys; value is the curve or the size, nil if the server leaves it open.
func (a *attributes) key(oid, value []byte) {
	switch {
	case bytes.Equal(oid, oidEC):
		a.keyed = true
		a.ecdsa = a.ecdsa || value == nil || bytes.Equal(value, oidP256)
	case bytes.Equal(oid, oidRSA):
		a.keyed = true
		bits := 0
		for _, d := range value {
			bits = min(bits<<8|int(d), 1<<20)
		}
		if value == nil || bits < 2048 {
			bits = 2048
		}
		if bits <= mostRSA && bits%8 == 0 && (a.rsaBits == 0 || bits < a.rsaBits) {
			a.rsaBits = bits
		}
	}
}

// takes returns how long a key of a kind has to be, 0 if the server does not take it.
func (a *attributes) takes(kind KeyKind) int {
	switch {
	case kind == ECDSA && (a.ecdsa || !a.keyed):
		return 256
	case kind == RSA && !a.keyed:
		return 2048
	case kind == RSA:
		return a.rsaBits
	}
	return 0
}
