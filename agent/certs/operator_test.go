package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// pems is a pair that a person has: of any CA, with any names.
func pems(t testing.TB, a *authority, names ...string) (key, chain []byte, leaf *x509.Certificate) {
	t.Helper()
	private := newKey()
	leaf = a.sign(&x509.Certificate{
		DNSNames: names, NotAfter: time.Now().Add(100 * day), KeyUsage: x509.KeyUsageDigitalSignature,
	}, private.Public())
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	return key, append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...), leaf
}

// weakPair is a pair with a key that TLS would take, and this device does not.
func weakPair(t *testing.T) [2][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := newCA("By Hand", day).sign(&x509.Certificate{NotAfter: time.Now().Add(day)}, key.Public())
	return [2][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
	}
}

// A pair that a person installed is used as it is, and renewed by EST when its time comes.
func TestInstall(t *testing.T) {
	spec.Rules(t, "CERT-47")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Place(0)
		key, chain, leaf := pems(t, newCA("By Hand", 200*day), "other.example.com")
		r.installed = []*x509.Certificate{e.ca.cert}
		if err := r.Install(t.Context(), append(key, chain...)); err != nil {
			t.Fatal(err)
		}
		if !r.must().Equal(leaf) { // it is there when Install returns
			t.Error("the firmware has another")
		}
		r.run(49 * day)
		if !r.must().Equal(leaf) || len(e.enrolments()) != 0 || !r.Status().Certificates[0].Installed {
			t.Errorf("got %d requests before its time", len(e.enrolments()))
		}
		r.run(2 * day)
		if got := r.must(); got.Equal(leaf) || got.DNSNames[0] != name || r.Status().Certificates[0].Installed {
			t.Errorf("not renewed when its time came: %s", r.said())
		}
		if a := e.enrolments()[0]; !strings.HasSuffix(a.what, "simpleenroll") { // it had another name
			t.Errorf("got %s", a.what)
		}
	})
	e := newEST("est.example.com")
	r := newRig(t, e)
	key, chain, _ := pems(t, e.ca, name)
	other, _, _ := pems(t, e.ca, name)
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	for what, c := range map[string][2][]byte{
		"none": {nil, nil}, "no-chain": {key, nil}, "another-key": {other, chain}, "weak": weakPair(t),
		"broken-chain": {key, append(bytes.Clone(chain), broken...)},
	} {
		if err := r.Install(t.Context(), append(bytes.Clone(c[0]), c[1]...)); err == nil {
			t.Errorf("%s: installed", what)
		}
	}
	r.ahead = 200 * day
	if err := r.Install(t.Context(), append(key, chain...)); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("ended: got %v", err)
	}
}

// Whatever a file with a pair holds, the error is short and does nothing to a terminal, and shows nothing of the key.
// What is too long to be kept beside all else is refused, and so is what is not valid yet.
func TestInstallHostile(t *testing.T) {
	spec.Rules(t, "CERT-47")
	e := newEST("est.example.com")
	r := newRig(t, e)
	hand := newCA("By Hand", 200*day)
	key, chain, _ := pems(t, hand, name)
	r.ahead = -day // for a certificate that begins now
	if err := r.Install(t.Context(), append(bytes.Clone(key), chain...)); err == nil ||
		!strings.Contains(err.Error(), "not valid before") {
		t.Errorf("not valid yet: got %v", err)
	}
	r.ahead = 0
	odd := bytes.ReplaceAll(key, []byte("PRIVATE KEY"), []byte("\x1b]0;owned\a"+strings.Repeat("x", 60<<10)))
	wide := hand.sign(&x509.Certificate{
		DNSNames: strings.Split(strings.Repeat(name+" ", 200)+name, " "), NotAfter: time.Now().Add(day),
	}, newKey().Public())
	long := append(bytes.Clone(key), chain...)
	for len(long) < 100<<10 {
		long = append(long, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: wide.Raw})...)
	}
	for what, text := range map[string][]byte{"odd": append(odd, chain...), "long": long} {
		err := r.Install(t.Context(), text)
		if err == nil {
			t.Errorf("%s: installed", what)
			continue
		}
		if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\x1b\a\n") {
			t.Errorf("%s: got an error of %d bytes: %.200q", what, len(s), s)
		}
	}
}

// A web server's certificate that a person installed cannot ask for its successor: the maker's does.
func TestInstallServers(t *testing.T) {
	spec.Rules(t, "CERT-26", "CERT-47")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		private := newKey()
		leaf := newCA("By Hand", 200*day).sign(&x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(100 * day),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, private.Public())
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})...)
		r.installed = []*x509.Certificate{e.ca.cert}
		if err := r.Install(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		r.run(90 * day)
		all := e.all("")
		if r.must().Equal(leaf) || !strings.HasSuffix(e.enrolments()[0].what, "/simpleenroll") {
			t.Errorf("not renewed: %s", r.said())
		}
		for _, a := range all[:1] {
			if a.client == name {
				t.Errorf("%s by %q", a.what, a.client)
			}
		}
	})
}

