package explain

import (
	"slices"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// Every reason that lies in a request or a token ends a check, and a failure names the one that was forgotten.
func TestEveryReasonEndsACheck(t *testing.T) {
	spec.Rules(t, "ANS-8")
	// in the device or its configuration; and explain is not asked about a resource or for a token
	elsewhere := []wire.Reason{
		wire.Undecided, wire.Observed, wire.ModeOff, wire.InventoryPending, wire.ResourceUnknown, wire.KeysPending,
		wire.WatchLimit, wire.OwnToken, wire.OwnTokenCaller, wire.OwnTokenScope, wire.OwnTokenPending,
		wire.Administration,
	}
	ends := map[wire.Reason]bool{}
	c := config.Default()
	for _, target := range []string{"/", "/ui", "/x-nmos/node/v1.3", "/x-nmos/node/v1.3/self", "/x-nmos/ncp/v1.0",
		"/x-nmos/configuration/v1.0/rolePaths/root/bulkProperties"} {
		s := state{Question: Question{Config: c, Method: "GET", Target: target}, headerFault: wire.TokenJSON}
		if err := s.find(); err != nil {
			t.Fatal(err)
		}
		for _, check := range s.checks() {
			for _, r := range check.reasons {
				ends[r] = true
			}
		}
	}
	for r := range wire.Reason(wire.Reasons) {
		want := !slices.Contains(elsewhere, r) && r.Decision() != "error"
		if ends[r] != want {
			t.Errorf("%v ends a check of agent/explain/checks.go: %t, want %t", r, ends[r], want)
		}
	}
}
