package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// The message is read however its base64 is broken or padded, and nothing else is.
func TestParseCerts(t *testing.T) {
	spec.Rules(t, "CERT-15")
	a, b := newCA("a", day).cert, newCA("b", day).cert
	der := message(a, b)
	text := base64.StdEncoding.EncodeToString(der)
	for !strings.HasSuffix(text, "=") { // one that is padded
		a = newCA("a"+a.Subject.CommonName, day).cert
		der = message(a, b)
		text = base64.StdEncoding.EncodeToString(der)
	}
	var lines strings.Builder
	for i, c := range text {
		if i > 0 && i%64 == 0 {
			lines.WriteString("\r\n")
		}
		lines.WriteRune(c)
	}
	for name, body := range map[string]string{
		"plain": text, "lines": lines.String() + "\r\n", "cr": strings.ReplaceAll(lines.String(), "\n", ""),
		"unpadded": strings.TrimRight(text, "="), "spaces": " " + strings.ReplaceAll(lines.String(), "\r\n", " \t"),
		"indefinite": base64.StdEncoding.EncodeToString(indefinite(der)),
	} {
		t.Run("CERT-15/"+name, func(t *testing.T) {
			got, err := certs.ParseCerts([]byte(body))
			if err != nil || len(got) != 2 || !got[0].Equal(a) || !got[1].Equal(b) {
				t.Errorf("got %d certificates, %v; want 2", len(got), err)
			}
		})
	}
	encode := base64.StdEncoding.EncodeToString
	signed := bytes.Clone(message(a))
	signed = append(signed[:len(signed)-2], 0x31, 0x80) // signers of no length
	for name, c := range map[string]struct{ body, want string }{
		"empty":      {" \r\n", "an empty answer"},
		"html":       {"\n<!DOCTYPE html>", "an HTML page"},
		"der":        {string(der), "not base64"},
		"pem":        {"-----BEGIN PKCS7-----\n" + text, "not base64"},
		"cut":        {text[:len(text)-200], "the message breaks off"},
		"more":       {encode(append(bytes.Clone(der), 0)), "not a PKCS #7 message"},
		"data":       {encode(bytes.Replace(der, []byte{1, 7, 2}, []byte{1, 7, 1}, 1)), "not a PKCS #7 message"},
		"no-certs":   {encode(message()), "without certificates"},
		"signers":    {encode(signed), "the message breaks off"},
		"not-a-cert": {encode(message(&x509.Certificate{Raw: []byte{0x30, 0}})), "certificate 1 cannot be used"},
		"deep":       {encode(bytes.Repeat([]byte{0x30, 0x80}, 1<<16)), "nested too deeply"},
		"endless":    {encode([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0}), "the message breaks off"},
	} {
		t.Run("CERT-15/"+name, func(t *testing.T) {
			got, err := certs.ParseCerts([]byte(c.body))
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("got %d certificates, %v; want %q", len(got), err, c.want)
			}
		})
	}
}

// indefinite writes the outer elements of a message without their lengths, as BER allows.
func indefinite(der []byte) []byte {
	header := func(b []byte) int { // of an element whose length has two bytes
		if b[1] != 0x82 {
			panic("the length has not two bytes")
		}
		return 4
	}
	oid := der[header(der) : header(der)+11]
	rest := der[header(der)+11:] // [0]
	inner := rest[header(rest):]
	body := inner[header(inner):]
	out := append([]byte{0x30, 0x80}, oid...)
	out = append(out, 0xa0, 0x80, 0x30, 0x80)
	out = append(out, body...)
	return append(out, 0, 0, 0, 0, 0, 0)
}

