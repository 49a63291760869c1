package webserver_test

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

// fronts are the web servers: all that is tested of every web server needs an entry here and nothing else.
var fronts = []struct {
	name        string
	start       func(*testing.T, *rig) *front
	differences []difference
	// what a client sees when the device behind does not listen: status, and the body if it is an NMOS error
	gone      string
	says      string // regular expression for what it writes to a log when the daemon cannot be asked
	own       string // regular expression for the rows of ways.Run that it refuses itself, in other words
	keepsNone bool   // of the connections over which it asks
	// lines is start with the lines of the README alone, which a user writes; nil: they are a program, see programs.
	lines func(*testing.T, *rig) *front
}{
	{name: "nginx", start: func(t *testing.T, r *rig) *front { return startNginx(t, r, true) },
		differences: nginxDifferences, gone: unreachable(502, "nmos_device"), says: nginxSays,
		own: `PATH-[12]/small-letters|PATH-9/(encoded-nul|bad-encoding|above-root)`, lines: nginxLines},
	{name: "lighttpd", start: startLighttpd, differences: lighttpdDifferences, gone: "503 ",
		says: "cannot be asked at /", own: `PATH-[12]/small-letters`, keepsNone: true, lines: lighttpdLines},
	{name: "caddy", start: startCaddy, differences: caddyDifferences, gone: unreachable(502, "caddy"),
		says: "dial unix /", own: `PATH-9/bad-encoding`, lines: startCaddy},
	{name: "envoy", start: startEnvoy, differences: envoyDifferences, gone: unreachable(502, "envoy"),
		says: "ext_authz_error", own: `PATH-[12]/small-letters|PATH-9/bad-encoding`, lines: envoyLines},
	{name: "haproxy", start: startHAProxy, differences: haproxyDifferences, gone: unreachable(502, "haproxy"),
		says: "cannot be asked at unix@/", keepsNone: true, lines: haproxyLines},
	{name: "apache2", start: startApache, differences: apacheDifferences, gone: unreachable(502, "apache"),
		says: "cannot be asked at /", keepsNone: true, lines: apacheLines},
	{name: "traefik", start: startTraefik, differences: traefikDifferences, gone: "502 Bad Gateway",
		says: "Error calling http://", own: `PATH-9/bad-encoding`, lines: startTraefik},
	{name: "civetweb", start: startCivetWeb, differences: civetwebDifferences, gone: "502 ",
		says: "cannot be asked at /",
		own:  `ANS-6/method|PATH-1/(trace|small-letters)|PATH-2/small-letters`, keepsNone: true},
	{name: "mongoose", start: startMongoose, differences: mongooseDifferences, gone: "502 ", says: "cannot be asked: ",
		keepsNone: true},
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
func TestWebServer(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-2", "ANS-3", "ANS-4", "ANS-5", "ANS-6", "ANS-7", "ANS-9", "PATH-9", "PATH-12")
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
			t.Run("no answer", func(t *testing.T) { checkRefused(t, r, f) })
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
		refused := a.status == 400 || a.status == 414 || a.status == 431 || a.status == 0 && f.hangsUp
		if got := r.take(); !refused || len(got) > 0 {
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
			get(self), get(self + "?a=b").bearing("nonsense"), get(self).bearing(r.good()), get("/admin"),
			get(senders + "//"),
			{method: "PATCH", target: receiver, body: "{}"}, get(events).upgrading(), get("/x-nmos/node/v1.3/nothing"),
		} {
			want := r.send(r.direct, q, t)
			r.take()
			got := r.send(f.addr, q, t)
			f.forgive(&want, &got)
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

// checkRefused has somebody listen in the daemon's place who ends each connection without an answer. The daemon does so
// with what is more than it keeps; all else that may become of it is in TestEveryDoor.
func checkRefused(t *testing.T, r *rig, f *front) {
	if err := r.daemon.Stop(); err != nil {
		t.Error(err)
	}
	good := r.good()
	asks := []request{
		get(self).bearing(good), get("/x-nmos/"), {method: "PATCH", target: receiver, body: "{}"},
		get(self + "?access_token=" + good).upgrading(),
	}
	door := &door{r, f}
	door.closed(t, "without a daemon", asks)
	network, socket := "unix", r.dir.HTTP()
	if f.asksItself {
		network, socket = "unixpacket", r.dir.Authz()
	}
	over, err := net.Listen(network, socket)
	if err != nil {
		t.Fatal(err)
	}
	go refuse(over)
	door.closed(t, "with a daemon that ends connections", asks)
	if err := over.Close(); err != nil {
		t.Error(err)
	}
	r.daemon = startDaemon(r.t, r.dir)
	eventually(t, "the daemon's keys", func() bool { return r.send(f.addr, asks[0], t).status == 200 })
	r.take()
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
var misleading = strings.Fields("X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-Method " +
	"X-Original-URL " +
	"X-Original-URI X-Original-Path X-Original-Upgrade X-Rewrite-URL X-Rewrite-URI X-Override-URL X-Request-URL " +
	"X-Request-URI " +
	"X-Forwarded-Method X-Forwarded-URL X-Forwarded-URI X-Forwarded-Path X-Forwarded-Prefix X-Envoy-Original-Path")

// checkMisleading sends each of them, in three spellings and with a request that needs no token, one that is public,
// and one with a token. The device must not see them, whatever was judged: it would serve something else.
func checkMisleading(t *testing.T, r *rig, f *front) {
	canonical := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }
	forbidden := map[string]bool{"trailer": true}
	var headers []string
	for _, name := range misleading {
		forbidden[canonical(name)] = true
		headers = append(headers, name+": PATCH", strings.ToLower(name)+": PATCH",
			strings.ReplaceAll(name, "-", "_")+": PATCH")
	}
	for _, name := range []string{"Reason", "Path", "Client_Id", "Client-Id", "Subject",
		"Expires_In", "Error", "Would"} {
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
	chunked.body, chunked.chunked, chunked.trailer = "{}", true,
		"X-Auth-Client-Id: forged\r\nX-HTTP-Method-Override: forged\r\n"
	if f.hangsUp {
		chunked.trailer = ""
	}
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
	for _, q := range []request{get(self + query).upgrading(), get(events + query).upgrading(),
		get(self).bearing(good)} {
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
