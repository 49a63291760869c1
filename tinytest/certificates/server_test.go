// Package certificates_test shows the device's own certificates as a whole: the real daemon as a process, a strict EST
// server on real TLS, and the web server that uses what the daemon hands over; and the client alone over months of
// virtual time.
//
// Nothing sleeps to let something happen: what is awaited is polled for, with an end that only a failure reaches.
package certificates_test

import (
	"sync"
	"testing"

	"nmosauthd/hal/models"
	"nmosauthd/tinytest/estserver"
)

const (
	domain = "studio.example"
	name   = "stagebox-1." + domain
)

// serial is this machine's serial number as the daemon's model finds it, "" if it has none.
var serial = sync.OnceValue(func() string {
	model, err := models.Detect("/")
	if err != nil {
		return ""
	}
	id, err := model.Identify("/")
	if err != nil {
		return ""
	}
	return id.Serial
})

// newServer starts an EST server that wants names in the domain.
func newServer(t *testing.T, o estserver.Options) *estserver.Server {
	t.Helper()
	o.Domain, o.AnySerial = domain, serial() == ""
	s, err := estserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, v := range s.Violations() {
			t.Errorf("the EST server saw a violation: %s", v)
		}
	})
	return s
}
