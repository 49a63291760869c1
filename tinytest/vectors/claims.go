package vectors

import (
	"fmt"
	"strings"

	"nmosauthd/tinytest/mint"
)

func (b *builder) claims() {
	b.begin("claims", "iss, sub, client_id, azp and scope, and claims that decide nothing.")
	b.setting("claims", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "CLM-1" || c.Rule == "CLM-2" || c.Rule == "CLM-9" || c.Rule == "CLM-10" || c.Rule == "KEY-5"
	})
	host := strings.TrimPrefix(strings.TrimPrefix(b.issuer, "https://"), "http://")
	scheme := b.issuer[:strings.Index(b.issuer, "://")]
	for _, c := range []struct{ name, iss string }{
		{"host-in-capitals", scheme + "://" + strings.ToUpper(host)},
		{"default-port", b.issuer + ":443"},
		{"other-port", scheme + "://auth.example.org:8443"},
		{"other-host", scheme + "://auth.example.org"},
		{"dot-after-host", scheme + "://auth.example.com./"},
		{"suffix", b.issuer + ".attacker.example.net"},
		{"prefix", scheme + "://attacker" + host},
		{"percent-encoded", scheme + "://%61uth.example.com"},
		{"realm", b.issuer + "/realms/nmos"},
		{"well-known", b.issuer + "/.well-known/oauth-authorization-server"},
		{"homograph", scheme + "://аuth.example.com"}, // a Cyrillic а
		{"backslash", b.issuer + `\@attacker.example.net`},
		{"wildcard", scheme + "://*.example.com"},
		{"star", scheme + "://*"},
		{"loopback", "http://127.0.0.1"},
		{"link-local", "http://169.254.169.254/latest/meta-data"},
		{"ldap", "ldap://attacker.example.net/x"},
		{"gopher", "gopher://attacker.example.net/_x"},
		{"long", scheme + "://" + strings.Repeat("a.", 120) + "example.net"},
		{"long-path", scheme + "://attacker.example.net/" + strings.Repeat("a", 2000)},
		{"three-slashes-after", b.issuer + "///"},
	} {
		b.claim("iss-is-"+c.name, "KEY-5", "issuer-untrusted", "iss", quote(c.iss))
	}
	for _, c := range []struct{ name, iss string }{
		{"mailto", "mailto:admin@example.com"},
		{"urn", "urn:example:issuer"},
		{"data", "data:application/json,{}"},
		{"two-slashes", "//auth.example.com"},
		{"scheme-only", "https:"},
		{"scheme-empty", "://auth.example.com"},
		{"scheme-digit", "1http://auth.example.com"},
		{"tab", "https://auth.example.com\t"},
	} {
		b.claim("iss-is-"+c.name, "CLM-1", "issuer-missing", "iss", quote(c.iss))
	}
	const scoped = "scope-form"
	for _, c := range []struct{ name, scope, reason string }{
		{"two-spaces", "connection  node", "ok"},
		{"space-around", " connection ", "ok"},
		{"tab", "connection\tnode", "ok"},
		{"thousand", strings.Repeat("s ", 1000), "ok"},
		{"non-ascii", "größe", "ok"}, {"quoted", `"connection"`, "ok"}, {"comma", "connection,node", "ok"},
	} {
		b.claim("scope-is-"+c.name, "CLM-10", c.reason, "scope", quote(c.scope))
	}
	for _, c := range []struct{ name, value string }{
		{"empty-array", `[]`},
		{"array-of-number", `[1]`},
		{"false", `false`},
		{"zero", `0`},
		{"nested", `[["connection"]]`},
	} {
		b.claim("scope-is-"+c.name, "CLM-10", scoped, "scope", c.value)
	}
	for _, c := range []struct{ name, value, reason string }{
		{"one-space", `" "`, "ok"},
		{"long", quote(strings.Repeat("s", 1000)), "ok"},
		{"markup", `"<script>alert(1)</script>"`, "ok"},
		{"quote", `"a\"b"`, "ok"},
		{"percent", `"%0d%0aSet-Cookie: a=b"`, "ok"},
		{"right-to-left", `"\u202eadmin"`, "ok"},
		{"emoji", `"🎚️"`, "ok"},
		{"combining", `"Jo\u0308rg"`, "ok"},
		{"backslash", `"DOMAIN\\user"`, "ok"},
		{"false", `false`, "subject-missing"},
		{"true", `true`, "subject-missing"},
		{"zero", `0`, "subject-missing"},
		{"escape-character", `"a\u001b[31mb"`, "subject-missing"},
		{"tab", `"a\tb"`, "subject-missing"},
		{"bell", `"a\u0007"`, "subject-missing"},
		{"empty-array", `[]`, "subject-missing"},
	} {
		b.claim("sub-is-"+c.name, "CLM-2", c.reason, "sub", c.value)
	}
	for _, c := range []struct{ name, value, reason string }{
		{"uuid", `"0b9d5c1e-2f3a-4b5c-8d7e-9f0a1b2c3d4e"`, "ok"},
		{"url", `"https://controller.example.com/client"`, "ok"},
		{"one-space", `" "`, "ok"},
		{"long", quote(strings.Repeat("c", 500)), "ok"},
		{"non-ascii", `"Regie-Ä"`, "ok"},
		{"true", `true`, "client-missing"},
		{"false", `false`, "client-missing"},
		{"nested", `{"id":"a"}`, "client-missing"},
		{"tab", `"a\tb"`, "client-missing"},
		{"array-of-two", `["a","b"]`, "client-missing"},
	} {
		b.claim("client-id-is-"+c.name, "CLM-9", c.reason, "client_id", c.value)
	}
	for _, c := range []struct{ name, clientID, azp, reason string }{
		{"space-differs", `"controller-1"`, `"controller-1 "`, "client-conflict"},
		{"normal-form-differs", `"\u00e4"`, `"a\u0308"`, "client-conflict"},
		{"azp-null", `"controller-1"`, `null`, "client-missing"},
		{"azp-array", `"controller-1"`, `["controller-1"]`, "client-missing"},
		{"both-null", `null`, `null`, "client-missing"},
		{"both-empty", `""`, `""`, "client-missing"},
		{"both-non-ascii", `"ä"`, `"\u00e4"`, "ok"},
	} {
		t := b.base()
		t.Claims.SetRaw("client_id", c.clientID)
		t.Claims.SetRaw("azp", c.azp)
		b.token("client-id-and-azp-"+c.name, "CLM-9", c.reason, t.Sign())
	}
	for _, c := range []struct{ name, claim, value string }{
		{"clientId", "clientId", `"x"`}, {"appid", "appid", `"x"`}, {"cid", "cid", `"x"`}, {"client", "client", `"x"`},
	} { // names under which other servers keep it
		t := b.base()
		t.Claims.Delete("client_id")
		t.Claims.SetRaw(c.claim, c.value)
		b.token("client-id-as-"+strings.ToLower(c.name), "CLM-9", "client-missing", t.Sign())
	}
	for _, c := range []struct{ name, claim, value string }{
		{"jti-number", "jti", `7`},
		{"jti-null", "jti", `null`},
		{"jti-empty", "jti", `""`},
		{"jti-newline", "jti", `"a\nb"`},
		{"jti-long", "jti", quote(strings.Repeat("j", 2000))},
		{"cnf", "cnf", `{"x5t#S256":"AQ"}`},
		{"roles", "roles", `["admin"]`},
		{"groups", "groups", `["a","b"]`},
		{"act", "act", `{"sub":"somebody"}`},
		{"typ", "typ", `"Bearer"`},
		{"nonce", "nonce", `"1"`},
		{"x-nmos", "x-nmos", `{"read":["*"]}`},
		{"x-nmos-empty", "x-nmos-", `5`},
		{"x-nmos-capitals", "x-nmos-Node", `5`},
		{"active-false", "active", `false`},
		{"token-use-id", "token_use", `"id"`},
		{"auth-time-text", "auth_time", `"now"`},
		{"updated-at", "updated_at", `1e400`},
	} {
		b.claim("claim-ignored-"+c.name, "TOK-5", "ok", c.claim, c.value)
	}
	t := b.base()
	for i := range 150 {
		t.Claims.SetRaw(fmt.Sprintf("x-nmos-api%d", i), `{"read":["*"]}`)
	}
	b.token("claims-of-150-apis", "CLM-11", "ok", t.Sign())
}

