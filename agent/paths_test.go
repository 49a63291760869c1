package agent_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

// permit is a token that may read everything in connection but write only some; pathRows are what is asked with it,
// here and through every client.
var (
	permit   = rows.PathsToken
	pathRows = rows.Paths
)

func publicMeters(c *config.Config) { c.Paths.Public = []string{"/meters"} }

// configuredPaths is the configuration by which pathRows are answered.
func configuredPaths(c *config.Config) {
	c.Paths.Public = []string{"/meters", "/x-nmos/system"}
	c.Paths.Claims = []string{"/levels=events", "/patch=connection", "/streams=streamcompatibility", "/nodes=node"}
	c.Paths.Control = []string{"/slot/2/ncp"}
}

func TestPaths(t *testing.T) {
	tok := mint.New(permit)
	d := newDevice(t, configuredPaths, tok.Key.JWK())
	authorization := "authorization=Bearer " + tok.Sign() + "\n"
	for _, row := range pathRows {
		t.Run(row.Name, func(t *testing.T) {
			packet := "decide 1\nmethod=" + row.Method + "\ntarget=" + row.Target + "\n"
			if !row.Tokenless {
				packet += authorization
			}
			got := d.ask(t, packet)
			if got.first+" "+got.reason() != row.Want || got.lines["path"] != row.Path {
				t.Errorf("got %v\nwant %s, path %s", got, row.Want, row.Path)
			}
			if verified := got.lines["client-id"] != ""; verified && row.Tokenless {
				t.Errorf("a client without a token: %v", got)
			}
		})
	}
}

// Where no token is needed, none is looked at: a bad one changes nothing.
func TestPublicIgnoresTokens(t *testing.T) {
	spec.Rules(t, "PATH-2", "PATH-3", "PATH-11")
	d := newDevice(t, publicMeters, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	for _, question := range []string{
		"method=GET\ntarget=/x-nmos\n", "method=OPTIONS\ntarget=" + senders + "\n", "method=GET\ntarget=/meters\n",
	} {
		for _, authorization := range []string{"Bearer x.y.z", "Bearer", "Bearer a,Bearer b", "Basic x"} {
			got := d.ask(t, "decide 1\n"+question+"authorization="+authorization+"\n")
			if got.first != "allow 200" || got.reason() != "public" || got.lines["expires-in"] != "" {
				t.Errorf("%q with %q: %v", question, authorization, got)
			}
		}
	}
}

// A path may be as long as configured, in every kind of question, and what the token permits makes no difference.
func TestLongPaths(t *testing.T) {
	spec.Rules(t, "PATH-16")
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{
		"node": {Read: []string{"*"}, Write: []string{"*"}}}})
	authorization := "authorization=Bearer " + tok.Sign() + "\n"
	path := func(n int) string {
		const base = "/x-nmos/node/v1.3/"
		return base + strings.Repeat("a", n-len(base))
	}
	for _, most := range []int{0, 256, 4096} {
		bound := most
		d := newDevice(t, func(c *config.Config) {
			if most == 0 {
				bound = c.Limits.PathBytes // the default
				return
			}
			c.Limits.PathBytes = most
		}, tok.Key.JWK())
		if most == 0 && bound != 2048 {
			t.Errorf("the default is %d, want 2048", bound)
		}
		for _, c := range []struct{ question, target, want string }{
			{"decide 1\nmethod=GET\n", path(bound), "allow 200 ok"},
			{"decide 1\nmethod=GET\n", path(bound + 1), "deny 400 path-too-long"},
			{"decide 1\nmethod=GET\n", path(bound) + "?" + strings.Repeat("q", 5000), "allow 200 ok"}, // the path alone
			{"decide 1\nmethod=GET\n", path(bound-1) + "%61", "allow 200 ok"},                         // normalised
			{"decide 1\nmethod=GET\n", path(bound-1) + "/.././" + path(bound)[1:], "deny 400 path-too-long"},
			{"decide 1\nmethod=PUT\n", path(bound + 1), "deny 400 path-too-long"},
			{"decide 1\nmethod=OPTIONS\n", path(bound + 1), "deny 400 path-too-long"},
			{"decide 1\nmethod=BREW\n", path(bound + 1), "deny 405 method"},
			{"decide-all 1\ntarget=" + path(100) + "\n", path(bound), "allow 200 ok"},
			{"decide-all 1\ntarget=" + path(100) + "\n", path(bound + 1), "deny 400 path-too-long"},
		} {
			got := d.ask(t, c.question+"target="+c.target+"\n"+authorization)
			if got.first+" "+got.reason() != c.want {
				t.Errorf("bound %d, %.14q, %d bytes: got %s %s, want %s",
					bound, c.question, len(c.target), got.first, got.reason(), c.want)
			}
			if _, has := got.lines["path"]; has && c.want == "deny 400 path-too-long" {
				t.Errorf("bound %d, %d bytes: the reply has a path, want none", bound, len(c.target))
			}
			if c.want == "deny 400 path-too-long" &&
				!strings.Contains(got.lines["www-authenticate"], "error=invalid_request") {
				t.Errorf("www-authenticate %q, want an error=invalid_request", got.lines["www-authenticate"])
			}
		}
		if got := d.ask(t, "decide 1\nmethod=GET\ntarget="+path(bound+1)+"\n"); got.first != "deny 400" {
			t.Errorf("without a token: %v, want deny 400", got)
		}
	}
}

