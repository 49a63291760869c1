package rows

import "nmosauthd/tinytest/mint"

// PathsToken is a token that may read everything in connection but write only some, reads little in events, and names node
// in its scope alone.
var PathsToken = mint.Options{
	Scope: "node system",
	Permissions: map[string]mint.Permission{
		"connection":          {Read: []string{"*"}, Write: []string{"single/senders/*", "bulk/*/staged"}},
		"events":              {Read: []string{"sources/1/", "sources/2*"}},
		"streamcompatibility": {Write: []string{"*"}},
	},
}

// Paths are requests by the rule that decides them, with a token by PathsToken, under PathsConfig. If Path is empty the reply
// has none.
var Paths = []struct {
	Name, Method, Target string
	Tokenless            bool
	Want                 string // first line and reason
	Path                 string
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
	{"PATH-4/scope-version", "HEAD", "/x-nmos/node/v1.3/", false, "allow 200 ok", "/x-nmos/node/v1.3/"},
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
	{"PATH-9/parameter", "GET", "/x-nmos/events/v1.0/sources/1;a=b", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/parameter-before-dots", "PATCH", "/x-nmos/connection/v1.1/single/senders/;x/../receivers/1", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/parameter-encoded", "GET", "/x-nmos/events/v1.0/..%3B/node", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/parameter-encoded-in-small-letters", "GET", "/x-nmos/events/v1.0/sources/1%3b", false, "deny 400 path-ambiguous", ""},
	{"PATH-9/parameter-in-public-path", "GET", "/meters/..;/x-nmos", true, "deny 400 path-ambiguous", ""},
	{"PATH-9/parameter-for-options", "OPTIONS", "/meters;a", true, "deny 400 path-ambiguous", ""},
	{"PATH-9/semicolon-in-query", "GET", "/x-nmos/events/v1.0/sources/1?a;b=%3B", false, "allow 200 ok", "/x-nmos/events/v1.0/sources/1"},
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
	{"PATH-11/public-head", "HEAD", "/meters", true, "allow 200 public", "/meters"},
	{"PATH-11/public-options", "OPTIONS", "/meters", true, "allow 200 public", "/meters"},
	{"PATH-11/public-write-without-token", "POST", "/meters", true, "deny 401 no-token", "/meters"},
	{"PATH-11/public-write", "DELETE", "/meters/1", false, "deny 403 path-closed", "/meters/1"},
	{"PATH-11/public-system", "GET", "/x-nmos/system/v1.0/global", true, "allow 200 public", "/x-nmos/system/v1.0/global"},
	{"PATH-11/public-system-base", "GET", "/x-nmos/system/", true, "allow 200 public", "/x-nmos/system/"},
	{"PATH-11/public-system-write", "PUT", "/x-nmos/system/v1.0/global", true, "deny 401 no-token", "/x-nmos/system/v1.0/global"},
	{"PATH-11/beside-public-system", "GET", "/x-nmos/systems/v1.0/global", true, "deny 401 no-token", "/x-nmos/systems/v1.0/global"},
	{"PATH-4/mapped-prefix", "GET", "/levels", false, "deny 403 path-not-granted", "/levels"},
	{"PATH-4/mapped-prefix-slash", "GET", "/levels/", false, "deny 403 path-not-granted", "/levels/"},
	{"PATH-4/mapped-prefix-below", "GET", "/levels/sources/1", false, "allow 200 ok", "/levels/sources/1"},
	{"PATH-4/mapped-prefix-everything", "GET", "/patch", false, "allow 200 ok", "/patch"},
	{"PATH-4/mapped-prefix-everything-not-for-writing", "POST", "/patch", false, "deny 403 path-not-granted", "/patch"},
	{"PATH-4/mapped-prefix-everything-for-writing", "POST", "/streams/", false, "allow 200 ok", "/streams/"},
	{"PATH-4/mapped-prefix-everything-for-writing-only", "GET", "/streams", false, "deny 403 path-not-granted", "/streams"},
	{"PATH-4/mapped-prefix-scope-alone", "GET", "/nodes", false, "deny 403 path-not-granted", "/nodes"},
	{"PATH-11/beside-public", "GET", "/meters2", true, "deny 401 no-token", "/meters2"},
	{"PATH-11/dots-into-public", "GET", "/x-nmos/../meters/1", true, "allow 200 public", "/meters/1"},
	{"PATH-11/dots-out-of-public", "GET", "/meters/../x-nmos/connection/v1.1/single", true, "deny 401 no-token", "/x-nmos/connection/v1.1/single"},

	{"PATH-13/transportfile", "GET", "/x-nmos/connection/v1.1/single/senders/1/transportfile", false, "allow 200 ok", "/x-nmos/connection/v1.1/single/senders/1/transportfile"},
	{"PATH-13/transportfile-without-token", "GET", "/x-nmos/connection/v1.1/single/senders/1/transportfile", true, "deny 401 no-token", "/x-nmos/connection/v1.1/single/senders/1/transportfile"},
}
