package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// A device that was never on gets the root, and a certificate for its names, with the maker's certificate.
func TestFirst(t *testing.T) {
	spec.Rules(t, "CERT-4", "CERT-10", "CERT-22", "CERT-23", "CERT-26")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	leaf := r.must()
	if leaf.Subject.CommonName != name || leaf.Subject.SerialNumber != "SN0012" ||
		strings.Join(leaf.DNSNames, " ") != name {
		t.Errorf("got %v for %q", leaf.Subject, leaf.DNSNames)
	}
	s := r.Status()
	if s.Phase != certs.Held || len(s.Roots) != 1 || s.Roots[0].Trust != certs.TrustFirst || s.Err != nil {
		t.Errorf("got %+v", s)
	}
	var got []string
	for _, a := range e.all("") {
		got = append(got, a.what+" "+a.client)
	}
	const at, maker = "/.well-known/est/", " AX-8 SN0012"
	want := []string{
		"GET " + at + "cacerts ", "GET " + at + "cacerts" + maker, "GET " + at + "csrattrs" + maker,
		"POST " + at + "simpleenroll" + maker,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A label goes after the well-known path, escaped, for every operation.
func TestLabel(t *testing.T) {
	spec.Rules(t, "CERT-4")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.label = "studio 1"
	r.step()
	r.must()
	r.Renew()
	r.step()
	for _, a := range e.all("") {
		if !strings.Contains(a.what, "/.well-known/est/studio 1/") {
			t.Errorf("asked for %q", a.what)
		}
	}
}

// The request has the names and both uses, and is signed with SHA-2; no key is used twice, and none is made by a
// server.
func TestRequest(t *testing.T) {
	spec.Rules(t, "CERT-20", "CERT-22", "CERT-28", "CERT-31")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.config.Names = []string{"AX8.example.com.", "second.example.com", "ax8.example.com"}
	r.config.Kinds = []certs.KeyKind{certs.ECDSA, certs.RSA}
	r.Configure(r.config)
	r.step()
	r.must()
	r.Renew()
	r.step()
	keys := map[string]bool{}
	for _, a := range e.enrolments() {
		csr := a.csr
		got := strings.Join(csr.DNSNames, " ")
		if got != "ax8.example.com second.example.com" || len(csr.IPAddresses) > 0 {
			t.Errorf("got the names %q", got)
		}
		if csr.Subject.CommonName != "ax8.example.com" {
			t.Errorf("got the CN %q", csr.Subject.CommonName)
		}
		if csr.SignatureAlgorithm != x509.SHA256WithRSA && csr.SignatureAlgorithm != x509.ECDSAWithSHA256 {
			t.Errorf("signed with %v", csr.SignatureAlgorithm)
		}
		public, _ := x509.MarshalPKIXPublicKey(csr.PublicKey)
		keys[string(public)] = true
		if !bytes.Contains(a.raw, []byte{0x06, 0x03, 0x55, 0x1d, 0x25}) {
			t.Error("no extended key usage is asked for")
		}
	}
	if len(keys) != 4 {
		t.Errorf("got %d keys in %d requests, want 4", len(keys), len(e.enrolments()))
	}
	if n := len(e.all("serverkeygen")); n > 0 {
		t.Errorf("asked %d times for a server's key", n)
	}
}

// There is a certificate for each kind of key that is configured, and none for another.
func TestKinds(t *testing.T) {
	spec.Rules(t, "CERT-21", "CERT-61")
	e := newEST("est.example.com")
	r := newRig(t, e)
	for _, c := range []struct {
		kinds []certs.KeyKind
		want  string
	}{
		{nil, "ecdsa"},
		{[]certs.KeyKind{certs.RSA, certs.ECDSA}, "rsa ecdsa"},
		{[]certs.KeyKind{certs.RSA}, "rsa"},
	} {
		r.config.Kinds = c.kinds
		r.Configure(r.config)
		r.step()
		var got []string
		for _, p := range r.given[len(r.given)-1].Pairs {
			got = append(got, string(p.Kind))
			switch key := p.Leaf.PublicKey.(type) {
			case *rsa.PublicKey:
				if p.Kind != certs.RSA || key.N.BitLen() != 2048 {
					t.Errorf("kind %s: an RSA key of %d bits", p.Kind, key.N.BitLen())
				}
			case *ecdsa.PublicKey:
				if p.Kind != certs.ECDSA || key.Curve.Params().Name != "P-256" {
					t.Errorf("kind %s: a key on %s", p.Kind, key.Curve.Params().Name)
				}
			}
		}
		if strings.Join(got, " ") != c.want || len(r.Certificates()) != len(got) {
			t.Errorf("kinds %v: got %q, want %q", c.kinds, got, c.want)
		}
	}
}

// Names that no certificate can have are not asked for.
func TestNames(t *testing.T) {
	spec.Rules(t, "CERT-22", "CERT-61")
	for _, names := range [][]string{
		nil, {""}, {"*.example.com"}, {"a.example.com", "192.0.2.1"}, {"2001:db8::1"}, {"a b"}, {"a..b"}, {"-a"},
		{strings.Repeat("a.", 33) + "a"}, {strings.Repeat("a", 64)}, {"a.example.com", strings.Repeat("a.", 130) + "a"},
	} {
		e := newEST("est.example.com")
		r := newRig(t, e)
		r.config.Names = names
		r.Configure(r.config)
		r.step()
		if s := r.Status(); s.Phase != certs.Misconfigured || s.Err == nil || r.dials != 0 {
			t.Errorf("names %q: got phase %v, %v", names, s.Phase, s.Err)
		}
	}
}

// sequence is the base64 of /csrattrs.
func sequence(parts ...any) string {
	var raw []byte
	for _, p := range parts {
		der, err := asn1.Marshal(p)
		if err != nil {
			panic(err)
		}
		raw = append(raw, der...)
	}
	der, _ := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: raw})
	return base64.StdEncoding.EncodeToString(der)
}

