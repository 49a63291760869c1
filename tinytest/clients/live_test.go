package clients_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	live "nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// liveDaemon is the real daemon, run from the sources beside this test.
type liveDaemon struct {
	t       *testing.T
	dir     live.Dir
	socket  string
	running *live.Daemon // nil: it does not run
}

var buildDaemon = sync.OnceValues(func() (string, error) { return live.Build(buildDir) })

// newLiveDaemon prepares a daemon in the given mode that knows server, or no authorization server at all.
func newLiveDaemon(t *testing.T, mode string, server *authserver.Server) *liveDaemon {
	t.Helper()
	return newLiveDaemonWith(t, live.Config{Mode: mode}, server)
}

// newLiveDaemonWith is newLiveDaemon with more in its configuration.
func newLiveDaemonWith(t *testing.T, config live.Config, server *authserver.Server) *liveDaemon {
	t.Helper()
	dir, err := live.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	l := &liveDaemon{t: t, dir: dir, socket: dir.Authz()}
	t.Cleanup(func() {
		if l.running != nil {
			l.running.Kill()
		}
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	if server != nil {
		config.Servers, config.CAPEM = []string{server.Issuer()}, server.CAPEM()
	}
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs the daemon and waits until it serves.
func (l *liveDaemon) start() {
	l.t.Helper()
	program, err := buildDaemon()
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	if l.running, err = live.Start(ctx, program, l.dir); err != nil {
		l.t.Fatal(err)
	}
}

func TestLiveAnswers(t *testing.T) {
	l := newLiveDaemon(t, "enforce", nil)
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	l.start()
	token := forgedToken()
	const self = "/x-nmos/node/v1.3/self"
	tests := []struct {
		name      string
		command   []string
		decision  string
		status    int
		err       int
		reason    string
		challenge string // what it starts with
		path      string
	}{
		{"preflight", []string{"decide", value("OPTIONS"), value(self)}, "allow", 200, answered, "public", "", self},
		{"the base path", []string{"decide", value("GET"), value("/x-nmos/")}, "allow", 200,
			answered, "public", "", "/x-nmos/"},
		{"no token", []string{"decide", value("GET"), value(self)}, "deny", 401, answered,
			"no-token", `Bearer realm="`, self},
		{"another scheme", []string{"decide", value("GET"), value(self), value("Basic eA==")}, "deny", 401, answered,
			"no-token", `Bearer realm="`, self},
		{"a token in the query", []string{"decide", value("GET"), value(self + "?access_token=" + token)}, "deny", 401,
			answered, "no-token", `Bearer realm="`, self},
		{"the same in a handshake", []string{"decide", value("GET"), value(self + "?access_token=" + token), "-",
			value("websocket")}, "deny", 401, answered, "issuer-untrusted", `Bearer realm="`, self},
		{"an empty token", []string{"decide", value("GET"), value(self), value("Bearer ")}, "deny", 400, answered,
			"token-empty", `Bearer realm="`, self},
		{"a broken token", []string{"decide", value("GET"), value(self), value("Bearer nonsense")}, "deny", 401,
			answered, "token-malformed", `Bearer realm="`, self},
		{"a forged token", []string{"decide", value("GET"), value(self), value("Bearer " + token)}, "deny", 401,
			answered, "issuer-untrusted", `Bearer realm="`, self},
		{"a forged token alone", []string{"verify", value("Bearer " + token)}, "deny", 401, answered,
			"issuer-untrusted", `Bearer realm="`, ""},
		{"no token alone", []string{"verify", "-"}, "deny", 401, answered, "no-token", `Bearer realm="`, ""},
		{"an ambiguous path", []string{"decide", value("GET"), value("/x-nmos//node/v1.3/self")}, "deny", 400, answered,
			"path-ambiguous", `Bearer realm="`, ""},
		{"an unknown method", []string{"decide", value("BREW"), value(self)}, "deny", 405, answered, "method", "", ""},
		{"not UTF-8", []string{"decide", value("GET"), value("/\xff")}, "deny", 400, refused, "packet-text", "", ""},
	}
	for _, test := range tests {
		a := p.tell(test.command...)
		if a.decision != test.decision || a.status != test.status || a.err != test.err ||
			a.text["reason"] != test.reason {
			t.Errorf("%s: got %+v; want %s %d %s", test.name, a, test.decision, test.status, test.reason)
		}
		challenge := a.text["www-authenticate"]
		if !strings.HasPrefix(challenge, test.challenge) || (challenge == "") != (test.challenge == "") {
			t.Errorf("%s: challenge %q", test.name, challenge)
		}
		if test.path != "" && a.text["path"] != test.path {
			t.Errorf("%s: path %q; want %q", test.name, a.text["path"], test.path)
		}
	}

	a := p.decide("OPTIONS", "*")
	p.wantAllowed(a)
	if path, has := a.text["path"]; has {
		t.Errorf("the server as a whole has the path %q", path)
	}

	const sources = "/x-nmos/events/v1.0/sources/"
	a = p.tell("decide-all", "-", "-", "-", "-", value(sources+"1"), value("/x-nmos/"), value(sources+"2"))
	if a.decision != "deny" || a.status != 401 || fmt.Sprint(a.denied) != "["+sources+"1 "+sources+"2]" {
		t.Errorf("decide-all: got %+v", a)
	}
	p.wantAllowed(p.tell("decide-all", "-", "-", "-", "-", value("/"), value("/x-nmos/")))

	if err := l.running.Stop(); err != nil {
		t.Error(err)
	}
	if log := l.running.Log(); strings.Contains(log, token) || strings.Contains(log, "nonsense") {
		t.Errorf("the daemon logged a token:\n%s", log)
	}
}

// forgedToken is well-formed, and from an issuer that no device trusts.
func forgedToken() string {
	segment := base64.RawURLEncoding.EncodeToString
	return segment([]byte(`{"alg":"RS512","typ":"JWT"}`)) + "." + segment([]byte(`{"iss":"https://evil.example.com",`+
		`"sub":"s","aud":"*","client_id":"c","exp":9999999999}`)) + "." + segment(bytes.Repeat([]byte{7}, 256))
}

// A real token, from a real authorization server: what it permits is allowed, with the facts that the stack needs.
func TestLiveToken(t *testing.T) {
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	minted := time.Now()
	token := value("Bearer " + server.Token(mint.Options{Device: "node-1.example.com", Life: time.Hour,
		Permissions: map[string]mint.Permission{"node": {Read: []string{"self"}}}}).Sign())

	l := newLiveDaemon(t, "enforce", server)
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	l.start()
	a := p.tell("verify", token)
	for deadline := time.Now().Add(time.Minute); a.status == 503 && time.Now().Before(deadline); {
		if a.err != answered || a.retry < 1 {
			t.Fatalf("got %+v; want deny 503 with Retry-After", a)
		}
		time.Sleep(20 * time.Millisecond)
		a = p.tell("verify", token)
	}
	p.wantAllowed(a)
	a = p.decide("GET", "/x-nmos/node/v1.3/self/", token)
	p.wantAllowed(a)
	if a.text["client-id"] != mint.DefaultClient || a.text["subject"] != mint.DefaultSubject ||
		a.text["issuer"] != server.Issuer() || a.text["reason"] != "ok" || !expiresIn(a, time.Hour, minted) {
		t.Errorf("got %+v", a)
	}
	a = p.decide("GET", "/x-nmos/node/v1.3/devices", token)
	if a.status != 403 || a.text["reason"] != "path-not-granted" || a.text["client-id"] != mint.DefaultClient ||
		!strings.Contains(a.text["www-authenticate"], "error=insufficient_scope") || a.expires != -1 {
		t.Errorf("a path that the token does not permit: got %+v", a)
	}
}

// expiresIn reports whether an answer expires with a token that had a life when it was minted; both are whole seconds.
func expiresIn(a answer, life time.Duration, minted time.Time) bool {
	left := life - time.Since(minted) - 2*time.Second
	return a.expires >= int64(left/time.Second) && a.expires <= int64(life/time.Second)
}

// A level meter is asked for by the device's own name. What the inventory does not have stays shut.
func TestLiveResource(t *testing.T) {
	spec.Rules(t, "PATH-5", "PATH-11")
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const meter1, meter2, sender7 = "6f3a0c1e-8d5b-4b52-9a0e-3f0d4c1b2a01", "6f3a0c1e-8d5b-4b52-9a0e-3f0d4c1b2a02",
		"6f3a0c1e-8d5b-4b52-9a0e-3f0d4c1b2a03"
	sign := func(device string) string {
		return value("Bearer " +
			server.Token(mint.Options{Device: device, Life: time.Hour, Permissions: map[string]mint.Permission{
				"events":     {Read: []string{"sources/" + meter1 + "/*"}},
				"connection": {Write: []string{"single/senders/" + sender7 + "/*"}},
			}}).Sign())
	}
	minted := time.Now()
	token := sign("node-1.example.com")

	l := newLiveDaemon(t, "enforce", nil)
	file := l.dir.File("inventory.json")
	if err := l.dir.Write(live.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(),
		More: fmt.Sprintf("[inventory]\nfile = %q\n", file)}); err != nil {
		t.Fatal(err)
	}
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	l.start()
	meter := func(token string) answer { return p.tell("resource", "1", value("meter"), value("in-1"), token) }
	await := func(what string, done func(answer) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(meter(token)); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no %s: %+v\n%s", what, meter(token), l.running.Log())
			}
		}
	}
	await("keys", func(a answer) bool { return a.text["reason"] != "keys-pending" })
	if a := meter(token); a.status != 503 || a.text["reason"] != "inventory-pending" ||
		a.retry < 1 || a.err != answered {
		t.Errorf("before there is an inventory: %+v", a)
	}
	const document = `{"resources": [{"kind": "meter", "name": "in-1", "id": "` + meter1 + `"},
		{"kind": "meter", "name": "in-2", "id": "` + meter2 + `"}, {"kind": "sender", "name": 7, "id": "` + sender7 + `"},
		{"kind": "meter", "name": "Küche = 1", "id": "` + meter1 + `"}]}`
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	await("inventory", func(a answer) bool { return a.text["reason"] != "inventory-pending" })

	const read, write = "1", "2"
	for _, test := range []struct {
		access, kind, name, token string
		status                    int
		reason, path              string
	}{
		{read, "meter", "in-1", token, 200, "ok", "/x-nmos/events/v1.0/sources/" + meter1 + "/state"},
		{read, "meter", "Küche = 1", token, 200, "ok", "/x-nmos/events/v1.0/sources/" + meter1 + "/state"},
		{write, "sender", "7", token, 200, "ok", "/x-nmos/connection/v1.1/single/senders/" + sender7 + "/staged"},
		{read, "sender", "7", token, 403, "path-not-granted",
			"/x-nmos/connection/v1.1/single/senders/" + sender7 + "/active"},
		{read, "meter", "in-2", token, 403, "path-not-granted", "/x-nmos/events/v1.0/sources/" + meter2 + "/state"},
		{write, "meter", "in-1", token, 403, "resource-unknown", ""},
		{read, "meter", "in-3", token, 403, "resource-unknown", ""},
		{read, "meters", "in-1", token, 403, "resource-unknown", ""},
		{read, "meter", "in-1", "-", 401, "no-token", ""},
		{read, "meter", "in-1", sign("node-2.example.com"), 403, "audience", ""},
		{read, strings.Repeat("k", 65), "in-1", token, 400, "packet-value", ""},
		{read, "meter", strings.Repeat("n", 257), token, 400, "packet-value", ""},
	} {
		a := p.tell("resource", test.access, value(test.kind), value(test.name), test.token)
		decision, wantErr := "deny", answered
		if test.status == 200 {
			decision = "allow"
		}
		if test.reason == "packet-value" {
			wantErr = refused
		}
		if a.decision != decision || a.status != test.status || a.err != wantErr || a.text["reason"] != test.reason ||
			test.path != "" && a.text["path"] != test.path {
			t.Errorf("%s %.8s %.8s: got %+v; want %d %s %s",
				test.access, test.kind, test.name, a, test.status, test.reason, test.path)
		}
		if test.status == 200 && !expiresIn(a, time.Hour, minted) {
			t.Errorf("%s %s: expires in %d", test.kind, test.name, a.expires)
		}
	}
}

