package agent_test

import (
	"strings"
	"testing"

	"nmosauthd/agent"
	"nmosauthd/tinytest/mint"
)

// permit is a token that may read everything in connection but write only some, reads little in events, and names node in its
// scope alone.
var permit = mint.Options{
	Scope: "node system",
	Permissions: map[string]mint.Permission{
		"connection":          {Read: []string{"*"}, Write: []string{"single/senders/*", "bulk/*/staged"}},
		"events":              {Read: []string{"sources/1/", "sources/2*"}},
		"streamcompatibility": {Write: []string{"*"}},
	},
}

// pathRows are requests by the rule that decides them. Where path is empty the reply has none.
var pathRows = []struct {
	name, method, target string
	tokenless            bool
	want                 string // first line and reason
	path                 string
}{
	{"PATH-1/get", "GET", "/x-nmos/connection/v1.1/single", false, "allow 200 ok", "/x-nmos/connection/v1.1/single"},
	{"PATH-1/head", "HEAD", "/x-nmos/connection/v1.1/single", false, "allow 200 ok", "/x-nmos/connection/v1.1/single"},
	{"PATH-1/post", "POST", "/x-nmos/connection/v1.1/bulk/senders/staged", false, "allow 200 ok", "/x-nmos/connection/v1.1/bulk/senders/staged"},
	{"PATH-1/put", "PUT", "/x-nmos/connection/v1.1/single/senders/1", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1"},
	{"PATH-1/patch", "PATCH", "/x-nmos/connection/v1.1/single/senders/1", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1"},
	{"PATH-1/delete", "DELETE", "/x-nmos/connection/v1.1/single/senders/1", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1"},
	{"PATH-1/patch-not-granted", "PATCH", "/x-nmos/connection/v1.1/single/receivers/1", false, "deny 403 path-not-granted", "/x-nmos/connection/v1.1/single/receivers/1"},
	{"PATH-1/small-letters", "get", "/x-nmos/connection/v1.1/single", false, "deny 405 method", "/x-nmos/connection/v1.1/single"},
	{"PATH-1/trace", "TRACE", "/", false, "deny 405 method", "/"},
	{"PATH-1/connect", "CONNECT", "node:443", false, "deny 405 method", ""},
	{"PATH-1/empty", "", "/", true, "deny 405 method", "/"},
	{"PATH-1/space-behind", "GET ", "/", true, "deny 405 method", "/"},

	{"PATH-2/resource", "OPTIONS", "/x-nmos/connection/v1.1/single/senders", true, "allow 200 public", "/x-nmos/connection/v1.1/single/senders"},
	{"PATH-2/outside", "OPTIONS", "/vendor", true, "allow 200 public", "/vendor"},
	{"PATH-2/server", "OPTIONS", "*", true, "allow 200 public", ""},
	{"PATH-2/ambiguous", "OPTIONS", "/x-nmos//connection", true, "deny 400 path-ambiguous", ""},
	{"PATH-2/small-letters", "options", "/x-nmos/connection/v1.1/single", true, "deny 405 method", "/x-nmos/connection/v1.1/single"},
	{"PATH-2/server-by-another-method", "GET", "*", true, "deny 400 path-ambiguous", ""},

	{"PATH-3/root", "GET", "/", true, "allow 200 public", "/"},
	{"PATH-3/x-nmos", "GET", "/x-nmos", true, "allow 200 public", "/x-nmos"},
	{"PATH-3/x-nmos-slash", "HEAD", "/x-nmos/", true, "allow 200 public", "/x-nmos/"},
	{"PATH-3/normalised", "GET", "/x-nmos/connection/..", true, "allow 200 public", "/x-nmos/"},
	{"PATH-3/write-without-token", "POST", "/x-nmos", true, "deny 401 no-token", "/x-nmos"},
	{"PATH-3/write", "POST", "/", false, "deny 403 path-version", "/"},

	{"PATH-4/claim", "GET", "/x-nmos/connection", false, "allow 200 ok", "/x-nmos/connection"},
	{"PATH-4/claim-version", "GET", "/x-nmos/connection/v1.1", false, "allow 200 ok", "/x-nmos/connection/v1.1"},
	{"PATH-4/claim-slashes", "GET", "/x-nmos/connection/v1.1/", false, "allow 200 ok", "/x-nmos/connection/v1.1/"},
	{"PATH-4/claim-without-read", "GET", "/x-nmos/streamcompatibility/v1.0", false, "allow 200 ok", "/x-nmos/streamcompatibility/v1.0"},
	{"PATH-4/scope", "GET", "/x-nmos/node/", false, "allow 200 ok", "/x-nmos/node/"},
	{"PATH-4/scope-version", "HEAD", "/x-nmos/system/v1.0/", false, "allow 200 ok", "/x-nmos/system/v1.0/"},
	{"PATH-4/neither", "GET", "/x-nmos/query", false, "deny 403 api-not-granted", "/x-nmos/query"},
	{"PATH-4/part-of-a-name-in-scope", "GET", "/x-nmos/nod", false, "deny 403 api-not-granted", "/x-nmos/nod"},
	{"PATH-4/part-of-a-claim's-name", "GET", "/x-nmos/connect", false, "deny 403 api-not-granted", "/x-nmos/connect"},
	{"PATH-4/write", "PUT", "/x-nmos/connection/v1.1", false, "deny 403 api-not-granted", "/x-nmos/connection/v1.1"},
	{"PATH-4/without-token", "GET", "/x-nmos/connection", true, "deny 401 no-token", "/x-nmos/connection"},

	{"PATH-5/scope-alone", "GET", "/x-nmos/node/v1.3/self", false, "deny 403 path-not-granted", "/x-nmos/node/v1.3/self"},
	{"PATH-5/write-is-not-read", "GET", "/x-nmos/streamcompatibility/v1.0/inputs", false, "deny 403 path-not-granted", "/x-nmos/streamcompatibility/v1.0/inputs"},
	{"PATH-5/read-is-not-write", "PUT", "/x-nmos/events/v1.0/sources/1", false, "deny 403 path-not-granted", "/x-nmos/events/v1.0/sources/1"},
	{"PATH-5/another-api", "GET", "/x-nmos/query/v1.3/nodes", false, "deny 403 api-not-granted", "/x-nmos/query/v1.3/nodes"},
	{"PATH-5/any-version", "GET", "/x-nmos/events/v7.12/sources/1", false, "allow 200 ok", "/x-nmos/events/v7.12/sources/1"},
	{"PATH-6/whole-path", "GET", "/x-nmos/events/v1.0/sources/1/state", false, "deny 403 path-not-granted", "/x-nmos/events/v1.0/sources/1/state"},
	{"PATH-6/star-crosses-slashes", "GET", "/x-nmos/events/v1.0/sources/23/state", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/23/state"},
	{"PATH-6/star-in-path-is-literal", "GET", "/x-nmos/events/v1.0/sources/*", false, "deny 403 path-not-granted", "/x-nmos/events/v1.0/sources/*"},
	{"PATH-7/slash-in-specifier", "GET", "/x-nmos/events/v1.0/sources/1", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1"},
	{"PATH-7/slash-in-both", "GET", "/x-nmos/events/v1.0/sources/1/", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1/"},
	{"PATH-7/slash-in-path", "GET", "/x-nmos/events/v1.0/sources/2/", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/2/"},

	{"PATH-8/encoded-letter", "GET", "/x-nmos/events/v1.0/%73ources/1", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1"},
	{"PATH-8/encoded-digits", "GET", "/%78-nmos/events/v%31.0/sources/%31", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1"},
	{"PATH-8/dot-segments-in", "PATCH", "/x-nmos/connection/v1.1/single/receivers/../senders/1", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1"},
	{"PATH-8/dot-segments-out", "PATCH", "/x-nmos/connection/v1.1/single/senders/../receivers/1", false, "deny 403 path-not-granted", "/x-nmos/connection/v1.1/single/receivers/1"},
	{"PATH-8/encoded-dots-out", "PATCH", "/x-nmos/connection/v1.1/single/senders/%2e%2E/receivers/1", false, "deny 403 path-not-granted", "/x-nmos/connection/v1.1/single/receivers/1"},
	{"PATH-8/dots-to-another-api", "GET", "/x-nmos/connection/v1.1/../../query/v1.3/nodes", false, "deny 403 api-not-granted", "/x-nmos/query/v1.3/nodes"},
	{"PATH-8/query", "GET", "/x-nmos/events/v1.0/sources/1?/../2", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1"},
	{"PATH-8/query-does-not-match", "GET", "/x-nmos/events/v1.0/sources?/1", false, "deny 403 path-not-granted", "/x-nmos/events/v1.0/sources"},

	{"PATH-9/two-slashes", "GET", "/x-nmos/events/v1.0//sources/1", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/encoded-slash", "GET", "/x-nmos/events/v1.0/sources%2F1", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/backslash", "GET", `/x-nmos/events/v1.0/sources\1`, false, "deny 400 path-ambiguous", ""},
	{"PATH-9/encoded-nul", "GET", "/x-nmos/events/v1.0/sources/1%00", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/carriage-return", "GET", "/x-nmos/events/v1.0/sources/1\r", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/bad-encoding", "GET", "/x-nmos/events/v1.0/sources/%g1", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/above-root", "GET", "/x-nmos/../../x-nmos", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/without-token-too", "GET", "//x-nmos", true, "deny 400 path-ambiguous", ""},
	{"PATH-9/absolute-form", "GET", "http://node-1.example.com/x-nmos", true, "deny 400 path-ambiguous", ""},
	{"PATH-9/empty", "GET", "", true, "deny 400 path-ambiguous", ""},

	{"PATH-10/no-version", "GET", "/x-nmos/connection/single", false, "deny 403 path-version", "/x-nmos/connection/single"},
	{"PATH-10/bad-version", "GET", "/x-nmos/connection/v1/single", false, "deny 403 path-version", "/x-nmos/connection/v1/single"},
	{"PATH-10/api-in-capitals", "GET", "/x-nmos/Connection/v1.1/single", false, "deny 403 path-version", "/x-nmos/Connection/v1.1/single"},
	{"PATH-10/encoded-version", "GET", "/x-nmos/connection/v1%2e1/single", false, "allow 200 ok", "/x-nmos/connection/v1.1/single"},

	{"PATH-11/closed", "GET", "/vendor", false, "deny 403 path-closed", "/vendor"},
	{"PATH-11/closed-without-token", "GET", "/vendor", true, "deny 401 no-token", "/vendor"},
	{"PATH-11/capitals", "GET", "/X-NMOS/connection/v1.1/single", false, "deny 403 path-closed", "/X-NMOS/connection/v1.1/single"},
	{"PATH-11/public", "GET", "/meters/1", true, "allow 200 public", "/meters/1"},
	{"PATH-11/public-write", "POST", "/meters", true, "allow 200 public", "/meters"},
	{"PATH-11/beside-public", "GET", "/meters2", true, "deny 401 no-token", "/meters2"},
	{"PATH-11/dots-into-public", "GET", "/x-nmos/../meters/1", true, "allow 200 public", "/meters/1"},
	{"PATH-11/dots-out-of-public", "GET", "/meters/../x-nmos/connection/v1.1/single", true, "deny 401 no-token", "/x-nmos/connection/v1.1/single"},

	{"PATH-13/transportfile", "GET", "/x-nmos/connection/v1.1/single/senders/1/transportfile", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1/transportfile"},
	{"PATH-13/transportfile-without-token", "GET", "/x-nmos/connection/v1.1/single/senders/1/transportfile", true, "deny 401 no-token", "/x-nmos/connection/v1.1/single/senders/1/transportfile"},
}

func publicMeters(c *agent.Config) { c.Paths.Public = []string{"/meters"} }

func TestPaths(t *testing.T) {
	tok := mint.New(permit)
	d := newDevice(t, publicMeters, tok.Key.JWK())
	authorization := "authorization=Bearer " + tok.Sign() + "\n"
	for _, row := range pathRows {
		t.Run(row.name, func(t *testing.T) {
			packet := "decide 1\nmethod=" + row.method + "\ntarget=" + row.target + "\n"
			if !row.tokenless {
				packet += authorization
			}
			got := d.ask(t, packet)
			if got.first+" "+got.reason() != row.want || got.lines["path"] != row.path {
				t.Errorf("got %v\nwant %s, path %s", got, row.want, row.path)
			}
			if verified := got.lines["client-id"] != ""; verified && row.tokenless {
				t.Errorf("a client without a token: %v", got)
			}
		})
	}
}

// Where no token is needed, none is looked at: a bad one changes nothing.
func TestPublicIgnoresTokens_PATH2_PATH3_PATH11(t *testing.T) {
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

// The methods that write are all the same to a token.
func TestEveryMethodThatWrites_PATH1_PATH5(t *testing.T) {
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
