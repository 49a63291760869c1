package webserver_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

// startNginx runs nginx with the shipped files, word by word but for addresses and folders.
func startNginx(t *testing.T, r *rig, eventsToo bool) *front {
	return startNginxAs(t, r, eventsToo, "root") // the folder is this test's own
}

// startNginxAs is startNginx with a user for the processes that ask, if this test may choose one.
func startNginxAs(t *testing.T, r *rig, eventsToo bool, as string) *front {
	return startNginxWith(t, r, eventsToo, as, nil, nil)
}

// startNginxWith is startNginxAs with more that is replaced in nmos-authd-http.conf and server.conf.
func startNginxWith(t *testing.T, r *rig, eventsToo bool, as string, upstreams, servers []string) *front {
	f := newNginx(t, r, upstreams...)
	f.copy("nginx/nmos-authd-events.conf")
	server := []string{"listen 80 ", "listen " + f.addr + " ", "127.0.0.1:8080", r.behind,
		"include snippets/nmos-authd.conf", "include " + f.dir + "/nmos-authd.conf"}
	if f.passesEvents = eventsToo; eventsToo {
		server = append(server, "# include snippets/nmos-authd-events.conf", "include "+f.dir+"/nmos-authd-events.conf")
	}
	f.copy("nginx/server.conf", append(server, servers...)...)
	f.runNginx(as)
	return f
}

// newNginx has both parts in its folder.
func newNginx(t *testing.T, r *rig, upstreams ...string) *front {
	f := newFront(t, "nginx", "apt-get install nginx-light")
	f.copy("nginx/nmos-authd-http.conf", append(upstreams, "unix:/run/nmos-authd/http.sock", "unix:"+r.http)...)
	f.copy("nginx/nmos-authd.conf", "/var/log/nginx/", f.dir+"/", "proxy_connect_timeout 1s",
		"proxy_connect_timeout "+askPatience, "_timeout    2s", "_timeout    "+askPatience)
	return f
}

// nginxLines runs nginx with the lines of its README alone.
func nginxLines(t *testing.T, r *rig) *front {
	f := newNginx(t, r)
	f.lines("nginx/README.md", "server.conf", "listen 80 ", "listen "+f.addr+" ", "127.0.0.1:8080", r.behind,
		"include snippets/", "include "+f.dir+"/")
	f.runNginx("root")
	return f
}

// runNginx runs nginx with the server of the folder.
func (f *front) runNginx(as string) {
	f.t.Helper()
	if as = "user " + as + " " + group(f.t, as) + ";\n"; os.Getuid() != 0 {
		as = "" // nginx asks as the user of this test
	}
	f.write("nginx.conf", as+`daemon off;
worker_processes 2;
pid `+f.dir+`/nginx.pid;
error_log `+f.dir+`/error.log;
events { worker_connections 1024; }
http {
	access_log `+f.dir+`/access.log;
	client_body_temp_path `+f.dir+`/body;
	proxy_temp_path `+f.dir+`/proxy;
	fastcgi_temp_path `+f.dir+`/fastcgi;
	uwsgi_temp_path `+f.dir+`/uwsgi;
	scgi_temp_path `+f.dir+`/scgi;
	include `+f.dir+`/nmos-authd-http.conf;
	include `+f.dir+`/server.conf;
}
`)
	f.start("-e", filepath.Join(f.dir, "error.log"), "-p", f.dir, "-c", filepath.Join(f.dir, "nginx.conf"))
}

// group is the name of a user's group.
func group(t *testing.T, name string) string {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// nginxDifferences are mostly requests that nginx refuses before it asks, because it cannot read them.
var nginxDifferences = []difference{
	{`TOK-5/(token-100-kb|payload-nested-200000-deep)`, "400", "more headers than large_client_header_buffers"},
	{`TOK-1/payload-(carriage-return|nul)`, "400", "a control character in a header, in other words"},
	{`TOK-1/payload-newline`, "401", "nginx ends a header at a bare line feed, too: it asks with half the token"},
	{`TOK-1/signature-carriage-return-after`, "200", "nginx takes a carriage return at the end of a header away"},
	{`target.* (/\.\./x-nmos/|/x-nmos/\.\./\.\./x-nmos|/x-nmos/node/v1\.3/self%(00|2|zz)?)`,
		"400", "no path for nginx"},
	{`target.* (\?x|x|\*\*?|@?nmos.*)`, "400", "no target for nginx"},
	{`target.* http:(//|/x-nmos|//node-1\.example\.com[?#]x|//user@.*)`, "400", "nor this"},
	{`target.* ftp://.*`, "200", "nginx does not look at the scheme: what is judged and served is the path"},
	{`method.* [Gg]et .*`, "400", "nginx knows methods in upper case only"},
	{`header with a delete`, "400", "the daemon's HTTP socket cannot read the question, nor the device the header"},
	{`header (twice.*|space before colon|folded)`, "400", "nginx takes one Authorization header, on one line"},
	{`body (of two lengths|of no length|with a length and chunked)`, "400", "nginx does not choose a body's length"},
}

// Reloaded while it is in use nginx drops nothing, and lets nothing through.
func TestNginxReloaded(t *testing.T) {
	spec.Rules(t, "ANS-5")
	r := newRig(t)
	f := startNginx(t, r, false)
	good := get(self).bearing(r.good())
	var stop atomic.Bool
	served := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			if a, err := exchange(f.addr, good); err != nil || a.status != 200 {
				t.Errorf("request %d: %v, %s", n, err, a.shown())
			}
			if a, err := exchange(f.addr, get(self)); err != nil || a.status != 401 {
				t.Errorf("request %d without a token: %v, %s", n, err, a.shown())
			}
		}
		served <- n
	}()
	defer func() {
		stop.Store(true)
		t.Logf("%d pairs of requests", <-served)
	}()
	for range 3 {
		var before []string
		eventually(t, "the workers", func() bool { before = f.workers(); return len(before) == 2 })
		if err := f.command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new workers", func() bool {
			return !slices.ContainsFunc(f.workers(), func(pid string) bool { return slices.Contains(before, pid) })
		})
	}
}

