package status_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/agent/status"
)

// The text says it all, aligned, a fact a line; the first line is the health.
func TestText(t *testing.T) {
	s := well()
	s.Degraded = []string{"the mode is observe, so nothing is denied", "state is not kept across restarts"}
	var b strings.Builder
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if b.String() != fullText {
		t.Errorf("\n%s", b.String())
	}
	for _, c := range []struct {
		name  string
		spoil func(*status.Status)
		want  string
	}{
		{"kept", func(s *status.Status) { s.Servers[0].Kept = true },
			`2 keys "one" "two", kept from before the restart, fetched 01:48:10Z, next in 48 min`},
		{"kept of the day before", func(s *status.Status) { s.Servers[0].Kept, s.Servers[0].Fetched = true, now-86400 },
			`2 keys "one" "two", kept from before the restart, fetched 2026-11-21T02:00:10Z, next in 48 min`},
		{"kept by an earlier release", func(s *status.Status) { s.Servers[0].Kept, s.Servers[0].Fetched = true, 0 },
			`2 keys "one" "two", kept from before the restart, next in 48 min`},
		{"state not written", func(s *status.Status) { s.State.Kept = false },
			"state       /var/lib/nmos-authd, not yet written\n"},
		{"state cannot be written", func(s *status.Status) { s.State.Kept, s.State.Error = false, "full" },
			"state       /var/lib/nmos-authd: full\n"},
	} {
		s := well()
		c.spoil(s)
		var b strings.Builder
		if err := s.WriteText(&b); err != nil || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s: got %s, %v, want %q", c.name, b.String(), err, c.want)
		}
	}
	b.Reset()
	if err := (&status.Status{}).WriteText(&b); err != nil || !strings.HasPrefix(b.String(), "healthy: ") {
		t.Errorf("%v: %s", err, b.String())
	}
}

const fullText = `degraded: the mode is observe, so nothing is denied
and         state is not kept across restarts
daemon      1.2.3, model level meter, started 3 h ago
names       meter.example.com, m
mode        enforce
clock       synchronised, the kernel says so; 2026-11-22T02:00:10Z
server      https://a.example.com (configured, used)
            2 keys "one" "two", fetched 12 min ago, next in 48 min
            this device's clock is 37s ahead; it probably runs on TAI
            failed 2 days ago: it was down
server      https://b.example.com/realms/nmos (discovered in example.com)
            named by https://b.example.com
            no longer advertised, for 3 h; forgotten after 24 h, unless the last
            0 keys
discovery   both, found 1, last looked 5 s ago
decisions   42, denied 2, would deny 3
            40 ok
            2 no-token, would be 3
            9 own-token
            7 own-token-pending
tokens      2 of 64 remembered; cache hits 38, misses 2
socket      /run/authz.sock (authz), 3 of 64 connections, 5 waiting
audit       log, kept 42, dropped 0, queued 0, chain 00ff
audit       syslog, kept 40, dropped 0, queued 2
client      registered at https://a.example.com
            as 30baf617, since 2026-11-21T02:00:10Z, scope "events
            registration", private_key_jwt, keys by jwks
            also known to https://b.example.com
            a registration was sent and not answered: one may be left at the
            server
            token for events: none; failed 5 s ago: HTTP 400 Bad Request:
            invalid_scope
            token for registration: ends in 3 min, next in 100 s
certs       held, by https://est.example.com, next in 3 days
            ecdsa: meter.example.com, by CN=Studio CA, ends in 50 days at
            2027-01-11T02:00:10Z, next in 3 days
            root: CN=Studio CA, until 2029-05-10T02:00:10Z, trusted by
            fingerprint since 2026-10-13T02:00:10Z, SHA-256
            abababababababababababababababababababababababababababababababab
inventory   file, 12 resources, for 3 min
state       /var/lib/nmos-authd, kept
sandbox     Landlock 6 denies files, ports; not signals
memory      9216 KiB, of it heap 3072 KiB
log         60 s ago, warn, 3 times: connection; socket: /run/authz.sock
`

// What is said of the client fits 80 columns, and draws on no terminal either.
func TestTextClient(t *testing.T) {
	long := well()
	long.Client.Registered, long.Client.Phase, long.Client.Trouble = false, "refused", "the device is not registered"
	long.Client.Failed = now - 60
	long.Client.Clients[0].Rotation, long.Client.Clients[0].OldKeyEnds = "retire", now+3000
	long.Client.Error = `registration at https://a.example.com/register: HTTP 403 Forbidden: insufficient_scope: Policy ` +
		`'Trusted Hosts' rejected request to client-registration service. Details: Host not trusted. (Keycloak: client ` +
		`registration policy "Trusted Hosts" does not admit this device's address; add it, or configure an initial access token)`
	for name, s := range map[string]*status.Status{"long": long, "marked": marked(), "none": {}} {
		var b strings.Builder
		if err := s.WriteClient(&b); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if name != "marked" && len(line) > 80 || strings.ContainsFunc(line, unprintable) ||
				strings.HasPrefix(line, "client      ") != (i == 0) || strings.TrimSpace(line[12:]) == "" {
				t.Errorf("%s: line %d: %q", name, i, line)
			}
		}
		if want := "the key is being replaced: the new one signs, the old one goes in 50 min"; name == "long" &&
			!strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("got\n%s\nwant %q in it", b.String(), want)
		}
		if name == "long" && !strings.Contains(strings.Join(strings.Fields(b.String()), " "), long.Client.Error) {
			t.Errorf("something is lost:\n%s", b.String())
		}
	}
}

// No text from outside draws on a terminal or adds a line.
func TestTextHostile(t *testing.T) {
	for name, write := range map[string]func(*status.Status, *strings.Builder) error{
		"text": func(s *status.Status, b *strings.Builder) error { return s.WriteText(b) },
		"line": func(s *status.Status, b *strings.Builder) error { b.WriteString(s.Line()); return nil },
	} {
		var plain, b strings.Builder
		clean := well()
		clean.Mode, clean.Refused = "x", "x\nx" // mistakes of the configuration are a line each
		clean.Inventory.Error, clean.State.Error, clean.Discovery.Error, clean.Sandbox.Why = "x", "x", "x", "x"
		for i := range clean.Audit.Sinks {
			clean.Audit.Sinks[i].Error = "x"
		}
		clean.Servers[1].Error, clean.Servers[1].Difference, clean.Servers[0].At = "x", "x", "x"
		clean.Observe, clean.NotEnforced = marked().Observe, []config.NotEnforced{{}}
		clean.Degraded = clean.Health()
		s := marked()
		clean.Client, s.Client = status.Client{}, status.Client{} // whose lines are broken: TestTextClient
		clean.Certs, s.Certs = status.Certs{}, status.Certs{}     // and TestTextCerts
		clean.Degraded, s.Degraded = clean.Health(), s.Health()
		if write(clean, &plain) != nil || write(s, &b) != nil {
			t.Fatal("not written")
		}
		if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), unprintable) {
			t.Errorf("%s: %q", name, b.String())
		}
		if got, want := strings.Count(b.String(), "\n"), strings.Count(plain.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s\n%s", name, got, want, b.String(), plain.String())
		}
		if !strings.Contains(b.String(), `\u001b[31m\u009b2J`) {
			t.Errorf("%s: what was escaped is not to be seen: %s", name, b.String())
		}
	}
}
