package webserver_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fronts are the web servers: all that is tested of every web server needs an entry here and nothing else.
var fronts = []struct {
	name        string
	start       func(*testing.T, *rig) *front
	differences []difference
	// gone is what a client sees when the device behind does not listen: status, and the body if it is an NMOS error.
	gone      string
	says      string // regular expression for what it writes to a log when the daemon cannot be asked
	keepsNone bool   // of the connections over which it asks
	// lines is start with the lines of the README alone, which a user writes; nil: what start runs has no more than those.
	lines func(*testing.T, *rig) *front
}{
	{"nginx", func(t *testing.T, r *rig) *front { return startNginx(t, r, true) }, nginxDifferences,
		unreachable(502, "nmos_device"), nginxSays, false, nil},
	{"lighttpd", startLighttpd, lighttpdDifferences, "503 ", "cannot be asked at /", true, nil},
	{"caddy", startCaddy, caddyDifferences, unreachable(502, "caddy"), "dial unix /", false, nil},
	{"envoy", startEnvoy, envoyDifferences, unreachable(502, "envoy"), "ext_authz_error", false, nil},
	{"haproxy", startHAProxy, haproxyDifferences, unreachable(502, "haproxy"),
		"cannot be asked at unix@/", true, haproxyLines},
	{"civetweb", startCivetWeb, civetwebDifferences, "502 ", "cannot be asked at /", true, nil},
	{"apache2", startApache, apacheDifferences, unreachable(502, "apache"), "cannot be asked at /", true, apacheLines},
}

// unreachable is a web server's own answer of the device.
func unreachable(status int, debug string) string {
	return fmt.Sprintf(`%d {"code":%d,"error":"the device cannot be reached behind its web server","debug":"%s"}`,
		status, status, debug)
}

const nginxSays = "cannot be asked at unix:/"

const cannotBeAsked = `{"code":503,"error":"Service Unavailable","debug":"the authorization daemon cannot be asked"}`

// In front of the pretend device each web server answers what the device itself answers, over all that is asked in the
// conformance tests; and without an answer of the daemon nothing is served.
func TestWebServer_ANS1_ANS2_ANS3_ANS4_ANS5_ANS6_ANS7_ANS9_PATH9_PATH12(t *testing.T) {
	for _, one := range fronts {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			f := one.start(t, r)
			t.Run("same answers", func(t *testing.T) {
				rows := allRows(r)
				if len(rows) < 1000 {
					t.Errorf("only %d requests", len(rows))
				}
				compare(t, r, f, rows, one.differences)
				checkLogs(t, map[string]string{"the daemon's log": r.daemon.Log()})
			})
			t.Run("what cannot be read", func(t *testing.T) { checkUnread(t, r, f) })
			t.Run("nothing that misleads the device", func(t *testing.T) { checkMisleading(t, r, f) })
			t.Run("pending keys", func(t *testing.T) { checkPending(t, r, f) })
			t.Run("other modes", func(t *testing.T) { checkModes(t, r, f) })
			t.Run("no daemon", func(t *testing.T) { checkNoDaemon(t, r, f, one.says) })
			t.Run("no device", func(t *testing.T) { checkNoDevice(t, r, f, one.gone) })
			f.stop()
			checkLogs(t, f.logs())
		})
	}
}

// checkUnread sends what cannot be asked about: the client's fault, so that 503 would have it try again for nothing.
func checkUnread(t *testing.T, r *rig, f *front) {
	for _, one := range unreadRows() {
		a := r.send(f.addr, one.request, t)
		if got := r.take(); a.status != 400 && a.status != 414 && a.status != 431 || len(got) > 0 {
			t.Errorf("%s: %s, want 400, 414 or 431; the device got %+v", one.name, a.shown(), got)
		}
	}
}

// checkPending asks with keys that the authorization server does not have: 503 with Retry-After until that is known.
func checkPending(t *testing.T, r *rig, f *front) {
	rows := pendingRows(r)
	if len(rows) < 3 {
		t.Fatalf("only %d rows wait for keys", len(rows))
	}
	waited := 0
	for _, one := range rows {
		if a := r.send(f.addr, one.request, t); a.status == 503 {
			waited++
			if a.retry == "" || !strings.Contains(a.body, `"debug":"keys-pending"`) || len(r.take()) > 0 {
				t.Errorf("%s: %s", one.name, a.shown())
			}
		}
	}
	if waited == 0 {
		t.Error("no request had to wait for keys")
	}
	eventually(t, "the keys are known to be unknown", func() bool {
		return !slices.ContainsFunc(rows, func(one row) bool { return r.send(r.direct, one.request, t).status == 503 })
	})
	compare(t, r, f, rows, nil)
}

