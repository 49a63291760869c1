package agent_test

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

//go:embed testdata/endpoints.txt
var endpoints string

// Every endpoint that AMWA publishes for these APIs, with every method, is granted by the specifier that names it,
// under the permission of the method and no other, and the answer says how long for.
func TestPublishedEndpoints(t *testing.T) {
	spec.Rules(t, "PATH-1", "PATH-5", "CTL-61", "CTL-63", "ANS-8")
	const id, other = "6f1e0000-0000-4000-8000-000000000031", "6f1e0000-0000-4000-8000-000000000032"
	key := mint.CachedKey(mint.DefaultKID, 2048)
	d := newDevice(t, nil, key.JWK())
	tokens := map[string]string{}
	tokenOf := func(api, permission, specifier string) string {
		name := api + permission + specifier
		if tokens[name] == "" {
			p := mint.Permission{Read: []string{specifier}}
			if permission == "write" {
				p = mint.Permission{Write: []string{specifier}}
			}
			tokens[name] = mint.New(mint.Options{Permissions: map[string]mint.Permission{api: p}}).Sign()
		}
		return tokens[name]
	}
	counts := map[string]int{}
	for line := range strings.Lines(endpoints) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		api, rest, _ := strings.Cut(fields[0], "/")
		_, rest, _ = strings.Cut(rest, "/")
		counts[api] += len(fields) - 1
		for _, method := range fields[1:] {
			permission, denied := "read", "write"
			if method != "GET" {
				permission, denied = denied, permission
			}
			specifier, another := strings.ReplaceAll(rest, "{}", id), strings.ReplaceAll(rest, "{}", other)
			if api == "configuration" { // a role path
				specifier, another = id, other
				if strings.HasSuffix(rest, "/bulkProperties") && method == "GET" {
					specifier += ".*"
				}
			}
			target := "/x-nmos/" + strings.ReplaceAll(fields[0], "{}", id)
			ask := func(permission, specifier, want string) {
				t.Helper()
				got := d.ask(t, "decide 1\nmethod="+method+"\ntarget="+target+"\nauthorization=Bearer "+
					tokenOf(api, permission, specifier)+"\n")
				if got.first+" "+got.reason() != want {
					t.Errorf("%s %s with %s under %s: got %v, want %s",
						method, target, specifier, permission, got, want)
				}
				if (got.lines["expires-in"] != "") != (got.first == "allow 200") {
					t.Errorf("%s %s: got %v, want expires-in if it is allowed", method, target, got)
				}
			}
			ask(permission, specifier, "allow 200 ok")
			ask(permission, "*", "allow 200 ok")
			ask(denied, "*", "deny 403 path-not-granted")
			if specifier != another && rest != "rolePaths" {
				ask(permission, another, "deny 403 path-not-granted")
			}
			if got := d.ask(t, "decide 1\nmethod=OPTIONS\ntarget="+target+"\n"); got.reason() != "public" { // PATH-2
				t.Errorf("OPTIONS %s: got %v, want public", target, got)
			}
		}
	}
	for api, least := range map[string]int{"query": 16, "connection": 20, "events": 4, "channelmapping": 19,
		"streamcompatibility": 25, "annotation": 15, "configuration": 12} {
		if counts[api] < least {
			t.Errorf("%s: %d questions, want at least %d", api, counts[api], least)
		}
	}
}

