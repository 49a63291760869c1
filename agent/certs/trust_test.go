package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// Without leave nothing is sent, not even a connection made, and the phase says what is missing.
func TestNoTrust(t *testing.T) {
	spec.Rules(t, "CERT-10", "CERT-11")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.config.TrustFirst = false
	r.Configure(r.config)
	for range 3 {
		r.step()
	}
	if s := r.Status(); s.Phase != certs.NoRoot || r.dials != 0 || len(e.all("")) != 0 {
		t.Errorf("got phase %v after %d connections, want %v after none", s.Phase, r.dials, certs.NoRoot)
	}
	r.refused("no root is held")
}

// The one unchecked request has a connection of its own, and shows and sends nothing: neither a certificate, though the
// server asks for one, nor a header that says who asks.
func TestFirstContactIsBare(t *testing.T) {
	spec.Rules(t, "CERT-11")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	r.must()
	first := e.all("")[0]
	if first.what != "GET /.well-known/est/cacerts" || first.client != "" || len(first.head) != 0 {
		t.Errorf("got %q by %q with headers %v, want GET cacerts by nobody without any", first.what, first.client,
			first.head)
	}
	if r.dials != 2 {
		t.Errorf("got %d connections, want 2: the unchecked one, and one for all that follows", r.dials)
	}
	if said := r.said(); !strings.Contains(said, r.Status().Roots[0].Fingerprint) ||
		r.count(certs.EventFirstTrust) != 1 {
		t.Errorf("the fingerprint was not reported once: %s", said)
	}
}

// A device that holds a root never takes another unchecked, whoever says so.
func TestFirstContactOnce(t *testing.T) {
	spec.Rules(t, "CERT-11", "CERT-12", "CERT-62")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	r.must()
	e.ca = newCA("Another", 20*365*day) // the same name, another domain
	e.cert = e.ca.serve(e.host, 365*day)
	before := len(e.all(""))
	for range 3 {
		r.Renew()
		r.step()
	}
	if n := len(e.all("")); n != before {
		t.Errorf("the server of another root saw %d requests", n-before)
	}
	r.refused("an authority that this device does not trust")
	r.power() // nor after a restart
	r.step()
	if n := len(e.all("")); n != before {
		t.Errorf("after a restart it saw %d requests", n-before)
	}
	r.must()
}

// A root that a person installed counts as held, too: the first request is checked by it.
func TestInstalledRoot(t *testing.T) {
	spec.Rules(t, "CERT-10", "CERT-13")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.installed = []*x509.Certificate{newCA("Elsewhere", 365*day).cert}
	r.step()
	if len(e.all("")) != 0 {
		t.Error("a request was sent unchecked, though a root is held")
	}
	r.installed = append(r.installed, e.ca.cert)
	r.step()
	r.must()
	if s := r.Status(); len(s.Roots) != 1 || s.Roots[0].Trust != certs.TrustChecked {
		t.Errorf("got the roots %+v", s.Roots)
	}
}

// The configured fingerprint decides, in whatever form it is written, and without leave for any first contact.
func TestFingerprint(t *testing.T) {
	spec.Rules(t, "CERT-11")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.config.TrustFirst = false
	r.config.Fingerprint = strings.Repeat("ab:", 31) + "ab"
	r.Configure(r.config)
	r.step()
	r.refused("none of the server's roots has the fingerprint")
	if len(e.enrolments()) != 0 || len(r.Status().Roots) != 0 {
		t.Error("another root was used")
	}
	var right strings.Builder
	for i, b := range []byte(fingerprint(e.ca.cert)) {
		if i > 0 && i%2 == 0 {
			right.WriteByte(':')
		}
		right.WriteString(strings.ToUpper(string(b)))
	}
	r.config.Fingerprint = right.String()
	r.Configure(r.config)
	r.step()
	r.must()
	if s := r.Status(); s.Roots[0].Trust != certs.TrustPinned {
		t.Errorf("got trust %q", s.Roots[0].Trust)
	}
}

// Of two roots at the first contact only that of the fingerprint vouches: a server of the other is not spoken to.
func TestFingerprintAlone(t *testing.T) {
	spec.Rules(t, "CERT-11")
	e := newEST("est.example.com")
	good := newCA("Good", 365*day)
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{e.ca.cert, good.cert} }
	r := newRig(t, e)
	r.config.Fingerprint = fingerprint(good.cert)
	r.Configure(r.config)
	r.step()
	r.refused("an authority that this device does not trust")
	if len(r.Status().Roots) != 0 {
		t.Error("a root was kept")
	}
}