// workers are the process ids of the web server's children.
func (f *front) workers() []string {
	pid := f.command.Process.Pid
	// none: the caller waits to no effect
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return strings.Fields(string(children))
}

// A socket that the user of nginx may not open leaves a line in a log that says what to look at, and no token.
func TestNginxMayNotOpenTheSocket(t *testing.T) {
	spec.Rules(t, "ANS-5")
	if os.Getuid() != 0 {
		t.Skip("only root can have nginx ask as another user")
	}
	r := newRig(t)
	f := startNginxAs(t, r, false, "nobody")
	a := r.send(f.addr, get(self+"?access_token="+r.good()).upgrading(), t)
	if got := r.take(); a.status != 503 || len(got) > 0 {
		t.Errorf("%s, and the device got %+v", a.shown(), got)
	}
	checkSaid(t, f, nginxSays)
	checkLogs(t, map[string]string{"access log": f.logs()[filepath.Join(f.dir, "nmos-authd.access.log")] +
		strings.Repeat(" ", 1000)})
}

// Without nmos-authd-events.conf nginx asks about the WebSocket as about anything else, and the device about its
// sources: the token must grant both.
func TestNginxAsksAboutTheEventSocket(t *testing.T) {
	spec.Rules(t, "PATH-12")
	r := newRig(t)
	f := startNginx(t, r, false)
	compare(t, r, f, handshakeRows(r), []difference{
		{"handshake for the sources? only", "403", "nginx asks for the socket's own path"},
	})
}

// An API with a port of its own gets what was judged to be its own, however it was spelt, and nothing else; so does one
// behind a port of nginx's own. Both ask as all do.
func TestNginxSeveralUpstreams(t *testing.T) {
	spec.Rules(t, "ANS-3", "PATH-9")
	r := newRigWith(t)
	second := make(chan received, 10)
	events2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		second <- received{method: q.Method, target: q.RequestURI, header: q.Header}
	}))
	t.Cleanup(events2.Close)
	other := freeAddr(t)
	_, port, err := net.SplitHostPort(other)
	if err != nil {
		t.Fatal(err)
	}
	f := startNginxWith(t, r, true, "root",
		[]string{`# "~^[0-9]+ /x-nmos/events`, `"~^[0-9]+ /x-nmos/events`, `# "~^8081 "`, `"~^` + port + ` "`},
		[]string{"# upstream nmos_events", "upstream nmos_events", "# \tserver 127.0.0.1:8081;",
			"server " + events2.Listener.Addr().String() + ";",
			"# \tkeepalive", "keepalive", "# }", "}", "# listen 8081;", "listen " + other + ";"})
	good := r.good()
	base := strings.TrimSuffix(events, "ws")
	for _, row := range []struct {
		addr    string
		request request
		status  int
		second  string // target that the second server got; "": none
	}{
		{f.addr, get(self).bearing(good), 200, ""},
		{f.addr, get(base + "sources").bearing(good), 200, base + "sources"},
		{f.addr, get(base + "sources"), 401, ""},
		{f.addr, get("/x-nmos/%65vents/v1.0/sources?a=b").bearing(good), 200, base + "sources?a=b"},
		{f.addr, get("/x-nmos/node/../events/v1.0/sources").bearing(good), 200, base + "sources"},
		{f.addr, get(base + "../../node/v1.3/self").bearing(good), 200, ""},
		{f.addr, get("/x-nmos/eventsource").bearing(good), 403, ""},
		// it asks itself
		{f.addr, get(events + "?access_token=" + good).upgrading(), 200, events + "?access_token=" + good},
		{other, get(base + "sources").bearing(good), 200, base + "sources"},
		{other, get(self).bearing(good), 200, self}, // what it makes of that is its own affair: the path was judged
		{other, get(base + "sources"), 401, ""},
	} {
		a := r.send(row.addr, row.request, t)
		first, target := r.take(), ""
		select {
		case got := <-second:
			if target = got.target; got.header.Get("X-Auth-Reason") == "" && !strings.HasPrefix(target, events) {
				t.Errorf("%s: the second server got %+v", row.request, got)
			}
		default:
		}
		want := row.status == 200 && row.second == ""
		if a.status != row.status || target != row.second || len(first) > 0 != want {
			t.Errorf("%s: %d, the second server got %q, the first %+v; want %d, %q, %v",
				row.request, a.status, target, first, row.status, row.second, want)
		}
	}
}
