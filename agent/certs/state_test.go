package certs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// Whenever the power fails at a write, the device comes back with one whole pair or none, never serves another than the
// one that is stored, and gets what it wants then.
func TestPowerCut(t *testing.T) {
	spec.Rules(t, "CERT-29")
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
func TestUnsaved(t *testing.T) {
	spec.Rules(t, "CERT-29")
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
func TestHandOver(t *testing.T) {
	spec.Rules(t, "CERT-29")
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
func TestUnreadable(t *testing.T) {
	spec.Rules(t, "CERT-29")
	for name, data := range map[string]string{
		"text": "x", "version": `{"version":9}`,
		"key":  `{"version":1,"pairs":[{"kind":"ecdsa","pkcs8":"AAAA","chain":["AAAA"]}]}`,
		"null": `{"version":1,"pairs":[null]}`, "root": `{"version":1,"roots":[{"der":"AAAA"}]}`,
		"null-root": `{"version":1,"roots":[null]}`,
		"link":      `{"version":1,"links":["AAAA"]}`, "waiting": `{"version":1,"waiting":[null]}`,
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
