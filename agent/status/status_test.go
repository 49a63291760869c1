package status_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/status"
)

// now is when the snapshots of these tests were taken.
const now = status.Time(1795312810) // 2026-11-22T02:00:10Z

// well is a snapshot of a daemon that is as it should be.
func well() *status.Status {
	return &status.Status{
		Healthy: true, Time: now, Since: now - 3*3600, Version: "1.2.3", Model: "level meter",
		Names: []string{"meter.example.com", "m"},
		Mode:  "enforce", Clock: status.Clock{State: "synchronised", Why: "the kernel says so", Trusted: true},
		Refresh: 3600,
		Servers: []status.Server{
			{
				Issuer: "https://a.example.com", Origin: status.Configured, Used: true, KIDs: []string{"one", "two"},
				Fetched: now - 720, Next: now + 2880, Error: "it was down", Failed: now - 2*86400,
				Date: now - 37, Ahead: 37, Difference: "this device's clock is 37s ahead; it probably runs on TAI",
			},
			{
				Issuer: "https://b.example.com/realms/nmos", Origin: status.Discovered, At: "https://b.example.com",
				Domain: "example.com", Missing: 3 * 3600, KIDs: []string{},
			},
		},
		Discovery: status.Discovery{Mode: "both", Hosts: []string{"*.example.com"},
			Found: []string{"https://b.example.com"}, Looked: now - 5},
		Decisions: []status.Count{
			{Reason: "ok", Status: 200, Answered: 40}, {Reason: "public", Status: 200},
			{Reason: "no-token", Status: 401, Answered: 2, Would: 3},
			{Reason: "own-token", Status: 200, Answered: 9}, {Reason: "own-token-pending", Status: 503, Answered: 7},
		},
		Tokens:  status.Tokens{Held: 2, Limit: 64, Remembered: 38, Judged: 2},
		Sockets: []status.Socket{{Name: "authz", Path: "/run/authz.sock", Open: 3, Limit: 64, Waiting: 5}},
		Audit: status.Audit{Recorded: 42, Sinks: []status.Sink{
			{Name: "log", Kept: 42, Head: "00ff"}, {Name: "syslog", Kept: 40, Queued: 2, QueuedBytes: 900},
		}},
		Client: status.Client{
			Enabled: true, Phase: "registered", Registered: true, Issuer: "https://a.example.com",
			Clients: []status.ClientAt{
				{
					Issuer: "https://a.example.com", ClientID: "30baf617", Since: now - 86400,
					Scope: "events registration", Method: "private_key_jwt", Keys: "jwks", KIDs: []string{"kid-1"},
					Manageable: true,
				},
				{Issuer: "https://b.example.com", KIDs: []string{}, Attempted: true},
			},
			Tokens: []status.ClientToken{
				{Scope: "events", Error: "HTTP 400 Bad Request: invalid_scope", Failed: now - 5},
				{Scope: "registration", Granted: "registration", Ends: now + 200, Next: now + 100},
			},
			Registrations: 1, Fetched: 7, Failures: 2,
		},
		Certs: status.Certs{
			Enabled: true, Phase: "held", Server: "https://est.example.com", Folder: "/run/nmos-authd/certs",
			Next: now + 3*86400,
			Certificates: []status.Cert{{
				Key: "ecdsa", Held: true, Names: []string{"meter.example.com"}, Subject: "CN=meter.example.com",
				Issuer: "CN=Studio CA", Serial: "4a01", Fingerprint: strings.Repeat("0f", 32), Begins: now - 40*86400,
				Ends: now + 50*86400, Renewal: now + 3*86400,
			}},
			Roots: []status.CertRoot{{
				Subject: "CN=Studio CA", Fingerprint: strings.Repeat("ab", 32), Ends: now + 900*86400,
				Trust: "fingerprint", Server: "https://est.example.com", Since: now - 40*86400,
			}},
			Maker: status.CertMaker{Held: true, Subject: "CN=Meter 7", Ends: now + 9000*86400}, Issued: 1, Failures: 2,
		},
		Inventory: status.Inventory{Source: "file", Resources: 12, Since: now - 200},
		State:     status.State{Dir: "/var/lib/nmos-authd", Kept: true},
		Sandbox:   status.Sandbox{Landlock: 6, Denied: []string{"files", "ports"}, NotDenied: []string{"signals"}},
		Memory:    status.Memory{Resident: 9 << 20, Heap: 3 << 20},
		Errors: []status.Error{{Time: now - 60, Level: "warn", Text: "connection; socket: /run/authz.sock",
			Times: 3}},
	}
}

