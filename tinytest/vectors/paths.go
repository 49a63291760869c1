package vectors

import (
	"strings"
)

func (b *builder) paths() {
	b.begin("paths", "How a target is read: normal form, ambiguities, versions, base paths, what is outside of the "+
		"APIs.")
	b.setting("paths", "")
	token := b.permitting("node system",
		"connection=*|single/senders/* bulk/*/staged", "events=sources/1/ sources/2*", "streamcompatibility=|*",
		"vendor-x=a/b")
	const c, e = "/x-nmos/connection/v1.1/", "/x-nmos/events/v1.0/"
	get := func(prefix, rule string, rows ...[3]string) {
		for _, r := range rows {
			b.ask(prefix, "permission", token,
				ask{r[0], rule, "GET", r[1], r[2], nil})
		}
	}
	get("path-normal-", "PATH-8",
		[3]string{"encoded-letter", e + "%73ources/1", "ok"},
		[3]string{"encoded-all", "/%78%2d%6e%6d%6f%73/%65vents/v1.0/sources/1", "ok"},
		[3]string{"encoded-digit", e + "sources/%31", "ok"},
		[3]string{"encoded-dot-in-version", "/x-nmos/events/v1%2E0/sources/1", "ok"},
		[3]string{"encoded-tilde", c + "%7Ea", "ok"},
		[3]string{"encoded-underscore", c + "a%5fb", "ok"},
		[3]string{"encoded-twice", e + "%2573ources/1", "path-not-granted"},
		[3]string{"hex-in-small-letters", c + "%c3%a9", "ok"},
		[3]string{"dot", e + "./sources/1", "ok"},
		[3]string{"dot-encoded", e + "%2e/sources/1", "ok"},
		[3]string{"dots", e + "x/../sources/1", "ok"},
		[3]string{"dots-encoded", e + "x/%2e%2E/sources/1", "ok"},
		[3]string{"dots-half-encoded", e + "x/.%2e/sources/1", "ok"},
		[3]string{"dots-two-levels", e + "x/y/../../sources/1", "ok"},
		[3]string{"dots-at-end", e + "sources/1/..", "path-not-granted"},
		[3]string{"dots-to-base", e + "sources/..", "ok"},
		[3]string{"dots-into-another-api", c + "../../events/v1.0/sources/3", "path-not-granted"},
		[3]string{"dots-into-unknown-api", c + "../../query/v1.3/nodes", "api-not-granted"},
		[3]string{"dots-encoded-out", c + "%2e%2e/%2e%2e/query/v1.3/nodes", "api-not-granted"},
		[3]string{"three-dots", c + ".../x", "ok"},
		[3]string{"dot-behind", c + "x.", "ok"},
		[3]string{"dots-inside", c + "a..b", "ok"},
		[3]string{"hidden-file", c + ".a", "ok"},
		[3]string{"query", e + "sources/1?a=b", "ok"},
		[3]string{"query-empty", e + "sources/1?", "ok"},
		[3]string{"query-with-path", e + "sources/3?/x-nmos/events/v1.0/sources/1", "path-not-granted"},
		[3]string{"query-with-dots", e + "sources/3?/../1", "path-not-granted"},
		[3]string{"query-encoded", e + "sources/1%3Fa", "path-not-granted"},
		[3]string{"query-two-marks", e + "sources/1?a?b", "ok"},
		[3]string{"query-with-semicolon", e + "sources/1?a;b", "ok"},
		[3]string{"query-with-slashes", e + "sources/1?u=//x", "ok"},
		[3]string{"query-with-bad-encoding", e + "sources/1?a=%zz", "ok"},
		[3]string{"hash-encoded", c + "a%23b", "ok"},
		[3]string{"space-encoded", c + "a%20b", "ok"},
		[3]string{"plus", c + "a+b", "ok"},
		[3]string{"sub-delims", c + "!$&'()*+,=:@", "ok"},
		[3]string{"percent-encoded", c + "100%25", "ok"},
		[3]string{"quote-encoded", c + "%22", "ok"},
		[3]string{"emoji", c + "%F0%9F%8E%9A", "ok"},
	)
	b.ask("path-normal-", "permission", token,
		ask{"dots-out-for-writing", "PATH-8", "PATCH", c + "single/senders/../receivers/1", "path-not-granted", nil},
		ask{"dots-in-for-writing", "PATH-8", "PATCH", c + "single/receivers/../senders/1", "ok", nil},
		ask{"encoded-dots-out-for-writing", "PATH-8", "PATCH", c + "single/senders/%2e%2e/receivers/1",
			"path-not-granted", nil},
		ask{"encoded-star-for-writing", "PATH-8", "PATCH", c + "single/senders/%2A", "ok", nil},
	)
	for _, r := range [][2]string{
		{"two-slashes", e + "/sources/1"},
		{"two-slashes-first", "//x-nmos/events/v1.0/sources/1"},
		{"two-slashes-last", e + "sources/1//"},
		{"two-slashes-before-api", "/x-nmos//events/v1.0/sources/1"},
		{"two-slashes-behind-dots", e + "x/..//sources/1"},
		{"three-slashes", "///x-nmos/events/v1.0/sources/1"},
		{"encoded-slash", e + "sources%2F1"},
		{"encoded-slash-in-small-letters", e + "sources%2f1"},
		{"encoded-slash-and-dots", c + "single/senders/..%2freceivers/1"},
		{"backslash", e + `sources\1`},
		{"encoded-backslash", e + "sources%5C1"},
		{"encoded-backslash-in-small-letters", e + "sources%5c1"},
		{"backslash-and-dots", c + `single/senders/..\receivers`},
		{"nul-encoded", e + "sources/1%00"},
		{"nul-and-extension", e + "sources/1%00.json"},
		{"newline-encoded", e + "sources/1%0a"},
		{"carriage-return-encoded", e + "sources/1%0D%0AX:%20y"},
		{"tab-encoded", e + "sources/1%09"},
		{"delete-encoded", e + "sources/1%7f"},
		{"escape-encoded", e + "%1b"},
		{"c1-control-encoded", e + "%c2%85"},
		{"space", e + "sources/1 "},
		{"tab", e + "sources/1\t"},
		{"parameter", e + "sources/1;a=b"},
		{"parameter-empty", e + "sources/1;"},
		{"parameter-alone", e + ";/sources/1"},
		{"parameter-encoded", e + "sources/1%3Ba"},
		{"parameter-encoded-in-small-letters", e + "sources/1%3ba"},
		{"parameter-jsessionid", e + "sources/1;jsessionid=1"},
		{"parameter-and-dots", c + "single/senders/..;/receivers/1"},
		{"parameter-before-dots", c + "single/senders/;x/../receivers/1"},
		{"parameter-in-public", "/x-nmos/..;/"},
		{"percent-alone", e + "sources/%"},
		{"percent-one-digit", e + "sources/%4"},
		{"percent-no-digits", e + "sources/%zz"},
		{"percent-one-bad-digit", e + "sources/%4g"},
		{"percent-u", e + "sources%u002f1"},
		{"percent-percent", e + "%%32%66"},
		{"overlong-slash", e + "sources%c0%af1"},
		{"overlong-slash-of-three", e + "sources%e0%80%af1"},
		{"overlong-dots", c + "single/%c0%ae%c0%ae/x"},
		{"overlong-nul", e + "%c0%80"},
		{"utf8-cut-short", e + "%c3"},
		{"utf8-cut-by-letter", e + "%c3b"},
		{"utf8-surrogate", e + "%ed%a0%80"},
		{"utf8-beyond", e + "%f4%90%80%80"},
		{"utf8-continuation", e + "%80"},
		{"latin1-encoded", e + "%e9"},
		{"above-root", "/../x-nmos/events/v1.0/sources/1"},
		{"above-root-later", "/x-nmos/../../x-nmos/events/v1.0/sources/1"},
		{"above-root-encoded", "/%2e%2e/x-nmos"},
		{"absolute-form", "http://node-1.example.com/x-nmos/events/v1.0/sources/1"},
		{"absolute-form-elsewhere", "http://other.example.org/x-nmos/"},
		{"no-slash", "x-nmos/events/v1.0/sources/1"},
		{"star", "*"}, {"fragment", e + "sources/1#a"}, {"raw-non-ascii", c + "é"}, {"only-query", "?a=b"},
	} {
		b.ask("path-ambiguous-", "request", token,
			ask{r[0], "PATH-9", "GET", r[1], "path-ambiguous", []int{403, 404}})
	}
	b.ask("path-ambiguous-", "request", "",
		ask{"without-token", "PATH-9", "GET", "//x-nmos", "path-ambiguous", []int{401, 404}})
	get("path-slash-", "PATH-7",
		[3]string{"in-path", e + "sources/2/", "ok"},
		[3]string{"in-specifier", e + "sources/1", "ok"},
		[3]string{"in-both", e + "sources/1/", "ok"},
		[3]string{"vendor-api", "/x-nmos/vendor-x/v1.0/a/b/", "ok"},
		[3]string{"neither", "/x-nmos/vendor-x/v1.0/a/b", "ok"},
	)
	get("path-version-", "PATH-10",
		[3]string{"any", "/x-nmos/events/v7.12/sources/1", "ok"},
		[3]string{"zero", "/x-nmos/events/v0.0/sources/1", "ok"},
		[3]string{"many-digits", "/x-nmos/events/v10.200/sources/1", "ok"},
		[3]string{"leading-zero", "/x-nmos/events/v01.0/sources/1", "ok"},
		[3]string{"missing", "/x-nmos/events/sources/1", "path-version"},
		[3]string{"no-minor", "/x-nmos/events/v1/sources/1", "path-version"},
		[3]string{"three-numbers", "/x-nmos/events/v1.0.1/sources/1", "path-version"},
		[3]string{"no-v", "/x-nmos/events/1.0/sources/1", "path-version"},
		[3]string{"capital-v", "/x-nmos/events/V1.0/sources/1", "path-version"},
		[3]string{"latest", "/x-nmos/events/latest/sources/1", "path-version"},
		[3]string{"letter", "/x-nmos/events/v1.0a/sources/1", "path-version"},
		[3]string{"dash", "/x-nmos/events/v1-0/sources/1", "path-version"},
		[3]string{"minor-missing", "/x-nmos/events/v1./sources/1", "path-version"},
		[3]string{"major-missing", "/x-nmos/events/v.0/sources/1", "path-version"},
		[3]string{"sign", "/x-nmos/events/v+1.0/sources/1", "path-version"},
		[3]string{"star", "/x-nmos/events/*/sources/1", "path-version"},
		[3]string{"arabic-digit", "/x-nmos/events/v%D9%A1.0/sources/1", "path-version"},
		[3]string{"dev", "/x-nmos/events/v1.0-dev/sources/1", "path-version"},
		[3]string{"base-bad", "/x-nmos/events/v1", "path-version"},
		[3]string{"comma", "/x-nmos/events/v1,0/sources/1", "path-version"},
	)
	get("path-api-", "PATH-10",
		[3]string{"capital", "/x-nmos/Events/v1.0/sources/1", "path-version"},
		[3]string{"underscore", "/x-nmos/ev_ents/v1.0/sources/1", "path-version"},
		[3]string{"dot", "/x-nmos/ev.ents/v1.0/sources/1", "path-version"},
		[3]string{"space", "/x-nmos/ev%20ents/v1.0/sources/1", "path-version"},
		[3]string{"unknown", "/x-nmos/future/v1.0/a", "api-not-granted"},
		[3]string{"prefix", "/x-nmos/event/v1.0/sources/1", "api-not-granted"},
		[3]string{"longer", "/x-nmos/eventss/v1.0/sources/1", "api-not-granted"},
		[3]string{"star", "/x-nmos/*/v1.0/sources/1", "path-version"},
	)
	for _, r := range [][3]string{
		{"root", "/", "public"},
		{"x-nmos", "/x-nmos", "public"},
		{"x-nmos-slash", "/x-nmos/", "public"},
		{"root-query", "/?a=b", "public"},
		{"root-by-dots", "/x-nmos/node/../..", "public"},
		{"x-nmos-by-dots", "/x-nmos/node/..", "public"},
		{"x-nmos-encoded", "/%78-nmos/", "public"},
	} {
		b.ask("path-free-", "request", "",
			ask{r[0], "PATH-3", "GET", r[1], r[2], nil},
			ask{r[0] + "-head", "PATH-3", "HEAD", r[1], r[2], nil},
		)
	}
	b.ask("path-free-", "request", "",
		ask{"post-root", "PATH-3", "POST", "/", "no-token", nil},
		ask{"put-x-nmos", "PATH-3", "PUT", "/x-nmos/", "no-token", nil},
		ask{"x-nmos-in-capitals", "PATH-11", "GET", "/X-NMOS/", "no-token", nil},
		ask{"api", "PATH-4", "GET", "/x-nmos/node/", "no-token", nil},
		ask{"x-nmosx", "PATH-11", "GET", "/x-nmosx", "no-token", nil},
		ask{"index", "PATH-11", "GET", "/index.html", "no-token", nil},
		ask{"well-known", "PATH-11", "GET", "/.well-known/jwks.json", "no-token", nil},
	)
	b.ask("path-free-", "permission", token,
		ask{"delete-root", "PATH-3", "DELETE", "/", "path-version", nil})
	get("path-base-", "PATH-4",
		[3]string{"claim", "/x-nmos/connection", "ok"},
		[3]string{"claim-slash", "/x-nmos/connection/", "ok"},
		[3]string{"claim-version", "/x-nmos/connection/v1.1", "ok"},
		[3]string{"claim-version-slash", c, "ok"},
		[3]string{"claim-other-version", "/x-nmos/connection/v9.9/", "ok"},
		[3]string{"claim-with-write-alone", "/x-nmos/streamcompatibility/v1.0/", "ok"},
		[3]string{"scope", "/x-nmos/node/", "ok"},
		[3]string{"scope-version", "/x-nmos/node/v1.3/", "ok"},
		[3]string{"neither", "/x-nmos/query/", "api-not-granted"},
		[3]string{"neither-version", "/x-nmos/query/v1.3/", "api-not-granted"},
		[3]string{"part-of-scope", "/x-nmos/nod/", "api-not-granted"},
		[3]string{"part-of-claim", "/x-nmos/connect/", "api-not-granted"},
		[3]string{"scope-below", "/x-nmos/node/v1.3/self", "path-not-granted"},
		[3]string{"write-alone-below", "/x-nmos/streamcompatibility/v1.0/inputs", "path-not-granted"},
	)
	b.ask("path-base-", "permission", token,
		ask{"head", "PATH-4", "HEAD", "/x-nmos/connection/v1.1/", "ok", nil},
		ask{"put", "PATH-4", "PUT", "/x-nmos/connection/v1.1/", "api-not-granted", nil},
		ask{"post-by-scope", "PATH-4", "POST", "/x-nmos/node/v1.3/", "api-not-granted", nil},
	)
	get("path-closed-", "PATH-11",
		[3]string{"vendor", "/vendor", "path-closed"},
		[3]string{"capitals", "/X-NMOS/connection/v1.1/single", "path-closed"},
		[3]string{"nested", "/api/x-nmos/connection/v1.1/single", "path-closed"},
		[3]string{"x-nmo", "/x-nmo/connection/v1.1/single", "path-closed"},
		[3]string{"x-nmos2", "/x-nmos2/connection/v1.1/single", "path-closed"},
		[3]string{"manifest", "/x-manifest/senders/1/manifest", "path-closed"},
	)
	long := func(n int) string { return c + strings.Repeat("a", n-len(c)) }
	get("path-long-", "PATH-16",
		[3]string{"2048", long(2048), "ok"},
		[3]string{"2049", long(2049), "path-too-long"},
		[3]string{"6000", long(6000), "path-too-long"},
		[3]string{"2049-with-query", long(2000) + "?" + strings.Repeat("q", 1000), "ok"},
		[3]string{"encoded-to-2048", strings.Replace(long(2050), "aaa", "%61aa", 1), "path-too-long"},
		[3]string{"encoded-within", strings.Replace(long(2048), "aaa", "%61aa", 1), "ok"},
		[3]string{"many-segments", c + strings.Repeat("a/", 400), "ok"},
		[3]string{"many-dots", c + strings.Repeat("a/../", 300) + "x", "ok"},
	)
	for _, k := range b.group.Cases {
		if strings.HasPrefix(k.Name, "path-long-") {
			k.also(map[bool][]int{true: {200, 403, 414, 431}, false: {414, 431}}[k.Answer.Status == 400]...)
		}
		if k.Answer.Reason == "path-version" || k.Answer.Reason == "path-closed" {
			k.also(404)
		}
	}

	s := b.setting("paths-configured", "Paths outside of the APIs: some may be read by everybody, some are ruled by "+
		"the claim of an API, one is the socket of a device model.")
	s.Device.Paths = &Paths{
		Public: []string{"/meters", "/x-nmos/system", "/lamps"},
		Claims: map[string]string{"/levels": "events", "/patch": "connection",
			"/streams": "streamcompatibility", "/nodes": "node"},
		Control: []string{"/slot/2/ncp"},
	}
	token = b.permitting("node system", "connection=*|single/senders/*",
		"events=sources/1/ sources/2*", "streamcompatibility=|*")
	b.ask("path-public-", "request", "",
		ask{"below", "PATH-11", "GET", "/meters/1", "public", nil},
		ask{"itself", "PATH-11", "HEAD", "/meters", "public", nil},
		ask{"slash", "PATH-11", "GET", "/lamps/", "public", nil},
		ask{"options", "PATH-11", "OPTIONS", "/meters", "public", nil},
		ask{"post", "PATH-11", "POST", "/meters", "no-token", nil},
		ask{"beside", "PATH-11", "GET", "/meters2", "no-token", nil},
		ask{"capitals", "PATH-11", "GET", "/Meters", "no-token", nil},
		ask{"system", "PATH-11", "GET", "/x-nmos/system/v1.0/global", "public", nil},
		ask{"system-base", "PATH-11", "GET", "/x-nmos/system/", "public", nil},
		ask{"system-put", "PATH-11", "PUT", "/x-nmos/system/v1.0/global", "no-token", nil},
		ask{"beside-system", "PATH-11", "GET", "/x-nmos/systems/v1.0/global", "no-token", nil},
		ask{"dots-into", "PATH-8", "GET", "/x-nmos/../meters/1", "public", nil},
		ask{"dots-out", "PATH-8", "GET", "/meters/../x-nmos/connection/v1.1/single", "no-token", nil},
		ask{"encoded-dots-out", "PATH-8", "GET", "/meters/%2e%2e/x-nmos/node/v1.3/self", "no-token", nil},
		ask{"encoded-slash-out", "PATH-9", "GET", "/meters/..%2fx-nmos/node/v1.3/self", "path-ambiguous", []int{401}},
		ask{"parameter", "PATH-9", "GET", "/meters/..;/x-nmos/node/v1.3/self", "path-ambiguous", []int{401}},
		ask{"parameter-options", "PATH-9", "OPTIONS", "/meters;a", "path-ambiguous", []int{200}},
		ask{"encoded", "PATH-8", "GET", "/%6deters/1", "public", nil},
	)
	b.ask("path-public-", "permission", token,
		ask{"delete-with-token", "PATH-11", "DELETE", "/meters/1", "path-closed", nil},
		ask{"get-with-token", "PATH-11", "GET", "/meters/1", "public", nil},
	)
	b.ask("path-mapped-", "permission", token,
		ask{"below", "PATH-5", "GET", "/levels/sources/1", "ok", nil},
		ask{"below-not", "PATH-5", "GET", "/levels/sources/3", "path-not-granted", nil},
		ask{"itself", "PATH-4", "GET", "/levels", "path-not-granted", nil},
		ask{"itself-slash", "PATH-4", "GET", "/levels/", "path-not-granted", nil},
		ask{"itself-with-star", "PATH-4", "GET", "/patch", "ok", nil},
		ask{"write-with-star-for-read", "PATH-4", "POST", "/patch", "path-not-granted", nil},
		ask{"write-with-star", "PATH-4", "POST", "/streams/", "ok", nil},
		ask{"read-with-star-for-write", "PATH-4", "GET", "/streams", "path-not-granted", nil},
		ask{"scope-alone", "PATH-4", "GET", "/nodes", "path-not-granted", nil},
		ask{"beside", "PATH-11", "GET", "/levels2/sources/1", "path-closed", nil},
		ask{"write-below", "PATH-5", "PUT", "/patch/single/senders/1", "ok", nil},
		ask{"dots-between", "PATH-8", "GET", "/levels/../patch/x", "ok", nil},
	)
	b.ask("path-mapped-", "request", "",
		ask{"without-token", "ANS-1", "GET", "/levels/sources/1", "no-token", nil})
	whole := b.permitting("", "control=root.*|root.*")
	b.ask("path-control-", "permission", whole,
		ask{"configured", "PATH-15", "GET", "/slot/2/ncp", "ok", nil},
		ask{"configured-slash", "PATH-15", "GET", "/slot/2/ncp/", "ok", nil},
		ask{"below-configured", "PATH-11", "GET", "/slot/2/ncp/x", "path-closed", nil},
		ask{"beside-configured", "PATH-11", "GET", "/slot/3/ncp", "path-closed", nil},
	)
	b.ask("path-control-", "permission", b.permitting("", "control=root.*"),
		ask{"configured-read-alone", "PATH-15", "GET", "/slot/2/ncp", "control-not-granted", nil})
}
