package config_test

import (
	"slices"
	"testing"

	"nmosauthd/agent/config"
)

// What a caller does to the lists of one configuration does not reach another: Default's may be changed.
func TestDefaultIsTheCallers(t *testing.T) {
	one := config.Default()
	one.Audit.Sinks[0] = config.AuditFile
	one.Control.Claims[0] = config.ClaimNC
	one.Certificates.Keys[0] = config.KeyRSA
	two := config.Default()
	for _, k := range []struct {
		name string
		good bool
	}{
		{"audit.sinks", slices.Equal(two.Audit.Sinks, []config.AuditSink{config.AuditLog})},
		{"control.claims", slices.Equal(two.Control.Claims,
			[]config.ControlClaim{config.ClaimControl, config.ClaimNCP})},
		{"certificates.keys", slices.Equal(two.Certificates.Keys, []config.KeyKind{config.KeyECDSA})},
	} {
		if !k.good {
			t.Errorf("%s: a change to one configuration's list is the default of the next one", k.name)
		}
	}
}