// Whoever has a control socket can change all that the device model holds, so the handshake needs the whole model for
// reading and for writing, whether or not a proxy has taken its Upgrade away.
func TestControlSockets(t *testing.T) {
	spec.Rules(t, "PATH-4", "PATH-15", "CTL-22")
	all, none := []string{"*"}, []string(nil)
	root, some := []string{"root.*"}, []string{"root.receiver-monitors.*"}
	for name, c := range map[string]struct {
		scope string
		claim map[string]mint.Permission
		want  string
	}{
		"control, all": {"", map[string]mint.Permission{"control": {Read: all, Write: all}},
			"allow 200 ok"},
		"ncp, all": {"", map[string]mint.Permission{"ncp": {Read: all, Write: all}}, "allow 200 ok"},
		"role paths of all": {"",
			map[string]mint.Permission{"control": {Read: root, Write: root}}, "allow 200 ok"},
		"added up": {"", map[string]mint.Permission{"control": {Read: root}, "ncp": {Write: all}},
			"allow 200 ok"},
		"among others": {"", map[string]mint.Permission{
			"ncp": {Read: append(some[:1:1], "**"), Write: append(some[:1:1], "root.**")}}, "allow 200 ok"},
		"read only": {"", map[string]mint.Permission{"control": {Read: all}},
			"deny 403 control-not-granted"},
		"write only": {"", map[string]mint.Permission{"ncp": {Write: all}},
			"deny 403 control-not-granted"},
		"to write only a part": {"", map[string]mint.Permission{"ncp": {Read: all, Write: some}},
			"deny 403 control-not-granted"},
		"to read only a part": {"", map[string]mint.Permission{"ncp": {Read: some, Write: all}},
			"deny 403 control-not-granted"},
		"the root block alone": {"", map[string]mint.Permission{
			"ncp": {Read: []string{"root"}, Write: []string{"root", "root."}}}, "deny 403 control-not-granted"},
		"empty specifiers": {"", map[string]mint.Permission{"ncp": {Read: []string{""}, Write: []string{""}}},
			"deny 403 control-not-granted"},
		"empty lists": {"", map[string]mint.Permission{"ncp": {Read: none, Write: none}},
			"deny 403 control-not-granted"},
		"scope alone": {"ncp control", map[string]mint.Permission{}, "deny 403 control-not-granted"},
		"another claim": {"", map[string]mint.Permission{"configuration": {Read: all, Write: all},
			"nc": {Read: all, Write: all}}, "deny 403 api-not-granted"},
		"nothing": {"", map[string]mint.Permission{}, "deny 403 api-not-granted"},
		"read there and write here": {"", map[string]mint.Permission{"control": {Read: all}, "events": {Write: all}},
			"deny 403 control-not-granted"},
	} {
		t.Run(name, func(t *testing.T) {
			tok := mint.New(mint.Options{Scope: c.scope, Permissions: c.claim})
			d := newDevice(t, func(c *config.Config) {
				c.Paths.Control = []string{"/slot/2/ncp", "/x-nmos/node/v1.3/control"}
				c.Paths.Public, c.Paths.Claims = []string{"/slot"}, []string{"/slot/2=events"}
			}, tok.Key.JWK())
			authorization := "authorization=Bearer " + tok.Sign() + "\n"
			for _, target := range []string{"/x-nmos/ncp/v1.0", "/x-nmos/ncp/v1.0/", "/x-nmos/ncp/v1%2E1?a=b",
				"/slot/2/ncp", "/slot/2/x/../ncp/", "/x-nmos/node/v1.3/control"} {
				for _, question := range []string{"decide 1\nmethod=GET\n", "decide 1\nmethod=GET\nupgrade=websocket\n",
					"decide 1\nmethod=HEAD\n", "decide-all 1\n", "decide-all 1\nupgrade=websocket\n"} {
					got := d.ask(t, question+"target="+target+"\n"+authorization)
					if got.first+" "+got.reason() != c.want {
						t.Errorf("%s, %q: got %s %s, want %s", target, question, got.first, got.reason(), c.want)
					}
				}
				for _, method := range []string{"PUT", "POST", "PATCH", "DELETE"} {
					got := d.ask(t, "decide 1\nmethod="+method+"\ntarget="+target+"\n"+authorization)
					if got.first != "deny 403" {
						t.Errorf("%s %s: got %s %s, want deny 403", method, target, got.first, got.reason())
					}
				}
				if got := d.ask(t, "decide 1\nmethod=GET\ntarget="+target+"\n"); got.first != "deny 401" {
					t.Errorf("%s without a token: got %s, want deny 401", target, got.first)
				}
			}
		})
	}
}

