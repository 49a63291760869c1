package status_test

import (
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/agent/status"
)

// Every reason alone, and if there are several the most important one first.
func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*status.Status)
		want  string // of the first reason
		more  int
	}{
		{"nothing", func(*status.Status) {}, "", 0},
		{"mode", func(s *status.Status) { s.Mode = "observe" }, "the mode is observe, so nothing is denied", 0},
		{"timed observe", func(s *status.Status) {
			s.Mode, s.Observe = "observe", &status.Observe{UID: 1000, Since: now, Until: now + 1800, Left: 1800}
		}, "the mode is observe, so nothing is denied: until 2026-11-22T02:30:10Z, begun by user 1000", 0},
		{"stage", func(s *status.Status) {
			s.NotEnforced = []config.NotEnforced{{API: "node", Access: "read"}, {API: "node", Access: "write"}}
		}, "not all is enforced ([enforce]): anybody may read node, write node", 0},
		{"clock", func(s *status.Status) { s.Clock = status.Clock{State: "unset", Why: "before the build"} },
			"the clock is unset, so tokens are answered 503: before the build", 0},
		{"no server", func(s *status.Status) { s.Servers, s.Discovery.Error = nil, "no answer" },
			"no authorization server is known, and discovery finds none: no answer", 0},
		{"no server, no discovery", func(s *status.Status) { s.Servers, s.Discovery.Mode = nil, "off" },
			"no authorization server is known: name one in [authorization] servers, or switch discovery on", 0},
		{"no keys yet", func(s *status.Status) { s.Servers[0].KIDs = nil },
			"no keys are held, so no token can be verified", 0},
		{"no keys", func(s *status.Status) {
			s.Servers[0].KIDs, s.Servers[0].Failing = nil, true
			s.Servers[1].Failing, s.Servers[1].Error = true, "no route"
		}, "no keys are held, so no token can be verified: https://a.example.com: it was down", 0},
		{"keys of none but a learned issuer", func(s *status.Status) {
			s.Servers[0].KIDs, s.Servers[0].Fetched, s.Servers[0].Failing = nil, 0, true
			s.Servers[1].KIDs, s.Servers[1].Origin = []string{"other"}, status.Learned
		}, "the only keys held are those of issuers that tokens have named: https://a.example.com: it was down", 0},
		{"keys of one of two",
			func(s *status.Status) { s.Servers[1].Failing, s.Servers[1].Error = true, "no route" }, "", 0},
		{"keys only learned", func(s *status.Status) {
			s.Servers = s.Servers[:1]
			s.Servers[0].Origin = status.Learned
		}, "", 0},
		{"keys of two intervals ago", func(s *status.Status) { s.Servers[0].Fetched, s.Since = now-7200, 1 }, "", 0},
		{"keys of before that", func(s *status.Status) {
			s.Servers[0].Fetched, s.Servers[0].Failing, s.Since = now-7201, true, 1
		}, "no keys have been fetched since 2026-11-22T00:00:09Z; those held stay valid: " +
			"https://a.example.com: it was down", 0},
		{"keys of before the start", func(s *status.Status) { s.Servers[0].Fetched, s.Since = 0, now-7200 }, "", 0},
		{"keys of long before the start", func(s *status.Status) { s.Servers[0].Fetched, s.Since = 0, now-7201 },
			"no keys have been fetched since 2026-11-22T00:00:09Z; those held stay valid", 0},
		{"kept keys of long before the start", func(s *status.Status) {
			s.Servers[0].Fetched, s.Servers[0].Kept, s.Since = now-9000, true, now-7201
		}, "no keys have been fetched since 2026-11-21T23:30:10Z; those held stay valid", 0},
		{"kept keys, just started", func(s *status.Status) {
			s.Servers[0].Fetched, s.Servers[0].Kept, s.Since = now-90000, true, now-10
		}, "", 0},
		{"inventory", func(s *status.Status) { s.Inventory.Error = "inv.json:3: no" },
			"the inventory is refused, and the previous one stays in force: inv.json:3: no", 0},
		{"no name", func(s *status.Status) { s.Names = nil },
			"the device has no host name, so every token is answered 403: set [device] names", 0},
		{"configuration", func(s *status.Status) { s.Refused = "a.toml:1: no" },
			"the configuration is refused, and the old one stays in force: a.toml:1: no", 0},
		{"two mistakes in it, a line each", func(s *status.Status) { s.Refused = "a.toml:1: no\na.toml:2: neither" },
			"the configuration is refused, and the old one stays in force: a.toml:1: no", 1},
		{"audit fails", func(s *status.Status) { s.Audit.Sinks[1].Error = "no host" },
			"audit: the sink syslog does not take records: no host", 0},
		{"audit dropped", func(s *status.Status) { s.Audit.DroppedAt = now - 599 },
			"audit: decisions of the last 10 minutes were not recorded", 0},
		{"audit dropped long ago",
			func(s *status.Status) { s.Audit.DroppedAt, s.Audit.Sinks[0].Dropped = now-600, 7 }, "", 0},
		{"a certificate that ends", func(s *status.Status) { spoilCert(s, 91*86400, 7*86400-1, "") },
			"the ecdsa certificate ends at 2026-11-29T02:00:09Z, and no other came", 0},
		{"a week before", func(s *status.Status) { spoilCert(s, 91*86400, 7*86400, "") }, "", 0},
		{"a short life", func(s *status.Status) { spoilCert(s, 86400, 14400, "") }, "", 0},
		{"and its last sixth", func(s *status.Status) { spoilCert(s, 86400, 14399, "") },
			"the ecdsa certificate ends at 2026-11-22T06:00:09Z, and no other came", 0},
		{"a renewal that fails with a quarter left",
			func(s *status.Status) { spoilCert(s, 400*86400, 100*86400-1, "no route") },
			"the ecdsa certificate ends at 2027-03-02T02:00:09Z, and no other came: no route", 0},
		{"and before", func(s *status.Status) { spoilCert(s, 400*86400, 100*86400, "no route") }, "", 0},
		{"a certificate that has ended", func(s *status.Status) { spoilCert(s, 86400, -1, "no route") },
			"the ecdsa certificate has ended: no route", 0},
		{"a revoked one", func(s *status.Status) {
			s.Certs.Certificates[0].Held,
				s.Certs.Certificates[0].Revoked = false, true
		},
			"the ecdsa certificate was revoked, and no other came", 0},
		{"none yet", func(s *status.Status) { s.Certs.Certificates[0].Held = false }, "", 0},
		{"none wanted any more",
			func(s *status.Status) { spoilCert(s, 86400, -1, ""); s.Certs.Enabled = false }, "", 0},
		{"a folder that cannot be written", func(s *status.Status) { s.Certs.Unwritten = "/run/x: read only" },
			"the web server does not get the certificates: /run/x: read only", 0},
		{"state", func(s *status.Status) { s.State.Kept, s.State.Error = false, "read only" },
			"state is not kept across restarts: read only", 0},
		{"state not yet written", func(s *status.Status) { s.State.Kept = false }, "", 0},
		{"no state wanted", func(s *status.Status) { s.State = status.State{} }, "", 0},
		{"all", func(s *status.Status) {
			*s = status.Status{Mode: "off", Refused: "a", Inventory: status.Inventory{Error: "b"},
				State: status.State{Dir: "/c", Error: "e"}, Time: now,
				Audit: status.Audit{DroppedAt: now, Sinks: []status.Sink{{Error: "d"}}}}
		}, "the mode is off, so nothing is denied", 8},
	} {
		s := well()
		c.spoil(s)
		got := s.Health()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1+c.more || got[0] != c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
		s.Time++
		if later := s.Health(); len(got) > 0 && !slices.Equal(later, got) && s.Audit.DroppedAt == 0 {
			t.Errorf("%s: another text a second later: %q", c.name, later)
		}
		s.Degraded = got
		line, first := s.Line(), "degraded: "+c.want
		if c.want == "" {
			first = "healthy: "
		}
		if !strings.HasPrefix(line, first) || strings.Contains(line, "\n") {
			t.Errorf("%s: %q", c.name, line)
		}
	}
	if line := well().Line(); line != "healthy: enforce, 2 servers, 2 keys" {
		t.Errorf("got %q", line)
	}
}
