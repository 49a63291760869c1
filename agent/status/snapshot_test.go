package status_test

import (
	"reflect"
	"strings"

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
			Maker: status.CertMaker{Held: true, Subject: "CN=Meter 7", Ends: now + 9000*86400},
			Tags:  status.CertTagsOf(true), Issued: 1, Failures: 2,
		},
		Inventory: status.Inventory{Source: "file", Resources: 12, Since: now - 200},
		State:     status.State{Dir: "/var/lib/nmos-authd", Kept: true},
		Sandbox:   status.Sandbox{Landlock: 6, Denied: []string{"files", "ports"}, NotDenied: []string{"signals"}},
		Memory:    status.Memory{Resident: 9 << 20, Heap: 3 << 20},
		Errors: []status.Error{{Time: now - 60, Level: "warn",
			Text: "connection; socket: /run/authz.sock", Times: 3}},
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