// Another fingerprint moves the device to another domain: the former roots stay until the new ones have come.
func TestFingerprintMoves(t *testing.T) {
	spec.Rules(t, "CERT-11", "CERT-17")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	old := r.must()
	e.ca = newCA("Another", 20*365*day)
	r.config.Fingerprint = fingerprint(e.ca.cert)
	r.Configure(r.config)
	r.step() // the server still has a certificate of the former root
	if r.held() != old || len(r.Status().Roots) != 1 {
		t.Error("what was held has gone")
	}
	if b := r.given[len(r.given)-1]; len(b.Roots) > 0 {
		t.Error("servers are still checked by the root that the configuration does not want")
	}
	e.cert = e.ca.serve(e.host, 365*day)
	r.step()
	leaf := r.must()
	if b := r.given[len(r.given)-1]; !bytes.Contains(b.Roots,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.ca.cert.Raw})) {
		t.Errorf("the roots handed over are %s", b.Roots)
	}
	if leaf.Equal(old) || leaf.CheckSignatureFrom(e.ca.cert) != nil {
		t.Errorf("got a certificate from %v", leaf.Issuer)
	}
	if last := e.enrolments()[1]; !strings.HasSuffix(last.what, "/simpleenroll") || last.client != "AX-8 SN0012" {
		t.Errorf("got %s by %q, want to begin with the maker's", last.what, last.client)
	}
	if s := r.Status(); len(s.Roots) != 1 || s.Roots[0].Trust != certs.TrustPinned {
		t.Errorf("got %+v", s.Roots)
	}
}

// Roots that do not vouch for the server that sends them are not kept: the device could never speak to it again.
func TestRootsMustVouch(t *testing.T) {
	spec.Rules(t, "CERT-11", "CERT-13")
	e := newEST("est.example.com")
	other := newCA("Other", 365*day)
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{other.cert} }
	r := newRig(t, e)
	r.step()
	if s := r.Status(); len(s.Roots) != 0 || s.Phase != certs.NoRoot {
		t.Errorf("got %+v", s)
	}
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{e.ca.cert} }
	r.step()
	r.must()
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{other.cert} }
	r.NetworkChanged()
	r.Look()
	r.step()
	r.refused("do not vouch for the server that sent them")
	if s := r.Status(); s.Roots[0].Fingerprint != fingerprint(e.ca.cert) {
		t.Error("the roots were replaced")
	}
}

// In a roll-over four certificates have one name: the self-signed ones are roots, the other two links. A server that
// has the new root's certificate already is found good by the old root, and the certificates of both go on.
func TestRollOver(t *testing.T) {
	spec.Rules(t, "CERT-13", "CERT-14")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	old := r.must()
	was := e.ca
	now := newCA(was.cert.Subject.CommonName, 20*365*day)
	link := func(by, of *authority) *x509.Certificate {
		return by.sign(&x509.Certificate{
			Subject: pkix.Name{CommonName: of.cert.Subject.CommonName}, NotAfter: time.Now().Add(365 * day), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: of.cert.SubjectKeyId,
		}, of.key.Public())
	}
	oldWithNew, newWithOld := link(now, was), link(was, now)
	e.cacerts = func() []*x509.Certificate {
		return []*x509.Certificate{newWithOld, now.cert, oldWithNew, was.cert}
	}
	r.Look()
	r.step() // under the old certificate
	if s := r.Status(); len(s.Roots) != 2 || s.Err != nil {
		t.Fatalf("got %+v", s)
	}
	if r.held() != old {
		t.Error("the certificate did not go on")
	}
	e.ca, e.cert = now, now.serve(e.host, 365*day)
	r.Renew()
	r.step()
	if leaf := r.must(); leaf.CheckSignatureFrom(now.cert) != nil {
		t.Error("the new one is not of the new root")
	}
	// A device that was off meanwhile holds the old root alone; the server sends the link in its handshake.
	r.flash.data = nil
	r.config.TrustFirst = false
	r.installed = []*x509.Certificate{was.cert}
	e.cert.Certificate = append(e.cert.Certificate, newWithOld.Raw)
	r.power()
	r.step()
	if s := r.Status(); s.Phase != certs.Held || len(s.Roots) != 2 {
		t.Errorf("after the roll-over got %+v", s)
	}
}

// At a change of network the roots are asked for again. Of the same domain nothing changes; of another one the device
// enrols from the beginning, with the maker's certificate.
func TestAnotherDomain(t *testing.T) {
	spec.Rules(t, "CERT-17")
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	old := r.must()
	r.NetworkChanged()
	r.Look()
	r.step()
	if n := len(e.enrolments()); n != 1 || r.held() != old {
		t.Errorf("in the same domain got %d requests, want 1", n)
	}
	next := newCA("Next", 20*365*day)
	was := e.ca
	e.ca = next
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{next.cert} }
	r.installed = []*x509.Certificate{was.cert, next.cert}
	e.cert = next.serve(e.host, 365*day)
	r.NetworkChanged()
	r.Look()
	r.step()
	if leaf := r.must(); leaf.CheckSignatureFrom(next.cert) != nil {
		t.Errorf("got a certificate from %v: %s", leaf.Issuer, r.said())
	}
	last := e.enrolments()[1]
	if !strings.HasSuffix(last.what, "/simpleenroll") || last.client != "AX-8 SN0012" {
		t.Errorf("got %s by %q", last.what, last.client)
	}
}