// checkModes compares in the modes that allow everything: there the path may be one that cannot be read in one way
// only.
func checkModes(t *testing.T, r *rig, f *front) {
	for _, mode := range []string{"observe", "off"} {
		r.reload(t, mode)
		for _, q := range []request{
			get(self), get(self + "?a=b").bearing("nonsense"), get(self).bearing(r.good()), get("/admin"), get(senders + "//"),
			{method: "PATCH", target: receiver, body: "{}"}, get(events).upgrading(), get("/x-nmos/node/v1.3/nothing"),
		} {
			want := r.send(r.direct, q, t)
			r.take()
			got := r.send(f.addr, q, t)
			if fault := r.checkPassed(f, q, want, got, r.take(), false); want.shown() != got.shown() || fault != "" {
				t.Errorf("%s: %s\n%s answers %s\nthe device %s\n%s", mode, q, f.name, got.shown(), want.shown(), fault)
			}
		}
	}
	r.reload(t, "enforce")
}

// reload puts another mode into force.
func (r *rig) reload(t *testing.T, mode string) {
	t.Helper()
	r.config.Mode = mode
	if err := r.dir.Write(r.config); err != nil {
		t.Fatal(err)
	}
	after := len(r.daemon.Log())
	if err := r.daemon.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := r.daemon.WaitLog(t.Context(), after, "configuration reread"); err != nil {
		t.Fatal(err)
	}
}

// checkNoDaemon stops the daemon, and has it hang.
func checkNoDaemon(t *testing.T, r *rig, f *front, says string) {
	good := r.good()
	asks := []request{
		get(self).bearing(good), get("/x-nmos/"), {method: "PATCH", target: receiver, body: "{}"},
		get(self + "?access_token=" + good).upgrading(),
	}
	closed := func(when string) {
		t.Helper()
		for _, q := range asks {
			a := r.send(f.addr, q, t)
			if a.status != 503 || a.retry != "1" || a.media != "application/json" || a.challenge != "" ||
				!strings.Contains(a.expose, "Retry-After") || !f.saysUnasked(a.body) {
				t.Errorf("%s: %s: %s", when, q, a.shown())
			}
		}
		if got := r.take(); len(got) > 0 {
			t.Errorf("%s the device got %+v", when, got)
		}
	}
	if err := r.daemon.Stop(); err != nil {
		t.Error(err)
	}
	closed("without a daemon")
	checkSaid(t, f, says)

	network, socket := "unix", r.dir.HTTP()
	if f.plainBodies {
		network, socket = "unixpacket", r.dir.Authz()
	}
	over, err := net.Listen(network, socket)
	if err != nil {
		t.Fatal(err)
	}
	go refuse(over)
	closed("with a daemon over its limit")
	if err := over.Close(); err != nil {
		t.Error(err)
	}
	r.daemon = startDaemon(r.t, r.dir)
	eventually(t, "the daemon's keys", func() bool { return r.send(f.addr, asks[0], t).status == 200 })

	r.take()
	r.daemon.Kill() // the socket's file stays
	asks = asks[:2]
	closed("with a daemon that was killed")
	r.daemon = startDaemon(r.t, r.dir)
	eventually(t, "the daemon's keys", func() bool { return r.send(f.addr, asks[0], t).status == 200 })

	r.take()
	if err := r.daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon has stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.daemon.PID()))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	asks = asks[:1]
	closed("with a daemon that hangs")
	if err := r.daemon.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon answers again", func() bool { return r.send(f.addr, asks[0], t).status == 200 })
}

// refuse ends each connection without an answer, as the daemon does that has too many (PROTOCOL.md, section 7).
func refuse(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.Read(make([]byte, 1)) // whatever it is
		}()
	}
}

// checkSaid looks for a line in the web server's logs that says that the daemon cannot be asked: nobody finds the
// reason for a 503 without one.
func checkSaid(t *testing.T, f *front, says string) {
	t.Helper()
	line := regexp.MustCompile(says)
	eventually(t, "a line in a log about the daemon that cannot be asked", func() bool {
		for _, text := range f.logs() {
			if line.MatchString(text) {
				return true
			}
		}
		return false
	})
}

