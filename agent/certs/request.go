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
		return nil, nil, wrap("cannot make a key", err)
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

// der writes one element of DER. Inlined, it would make makeRequest three times as large.
//
//go:noinline // for flash
func der(tag byte, content string) string {
	head := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		head = append(head, byte(n))
	case n < 0x100:
		head = append(head, 0x81, byte(n))
	default:
		head = append(head, 0x82, byte(n>>8), byte(n)) // requests are shorter than 64 KiB
	}
	return string(head) + content
}

// wanted is what a certificate is asked for.
type wanted struct {
	names   []string
	serial  string
	subject []byte // DER, of the certificate that is renewed (CERT-41); nil to make one
}

// The parts of a request that are always the same, as DER.
const (
	idCN        = "\x06\x03\x55\x04\x03"
	idSerial    = "\x06\x03\x55\x04\x05"
	idNames     = "\x06\x03\x55\x1d\x11"
	idExtend    = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"
	idChallenge = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"

	// The extension extendedKeyUsage: serverAuth, clientAuth.
	bothUses = "\x30\x1d\x06\x03\x55\x1d\x25\x04\x16\x30\x14" +
		"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02"

	version0   = "\x02\x01\x00"
	byECDSA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	byRSA256   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
)

// makeRequest writes a PKCS #10 request (RFC 2986) as base64: CN and DNS names (CERT-22), the serial number (CERT-23),
// both uses (CERT-28), and what ties it to a TLS session, if that is not nil (CERT-24). Package x509 cannot write the
// last, so it is all written here.
func makeRequest(key crypto.Signer, w wanted, unique []byte) ([]byte, error) {
	subject := string(w.subject)
	if subject == "" {
		subject = der(tagSet, der(tagSequence, idCN+der(tagUTF8, w.names[0])))
		if w.serial != "" {
			subject += der(tagSet, der(tagSequence, idSerial+der(textTag(w.serial), w.serial)))
		}
		subject = der(tagSequence, subject)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, wrap("cannot write a request", err)
	}
	names := ""
	for _, n := range w.names {
		names += der(tagDNSName, n)
	}
	names = der(tagSequence, idNames+der(tagOctets, der(tagSequence, names)))
	attributes := der(tagSequence, idExtend+der(tagSet, der(tagSequence, bothUses+names)))
	if unique != nil { // a SET OF is in order: this one is the shorter
		tie := der(tagPrintable, base64.StdEncoding.EncodeToString(unique))
		attributes = der(tagSequence, idChallenge+der(tagSet, tie)) + attributes
	}
	info := der(tagSequence, version0+subject+string(public)+der(tagContext0, attributes))
	algorithm := byECDSA256
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = byRSA256
	}
	digest := sha256.Sum256([]byte(info))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, wrap("cannot sign a request", err)
	}
	request := der(tagSequence, info+algorithm+der(tagBits, "\x00"+string(signature)))
	return []byte(base64.StdEncoding.EncodeToString([]byte(request))), nil
}

// textTag is that of a text: a serial number is a PrintableString (RFC 5280 appendix A.1), unless it cannot be.
func textTag(s string) byte {
	for _, b := range []byte(s) {
		if l := ascii.Lower(b); (l < 'a' || l > 'z') && (b < '0' || b > '9') &&
			strings.IndexByte(" '()+,-./:=?", b) < 0 {
			return tagUTF8
		}
	}
	return tagPrintable
}
