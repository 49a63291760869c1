package mint

import "strings"

// nested is a value of that many arrays in one another.
func nested(arrays int) string { return strings.Repeat("[", arrays) + strings.Repeat("]", arrays) }

// jsonFaults are headers and payloads that are not one plain JSON object each (TOK-5). The signatures are good.
func jsonFaults() []Case {
	const want = "token-json"
	var rows []Case
	add := func(name string, mk maker) { rows = append(rows, fault(name, "TOK-5", want, mk)) }
	fixed := func(s string) func(string) string { return func(string) string { return s } }

	for name, text := range ordered(
		"not-json", "this is not JSON", "array", `["RS512"]`, "string", `"RS512"`, "null", "null", "number", "512",
		"unfinished", `{"alg":"RS512"`, "single-quotes", `{'alg':'RS512'}`, "comment", `{"alg":"RS512"/**/}`,
		"comma-after-last", `{"alg":"RS512",}`, "white-space-only", "  ",
	) {
		add("header-"+name, headerText(fixed(text)))
	}
	add("header-byte-order-mark", headerText(func(h string) string { return "\xef\xbb\xbf" + h }))
	add("header-trailing-data", headerText(func(h string) string { return h + "x" }))
	add("header-two-objects", headerText(func(h string) string { return h + h }))
	add("header-invalid-utf8", header("x-vendor", "\"\xff\""))
	add("header-duplicate", headerDuplicate("alg", `"RS512"`))
	add("header-duplicate-other-value", headerDuplicate("alg", `"none"`))
	add("header-duplicate-escaped", headerDuplicate(`\u0061lg`, `"none"`))
	add("header-duplicate-kid", headerDuplicate("kid", `"other"`))
	add("header-nested-17-deep", header("x-deep", nested(16)))

	for name, text := range ordered(
		"not-json", "this is not JSON", "array", `[{"iss":"https://auth.example.com"}]`, "string", `"claims"`, "null",
		"null", "number", "42", "true", "true", "white-space-only", " \n",
	) {
		add("payload-"+name, payloadText(fixed(text)))
	}
	add("payload-unfinished", payloadText(func(p string) string { return strings.TrimSuffix(p, "}") }))
	add("payload-byte-order-mark", payloadText(func(p string) string { return "\xef\xbb\xbf" + p }))
	add("payload-trailing-data", payloadText(func(p string) string { return p + "x" }))
	add("payload-trailing-nul", payloadText(func(p string) string { return p + "\x00" }))
	add("payload-two-objects", payloadText(func(p string) string { return p + p }))
	add("payload-comma-after-last", payloadText(func(p string) string { return strings.TrimSuffix(p, "}") + ",}" }))
	add("payload-raw-newline-in-string", claim("x-vendor", "\"a\nb\""))
	add("payload-number-leading-zero", claim("x-vendor", "01"))
	add("payload-not-a-number", claim("x-vendor", "NaN"))

	add("payload-duplicate", payloadDuplicate("sub", quote(DefaultSubject)))
	add("payload-duplicate-escaped", payloadDuplicate(`\u0073ub`, quote("administrator@example.com")))
	add("payload-duplicate-exp", payloadDuplicate("exp", "253402300799"))
	add("payload-duplicate-api", payloadDuplicate("x-nmos-connection", `{"read":["*"],"write":["*"]}`))
	add("payload-duplicate-in-api", claim("x-nmos-connection", `{"read":["none"],"read":["*"]}`))
	add("payload-duplicate-in-api-escaped", claim("x-nmos-connection", `{"read":["none"],"re\u0061d":["*"]}`))

	add("payload-invalid-utf8", claim("sub", "\"operator\xff\""))
	add("payload-invalid-utf8-in-name", func(t *Token) string { t.Claims.Add("x-\xff", "1"); return t.Sign() })
	add("payload-overlong-utf8", claim("sub", "\"operator\xc0\xaf\""))
	add("payload-surrogate-utf8", claim("sub", "\"operator\xed\xa0\x80\""))
	rows = append(rows, fault("payload-lone-surrogate-escape", "TOK-5", want, claim("sub", `"operator\ud800"`)).
		note("RFC 8259 §8.2 calls it unpredictable, RFC 7493 §2.1 forbids it"))

	add("payload-nested-17-deep", claim("x-deep", nested(16))) // the object itself is the first level
	add("payload-nested-17-deep-objects", claim("x-deep", strings.Repeat(`{"a":`, 15)+"{}"+strings.Repeat("}", 15)))
	add("payload-nested-5000-deep", claim("x-deep", nested(5000)))
	rows = append(rows,
		fault("payload-nested-200000-deep", "TOK-5", "token-too-large", claim("x-deep", nested(200_000))).
			packet("packet-too-long").note("with the size limit raised: token-json"),
		fault("payload-nested-unfinished", "TOK-5", want, payloadText(fixed(`{"x-deep":`+strings.Repeat("[", 8000)))),
	)
	return rows
}

func headerDuplicate(name, value string) maker {
	return func(t *Token) string { t.Header.Add(name, value); return t.Sign() }
}

func payloadDuplicate(name, value string) maker {
	return func(t *Token) string { t.Claims.Add(name, value); return t.Sign() }
}
