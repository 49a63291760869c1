package certs_test

import (
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"nmosauthd/tinytest/spec"
)

// An EST server that shows that its certificate was revoked is asked for nothing: neither are its roots taken on first
// contact, nor does a device that has roots enrol there.
func TestServersStaple(t *testing.T) {
	spec.Rules(t, "CERT-46")
	for _, held := range []bool{false, true} {
		e := newEST("est.example.com")
		r := newRig(t, e)
		if held {
			r.step()
			r.must()
		}
		before := len(e.enrolments())
		staple := func(status int) {
			var err error
			e.cert.OCSPStaple, err = ocsp.CreateResponse(e.ca.cert, e.ca.cert, ocsp.Response{
				Status: status, SerialNumber: e.cert.Leaf.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour),
				RevokedAt: time.Now(),
			}, e.ca.key)
			if err != nil {
				t.Fatal(err)
			}
		}
		staple(ocsp.Revoked)
		r.Enrol()
		r.step()
		r.refused("was revoked by its CA")
		if got := len(e.enrolments()); got != before {
			t.Errorf("roots held %v: got %d enrolments, want %d", held, got, before)
		}
		if roots := len(r.Status().Roots); !held && roots != 0 {
			t.Errorf("got %d roots of a server with a revoked certificate", roots)
		}
		staple(ocsp.Good)
		r.step()
		r.must()
	}
}