// misleading are headers by which HTTP servers may take another method or path than was judged, and how they are
// written.
var misleading = strings.Fields("X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-Method X-Original-URL " +
	"X-Original-URI X-Original-Path X-Original-Upgrade X-Rewrite-URL X-Rewrite-URI X-Override-URL X-Request-URL X-Request-URI " +
	"X-Forwarded-Method X-Forwarded-URL X-Forwarded-URI X-Forwarded-Path X-Forwarded-Prefix X-Envoy-Original-Path")

// checkMisleading sends each of them, in three spellings and with a request that needs no token, one that is public,
// and one with a token. The device must not see them, whatever was judged: it would serve something else.
func checkMisleading(t *testing.T, r *rig, f *front) {
	canonical := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }
	forbidden := map[string]bool{"trailer": true}
	var headers []string
	for _, name := range misleading {
		forbidden[canonical(name)] = true
		headers = append(headers, name+": PATCH", strings.ToLower(name)+": PATCH", strings.ReplaceAll(name, "-", "_")+": PATCH")
	}
	for _, name := range []string{"Reason", "Path", "Client_Id", "Client-Id", "Subject", "Expires_In", "Error", "Would"} {
		headers = append(headers, "X_Auth_"+name+": forged", "X-Auth_"+name+": forged", "X_Auth-"+name+": forged")
	}
	for some := range slices.Chunk(headers, 40) { // C servers read 64 or so
		sendMisleading(t, r, f, some, forbidden, canonical)
	}
}

// sendMisleading sends some of these headers.
func sendMisleading(t *testing.T, r *rig, f *front, headers []string, forbidden map[string]bool,
	canonical func(string) string) {
	t.Helper()
	with := func(method, target string) request { return request{method: method, target: target}.with(headers...) }
	chunked := with("PATCH", receiver).with("Trailer: X-Auth-Client-Id, X-Auth-Subject").bearing(r.good())
	chunked.body, chunked.chunked, chunked.trailer = "{}", true, "X-Auth-Client-Id: forged\r\nX-HTTP-Method-Override: forged\r\n"
	asks := []request{with("OPTIONS", receiver), with("GET", "/x-nmos/"), with("GET", self).bearing(r.good()), chunked}
	if f.passesEvents {
		asks = append(asks, with("GET", events+"?access_token="+r.good()).upgrading())
	}
	for _, q := range asks {
		answer := r.send(f.addr, q, t)
		got := r.take()
		if len(got) != 1 || got[0].method != q.method {
			t.Errorf("%s %s: %s: the device got %+v", q.method, q.target, answer.shown(), got)
			continue
		}
		for name, values := range got[0].header {
			if forbidden[canonical(name)] || strings.Contains(name, "_") || slices.Contains(values, "forged") {
				t.Errorf("%s %s: the device got %s: %q", q.method, q.target, name, values)
			}
		}
		for name, values := range got[0].trailer {
			if len(values) > 0 && !f.passesTrailers {
				t.Errorf("%s %s: the device got the trailer %s: %q", q.method, q.target, name, values)
			}
		}
	}
}

// checkNoDevice ends the device's HTTP server: the answer is an error, and none of the daemon's.
func checkNoDevice(t *testing.T, r *rig, f *front, gone string) {
	r.door.Close()
	good := r.good()
	query := "?access_token=" + good
	for _, q := range []request{get(self + query).upgrading(), get(events + query).upgrading(), get(self).bearing(good)} {
		a := r.send(f.addr, q, t)
		if got := fmt.Sprintf("%d %s", a.status, a.body); !strings.HasPrefix(got, gone) {
			t.Errorf("%s: %s, want %s", q, a.shown(), gone)
		}
	}
	if a := r.send(f.addr, get(self), t); a.status != 401 {
		t.Errorf("the daemon's answer does not need the device: %s", a.shown())
	}
}

// checkLogs looks for tokens and their queries in all that the web server wrote, or the daemon. Every token of these
// tests starts in one of these ways, or has one of these words with it.
func checkLogs(t *testing.T, logs map[string]string) {
	t.Helper()
	total := 0
	for name, text := range logs {
		total += len(text)
		for _, secret := range []string{"eyJ", "access_token", "Bearer", "bearer", "nonsense", "b3BlcmF0b3I6c2VjcmV0"} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s has %q: …%s…", name, secret, text[max(0, i-300):min(len(text), i+60)])
			}
		}
	}
	if total < 1000 {
		t.Errorf("the logs %q are nearly empty: not looked in the right place", slices.Collect(maps.Keys(logs)))
	}
}
