package estserver

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Object identifiers of the messages, in DER.
var (
	oidSignedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}
	oidData       = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01}
	oidChallenge  = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07}
	oidECKey      = []byte{0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}
	oidP256       = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	oidRSAKey     = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
)

var challengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}

// tlv is one element of DER.
func tlv(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	out := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	case n < 0x10000:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, content...)
}

// open is one element of BER with no length: its end is marked.
func open(tag byte, parts ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(parts, nil)...), 0, 0)
}

// certsOnly is a PKCS #7 with certificates and no signer (RFC 5652 §5.1, RFC 7030 §4.1.3).
func certsOnly(element func(byte, ...[]byte) []byte, certs ...*x509.Certificate) []byte {
	var all [][]byte
	for _, c := range certs {
		all = append(all, c.Raw)
	}
	signed := [][]byte{{2, 1, 1}, tlv(0x31), tlv(0x30, oidData)}
	if len(all) > 0 {
		signed = append(signed, element(0xa0, all...))
	}
	return element(0x30, oidSignedData, element(0xa0, element(0x30, append(signed, tlv(0x31))...)))
}

// encode is base64 in lines of 76 letters, as MIME wants it and many servers send it.
func encode(der []byte) []byte {
	text := base64.StdEncoding.EncodeToString(der)
	var out []byte
	for len(text) > 76 {
		out, text = append(append(out, text[:76]...), "\r\n"...), text[76:]
	}
	return append(append(out, text...), "\r\n"...)
}

// decode reads base64, with line ends and nothing else between.
func decode(text []byte) ([]byte, error) {
	return base64.StdEncoding.Strict().DecodeString(strings.NewReplacer("\r", "", "\n", "").Replace(string(text)))
}

// attributes is the answer of /csrattrs (RFC 7030 §4.5.2).
func (o Options) attributes() []byte {
	var all [][]byte
	if o.Challenge {
		all = append(all, oidChallenge)
	}
	switch o.KeyType {
	case ECDSA:
		all = append(all, tlv(0x30, oidECKey, tlv(0x31, oidP256)))
	case RSA:
		all = append(all, tlv(0x30, oidRSAKey, tlv(0x31, tlv(0x02, []byte{0x08, 0x00})))) // 2048
	}
	return tlv(0x30, all...)
}

// challenge is the challengePassword of a request, "" if it has none (RFC 2985 §5.4.1).
func challenge(csr *x509.CertificateRequest) (string, error) {
	var tbs struct {
		Version         int
		Subject, Public asn1.RawValue
		Attributes      []asn1.RawValue `asn1:"tag:0"`
	}
	if rest, err := asn1.Unmarshal(csr.RawTBSCertificateRequest, &tbs); err != nil || len(rest) > 0 {
		return "", errors.Join(err, errors.New("the request's attributes cannot be read"))
	}
	found, password := false, ""
	for _, raw := range tbs.Attributes {
		var attribute struct {
			ID     asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		}
		if _, err := asn1.Unmarshal(raw.FullBytes, &attribute); err != nil {
			return "", fmt.Errorf("an attribute of the request: %w", err)
		}
		if !attribute.ID.Equal(challengePassword) {
			continue
		}
		if found || len(attribute.Values) != 1 {
			return "", errors.New("challengePassword has to be one value")
		}
		if _, err := asn1.Unmarshal(attribute.Values[0].FullBytes, &password); err != nil {
			return "", fmt.Errorf("challengePassword: %w", err)
		}
		found = true
	}
	return password, nil
}
