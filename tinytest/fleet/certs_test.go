package fleet

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"nmosauthd/tinytest/spec"
)

// Devices whose certificates end in the same hour renew at no more than five times the steady rate in their busiest
// hour, each in its own place between 50 % and 80 % of the life, and none ends before its successor is there (CERT-40).
func TestCerts(t *testing.T) {
	spec.Rules(t, "CERT-40")
	var runs []*CertRecord
	for _, s := range CertScenarios {
		t.Run(s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := s.Run(*devices)
				if err != nil {
					t.Fatal(err)
				}
				runs = append(runs, r)
				r.check(t)
			})
		})
	}
	if *out != "" {
		f, err := os.Create(filepath.Join(*out, "certs.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteCerts(f, runs); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (r *CertRecord) check(t *testing.T) {
	for _, one := range append(r.Failures, r.Strange...) {
		t.Errorf("reported: %s", one)
	}
	if r.Held != r.Devices || r.Ended != 0 {
		t.Errorf("%d of %d devices hold a certificate, and %d ended", r.Held, r.Devices, r.Ended)
	}
	if len(r.Renewed) < r.Devices {
		t.Errorf("%d renewals, want one for each of %d devices", len(r.Renewed), r.Devices)
	}
	busiest := r.Busiest()
	t.Logf("busiest hour %.1f times the steady rate of %.0f an hour", busiest, r.Steady())
	if busiest > r.Scenario.Bound {
		t.Errorf("the busiest hour has %.1f times the steady rate, want %.0f at most", busiest, r.Scenario.Bound)
	}
}