// Redirects: https only, at most three, and to another host only once a root is held.
func TestRedirects(t *testing.T) {
	spec.Rules(t, "CERT-7")
	for _, c := range []struct {
		name, to string
		rounds   int
		first    bool // it is the answer to the first contact
		good     bool
		want     string
	}{
		{"once", "https://est.example.com:8085/x/cacerts", 1, true, true, ""},
		{"three", "https://est.example.com:8085/x/cacerts", 3, false, true, ""},
		{"four", "https://est.example.com:8085/x/cacerts", 4, false, false, "over 3 redirects"},
		{"http", "http://est.example.com:8085/x/cacerts", 1, false, false, "something else than https"},
		{"user", "https://a:b@est.example.com:8085/x/cacerts", 1, false, false, "something else than https"},
		{"another-host-unchecked", "https://other.example.com:8085/cacerts", 1, true, false, "before any root is held"},
	} {
		t.Run("CERT-7/"+c.name, func(t *testing.T) {
			e := newEST("est.example.com")
			left := c.rounds
			e.answer = func(w http.ResponseWriter, r *http.Request, a *asked) bool {
				if !strings.HasSuffix(a.what, "cacerts") || left == 0 || !c.first && a.client == "" {
					return false
				}
				left--
				http.Redirect(w, r, c.to, http.StatusFound)
				return true
			}
			r := newRig(t, e)
			r.step()
			if good := r.Status().Phase == certs.Held; good != c.good {
				t.Errorf("got %v, want %v: %s", good, c.good, r.said())
			}
			if !c.good {
				r.refused(c.want)
			}
		})
	}
}

// A POST goes to where a redirect says with its body, to another host, too, whose certificate is checked.
func TestRedirectedPost(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-12")
	e, other := newEST("est.example.com"), newEST("other.example.com")
	other.ca = e.ca
	other.cert = e.ca.serve(other.host, 365*day)
	e.answer = func(w http.ResponseWriter, r *http.Request, a *asked) bool {
		if a.csr == nil {
			return false
		}
		http.Redirect(w, r, "https://other.example.com:8085/.well-known/est/simpleenroll", http.StatusTemporaryRedirect)
		return true
	}
	r := newRig(t, e, other)
	r.step()
	r.must()
	if n := len(other.enrolments()); n != 1 {
		t.Errorf("the other host got %d requests, want 1", n)
	}
	other.cert = newCA("Wrong", 365*day).serve(other.host, 365*day)
	r.Renew()
	r.step()
	if n := len(other.enrolments()); n > 1 {
		t.Error("a host that nobody vouches for was sent a request")
	}
}

// No older TLS than 1.2 is spoken, not even for the first contact.
func TestOldTLS(t *testing.T) {
	spec.Rules(t, "CERT-60")
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		e := newEST("est.example.com")
		e.version = version
		r := newRig(t, e)
		r.step()
		if good, want := r.Status().Phase == certs.Held, version >= tls.VersionTLS12; good != want {
			t.Errorf("version %#x: got %v, want %v: %s", version, good, want, r.said())
		}
	}
}

// Whatever a server answers to /cacerts, no certificate is asked for by it.
func TestBadRoots(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-15", "CERT-16")
	leaf := newCA("x", day).device("x", day).Leaf
	for name, answer := range map[string]func(http.ResponseWriter){
		"html":      func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
		"empty":     func(w http.ResponseWriter) {},
		"500":       func(w http.ResponseWriter) { w.WriteHeader(500) },
		"204":       func(w http.ResponseWriter) { w.WriteHeader(204) },
		"404":       func(w http.ResponseWriter) { w.WriteHeader(404) },
		"202":       func(w http.ResponseWriter) { w.WriteHeader(202) },
		"long":      func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("A", 300<<10)) },
		"long-head": func(w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("a", 64<<10)) },
		"no-root":   func(w http.ResponseWriter) { io.WriteString(w, message64(leaf)) },
		"broken": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "MII")
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run("CERT-16/"+name, func(t *testing.T) {
			e := newEST("est.example.com")
			e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
				answer(w)
				return true
			}
			r := newRig(t, e)
			r.step()
			s := r.Status()
			if s.Phase != certs.NoRoot || s.Err == nil || len(s.Roots) > 0 || len(e.enrolments()) > 0 {
				t.Errorf("got %+v", s)
			}
			if s.Err != nil && (strings.ContainsAny(s.Err.Error(), "\n\r") || len(s.Err.Error()) > 600) {
				t.Errorf("got the error %q", s.Err)
			}
		})
	}
}

// A server that answers nothing is left after a while, for the next.
func TestNextServer(t *testing.T) {
	spec.Rules(t, "CERT-7")
	away, deaf, e := newEST("away.example.com"), newEST("deaf.example.com"), newEST("est.example.com")
	away.away = true
	deaf.answer = func(w http.ResponseWriter, r *http.Request, _ *asked) bool {
		<-r.Context().Done()
		return true
	}
	r := newRig(t, away, deaf, e)
	certs.RequestTime(t, 300*time.Millisecond)
	r.step()
	r.must()
	if !strings.Contains(r.said(), "connection refused") || !strings.Contains(r.said(), "no full answer within") {
		t.Errorf("got %s", r.said())
	}
}
