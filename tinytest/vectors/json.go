package vectors

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"strconv"
	"strings"

	"nmosauthd/tinytest/mint"
)

// quote is a string in JSON.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b))
}

func mac(alg string, secret []byte, input string) []byte {
	h := hmac.New(sha256.New, secret)
	if alg == "HS512" {
		h = hmac.New(sha512.New, secret)
	}
	h.Write([]byte(input))
	return h.Sum(nil)
}

func (b *builder) json() {
	b.begin("json", "Header and payload as JSON: one object each, valid UTF-8, no name twice, not nested too deep. "+
		"The signatures are good.")
	b.setting("json", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "TOK-5" && !strings.HasPrefix(c.Name, "kid-") && !strings.HasPrefix(c.Name, "token-") &&
			c.Name != "forged-and-duplicate"
	})
	const bad = "token-json"
	base := b.base()
	claims := string(base.Claims.Bytes())
	payload := func(name, reason, text string, also ...int) *Case {
		return b.token("json-"+name, "TOK-5", reason,
			mint.SignBytes(base.Header.Bytes(), []byte(text), base.Key), also...)
	}
	inside := func(member string) string { return strings.TrimSuffix(claims, "}") + "," + member + "}" }
	for _, c := range []struct{ name, text string }{
		{"utf16", utf16(claims)},
		{"jsonp", "f(" + claims + ")"},
		{"xssi-prefix", ")]}'\n" + claims},
		{"line-comment", claims + "//"},
		{"comment-inside", inside(`"x":/**/1`)},
		{"hash-comment", "#\n" + claims},
		{"names-without-quotes", inside(`x:1`)},
		{"single-quotes", strings.ReplaceAll(claims, `"`, `'`)},
		{"two-commas", inside(`,"x":1`)},
		{"no-comma", strings.Replace(claims, `,"sub"`, `"sub"`, 1)},
		{"no-colon", inside(`"x" 1`)},
		{"equals-for-colon", inside(`"x"=1`)},
		{"hex-number", inside(`"x":0x10`)},
		{"plus-number", inside(`"x":+1`)},
		{"dot-number", inside(`"x":.5`)},
		{"number-dot", inside(`"x":5.`)},
		{"number-e", inside(`"x":1e`)},
		{"minus-alone", inside(`"x":-`)},
		{"infinity", inside(`"x":Infinity`)},
		{"undefined", inside(`"x":undefined`)},
		{"true-in-capitals", inside(`"x":TRUE`)},
		{"string-not-ended", inside(`"x":"a`)},
		{"escape-x", inside(`"x":"\x41"`)},
		{"escape-short", inside(`"x":"\u12"`)},
		{"escape-octal", inside(`"x":"\101"`)},
		{"tab-in-string", inside("\"x\":\"a\tb\"")},
		{"nul-in-string", inside("\"x\":\"a\x00b\"")},
		{"low-surrogate-alone", inside(`"x":"\udc00"`)},
		{"surrogates-reversed", inside(`"x":"\udf9a\ud83c"`)},
		{"utf8-five-bytes", inside("\"x\":\"\xf8\x88\x80\x80\x80\"")},
		{"utf8-cut", inside("\"x\":\"\xe2\x82\"")},
		{"utf8-beyond", inside("\"x\":\"\xf4\x90\x80\x80\"")},
		{"latin1", inside("\"x\":\"J\xf6rg\"")},
		{"wrong-bracket", inside(`"x":[1}`)},
		{"form-feed-outside", "\f" + claims},
		{"vertical-tab-outside", claims + "\v"},
		{"no-break-space-outside", "\u00a0" + claims},
		{"nul-before", "\x00" + claims},
		{"only-name", `{"iss"}`},
		{"cut-in-half", claims[:len(claims)/2]},
		{"ndjson", claims + "\n" + claims},
		{"in-array-with-more", "[" + claims + ",1]"},
		{"yaml", "iss: https://auth.example.com\nsub: operator\n"},
		{"cbor-like", "\xa1\x63iss\x61a"},
		{"name-is-number", inside(`1:1`)},
		{"name-is-null", inside(`null:1`)},
	} {
		payload(c.name, bad, c.text)
	}
	// A name twice means what the parser makes of it (RFC 8725 §2.4): one that decides must not stand twice.
	for _, c := range []struct{ name, member string }{
		{"iss", `"iss":` + quote(b.group.Device.Issuer)},
		{"aud", `"aud":"*"`},
		{"iat", `"iat":1`},
		{"client-id", `"client_id":"somebody"`},
		{"scope", `"scope":"connection"`},
		{"exp-escaped", `"e\u0078p":4102444800`},
		{"node-claim", `"x-nmos-node":{"read":["*"]}`},
	} {
		payload("duplicate-"+c.name, bad, inside(c.member))
	}
	payload("duplicate-of-unknown", bad, inside(`"x":1,"x":1`),
		200).about("At a level that is read, in a member that is not.")
	payload("duplicate-in-nested-unknown", bad, inside(`"x":{"a":1,"a":2}`), 200)
	payload("duplicate-write", bad,
		strings.Replace(claims, `"x-nmos-connection":{`, `"x-nmos-connection":{"write":["a"],`, 1))
	payload("names-that-differ-in-case", "ok",
		inside(`"SUB":"somebody","Exp":0,"AUD":"somebody"`)).about("Names have a case: these are unknown members.")
	payload("name-with-nul", "ok", inside(`"sub\u0000":"somebody"`))
	payload("name-empty", "ok", inside(`"":1`))
	payload("name-of-constructor", "ok", inside(`"__proto__":{"sub":"administrator"},"constructor":{"prototype":{}}`)).
		about("Prototype pollution: an unknown member like any other.")
	payload("name-non-ascii", "ok", inside(`"größe":1`))
	payload("big-integers", "ok", inside(`"x":123456789012345678901234567890`))
	payload("big-exponents", "ok", inside(`"x":1e999`),
		401).about("JSON; a program that holds all numbers as doubles may stumble.")
	payload("long-number", "ok", inside(`"x":0.`+strings.Repeat("1", 400)))
	payload("many-members", "ok", inside(many(300))).also(401)
	payload("deep-15", "ok", inside(`"x":`+strings.Repeat(`{"a":`, 14)+"1"+strings.Repeat("}", 14)))
	payload("deep-40", bad, inside(`"x":`+strings.Repeat(`[`, 40)+strings.Repeat("]", 40)), 200)
	payload("deep-brackets-in-string", "ok", inside(`"x":`+quote(strings.Repeat("[", 200))))
	payload("pair-of-surrogates", "ok", inside(`"x":"\ud83c\udf9a"`))
	payload("non-character", "ok", inside(`"x":"\uffff"`))
	payload("delete-in-unknown", "ok", inside("\"x\":\"\x7f\""))
	payload("all-escaped-name", "ok", strings.Replace(claims, `"sub"`, `"\u0073\u0075\u0062"`, 1))
	payload("solidus-escaped", "ok", strings.ReplaceAll(claims, "/", `\/`))
	payload("white-space-everywhere", "ok",
		strings.NewReplacer(`:`, "\t: ", `,`, " ,\r\n").Replace(`{"iss":"`)+claims[len(`{"iss":"`):])
	for _, c := range []struct{ name, text string }{
		{"empty-object", `{}`}, {"only-white-space-inside", `{ }`},
	} {
		payload(c.name, "issuer-missing", c.text).Rule = "CLM-1"
	}
	for _, c := range []struct{ name, text string }{
		{"utf16", utf16(`{"alg":"RS512","kid":"key-1"}`)},
		{"latin1", "{\"alg\":\"RS512\",\"x\":\"\xf6\"}"},
		{"nul-before", "\x00" + `{"alg":"RS512"}`},
		{"deep", `{"alg":"RS512","x":` + strings.Repeat("[", 5000)},
		{"duplicate-typ", `{"alg":"RS512","typ":"JWT","typ":"JWT"}`},
		{"duplicate-crit", `{"crit":["a"],"alg":"RS512","crit":[]}`},
		{"names-without-quotes", `{alg:"RS512"}`},
		{"xml", `<header alg="RS512"/>`}, {"form", `alg=RS512`}, {"true", `true`}, {"cut", `{"alg":"RS5`},
	} {
		b.token("header-json-"+c.name, "TOK-5", bad, mint.SignBytes([]byte(c.text), base.Claims.Bytes(), base.Key))
	}
	empty := mint.SignBytes([]byte(`{}`), base.Claims.Bytes(), base.Key)
	b.token("header-json-empty-object", "TOK-2", "token-algorithm", empty)
	b.token("header-json-alg-only", "TOK-5", "ok",
		mint.SignBytes([]byte(`{"alg":"RS512"}`), base.Claims.Bytes(), base.Key))
	b.token("header-json-alg-last", "TOK-5", "ok",
		mint.SignBytes([]byte(`{"x":{"alg":"none"},"typ":"JWT","alg":"RS512"}`), base.Claims.Bytes(), base.Key)).
		about("alg inside another member is another alg.")
}

func many(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = quote("m"+strconv.Itoa(i)) + ":0"
	}
	return strings.Join(members, ",")
}

func utf16(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString("\x00" + text[i:i+1])
	}
	return b.String()
}