func (b *builder) audience() {
	b.begin("audience", "aud: its form, the names of the device, and wildcards.")
	b.setting("audience", "")
	b.minted(b.base(), tables, prefixed("aud-"))
	type row struct {
		name, aud, reason string
		also              []int
	}
	add := func(rule string, rows ...row) {
		for _, c := range rows {
			b.claim("aud-is-"+c.name, rule, c.reason, "aud", c.aud, c.also...)
		}
	}
	const other, missing = "audience", "audience-missing"
	add("CLM-4",
		row{"mixed-case", `["NoDe-1.ExAmPlE.cOm"]`, "ok", nil},
		row{"twice", `["node-1.example.com","node-1.example.com"]`, "ok", nil},
		row{"ws", `["ws://node-1.example.com"]`, "ok", nil},
		row{"wss", `["wss://node-1.example.com"]`, "ok", nil},
		row{"unknown-scheme", `["nmos+x.1://node-1.example.com"]`, "ok", nil},
		row{"escaped", `["\u006eode-1.example.com"]`, "ok", nil},
		row{"first-of-500", `["node-1.example.com"` + strings.Repeat(`,"x"`, 500) + `]`, "ok", nil},
		row{"last-of-500", `[` + strings.Repeat(`"x",`, 500) + `"node-1.example.com"]`, "ok", nil},
		row{"one-slash", `["https:/node-1.example.com"]`, other, nil},
		row{"three-slashes", `["https:///node-1.example.com"]`, other, nil},
		row{"scheme-of-digits", `["1://node-1.example.com"]`, other, nil},
		row{"scheme-with-space", `["ht tp://node-1.example.com"]`, other, nil},
		row{"scheme-underscore", `["a_b://node-1.example.com"]`, other, nil},
		row{"urn", `["urn:node-1.example.com"]`, other, nil},
		row{"port-443", `["node-1.example.com:443"]`, other, nil},
		row{"ipv4", `["192.0.2.7"]`, other, nil},
		row{"localhost", `["localhost"]`, other, nil},
		row{"empty-and-dot", `["","."]`, other, nil},
		row{"space-after", `["node-1.example.com "]`, other, nil},
		row{"newline-after", `["node-1.example.com\n"]`, other, nil},
		row{"nul-after", `["node-1.example.com\u0000"]`, other, nil},
		row{"nul-and-more", `["node-1.example.com\u0000.attacker.example.net"]`, other, nil},
		row{"percent-encoded", `["node%2D1.example.com"]`, other, nil},
		row{"comma-list", `["node-1.example.com,other.example.com"]`, other, nil},
		row{"full-width-dot", `["node-1。example.com"]`, other, nil},
		row{"kelvin", `["\u212aode-1.example.com"]`, other, nil},
		row{"hyphen-of-unicode", `["node‐1.example.com"]`, other, nil},
		row{"zero-width-space", `["node-1\u200b.example.com"]`, other, nil},
		row{"two-dots-inside", `["node-1..example.com"]`, other, nil},
		row{"device-of-same-length", `["node-2.example.com"]`, other, nil},
		row{"client-id", `["controller-1"]`, other, nil},
		row{"issuer", quote(b.issuer), other, nil},
		row{"account", `["account","nmos"]`, other, nil},
	)
	add("CLM-5",
		row{"star-in-first-label-twice", `["n*e-*.example.com"]`, "ok", nil},
		row{"star-whole-labels-two", `["*.example.*"]`, "ok", nil},
		row{"stars-three-labels", `["*.*.*"]`, "ok", nil},
		row{"star-in-second-label", `["node-1.ex*.com"]`, "ok", nil},
		row{"star-in-last-label", `["node-1.example.c*m"]`, "ok", nil},
		row{"stars-in-one-label", `["n**1.example.com"]`, "ok", nil},
		row{"wss-star", `["wss://*.example.com"]`, "ok", nil},
		row{"star-between-others", `["a.example.org","*","b.example.org"]`, "ok", nil},
		row{"stars-four-labels", `["*.*.*.*"]`, other, nil},
		row{"star-and-top", `["*com"]`, other, nil},
		row{"star-dot", `["*."]`, "ok", []int{401, 403}},
		row{"star-slash", `["*/"]`, other, nil},
		row{"star-port", `["*:443"]`, other, nil},
		row{"star-star-path", `["https://*/*"]`, other, nil},
		row{"star-scheme", `["*://*"]`, other, nil},
		row{"star-question-mark", `["*?"]`, other, nil},
		row{"regular-expression-class", `["node-[0-9].example.com"]`, other, nil},
		row{"regular-expression-dot", `["node.1.example.com"]`, other, nil},
		row{"regular-expression-anchors", `["^node-1.example.com$"]`, other, nil},
		row{"braces", `["node-{1,2}.example.com"]`, other, nil},
		row{"percent-for-star", `["%.example.com"]`, other, nil},
		row{"star-full-width", `["＊.example.com"]`, other, nil},
		row{"star-encoded", `["%2A.example.com"]`, other, nil},
		row{"star-with-more-behind", `["node-1.example.com.*"]`, other, nil},
		row{"star-needs-character", `["node-1*1.example.com"]`, other, nil},
	)
	add("CLM-3",
		row{"empty-string", `""`, other, []int{401}},
		row{"nested-array", `[["node-1.example.com"]]`, missing, nil},
		row{"false", `false`, missing, nil},
		row{"array-with-true", `["node-1.example.com",true]`, missing, nil},
		row{"array-of-null", `[null]`, missing, nil},
		row{"json-in-string", `"[\"node-1.example.com\"]"`, other, nil},
	)
	for _, g := range []struct {
		name  string
		names []string
		rows  []row
	}{
		{"two-names", []string{"amp.studio.example.com", "amp.local"}, []row{
			{"first", `["amp.studio.example.com"]`, "ok", nil},
			{"second", `["amp.local"]`, "ok", nil},
			{"wildcard-local", `["*.local"]`, "ok", nil},
			{"wildcard-two-labels", `["*.example.com"]`, "ok", nil},
			{"suffix", `["studio.example.com"]`, other, nil},
			{"mixed-up", `["amp.example.com"]`, other, nil},
			{"wildcard-deep", `["*.amp.local"]`, other, nil},
			{"wildcard-studio", `["a*.studio.example.com"]`, "ok", nil},
			{"wildcard-across", `["a*.example.com"]`, other, nil}}},
		{"short-name", []string{"amp"}, []row{
			{"itself", `["amp"]`, "ok", nil},
			{"dot", `["amp."]`, "ok", nil},
			{"star", `["*"]`, "ok", nil},
			{"inside", `["a*p"]`, "ok", nil},
			{"star-dot-name", `["*.amp"]`, other, nil},
			{"longer", `["amp.example.com"]`, other, nil},
			{"star-local", `["*.local"]`, other, nil}}},
		{"ipv4", []string{"192.0.2.7"}, []row{
			{"itself", `["192.0.2.7"]`, "ok", nil},
			{"https", `["https://192.0.2.7"]`, "ok", nil},
			{"port", `["192.0.2.7:80"]`, other, nil},
			{"neighbour", `["192.0.2.70"]`, other, nil},
			{"leading-zero", `["192.0.2.007"]`, other, nil},
			{"integer", `["3221225991"]`, other, nil},
			{"star", `["*"]`, "ok", nil}}},
		{"ipv6", []string{"2001:db8::7"}, []row{
			{"itself", `["2001:db8::7"]`, "ok", nil},
			{"brackets", `["[2001:db8::7]"]`, "ok", nil},
			{"url", `["https://[2001:db8::7]"]`, "ok", nil},
			{"capitals", `["2001:DB8::7"]`, "ok", nil},
			{"port", `["[2001:db8::7]:443"]`, other, nil},
			{"neighbour", `["2001:db8::70"]`, other, nil},
			{"url-without-brackets", `["https://2001:db8::7"]`, other, nil},
			{"star", `["*"]`, "ok", nil}}},
		{"punycode", []string{"xn--rhre-5qa.example.com"}, []row{
			{"itself", `["xn--rhre-5qa.example.com"]`, "ok", nil},
			{"unicode", `["röhre.example.com"]`, other, []int{200}},
			{"star", `["xn--*.example.com"]`, "ok", nil}}},
	} {
		s := b.setting("audience-"+g.name, "A device with the names "+strings.Join(g.names, ", ")+".")
		s.Device.Names = g.names
		for _, c := range g.rows {
			b.claim("aud-of-"+g.name+"-"+c.name, "CLM-4", c.reason, "aud", c.aud, c.also...)
		}
	}
}