// The limits of what a server may send.
func TestLimits(t *testing.T) {
	spec.Rules(t, "CERT-16")
	ca := newCA("ca", day)
	many := make([]*x509.Certificate, 33)
	for i := range many {
		many[i] = ca.cert
	}
	if got, err := certs.ParseCerts([]byte(message64(many[:32]...))); err != nil || len(got) != 32 {
		t.Errorf("32 certificates: got %d, %v", len(got), err)
	}
	if _, err := certs.ParseCerts([]byte(message64(many...))); err == nil || !strings.Contains(err.Error(), "over 32") {
		t.Errorf("33 certificates: got %v", err)
	}
	weakCurve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Too short to be made here: a modulus of 1,024 bits that nobody has the factors of.
	short := &rsa.PublicKey{N: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 1024), big.NewInt(105)), E: 65537}
	for name, c := range map[string]struct {
		key  any
		want string
	}{"p224": {weakCurve.Public(), "under P-256"}, "rsa1024": {short, "under 2048 bits"}} {
		t.Run("CERT-16/"+name, func(t *testing.T) {
			cert := ca.sign(&x509.Certificate{
				Subject: pkix.Name{CommonName: "weak"}, NotAfter: time.Now().Add(day), IsCA: true,
				BasicConstraintsValid: true,
			}, c.key)
			if _, err := certs.ParseCerts([]byte(message64(ca.cert, cert))); err == nil ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Only what is a CA's and signed by itself is a root; the rest of the CAs are links, and what has ended is neither.
func TestSortCerts(t *testing.T) {
	spec.Rules(t, "CERT-14", "CERT-16")
	a, b := newCA("a", day), newCA("a", day)
	link := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "a"}, NotAfter: time.Now().Add(day), IsCA: true, BasicConstraintsValid: true,
	}, b.key.Public())
	leaf := a.device("x", day).Leaf
	ended := newCA("ended", 30*time.Minute).cert
	roots, links, err := certs.SortCerts([]*x509.Certificate{link, leaf, ended, b.cert, a.cert, a.cert}, time.Now())
	if err != nil || len(roots) != 2 || !roots[0].Equal(b.cert) || !roots[1].Equal(a.cert) {
		t.Errorf("got %d roots, %v; want b and a", len(roots), err)
	}
	if len(links) != 1 || !links[0].Equal(link) {
		t.Errorf("got %d links, want 1", len(links))
	}
	for _, none := range [][]*x509.Certificate{{leaf}, {link}, {ended}} {
		if roots, _, err := certs.SortCerts(none, time.Now()); err == nil {
			t.Errorf("got %d roots of %v", len(roots), none[0].Subject)
		}
	}
}

// Whatever comes, the reader ends, and what it takes is what package x509 reads from the same bytes.
func FuzzParseCerts(f *testing.F) {
	for _, seed := range fixed(f) {
		f.Add(seed)
	}
	f.Add([]byte("MAsGCSqGSIb3DQEHAg=="))
	f.Add([]byte("MIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwEAAKCAAAAxAAAAAAAAAA=="))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := certs.ParseCerts(body)
		if (err == nil) != (len(all) > 0) || len(all) > 32 {
			t.Fatalf("got %d certificates, %v", len(all), err)
		}
		if err != nil {
			return
		}
		again, err := certs.ParseCerts([]byte(message64(all...)))
		if err != nil || len(again) != len(all) {
			t.Errorf("written again got %d certificates, %v; want %d", len(again), err, len(all))
		}
		for i := range again {
			if !again[i].Equal(all[i]) {
				t.Errorf("certificate %d is another when written again", i)
			}
		}
	})
}

// fixed are messages that other programs made.
func fixed(f *testing.F) (all [][]byte) {
	names, err := filepath.Glob("testdata/*.p7.b64")
	if err != nil || len(names) == 0 {
		f.Fatalf("no messages in testdata: %v", err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// What other programs write is read, and has the certificates that they were given.
func TestForeign(t *testing.T) {
	spec.Rules(t, "CERT-15")
	names, _ := filepath.Glob("testdata/*.p7.b64")
	if len(names) == 0 {
		t.Fatal("no messages in testdata")
	}
	for _, n := range names {
		t.Run("CERT-15/"+filepath.Base(n), func(t *testing.T) {
			b, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			all, err := certs.ParseCerts(b)
			if err != nil || len(all) != 2 {
				t.Errorf("got %d certificates, %v; want 2", len(all), err)
			}
		})
	}
}

func FuzzParseAttributes(f *testing.F) {
	f.Add([]byte(sequence(challenge, attribute{oidEC, set(p256)}, attribute{oidRSA, set(2048)})))
	f.Add([]byte(sequence(attribute{macAddr, set()})))
	f.Add([]byte("MIAAAA=="))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := certs.ParseAttributes(body)
		if err != nil && a != (certs.Attributes{}) {
			t.Errorf("got %+v with %v", a, err)
		}
		if !a.Keyed && (a.ECDSA || a.RSABits != 0) || a.RSABits != 0 && (a.RSABits < 2048 || a.RSABits > 4096) {
			t.Errorf("got %+v", a)
		}
	})
}