// attribute is one with values.
type attribute struct {
	OID    asn1.ObjectIdentifier
	Values asn1.RawValue
}

func set(values ...any) asn1.RawValue {
	var raw []byte
	for _, v := range values {
		der, _ := asn1.Marshal(v)
		raw = append(raw, der...)
	}
	return asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: raw}
}

var (
	challenge = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC     = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	p256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	p384      = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
	macAddr   = asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}
)

// What a server asks for is honoured where that is the kind of key, and skipped where not.
func TestAttributes(t *testing.T) {
	spec.Rules(t, "CERT-25")
	for _, c := range []struct {
		name, attrs string
		want        certs.Attributes
		bad         bool
	}{
		{"empty", "", certs.Attributes{}, false},
		{"none", sequence(), certs.Attributes{}, false},
		{"challenge", sequence(challenge), certs.Attributes{Challenge: true}, false},
		{"unknown", sequence(macAddr, attribute{macAddr, set("x")}), certs.Attributes{}, false},
		{"p256", sequence(attribute{oidEC, set(p256)}), certs.Attributes{Keyed: true, ECDSA: true}, false},
		{"p384", sequence(attribute{oidEC, set(p384)}), certs.Attributes{Keyed: true}, false},
		{"any-curve", sequence(oidEC), certs.Attributes{Keyed: true, ECDSA: true}, false},
		{"rsa", sequence(oidRSA), certs.Attributes{Keyed: true, RSABits: 2048}, false},
		{"rsa-1024", sequence(attribute{oidRSA, set(1024)}), certs.Attributes{Keyed: true, RSABits: 2048}, false},
		{"rsa-3072", sequence(attribute{oidRSA, set(4096, 3072)}), certs.Attributes{Keyed: true, RSABits: 3072}, false},
		{"rsa-16384", sequence(attribute{oidRSA, set(16384)}), certs.Attributes{Keyed: true}, false},
		{"both", sequence(challenge, attribute{oidEC, set(p256)}, oidRSA),
			certs.Attributes{Challenge: true, Keyed: true, ECDSA: true, RSABits: 2048}, false},
		{"not-base64", "!", certs.Attributes{}, true},
		{"number", base64.StdEncoding.EncodeToString([]byte{2, 1, 1}), certs.Attributes{}, true},
		{"number-inside", base64.StdEncoding.EncodeToString([]byte{0x30, 3, 2, 1, 1}), certs.Attributes{}, true},
		{"cut", base64.StdEncoding.EncodeToString([]byte{0x30, 9, 6, 1}), certs.Attributes{}, true},
	} {
		t.Run("CERT-25/"+c.name, func(t *testing.T) {
			got, err := certs.ParseAttributes([]byte(c.attrs))
			if got != c.want || (err != nil) != c.bad {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// A key of a kind or length that the server does not take is not made; a server without /csrattrs is fine in all forms.
func TestAttributesAreHonoured(t *testing.T) {
	spec.Rules(t, "CERT-25")
	e := newEST("est.example.com")
	e.attrs = sequence(attribute{oidRSA, set(3072)})
	r := newRig(t, e)
	r.step()
	r.refused("takes no keys of kind ecdsa")
	if len(e.enrolments()) > 0 {
		t.Error("a request was sent all the same")
	}
	r.config.Kinds = []certs.KeyKind{certs.RSA}
	r.Configure(r.config)
	r.step()
	if key, ok := r.must().PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() != 3072 {
		t.Errorf("got a key of type %T", r.must().PublicKey)
	}
	for _, status := range []int{204, 404, 501} {
		e := newEST("est.example.com")
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if strings.HasSuffix(a.what, "csrattrs") {
				w.WriteHeader(status)
				return true
			}
			return false
		}
		r := newRig(t, e)
		r.step()
		r.must()
	}
}

// If the server asks for it, and only then, the request is tied to its TLS session, which is of 1.2.
func TestTied(t *testing.T) {
	spec.Rules(t, "CERT-24")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	r.must()
	e.attrs = sequence(challenge)
	r.Renew()
	r.step()
	all := e.enrolments()
	if len(all) != 2 {
		t.Fatalf("got %d requests, want 2: %s", len(all), r.said())
	}
	if all[0].version != tls.VersionTLS13 || password(t, all[0].raw) != "" {
		t.Errorf("unasked: got TLS %#x with password %q", all[0].version, password(t, all[0].raw))
	}
	want := base64.StdEncoding.EncodeToString(all[1].unique)
	if got := password(t, all[1].raw); all[1].version != tls.VersionTLS12 || got != want || want == "" {
		t.Errorf("asked: got TLS %#x with password %q, want 1.2 with %q", all[1].version, got, want)
	}
	if c := e.all("cacerts"); c[len(c)-1].version != tls.VersionTLS13 {
		t.Error("other requests are of TLS 1.2, too")
	}
}

// password returns the challengePassword of a request.
func password(t *testing.T, der []byte) string {
	t.Helper()
	var request struct {
		Info struct {
			Version    int
			Subject    asn1.RawValue
			Key        asn1.RawValue
			Attributes []attribute `asn1:"tag:0,set"`
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &request); err != nil || len(rest) > 0 {
		t.Fatalf("the request cannot be read: %v", err)
	}
	for _, a := range request.Info.Attributes {
		if a.OID.Equal(challenge) {
			var text string
			if _, err := asn1.Unmarshal(a.Values.Bytes, &text); err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	return ""
}

// The maker's certificate is shown while it is valid; else the device comes without, and the server decides. No
// password is ever sent.
func TestIdentity(t *testing.T) {
	spec.Rules(t, "CERT-26")
	for _, c := range []struct {
		name  string
		maker func(*authority) *tls.Certificate
		unset bool
		want  string
	}{
		{"valid", func(a *authority) *tls.Certificate { return a.device("maker", day) }, false, "maker"},
		{"expired", func(a *authority) *tls.Certificate { return a.device("maker", -time.Second) }, false, ""},
		{"expired-clock-unknown", func(a *authority) *tls.Certificate { return a.device("maker", -time.Second) }, true,
			"maker"},
		{"none", func(a *authority) *tls.Certificate { return nil }, false, ""},
	} {
		t.Run("CERT-26/"+c.name, func(t *testing.T) {
			e := newEST("est.example.com")
			r := newRig(t, e)
			r.maker, r.unset = c.maker(r.makerCA), c.unset
			r.step()
			r.must()
			if got := e.enrolments()[0].client; got != c.want {
				t.Errorf("showed %q, want %q", got, c.want)
			}
		})
	}
}

func TestPassword(t *testing.T) {
	spec.Rules(t, "CERT-26")
	for _, scheme := range []string{`Basic realm="est"`, `Digest realm="est", nonce="a"`} {
		e := newEST("est.example.com")
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr == nil {
				return false
			}
			w.Header().Set("WWW-Authenticate", scheme)
			w.WriteHeader(401)
			return true
		}
		r := newRig(t, e)
		for range 3 {
			r.step()
		}
		r.refused("never sends")
		for _, a := range e.all("") {
			if a.head.Get("Authorization") != "" {
				t.Errorf("sent %s", a.head.Get("Authorization"))
			}
		}
	}
}

// A clock that was never set does not keep a device from its certificate, though every date is wrong for it.
func TestClockUnknown(t *testing.T) {
	spec.Rules(t, "CERT-30")
	for _, ahead := range []time.Duration{-50 * 365 * day, 50 * 365 * day} {
		e := newEST("est.example.com")
		r := newRig(t, e)
		r.unset, r.ahead = true, ahead
		r.step()
		r.must()
		if s := r.Status(); s.Phase != certs.Held || s.Certificates[0].Expired {
			t.Errorf("%v ahead: got %+v", ahead, s)
		}
		for range 3 {
			r.step()
		}
		if n := len(e.enrolments()); n != 1 {
			t.Errorf("%v ahead: got %d requests, want 1", ahead, n)
		}
		r.unset, r.ahead = false, 0
		r.ClockChanged()
		r.step()
		if n := len(e.enrolments()); n != 1 {
			t.Errorf("once the clock was set: got %d requests, want 1", n)
		}
	}
	e := newEST("est.example.com") // a clock that is known is believed
	r := newRig(t, e)
	r.ahead = 50 * 365 * day
	r.step()
	if r.held() != nil || len(e.enrolments()) != 0 {
		t.Error("a trusted clock was not believed")
	}
}

// What a device shows of itself has no private key in it.
func TestSilent(t *testing.T) {
	spec.Rules(t, "CERT-48")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	r.must()
	b := r.given[len(r.given)-1]
	block, _ := pem.Decode(b.Pairs[0].Key)
	for where, text := range map[string]string{
		"events": r.said(), "status": fmt.Sprintf("%+v %#v", r.Status(), r.Status()),
		"pair": fmt.Sprintf("%v %+v %#v %s %q", b, b, b, b.Pairs[0], b.Pairs),
	} {
		for _, secret := range []string{
			string(b.Pairs[0].Key), base64.StdEncoding.EncodeToString(block.Bytes)[40:80],
			fmt.Sprint(block.Bytes[40:50]),
			fmt.Sprintf("%x", block.Bytes[40:50]), strings.Trim(fmt.Sprintf("%#v", block.Bytes[40:50]), "[]byte{}"),
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has the key: %.200s", where, text)
			}
		}
	}
}