// hostile is text that would draw on a terminal, end a line, or look like something else.
const hostile = "\x1b[31m\u009b2J\"\\\n\r\t\u202e\u00e9\U0001f50a\xff}# TYPE x"

// marked is the snapshot with hostile text wherever text comes from outside.
func marked() *status.Status {
	s := well()
	s.Observe = &status.Observe{UID: 1000, For: "x", Since: now, Until: now + 1800, Left: 1800}
	s.NotEnforced = []config.NotEnforced{{API: "node", Access: "read"}}
	var mark func(v reflect.Value)
	mark = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + hostile)
		case reflect.Struct:
			for i := range v.NumField() {
				mark(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				mark(v.Index(i))
			}
		}
	}
	mark(reflect.ValueOf(s).Elem())
	s.Audit.DroppedAt, s.Audit.Sinks[0].Since = now-900, now-1
	s.Client.Failed = now - 1
	s.Certs.Failed, s.Certs.Certificates[0].Failed = now-1, now-1
	s.Certs.Certificates[0].Installed, s.Certs.Certificates[0].Expired = true, true
	s.Certs.Certificates[0].Revoked, s.Certs.Certificates[0].Waiting = true, true
	s.Client.Clients[1].Given, s.Client.Clients[1].Expires, s.Client.Clients[1].OldKeyEnds = true, now+1, now+1
	s.Degraded = s.Health()
	return s
}

// spoilCert makes the certificate one with so much life, and so much of that left, in seconds.
func spoilCert(s *status.Status, life, left status.Time, failure string) {
	c := &s.Certs.Certificates[0]
	c.Begins, c.Ends, c.Error = now+left-life, now+left, failure
}

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
		{"no keys yet", func(s *status.Status) { s.Servers[0].KIDs = nil }, "no keys are held, so no token can be " +
			"verified", 0},
		{"no keys", func(s *status.Status) {
			s.Servers[0].KIDs, s.Servers[0].Failing = nil, true
			s.Servers[1].Failing, s.Servers[1].Error = true, "no route"
		}, "no keys are held, so no token can be verified: https://a.example.com: it was down", 0},
		{"keys of none but a learned issuer", func(s *status.Status) {
			s.Servers[0].KIDs, s.Servers[0].Fetched, s.Servers[0].Failing = nil, 0, true
			s.Servers[1].KIDs, s.Servers[1].Origin = []string{"other"}, status.Learned
		}, "the only keys held are those of issuers that tokens have named: https://a.example.com: it was down", 0},
		{"keys of one of two", func(s *status.Status) { s.Servers[1].Failing, s.Servers[1].Error = true, "no route" },
			"", 0},
		{"keys only learned", func(s *status.Status) {
			s.Servers = s.Servers[:1]
			s.Servers[0].Origin = status.Learned
		}, "", 0},
		{"keys of two intervals ago", func(s *status.Status) { s.Servers[0].Fetched, s.Since = now-7200, 1 }, "", 0},
		{"keys of before that", func(s *status.Status) {
			s.Servers[0].Fetched, s.Servers[0].Failing, s.Since = now-7201, true, 1
		}, "no keys have been fetched since 2026-11-22T00:00:09Z; those held stay valid: https://a.example.com: it " +
			"was down", 0},
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
		{"audit dropped long ago", func(s *status.Status) { s.Audit.DroppedAt, s.Audit.Sinks[0].Dropped = now-600, 7 },
			"", 0},
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
		{"none wanted any more", func(s *status.Status) { spoilCert(s, 86400, -1, ""); s.Certs.Enabled = false }, "",
			0},
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