func (b *builder) time() {
	b.begin("time",
		"exp, iat and nbf. In groups that have a clock the time is told; in the first any from 2024 to 2099 will do.")
	b.setting("time-any", "Forms, and times that are far away.")
	near := map[string]bool{"iat-future": true, "iat-future-fraction": true, "nbf-future": true,
		"nbf-future-fraction": true, "exp-fraction": true, "exp-fraction-zero": true, "exp-exponent": true,
		"exp-now": true, "exp-past": true, "exp-past-fraction": true, "nbf-now": true,
		"nbf-past": true, "iat-fraction": true}
	timed := func(c mint.Case) bool { return c.Rule == "CLM-7" || c.Rule == "CLM-8" }
	b.minted(b.base(), tables, func(c mint.Case) bool { return timed(c) && !near[c.Name] })
	for _, c := range []struct{ name, claim, value, reason string }{
		{"exp-milliseconds", "exp", "4102444800000", "ok"},
		{"exp-milliseconds-past", "exp", "1600000000", "token-expired"},
		{"exp-false", "exp", "false", "expiry-missing"},
		{"exp-string-of-number", "exp", `"4102444800"`, "expiry-missing"},
		{"exp-long-fraction", "exp", "4102444800." + strings.Repeat("9", 100), "ok"},
		{"exp-small-exponent", "exp", "41024448000e-1", "ok"},
		{"exp-capital-exponent", "exp", "4.1024448E+9", "ok"},
		{"exp-minus-zero", "exp", "-0", "token-expired"},
		{"exp-int32-minimum", "exp", "-2147483648", "token-expired"},
		{"exp-uint32-wraps", "exp", "4294967296", "ok"},
		{"exp-int64-maximum", "exp", "9223372036854775807", "ok"},
		{"exp-int64-beyond", "exp", "9223372036854775808", "ok"},
		{"exp-uint64-maximum", "exp", "18446744073709551615", "ok"},
		{"exp-int64-minimum", "exp", "-9223372036854775808", "token-expired"},
		{"iat-string-date", "iat", `"2023-11-14"`, "time-form"},
		{"iat-true", "iat", "true", "time-form"},
		{"iat-exponent", "iat", "1.7e9", "ok"},
		{"iat-int64-minimum", "iat", "-9223372036854775808", "ok"},
		{"iat-milliseconds", "iat", "1700000000000", "token-issued-later"},
		{"nbf-string-date", "nbf", `"2023-11-14"`, "time-form"},
		{"nbf-true", "nbf", "true", "time-form"},
		{"nbf-exponent", "nbf", "1.7e9", "ok"},
		{"nbf-zero", "nbf", "0", "ok"},
		{"nbf-milliseconds", "nbf", "1700000000000", "token-not-yet-valid"},
		{"nbf-name-in-capitals", "NBF", "1e15", "ok"},
	} {
		rule := "CLM-8"
		if strings.HasPrefix(c.name, "exp") {
			rule = "CLM-7"
		}
		k := b.claim("time-"+c.name, rule, c.reason, c.claim, c.value)
		if strings.Contains(c.name, "int64") || strings.Contains(c.name, "uint64") ||
			strings.Contains(c.name, "milliseconds") && c.claim == "exp" {
			k.also(401)
		}
	}

	now := present.Unix() + 7200
	told := b.setting("time-told", "The very second decides.")
	told.Clock = &Clock{Known: true, Now: now}
	base := func() *mint.Token {
		t := b.base()
		t.Now = present.Add(7200e9)
		t.Claims.SetRaw("iat", fmt.Sprint(now-60))
		t.Claims.SetRaw("exp", fmt.Sprint(now+3600))
		return t
	}
	b.minted(base(), tables, func(c mint.Case) bool { return timed(c) && near[c.Name] })
	edge := func(prefix string, rows ...[3]string) {
		for _, c := range rows {
			t := base()
			claim, _, _ := strings.Cut(c[0], "-")
			t.Claims.SetRaw(claim, c[1])
			rule := "CLM-8"
			if claim == "exp" {
				rule = "CLM-7"
			}
			b.token(prefix+c[0], rule, c[2], t.Sign())
		}
	}
	at := func(seconds int64, more string) string { return fmt.Sprint(now+seconds) + more }
	edge("edge-",
		[3]string{"exp-one-second-left", at(1, ""), "ok"},
		[3]string{"exp-half-a-second-left", at(0, ".5"), "ok"},
		[3]string{"exp-a-moment-left", at(0, ".000001"), "ok"},
		[3]string{"exp-one-second-ago", at(-1, ""), "token-expired"},
		[3]string{"exp-an-hour-ago", at(-3600, ""), "token-expired"},
		[3]string{"iat-one-second-ago", at(-1, ""), "ok"},
		[3]string{"iat-now", at(0, ""), "ok"},
		[3]string{"iat-now-as-fraction", at(0, ".0"), "ok"},
		[3]string{"nbf-one-second-ago", at(-1, ""), "ok"},
		[3]string{"nbf-now-as-fraction", at(0, ".000"), "ok"},
		[3]string{"nbf-in-a-second", at(1, ""), "token-not-yet-valid"},
		[3]string{"nbf-in-half-a-second", at(0, ".5"), "token-not-yet-valid"},
		[3]string{"nbf-in-a-year", at(31536000, ""), "token-not-yet-valid"},
		[3]string{"iat-in-half-a-second", at(0, ".5"), "token-issued-later"},
		[3]string{"iat-in-a-second", at(1, ""), "token-issued-later"},
		[3]string{"iat-in-a-year", at(31536000, ""), "token-issued-later"},
	)
	t := base()
	t.Claims.SetRaw("exp", at(-10, ""))
	t.Claims.SetRaw("aud", `["other.example.org"]`)
	b.token("edge-expired-and-for-others", "CLM-7", "token-expired", t.Sign(), 403)
	t = base()
	t.Claims.SetRaw("nbf", at(100, ""))
	t.Claims.SetRaw("exp", at(50, ""))
	b.token("edge-nbf-after-exp", "CLM-8", "token-not-yet-valid", t.Sign())

	lenient := b.setting("time-leeway", "A leeway of 30 seconds, on exp, iat and nbf.")
	lenient.Device.Leeway = 30
	lenient.Clock = told.Clock
	edge("leeway-",
		[3]string{"exp-29-seconds-ago", at(-29, ""), "ok"},
		[3]string{"exp-30-seconds-ago", at(-30, ""), "token-expired"},
		[3]string{"iat-in-30-seconds", at(30, ""), "ok"},
		[3]string{"iat-in-31-seconds", at(31, ""), "token-issued-later"},
		[3]string{"nbf-in-30-seconds", at(30, ""), "ok"},
		[3]string{"nbf-in-31-seconds", at(31, ""), "token-not-yet-valid"},
		[3]string{"exp-a-minute-ago", at(-60, ""), "token-expired"},
	)

	unset := b.setting("clock-unset", "The device does not know what time it is.")
	unset.Clock = &Clock{}
	b.token("clock-unset-good-token", "OPS-1", "clock-untrusted", b.base().Sign())
	attacker := b.base()
	attacker.Key = mint.CachedKey("attacker", 2048)
	b.token("clock-unset-forged", "TOK-6", "signature", attacker.Sign(), 503)
	b.claim("clock-unset-no-expiry", "CLM-7", "expiry-missing", "exp", "null", 503)
	b.claim("clock-unset-for-others", "OPS-1", "clock-untrusted", "aud", `["other.example.org"]`, 403)
	b.token("clock-unset-malformed", "TOK-1", "token-malformed", "a.b", 503)
	for _, c := range []struct{ name, rule, method, target, reason string }{
		{"no-token", "ANS-1", "GET", senders, "no-token"},
		{"public", "PATH-3", "GET", "/x-nmos/", "public"},
		{"options", "PATH-2", "OPTIONS", senders, "public"},
		{"ambiguous", "PATH-9", "GET", "/x-nmos//node", "path-ambiguous"},
	} {
		k := b.add(Case{Name: "clock-unset-" + c.name, Rule: c.rule, Part: "request",
			Request: Request{Method: c.method, Target: c.target}}, c.reason)
		if c.reason == "no-token" {
			k.Also = append(k.Also, Answer{Status: 503})
		}
	}
}
