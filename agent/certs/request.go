package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"nmosauthd/agent/ascii"
)

// makeKey makes a key, from the kernel's source, which waits until it is ready (CERT-20). It returns it as PKCS #8,
// too.
func makeKey(kind KeyKind, bits int) (crypto.Signer, []byte, error) {
	var key crypto.Signer
	var err error
	if kind == RSA {
		key, err = rsa.GenerateKey(rand.Reader, bits)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	var der []byte
	if err == nil {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a key: %w", err)
	}
	return key, der, nil
}

// openKey reads a key that makeKey made or a person installed. The error does not quote it.
func openKey(der []byte) (crypto.Signer, KeyKind, error) {
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, "", errors.New("the key is not PKCS #8")
	}
	switch key := any.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() >= 2048 {
			return key, RSA, nil
		}
	case *ecdsa.PrivateKey:
		if key.Curve.Params().BitSize >= 256 {
			return key, ECDSA, nil
		}
	}
	return nil, "", errors.New("the key is neither RSA of 2048 bits or more nor ECDSA on P-256 or more")
}

// der writes one element of DER. Inlined, it would make makeRequest six times as large.
//
//go:noinline
func der(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag}
	switch {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	default:
		b = append(b, 0x82, byte(n>>8), byte(n)) // requests are shorter than 64 KiB
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// wanted is what a certificate is asked for.
type wanted struct {
	names   []string
	serial  string
	subject []byte // DER, of the certificate that is renewed (CERT-41); nil to make one
}

// The parts of a request that are always the same.
var (
	oidCN        = []byte{0x55, 0x04, 0x03}
	oidSerial    = []byte{0x55, 0x04, 0x05}
	oidNames     = []byte{0x55, 0x1d, 0x11}
	oidUse       = []byte{0x55, 0x1d, 0x25}
	oidServer    = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01}
	oidClient    = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}
	oidExtend    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e}
	oidSHA256RSA = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
	oidSHA256EC  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
)

// makeRequest writes a PKCS #10 request (RFC 2986) as base64: CN and DNS names (CERT-22), the serial number (CERT-23),
// both uses (CERT-28), and what ties it to a TLS session, if that is not nil (CERT-24). Package x509 cannot write the
// last, so it is all written here.
func makeRequest(key crypto.Signer, w wanted, unique []byte) ([]byte, error) {
	subject := w.subject
	if subject == nil {
		cn := der(tagSet, der(tagSequence, der(tagOID, oidCN), der(tagUTF8, []byte(w.names[0]))))
		var serial []byte
		if w.serial != "" {
			serial = der(tagSet, der(tagSequence, der(tagOID, oidSerial), der(textTag(w.serial), []byte(w.serial))))
		}
		subject = der(tagSequence, cn, serial)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("cannot write a request: %w", err)
	}
	var names []byte
	for _, n := range w.names {
		names = append(names, der(0x82, []byte(n))...)
	}
	extension := func(oid, value []byte) []byte {
		return der(tagSequence, der(tagOID, oid), der(tagOctets, der(tagSequence, value)))
	}
	attributes := der(tagSequence, der(tagOID, oidExtend), der(tagSet, der(tagSequence,
		extension(oidUse, append(der(tagOID, oidServer), der(tagOID, oidClient)...)),
		extension(oidNames, names))))
	if unique != nil {
		text := []byte(base64.StdEncoding.EncodeToString(unique))
		tie := der(tagSequence, der(tagOID, oidChallenge), der(tagSet, der(tagPrintable, text)))
		attributes = append(tie, attributes...) // a SET OF is in order: this one is the shorter
	}
	info := der(tagSequence, []byte{tagInteger, 1, 0}, subject, public, der(tagContext0, attributes))
	algorithm := der(tagSequence, der(tagOID, oidSHA256EC))
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = der(tagSequence, der(tagOID, oidSHA256RSA), []byte{0x05, 0})
	}
	digest := sha256.Sum256(info)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a request: %w", err)
	}
	request := der(tagSequence, info, algorithm, der(tagBits, []byte{0}, signature))
	return []byte(base64.StdEncoding.EncodeToString(request)), nil
}

// textTag is that of a text: a serial number is a PrintableString (RFC 5280 appendix A.1), unless it cannot be.
func textTag(s string) byte {
	for _, b := range []byte(s) {
		if l := ascii.Lower(b); (l < 'a' || l > 'z') && (b < '0' || b > '9') && strings.IndexByte(" '()+,-./:=?",
			b) < 0 {
			return tagUTF8
		}
	}
	return tagPrintable
}