// The path of a Query API's socket does not decide, but the resource_path of its subscription does, which the question
// names.
func TestQuerySockets(t *testing.T) {
	spec.Rules(t, "PATH-14")
	for name, c := range map[string]struct {
		read              []string
		nodes, everything string // the answers for the resource_path /nodes, and for what shows everything
	}{
		"everything":    {[]string{"*"}, "ok", "ok"},
		"nodes":         {[]string{"nodes"}, "ok", "path-not-granted"},
		"subscriptions": {[]string{"subscriptions*", "subscriptions/*", "/", "", "nodes*"}, "ok", "path-not-granted"},
		"devices":       {[]string{"devices*"}, "path-not-granted", "path-not-granted"},
		"nothing":       {nil, "path-not-granted", "path-not-granted"},
	} {
		t.Run(name, func(t *testing.T) {
			tok := mint.New(mint.Options{Scope: "query", Permissions: map[string]mint.Permission{
				"query": {Read: c.read, Write: []string{"*"}}}})
			d := newDevice(t, nil, tok.Key.JWK())
			for target, want := range map[string]string{
				"/x-nmos/query/v1.3/nodes": c.nodes, "/x-nmos/query/v1.3/nodes/": c.nodes,
				"/x-nmos/query/v1.3": c.everything, "/x-nmos/query/v1.3/": c.everything, "/x-nmos/query": c.everything,
				"/x-nmos/query/v1.3/subscriptions/1": c.everything, "/x-nmos/query/v1.3/subscriptions": c.everything,
				"/x-nmos/query/v1.3/x/../subscriptions/%31/": c.everything,
			} {
				for _, question := range []string{"decide 1\nmethod=GET\n", "decide-all 1\n"} {
					for _, packet := range []string{
						question + "upgrade=websocket\ntarget=" + target + "\nauthorization=Bearer " + tok.Sign() +
							"\n", question + "upgrade=WebSocket\ntarget=" + target +
							"?access_token=" + tok.Sign() + "\n",
					} {
						if got := d.ask(t, packet); got.reason() != want {
							t.Errorf("%s as a socket: got %s, want %s", target, got.reason(), want)
						}
					}
				}
			}
			if name != "subscriptions" {
				return
			}
			// PATH-4, PATH-5 as ever
			for _, target := range []string{"/x-nmos/query/v1.3", "/x-nmos/query/v1.3/subscriptions/1"} {
				got := d.ask(t, "decide 1\nmethod=GET\ntarget="+target+"\nauthorization=Bearer "+tok.Sign()+"\n")
				if got.reason() != "ok" {
					t.Errorf("%s over HTTP: got %s, want ok", target, got.reason())
				}
			}
		})
	}
}

// The methods that write are all the same to a token.
func TestEveryMethodThatWrites(t *testing.T) {
	spec.Rules(t, "PATH-1", "PATH-5")
	tok := mint.New(permit)
	d := newDevice(t, nil, tok.Key.JWK())
	for _, method := range strings.Fields("POST PUT PATCH DELETE") {
		for target, want := range map[string]string{
			"/x-nmos/connection/v1.1/single/senders/1/staged":   "ok",
			"/x-nmos/connection/v1.1/single/receivers/1/staged": "path-not-granted",
			"/x-nmos/connection/v1.1/":                          "api-not-granted",
			"/x-nmos/events/v1.0/sources/1":                     "path-not-granted",
			"/x-nmos/query/v1.3/nodes":                          "api-not-granted",
		} {
			got := d.ask(t, "decide 1\nmethod="+method+"\ntarget="+target+"\nauthorization=Bearer "+tok.Sign()+"\n")
			if got.reason() != want {
				t.Errorf("%s %s: %v, want %s", method, target, got, want)
			}
		}
	}
}
