package certs_test

import (
	"testing"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// A wish of an operator that cannot be fulfilled moves nothing: the renewal comes when it was planned.
func TestWishFails(t *testing.T) {
	spec.Rules(t, "CERT-40", "CERT-42")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Place(0)
		r.run(30 * day)
		e.away = true
		r.Renew()
		r.run(day)
		if s := r.Status(); s.Certificates[0].Err == nil || s.Phase != certs.Held {
			t.Errorf("got %+v", s)
		}
		e.away = false
		r.run(13 * day)
		if n := len(e.enrolments()); n != 1 {
			t.Errorf("got %d requests by day 44, want 1", n)
		}
		r.run(2 * day)
		if n := len(e.enrolments()); n != 2 {
			t.Errorf("got %d requests by day 46, want 2", n)
		}
	})
}

// While a device waits for its place, its status says what it holds.
func TestStartPhase(t *testing.T) {
	spec.Rules(t, "CERT-40")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Step(t.Context())
		if s := r.Status(); s.Phase != certs.Starting {
			t.Errorf("with nothing: got %v", s.Phase)
		}
		r.run(day)
		r.power()
		if err := r.Load(); err != nil {
			t.Fatal(err)
		}
		if s := r.Status(); len(s.Certificates) != 1 || !s.Certificates[0].Held || len(r.Certificates()) != 1 ||
			len(r.Roots()) == 0 {
			t.Errorf("after Load: got %+v", s)
		}
		r.Step(t.Context())
		if s := r.Status(); s.Phase != certs.Held {
			t.Errorf("with a certificate: got %v", s.Phase)
		}
	})
}
