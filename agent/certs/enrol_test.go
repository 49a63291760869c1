package certs_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/certs"
)

// A device that was never on gets the root, and a certificate for its names, with the maker's certificate.
func TestFirst_CERT4_CERT10_CERT22_CERT23_CERT26(t *testing.T) {
	e := newEST("est.example.com")
	r := newRig(t, e)
	r.step()
	leaf := r.must()
	if leaf.Subject.CommonName != name || leaf.Subject.SerialNumber != "SN0012" || strings.Join(leaf.DNSNames, " ") != name {
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
