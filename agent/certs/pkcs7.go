package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
)

// The limits of an answer (CERT-16).
const (
	maxAnswer = 256 << 10 // bytes, as sent
	maxCerts  = 32
	maxChain  = 32 << 10 // bytes of a certificate with its intermediates: all that is kept fits MaxState
	maxDepth  = 8        // of elements without a length
	maxRSA    = 8192     // bits, as in package tls: a signature by a key that fills an answer takes minutes to check
)

var (
	errEnd   = errors.New("the message breaks off")
	errCerts = errors.New("not a PKCS #7 message of certificates only")
)

// element reads one element of BER: its tag, which has one byte in all that is read here, its content, and what follows
// it. RFC 7030 wants DER; elements without a length are read, too, since widespread libraries write them.
func element(b []byte, depth int) (tag byte, content, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errEnd
	}
	tag, n := b[0], int(b[1])
	rest = b[2:]
	switch {
	case tag&0x1f == 0x1f:
		return 0, nil, nil, errors.New("the message has a tag that is not expected")
	case n == 0x80 && (tag&0x20 == 0 || depth == 0):
		return 0, nil, nil, errors.New("the message is nested too deeply")
	case n == 0x80:
		for inner := rest; ; {
			if bytes.HasPrefix(inner, []byte{0, 0}) {
				return tag, rest[:len(rest)-len(inner)], inner[2:], nil
			}
			if _, _, inner, err = element(inner, depth-1); err != nil {
				return 0, nil, nil, err
			}
		}
	case n > 0x80:
		digits := n & 0x7f
		if digits > 4 || digits > len(rest) {
			return 0, nil, nil, errEnd
		}
		n = 0
		for _, d := range rest[:digits] {
			n = n<<8 | int(d)
		}
		rest = rest[digits:]
	}
	if n < 0 || n > len(rest) {
		return 0, nil, nil, errEnd
	}
	return tag, rest[:n], rest[n:], nil
}

// inside returns the content of the first element of b, which has to have a tag, and what follows it.
func inside(b []byte, want byte) (content, rest []byte, err error) {
	tag, content, rest, err := element(b, maxDepth)
	if err == nil && tag != want {
		err = errCerts
	}
	return content, rest, err
}

// oidSignedData is 1.2.840.113549.1.7.2.
var oidSignedData = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// The tags that are read or written.
const (
	tagInteger   = 0x02
	tagBits      = 0x03
	tagOctets    = 0x04
	tagOID       = 0x06
	tagUTF8      = 0x0c
	tagPrintable = 0x13
	tagSequence  = 0x30
	tagSet       = 0x31
	tagContext0  = 0xa0
	tagContext1  = 0xa1
	tagDNSName   = 0x82
)

// parseCerts reads the base64 of a degenerate PKCS #7 message (RFC 5652 §5.1, CERT-15), and checks what each
// certificate has to be by itself (CERT-16).
func parseCerts(body []byte) ([]*x509.Certificate, error) {
	der, err := decode64(body)
	if err != nil {
		return nil, err
	}
	message, rest, err := inside(der, tagSequence)
	if err != nil {
		return nil, err
	}
	oid, message, err := inside(message, tagOID)
	if err != nil || !bytes.Equal(oid, oidSignedData) || len(rest) > 0 {
		return nil, errCerts
	}
	signed, _, err := inside(message, tagContext0)
	if err == nil {
		signed, _, err = inside(signed, tagSequence)
	}
	for _, tag := range []byte{tagInteger, tagSet, tagSequence} { // version, digests, content: none of interest
		if err == nil {
			_, signed, err = inside(signed, tag)
		}
	}
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for len(signed) > 0 {
		tag, content, after, err := element(signed, maxDepth)
		if err != nil {
			return nil, err
		}
		switch {
		case tag == tagContext0 && all == nil:
			if all, err = readCerts(content); err != nil {
				return nil, err
			}
		case tag == tagContext1: // revocation lists: RFC 7030 has none
		case tag == tagSet && len(content) == 0 && len(after) == 0: // signers
		default:
			return nil, errCerts
		}
		signed = after
	}
	if len(all) == 0 {
		return nil, errors.New("a PKCS #7 message without certificates")
	}
	return all, nil
}

// readCerts reads certificates one after another.
func readCerts(b []byte) (all []*x509.Certificate, err error) {
	for len(b) > 0 {
		_, _, rest, err := element(b, 0)
		if err != nil {
			return nil, err
		}
		if len(all) == maxCerts {
			return nil, fmt.Errorf("over %d certificates", maxCerts)
		}
		cert, err := x509.ParseCertificate(b[:len(b)-len(rest)])
		if err == nil {
			err = weak(cert)
		}
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be used: %w", len(all)+1, err)
		}
		all, b = append(all, cert), rest
	}
	return all, nil
}

// weak says what is wrong with the key of a certificate (CERT-16).
func weak(cert *x509.Certificate) error {
	why := ""
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits < 2048:
			why = "an RSA key of under 2048 bits"
		case bits > maxRSA:
			why = "an RSA key of over 8192 bits"
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			why = "a key on a curve under P-256"
		}
	default:
		why = "a key that is neither RSA nor ECDSA"
	}
	if why == "" {
		return nil
	}
	return errors.New(shown(cert.Subject.String()) + " has " + why)
}

// decode64 decodes base64, whatever line ends or spaces are in it and whether it is padded or not.
func decode64(body []byte) ([]byte, error) {
	text := make([]byte, 0, len(body))
	for _, b := range body {
		if b > ' ' {
			text = append(text, b)
		}
	}
	switch {
	case len(text) == 0:
		return nil, errors.New("an empty answer")
	case text[0] == '<':
		return nil, errors.New("an HTML page")
	}
	text = bytes.TrimRight(text, "=")
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(der, text)
	if err != nil {
		return nil, errors.New("not base64")
	}
	return der[:n], nil
}