// A socket is decided as a whole: by its subscription, its sources, or its device model; and each answer that allows
// says when to close it.
func TestSocketsAsWholes(t *testing.T) {
	spec.Rules(t, "PATH-12", "PATH-14", "PATH-15", "CTL-21", "CTL-22", "CTL-29", "ANS-8", "ANS-9")
	key := mint.CachedKey(mint.DefaultKID, 2048)
	both := func(specifiers ...string) mint.Permission {
		return mint.Permission{Read: specifiers, Write: specifiers}
	}
	for name, c := range map[string]struct {
		asked   bool // [control] commands
		api     string
		grants  mint.Permission
		targets []string
		want    string
	}{
		"all nodes": {false, "query", mint.Permission{Read: []string{"nodes"}},
			[]string{"/x-nmos/query/v1.3/nodes"}, "allow 200 ok"},
		"all nodes by everything": {false, "query", mint.Permission{Read: []string{"*"}},
			[]string{"/x-nmos/query/v1.3/nodes"}, "allow 200 ok"},
		"senders by nodes": {false, "query", mint.Permission{Read: []string{"nodes"}},
			[]string{"/x-nmos/query/v1.3/senders"}, "deny 403 path-not-granted"},
		"everything": {false, "query", mint.Permission{Read: []string{"nodes", "senders"}},
			[]string{"/x-nmos/query/v1.3/"}, "deny 403 path-not-granted"},
		"a subscription by name": {false, "query", mint.Permission{Read: []string{"subscriptions/*"}},
			[]string{"/x-nmos/query/v1.3/subscriptions/1"}, "deny 403 path-not-granted"},
		"two sources": {false, "events", mint.Permission{Read: []string{"sources/1", "sources/2"}},
			[]string{sources + "1", sources + "2"}, "allow 200 ok"},
		"a source too many": {false, "events", mint.Permission{Read: []string{"sources/1", "sources/2"}},
			[]string{sources + "1", sources + "3"}, "deny 403 path-not-granted"},
		"the whole model": {false, "control", both("root.*"), []string{"/x-nmos/ncp/v1.0"}, "allow 200 ok"},
		"the model, read": {false, "control", mint.Permission{Read: []string{"root.*"}},
			[]string{"/x-nmos/ncp/v1.0"}, "deny 403 control-not-granted"},
		"an object": {false, "control", both("root.a"), []string{"/x-nmos/ncp/v1.0"},
			"deny 403 control-not-granted"},
		"asked, the whole model": {true, "control", both("root.*"), []string{"/x-nmos/ncp/v1.0"}, "allow 200 ok"},
		"asked, read": {true, "ncp", mint.Permission{Read: []string{"root.*"}},
			[]string{"/x-nmos/ncp/v1.0"}, "allow 200 ok"},
		"asked, an object": {true, "control", mint.Permission{Write: []string{"root.a"}},
			[]string{"/slot/2/ncp"}, "allow 200 ok"},
		"asked, nothing": {true, "control", mint.Permission{}, []string{"/x-nmos/ncp/v1.0"},
			"deny 403 path-not-granted"},
		"asked, another API": {true, "events", both("*"), []string{"/x-nmos/ncp/v1.0"},
			"deny 403 api-not-granted"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, func(c2 *config.Config) {
				if c.asked {
					c2.Control.Commands = config.CommandsAsked
				}
				c2.Paths.Control = []string{"/slot/2/ncp"}
			}, key.JWK())
			tok := mint.New(mint.Options{Life: time.Minute, Permissions: map[string]mint.Permission{c.api: c.grants}})
			d.clock.Store(&tok.Now)
			raw := tok.Sign()
			for _, question := range []string{"decide 1\nmethod=GET\n", "decide-all 1\n", "watch-token 1\n"} {
				if question[:8] == "decide 1" && len(c.targets) > 1 {
					continue
				}
				for _, inQuery := range []bool{false, true} { // ANS-9, CTL-21
					packet := question + "upgrade=websocket\n"
					for i, target := range c.targets {
						if inQuery && i == 0 {
							target += "?access_token=" + raw
						}
						packet += "target=" + target + "\n"
					}
					if !inQuery {
						packet += "authorization=Bearer " + raw + "\n"
					}
					got := d.ask(t, packet)
					if fmt.Sprint(got.first, " ", got.reason()) != c.want {
						t.Errorf("%s: got %v, want %s", question, got, c.want)
					}
					left := ""
					if got.first == "allow 200" {
						left = "60"
					}
					if got.lines["expires-in"] != left {
						t.Errorf("%s: it expires in %q, want %q", question, got.lines["expires-in"], left)
					}
				}
			}
			later := tok.Now.Add(time.Minute) // CTL-29
			d.clock.Store(&later)
			got := d.ask(t, "decide-all 1\nupgrade=websocket\ntarget="+c.targets[0]+"\nauthorization=Bearer "+raw+"\n")
			if got.reason() != "token-expired" {
				t.Errorf("a minute later: got %v, want token-expired", got)
			}
		})
	}
}
