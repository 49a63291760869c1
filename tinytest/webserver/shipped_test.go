package webserver_test

import (
	"cmp"
	"strings"
	"testing"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// The lines that a README tells users to write are enough: what was judged is served, nothing else, and nothing without
// the daemon.
func TestLinesOfTheREADME(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-3", "ANS-5", "PATH-9")
	for _, one := range fronts {
		if one.lines == nil {
			continue
		}
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t)
			f := one.lines(t, r)
			good := r.good()
			patch := request{method: "PATCH", target: receiver, body: "{}"}
			compare(t, r, f, []row{
				{"no token", get(self)}, {"allowed", get(self).bearing(good)}, {"public", get("/x-nmos/")},
				{"no path", get(self + "//").bearing(good)}, {"dots", get("/x-nmos/node/v1.3/x/../self").bearing(good)},
				{
					"escaped",
					get("/x-nmos/node/v1.3/sel%66?a=%2F").bearing(good),
				}, {"method", request{method: "TRACE", target: self}},
				{"with a body", patch.bearing(good)}, {"with a body, no token", patch},
				{"no permission", patch.bearing(r.granting(map[string]mint.Permission{"node": {Read: []string{"*"}}}))},
				{"WebSocket", get(events + "?access_token=" + good).upgrading()},
				{"no WebSocket", get(self + "?access_token=" + good)},
				{
					"forged",
					get(self).with("X-Auth-Reason: ok", "X-Original-URI: /x-nmos/", "X-Forwarded-Method: OPTIONS"),
				},
			}, nil)
			checkMisleading(t, r, f)
			if err := r.daemon.Stop(); err != nil {
				t.Error(err)
			}
			for _, q := range []request{get(self).bearing(good), get("/x-nmos/")} {
				if a := r.send(f.addr, q, t); a.status != cmp.Or(f.unasked, 503) || len(r.take()) > 0 {
					t.Errorf("without a daemon: %s: %s", q, a.shown())
				}
			}
		})
	}
}

// A script that a web server cannot run opens nothing, nor one that finds no way to ask.
func TestBrokenScript(t *testing.T) {
	spec.Rules(t, "ANS-5")
	for _, one := range []struct {
		name   string
		start  func(*testing.T, *rig, func(string) string) *front
		script func(string) string
	}{
		{"lighttpd: no Lua", startLighttpdWith, func(string) string { return "this is no Lua" }},
		{"lighttpd: fails", startLighttpdWith, func(string) string { return "error('so')" }},
		{"lighttpd: without luv", startLighttpdWith, func(s string) string {
			return "package.cpath, " +
				"package.path = '', ''\n" + s
		}},
		{"apache2: no Lua", startApacheWith, func(string) string { return "this is no Lua" }},
		{"apache2: fails", startApacheWith, func(s string) string {
			return strings.Replace(s, "\tlocal lines", "\terror('so')\n\tlocal lines", 1)
		}},
		{"apache2: fails after the answer", startApacheWith, func(s string) string {
			return strings.Replace(s, "\tlocal reason = ", "\terror('so')\n\tlocal reason = ", 1)
		}},
		{"apache2: without LuaSocket", startApacheWith, func(s string) string {
			return "package.cpath, " +
				"package.path = '', ''\n" + s
		}},
		{"haproxy: fails", startHAProxyWith, func(s string) string {
			return strings.Replace(s, "\tlocal status, said", "\terror('so')\n\tlocal status, said", 1)
		}},
		{"haproxy: fails after the answer", startHAProxyWith, func(s string) string {
			return strings.Replace(s, "\tlocal reason = ", "\terror('so')\n\tlocal reason = ", 1)
		}},
		{"haproxy: without a client", startHAProxyWith, func(s string) string { return "core.httpclient = nil\n" + s }},
	} {
		t.Run(one.name, func(t *testing.T) {
			r := newRig(t)
			f := one.start(t, r, func(shipped string) string {
				script := one.script(shipped)
				if script == shipped {
					t.Fatal("the script is the shipped one")
				}
				return script
			})
			for _, q := range []request{get(self).bearing(r.good()), get("/x-nmos/")} {
				if a := r.send(f.addr, q, t); a.status != 500 && a.status != 503 {
					t.Errorf("%s: %s", q, a.shown())
				}
			}
			if got := r.take(); len(got) > 0 {
				t.Errorf("the device got %+v", got)
			}
		})
	}
}