// Observe mode allows, and says what it would have answered.
func TestLiveObserve(t *testing.T) {
	l := newLiveDaemon(t, "observe", nil)
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	l.start()
	a := p.decide("GET", "/x-nmos/node/v1.3/self")
	p.wantAllowed(a)
	if a.text["reason"] != "observe" || a.text["would"] != "401 no-token" {
		t.Errorf("got %+v; want the answer of enforce mode", a)
	}
}

// The longest question that the client sends is the longest that the daemon takes.
func TestLiveLimit(t *testing.T) {
	l := newLiveDaemon(t, "enforce", nil)
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	l.start()
	for _, size := range []int{100, 20000, 32768 - 200, 32768} {
		a := p.decide("OPTIONS", "/"+strings.Repeat("a", size))
		if a.err == refused {
			t.Errorf("a target of %d bytes: the daemon refused the packet: %s", size, a.text["reason"])
		}
		if (a.err == tooLong) != (size == 32768) {
			t.Errorf("a target of %d bytes: %+v", size, a)
		}
	}
	targets := []string{"decide-all", "-", "-", "-", "-"}
	for i := range 700 {
		targets = append(targets, value(fmt.Sprintf("/x-nmos/events/v1.0/sources/%04d", i)))
	}
	if a := p.tell(targets...); a.status != 401 || len(a.denied) != 700 {
		t.Errorf("of 700 sources %d came back as denied: deny %d, error %d", len(a.denied), a.status, a.err)
	}
}

// A handle outlives the daemon, however that ends.
func TestLiveRestart(t *testing.T) {
	l := newLiveDaemon(t, "enforce", nil)
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	p.wantFailure(p.decide("GET", "/"), unreachable, 503)
	for _, kill := range []bool{false, true} {
		l.start()
		p.wantAllowed(p.decide("GET", "/"))
		if kill {
			l.running.Kill()
		} else if err := l.running.Stop(); err != nil {
			t.Error(err)
		}
		p.wantFailure(p.decide("GET", "/"), unreachable, 503)
	}
	l.start()
	p.wantAllowed(p.decide("GET", "/"))
}