// What is held can be taken away, one or all; afterwards a first root may be taken again.
func TestRemove(t *testing.T) {
	spec.Rules(t, "CERT-10", "CERT-47")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.config.NoRenewal = true
	r.Configure(r.config)
	r.step()
	r.must()
	if err := r.Remove(t.Context(), certs.RSA); err == nil {
		t.Error("removed what is not held")
	}
	if err := r.Remove(t.Context(), certs.ECDSA); err != nil {
		t.Fatal(err)
	}
	e.away = true
	r.step()
	if r.held() != nil || len(r.Certificates()) != 0 || len(r.Roots()) == 0 {
		t.Error("the pair is still there, or the root is not")
	}
	if err := r.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.step()
	if s := r.Status(); len(s.Roots) != 0 || len(r.Roots()) != 0 || len(r.given[len(r.given)-1].Roots) != 0 {
		t.Errorf("got %+v", s)
	}
	e.away = false
	e.ca = newCA("Another", day)
	e.cert = e.ca.serve(e.host, day)
	r.step()
	if leaf := r.must(); leaf.CheckSignatureFrom(e.ca.cert) != nil {
		t.Error("the certificate is of the former root")
	}
}

// An operator's wish begins with the maker's certificate, or renews with the one that is held.
func TestWishes(t *testing.T) {
	spec.Rules(t, "CERT-26", "CERT-41")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	r.Renew()
	r.step()
	r.Enrol()
	r.step()
	var got []string
	for _, a := range e.enrolments() {
		got = append(got, a.what[len("POST /.well-known/est/"):]+" "+a.client)
	}
	want := "simpleenroll AX-8 SN0012, simplereenroll " + name + ", simpleenroll AX-8 SN0012"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	r.config.Names = []string{"new.example.com"} // other names: from the beginning
	r.Configure(r.config)
	r.step()
	a := e.enrolments()[3]
	if !strings.HasSuffix(a.what, "/simpleenroll") || r.must().DNSNames[0] != "new.example.com" {
		t.Errorf("got %s", a.what)
	}
}

// Without EST a pair is installed and removed all the same, in each of the forms in which tools write keys. What the
// firmware did not take is said, and given to it again.
func TestInstallWithoutEST(t *testing.T) {
	spec.Rules(t, "CERT-5", "CERT-47")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.config.Enabled = false
	r.Configure(r.config)
	key, chain, leaf := pems(t, newCA("By Hand", 200*day), "other.example.com")
	block, _ := pem.Decode(key)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(private.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := r.Install(t.Context(), append(sec1, chain...)); err != nil || !r.must().Equal(leaf) {
		t.Errorf("got %v", err)
	}
	if s := r.Status(); s.Phase != certs.Disabled || len(s.Certificates) != 1 || !s.Certificates[0].Installed {
		t.Errorf("got %+v", s)
	}
	r.step()
	if err := r.Remove(t.Context(), certs.ECDSA); err != nil || r.held() != nil {
		t.Errorf("removed: %v, held %v", err, r.held() != nil)
	}
	r.refuse = errors.New("read-only file system")
	err = r.Install(t.Context(), append(key, chain...))
	if err == nil || !strings.Contains(err.Error(), "read-only") || strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("not handed over: got %v", err)
	}
	r.refuse = nil
	r.step()
	if !r.must().Equal(leaf) || r.dials != 0 {
		t.Errorf("not handed over later, or %d connections", r.dials)
	}
}

// What cannot be stored is neither installed nor removed nor forgotten: the firmware keeps what it has, and so does the
// device.
func TestChangeWholeOrNot(t *testing.T) {
	spec.Rules(t, "CERT-29", "CERT-47")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	leaf := r.must()
	key, chain, _ := pems(t, e.ca, name)
	given := len(r.given)
	for what, change := range map[string]func() error{
		"install": func() error { return r.Install(t.Context(), append(key, chain...)) },
		"remove":  func() error { return r.Remove(t.Context(), certs.ECDSA) },
		"forget":  func() error { return r.Forget(t.Context()) },
	} {
		r.flash.fails = errors.New("no space left on device")
		if err := change(); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("%s: got %v", what, err)
		}
		s := r.Status()
		if len(s.Roots) != 1 || len(r.Roots()) == 0 || len(r.Certificates()) != 1 || s.Phase != certs.Held {
			t.Errorf("%s: got %+v", what, s)
		}
		r.flash.fails = nil
		r.step()
		if !r.must().Equal(leaf) || len(r.given) != given || len(e.enrolments()) != 1 {
			t.Errorf("%s: given %d times, %d requests: %s", what, len(r.given)-given, len(e.enrolments()), r.said())
		}
	}
}

// Who wishes for certificates is told what came of that wish alone: not of a renewal that was planned, nor of one that
// another asked for before.
func TestWishOutcome(t *testing.T) {
	spec.Rules(t, "CERT-27", "CERT-41")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step() // the first, which nobody wished for
	told := r.Renew()
	select {
	case err := <-told:
		t.Fatalf("told %v before anything was asked for", err)
	default:
	}
	e.away = true
	r.step()
	if err := <-told; err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("server away: got %v", err)
	}
	e.away = false
	r.step()
	first := r.must()
	told = r.Renew()
	twice := r.Enrol()
	r.step()
	if err := <-told; err != nil || r.must().Equal(first) {
		t.Errorf("got %v, another certificate: %v", err, !r.must().Equal(first))
	}
	if err := <-twice; err != nil {
		t.Errorf("wished for by two: got %v", err)
	}
	r.refuse = errors.New("read-only file system")
	told = r.Renew()
	r.step()
	if err := <-told; err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("not handed over: got %v", err)
	}
	r.refuse = nil
	e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
		if a.csr != nil {
			w.WriteHeader(202)
		}
		return a.csr != nil
	}
	told = r.Renew()
	r.step()
	if err := <-told; err == nil || !strings.Contains(err.Error(), "somebody has to agree") {
		t.Errorf("a person has to agree: got %v", err)
	}
}
