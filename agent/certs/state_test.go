package certs_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
)

// Whenever the power fails at a write, the device comes back with one whole pair or none, never serves another than the
// one that is stored, and gets what it wants then.
func TestPowerCut_CERT29(t *testing.T) {
	for cut := 1; ; cut++ {
		e := newEST("est.example.com")
		r := newRig(t, e)
		r.config.Kinds = []certs.KeyKind{certs.ECDSA}
		work := func() {
			r.step()
			r.Renew()
			r.step()
			r.Renew()
			r.step()
		}
		r.flash.cut = cut
		work()
		failed := r.flash.saves >= cut
		if given := r.held(); given != nil {
			stored := certs.StoredLeaf(t, r.flash.data)
			if stored == nil || !stored.Equal(given) {
				t.Errorf("cut at write %d: the firmware has a pair that is not stored", cut)
			}
		}
		r.flash.cut = 0
		r.power()
		if err := r.Load(); err != nil {
			t.Errorf("cut at write %d: %v", cut, err)
		}
		r.step()
		if leaf := r.must(); !leaf.Equal(certs.StoredLeaf(t, r.flash.data)) {
			t.Errorf("cut at write %d: afterwards the firmware has a pair that is not stored", cut)
		}
		if !failed {
			if cut < 4 {
				t.Errorf("only %d writes", cut-1)
			}
			return
		}
	}
}

// What cannot be stored is not used, and nothing more is asked for until it can be.
func TestUnsaved_CERT29(t *testing.T) {
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	first := r.must()
	r.flash.fails = errors.New("no space left on device")
	r.Renew()
	for range 4 {
		r.step()
	}
	if n := len(e.enrolments()); n != 2 || r.held() != first || r.Status().Phase != certs.Unsaved {
		t.Errorf("got %d requests, phase %v", n, r.Status().Phase)
	}
	r.refused("no space left")
	r.flash.fails = nil
	r.step()
	if n := len(e.enrolments()); n != 2 || r.must() == first || r.Status().Phase != certs.Held {
		t.Errorf("afterwards got %d requests, phase %v", n, r.Status().Phase)
	}
}

// What the firmware did not take is given to it again, and after each start once.
func TestHandOver_CERT29(t *testing.T) {
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.refuse = errors.New("read-only file system")
	r.step()
	if s := r.Status(); s.HandOver == nil || len(e.enrolments()) != 1 {
		t.Errorf("got %+v", s)
	}
	r.refuse = nil
	r.step()
	leaf := r.must()
	if r.Status().HandOver != nil {
		t.Errorf("still %v", r.Status().HandOver)
	}
	n := len(r.given)
	for range 3 {
		r.step()
	}
	if len(r.given) != n {
		t.Errorf("given %d times without a change", len(r.given)-n)
	}
	r.power()
	r.step()
	if len(r.given) != n+1 || !r.held().Equal(leaf) {
		t.Errorf("after a start: given %d times, want once", len(r.given)-n)
	}
}

// What cannot be read may be in use: nothing is asked for until a person decides.
func TestUnreadable_CERT29(t *testing.T) {
	for name, data := range map[string]string{
		"text": "x", "version": `{"version":9}`,
		"key":  `{"version":1,"pairs":[{"kind":"ecdsa","pkcs8":"AAAA","chain":["AAAA"]}]}`,
		"null": `{"version":1,"pairs":[null]}`, "root": `{"version":1,"roots":[{"der":"AAAA"}]}`,
		"null-root": `{"version":1,"roots":[null]}`, "link": `{"version":1,"links":["AAAA"]}`,
		"waiting": `{"version":1,"waiting":[null]}`,
	} {
		t.Run("CERT-29/"+name, func(t *testing.T) {
			e := newEST("est.example.com")
			r := newRig(t, e)
			r.flash.data = []byte(data)
			r.step()
			if s := r.Status(); s.Phase != certs.Unreadable || s.Err == nil || r.dials != 0 || r.flash.saves != 0 {
				t.Errorf("got %+v after %d connections and %d writes", s, r.dials, r.flash.saves)
			}
			if strings.Contains(fmt.Sprint(r.Status().Err), "AAAA") {
				t.Errorf("the error quotes it: %v", r.Status().Err)
			}
			if err := r.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.step()
			r.must()
		})
	}
}

// pems is a pair that a person has: of any CA, with any names.
func pems(t *testing.T, a *authority, names ...string) (key, chain []byte, leaf *x509.Certificate) {
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

// A pair that a person installed is used as it is, and renewed by EST when its time comes.
func TestInstall_CERT47(t *testing.T) {
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Place(0)
		key, chain, leaf := pems(t, newCA("By Hand", 200*day), "other.example.com")
		r.installed = []*x509.Certificate{e.ca.cert}
		if err := r.Install(t.Context(), key, chain); err != nil {
			t.Fatal(err)
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
	for what, c := range map[string][2][]byte{
		"none": {nil, nil}, "no-chain": {key, nil}, "another-key": {other, chain}, "swapped": {chain, key},
		"broken-chain": {key, append(bytes.Clone(chain),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})...)},
	} {
		if err := r.Install(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("%s: installed", what)
		}
	}
	r.ahead = 200 * day
	if err := r.Install(t.Context(), key, chain); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("ended: got %v", err)
	}
}

// What is held can be taken away, one or all; afterwards a first root may be taken again.
func TestRemove_CERT10_CERT47(t *testing.T) {
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
func TestWishes_CERT26_CERT41(t *testing.T) {
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
	if want := "simpleenroll AX-8 SN0012, simplereenroll " + name + ", simpleenroll AX-8 SN0012"; strings.Join(got,
		", ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	r.config.Names = []string{"new.example.com"} // other names: from the beginning
	r.Configure(r.config)
	r.step()
	if a := e.enrolments()[3]; !strings.HasSuffix(a.what, "/simpleenroll") ||
		r.must().DNSNames[0] != "new.example.com" {
		t.Errorf("got %s", a.what)
	}
}