// What JSON says is what encoding/json says, in ASCII; its names stay what they are.
func TestJSON(t *testing.T) {
	for _, s := range []*status.Status{well(), marked(), {}} {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var got, wanted any
		if err := json.Unmarshal(want, &wanted); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, wanted) {
			t.Errorf("%v\ngot  %s\nwant %s", err, text, want)
		}
		if strings.ContainsFunc(string(text), unprintable) {
			t.Errorf("got %q", text)
		}
		parsed, err := status.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parsed.JSON(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%v, read and written again: %s", err, again)
		}
	}
	text, err := marked().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	var names []string
	walk("", members, &names)
	slices.Sort(names)
	if got, want := strings.Join(slices.Compact(names), " "), strings.Join(strings.Fields(stable), " "); got != want {
		t.Errorf("names that others rely on have changed:\n%s", got)
	}
	if _, err := status.Parse([]byte("{")); err == nil {
		t.Error("half a status")
	}
	if _, err := status.Parse([]byte(`{"time":"yesterday"}`)); err == nil {
		t.Error("a time that is none")
	}
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// walk gathers the names of members.
func walk(at string, v any, names *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			*names = append(*names, at+name)
			walk(at+name+".", member, names)
		}
	case []any:
		for _, member := range v {
			walk(at, member, names)
		}
	}
}

// stable are the names of the members that a full snapshot has.
const stable = `
audit audit.dropped_at audit.pending audit.recorded audit.sinks audit.sinks.dropped audit.sinks.error audit.sinks.head
audit.sinks.kept audit.sinks.name audit.sinks.queued audit.sinks.queued_bytes audit.sinks.since
certs certs.certificates certs.certificates.begins certs.certificates.ends certs.certificates.error
certs.certificates.expired certs.certificates.failed certs.certificates.fingerprint certs.certificates.held
certs.certificates.installed certs.certificates.issuer certs.certificates.key certs.certificates.names
certs.certificates.renewal certs.certificates.revoked certs.certificates.serial certs.certificates.subject
certs.certificates.waiting certs.enabled certs.error certs.failed certs.failures certs.folder certs.issued certs.maker
certs.maker.ends certs.maker.error certs.maker.held certs.maker.subject certs.next certs.phase certs.roots certs.roots.ends
certs.roots.fingerprint certs.roots.server certs.roots.since certs.roots.subject certs.roots.trust certs.server
certs.trouble certs.unwritten
client client.clients client.clients.attempted client.clients.auth_method client.clients.client_id client.clients.given
client.clients.issuer client.clients.keys client.clients.kids client.clients.manageable client.clients.old_key_ends
client.clients.rotation client.clients.scope client.clients.secret_expires client.clients.since client.enabled client.error client.failed client.failures
client.issuer client.phase client.registered client.registrations client.tokens client.tokens.ends client.tokens.error
client.tokens.failed client.tokens.granted client.tokens.next client.tokens.scope client.tokens_fetched client.trouble
clock clock.state clock.trusted clock.why config_refused decisions decisions.answered decisions.reason decisions.status decisions.would
degraded discovery discovery.error discovery.found discovery.hosts discovery.looked discovery.mode healthy inventory inventory.error
inventory.resources inventory.since inventory.source last_errors last_errors.level last_errors.text last_errors.time
last_errors.times log_lines_dropped memory memory.heap_bytes memory.resident_bytes mode model names not_enforced not_enforced.access not_enforced.api
observe observe.for observe.left_seconds observe.since observe.uid observe.until refresh_seconds sandbox sandbox.denied
sandbox.landlock sandbox.not_denied sandbox.why servers servers.at servers.clock_ahead_seconds
servers.clock_difference servers.date servers.domain servers.error servers.failed servers.failing servers.fetched
servers.issuer servers.kids servers.missing_seconds servers.next servers.origin servers.used since sockets sockets.limit sockets.name
sockets.open sockets.path sockets.waiting state state.dir state.error state.kept time tokens tokens.held tokens.judged tokens.limit
tokens.remembered version
`

// A time is a distance from now, and none stays none.
func TestAt(t *testing.T) {
	began := time.Now()
	if got := status.At(began.Add(-time.Minute), began); got != status.Time(began.Unix()-60) {
		t.Error(got)
	}
	if status.At(time.Time{}, began) != 0 {
		t.Error("none is none")
	}
	text, err := status.Time(0).MarshalText()
	if err != nil || string(text) != "1970-01-01T00:00:00Z" {
		t.Errorf("got %q, error %v", text, err)
	}
}

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
		{"state not written", func(s *status.Status) { s.State.Kept = false }, "state       /var/lib/nmos-authd, not " +
			"yet written\n"},
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
