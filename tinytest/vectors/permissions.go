package vectors

import (
	"fmt"
	"strings"

	"nmosauthd/tinytest/mint"
)

func (b *builder) permissions() {
	b.begin("permissions", "x-nmos-<api>: its form, and how specifiers match.")
	b.setting("permissions", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "CLM-11" ||
			strings.HasPrefix(c.Rule, "PATH-")
	})
	const path = "/x-nmos/connection/v1.1/"
	specifier := func(name, rule, specifier, target, reason string) {
		t := b.base()
		t.Claims.SetRaw("x-nmos-connection", `{"read":[`+quote(specifier)+`]}`)
		b.add(Case{Name: "specifier-" + name, Rule: rule, Part: "permission", Token: t.Sign(),
			Request: Request{Target: path + target}}, reason)
	}
	const no = "path-not-granted"
	for _, r := range [][4]string{
		{"star-matches-nothing", "single/*", "single/", "ok"},
		{"star-needs-slash", "single/*", "single", "ok"},
		{"star-inside", "single/*/active", "single/senders/1/active", "ok"},
		{"star-inside-empty", "single/*/active", "single/active", no},
		{"star-inside-two-segments", "single/*/active", "single/a/b/c/active", "ok"},
		{"star-before", "*/active", "single/senders/1/active", "ok"},
		{"star-before-not", "*/active", "single/senders/1/staged", no},
		{"star-glued", "single/senders*", "single/senders-of-others", "ok"},
		{"star-three", "*/*/*", "a/b/c", "ok"},
		{"star-three-by-slash", "*/*/*", "a/b", "ok"},
		{"star-three-more", "*/*/*", "a/b/c/d", "ok"},
		{"two-stars", "**", "a", "ok"},
		{"star-question", "*?", "a", no},
		{"two-stars-slash", "single/**/active", "single/active", no},
		{"overlap", "ab*ba", "aba", no},
		{"overlap-good", "ab*ba", "abba", "ok"},
		{"repeat", "a*a*a", "aa", no},
		{"repeat-good", "a*a*a", "aaa", "ok"},
		{"suffix-again", "*ab", "abab", "ok"},
		{"middle-twice", "*x*x*", "axb", no},
		{"middle-twice-good", "*x*x*", "axbxc", "ok"},
		{"literal-dot", "a.c", "abc", no},
		{"literal-plus", "a+", "aaa", no},
		{"literal-caret", "^a", "a", no},
		{"literal-dollar", "a$", "a", no},
		{"literal-brackets", "[ab]", "a", no},
		{"literal-braces", "{a,b}", "a", no},
		{"literal-pipe", "a|b", "a", no},
		{"literal-parentheses", "(a)", "a", no},
		{"literal-percent", "a%25", "a%25", "ok"},
		{"literal-plus-good", "a+b", "a+b", "ok"},
		{"literal-parentheses-good", "a(b)", "a(b)", "ok"},
		{"glob-star-in-path", "a", "*", no},
		{"star-in-path-by-star", "*", "*", "ok"},
		{"case", "Single", "single", no},
		{"case-path", "single", "SINGLE", no},
		{"space", "a b", "a%20b", no},
		{"encoded-space", "a%20b", "a%20b", "ok"},
		{"encoded-small-letters", "%c3%a9", "%C3%A9", no},
		{"encoded-capitals", "%C3%A9", "%c3%a9", "ok"},
		{"unicode", "é", "%C3%A9", no},
		{"slash-before", "/single", "single", no},
		{"dot-segment", "./single", "single", no},
		{"dots", "x/../single", "single", no},
		{"query", "single?a=b", "single?a=b", no},
		{"two-slashes-after", "single//", "single/", no},
		{"slash-alone", "/", "single", no},
		{"slash-star", "/*", "single", no},
		{"empty", "", "single", no},
		{"version-inside", "v1.1/single", "single", no},
		{"whole-target", "x-nmos/connection/v1.1/single", "single", no},
		{"host", "https://node-1.example.com/x-nmos/connection/v1.1/single", "single", no},
		{"null-text", "null", "single", no},
		{"many-stars", strings.Repeat("*", 200), "single", "ok"},
		{"worst-stars", strings.Repeat("a*", 60) + "b", strings.Repeat("a", 300), no},
		{"worst-stars-good", strings.Repeat("a*", 60), strings.Repeat("a", 300), "ok"},
		{"long", strings.Repeat("l", 1500), strings.Repeat("l", 1500), "ok"},
		{"long-not", strings.Repeat("l", 1500), strings.Repeat("l", 1499), no},
	} {
		rule := "PATH-6"
		if r[0] == "star-needs-slash" || r[0] == "star-three-by-slash" || r[0] == "star-matches-nothing" {
			rule = "PATH-7"
		}
		specifier("of-"+r[0], rule, r[1], r[2], r[3])
	}
	for i, value := range []string{
		`{"read":["*",null]}`, `{"read":["*",["*"]]}`, `{"read":["*",{}]}`, `{"read":["*",true]}`, `{"read":{"0":"*"}}`,
		`{"read":true}`, `{"read":7,"write":["*"]}`, `{"write":null,"read":["*"]}`, `{"write":{},"read":["*"]}`,
		`[{"read":["*"]}]`, `"read"`, `[]`, `""`, `{"Read":["*"]}`, `{"r":["*"]}`, `{"read ":["*"]}`,
		`{"permissions":{"read":["*"]}}`, `{"read":[],"write":["*"]}`,
	} {
		t := b.base()
		t.Claims.SetRaw("x-nmos-connection", value)
		b.add(Case{Name: fmt.Sprintf("permission-form-%02d", i+1), Rule: "CLM-11",
			About: "x-nmos-connection is " + value, Part: "permission", Token: t.Sign()}, no)
	}
	for _, r := range []struct{ name, claim, value, reason string }{
		{"other-spelling", "x-nmos_connection", `{"read":["*"]}`, "api-not-granted"},
		{"no-hyphen", "xnmos-connection", `{"read":["*"]}`, "api-not-granted"},
		{"with-version", "x-nmos-connection/v1.1", `{"read":["*"]}`, "api-not-granted"},
		{"with-slash", "x-nmos/connection", `{"read":["*"]}`, "api-not-granted"},
		{"connection-alone", "connection", `{"read":["*"]}`, "api-not-granted"},
		{"star", "x-nmos-*", `{"read":["*"]}`, "api-not-granted"},
		{"space-after", "x-nmos-connection ", `{"read":["*"]}`, "api-not-granted"},
		{"nul-after", `x-nmos-connection\u0000`, `{"read":["*"]}`, "api-not-granted"},
		{"escaped", `x-nmos-c\u006fnnection`, `{"read":["*"]}`, "ok"},
		{"scopes", "scopes", `["connection"]`, "api-not-granted"},
		{"permissions", "permissions", `["connection:read"]`, "api-not-granted"},
		{"nested", "resource_access", `{"x-nmos-connection":{"read":["*"]}}`, "api-not-granted"},
	} {
		t := b.base()
		t.Claims.Delete("scope")
		t.Claims.Delete("x-nmos-connection")
		t.Claims.SetRaw(r.claim, r.value)
		b.add(Case{Name: "permission-claim-" + r.name, Rule: "CLM-11", Part: "permission", Token: t.Sign()}, r.reason)
	}
	for _, r := range []struct{ name, scope, target, reason string }{
		{"one", "connection", path, "ok"},
		{"among-others", "openid connection node", path, "ok"},
		{"last", "node connection", path, "ok"},
		{"prefix", "connectio", path, "api-not-granted"},
		{"longer", "connections", path, "api-not-granted"},
		{"capitals", "Connection", path, "api-not-granted"},
		{"full-name", "x-nmos-connection", path, "api-not-granted"},
		{"comma", "connection,node", path, "api-not-granted"},
		{"star", "*", path, "api-not-granted"},
		{"tab", "node\tconnection", path, "api-not-granted"},
		{"newline", "node\nconnection", path, "api-not-granted"},
		{"two-spaces", "node  connection", path, "ok"},
		{"colon", "connection:read", path, "api-not-granted"},
		{"slash", "connection/v1.1", path, "api-not-granted"},
		{"below", "connection", path + "single", "path-not-granted"},
		{"below-bulk", "connection", path + "bulk/senders", "path-not-granted"},
	} {
		t := b.base()
		t.Claims.Delete("x-nmos-connection")
		t.Claims.Set("scope", r.scope)
		b.add(Case{Name: "scope-grants-" + r.name, Rule: "PATH-4", Part: "permission", Token: t.Sign(),
			Request: Request{Target: r.target}}, r.reason)
	}
}
