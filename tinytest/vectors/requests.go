package vectors

import (
	"strings"
)

// permitting returns a token that has these claims x-nmos-<api>, each "read…|write…" with specifiers parted by spaces,
// and this scope.
func (b *builder) permitting(scope string, apis ...string) string {
	t := b.base()
	for _, api := range []string{"connection", "node", "events"} {
		t.Claims.Delete("x-nmos-" + api)
	}
	t.Claims.Set("scope", scope)
	for _, a := range apis {
		api, lists, _ := strings.Cut(a, "=")
		read, write, _ := strings.Cut(lists, "|")
		p := map[string][]string{}
		if read != "" {
			p["read"] = strings.Fields(read)
		}
		if write != "" {
			p["write"] = strings.Fields(write)
		}
		t.Claims.Set("x-nmos-"+api, p)
	}
	return t.Sign()
}

// ask is a row about a request: a token or "", a method, a target, a reason.
type ask struct {
	name, rule, method, target, reason string
	also                               []int
}

func (b *builder) ask(prefix, part, token string, rows ...ask) {
	for _, r := range rows {
		c := b.add(Case{Name: prefix + r.name, Rule: r.rule, Part: part, Token: token,
			Request: Request{Method: r.method, Target: r.target}}, r.reason)
		c.also(r.also...)
	}
}

func (b *builder) credentials() {
	b.begin("credentials",
		"Where the token stands in a request: the Authorization header, or the query of a WebSocket's handshake.")
	b.setting("credentials", "")
	token := b.permitting("connection", "connection=*")
	head := func(name, rule, reason string, values ...string) *Case {
		c := Case{Name: "header-is-" + name, Rule: rule, Part: "request", Token: token,
			Request: Request{Authorization: values}}
		if !strings.Contains(strings.Join(values, ""), "{token}") {
			c.Token = ""
		}
		return b.add(c, reason)
	}
	head("absent", "ANS-1", "no-token")
	head("empty", "ANS-1", "no-token", "").also(400)
	for _, c := range []struct{ name, value string }{
		{"basic", "Basic b3BlcmF0b3I6c2VjcmV0"},
		{"digest", `Digest username="operator", realm="x", nonce="1", uri="/", response="0"`},
		{"negotiate", "Negotiate YII="},
		{"dpop", "DPoP {token}"},
		{"token", "Token {token}"},
		{"jwt", "JWT {token}"},
		{"mac", `MAC id="1"`},
		{"bearer-token-scheme", "BearerToken {token}"},
		{"bearer-colon", "Bearer: {token}"},
		{"bearer-equals", "Bearer={token}"},
		{"bare-token", "{token}"},
		{"quoted-scheme", `"Bearer" {token}`},
		{"bear", "Bear {token}"},
		{"bearers", "Bearers {token}"},
		{"not-ascii-scheme", "Вearer {token}"},
		{"apikey", "ApiKey {token}"},
		{"hoba", "HOBA result=x"},
		{"basic-with-token", "Basic {token}"},
	} {
		c := head(c.name, "ANS-1", "no-token", c.value)
		c.also(400)
		c.Also = append(c.Also, Answer{Status: 401, Error: "invalid_token"},
			Answer{Status: 401, Error: "invalid_request"})
	}
	head("small-letters", "ANS-1", "ok", "bearer {token}").about("RFC 9110 §11.1: a scheme has no case.")
	head("capitals", "ANS-1", "ok", "BEARER {token}")
	head("mixed-case", "ANS-1", "ok", "bEaReR {token}")
	head("two-spaces", "ANS-1", "ok", "Bearer  {token}").also(400, 401)
	head("five-spaces", "ANS-1", "ok", "Bearer     {token}").also(400, 401)
	head("tab", "ANS-1", "no-token", "Bearer\t{token}").also(200, 400)
	head("no-space", "ANS-1", "no-token", "Bearer{token}").also(400)
	head("scheme-alone", "ANS-4", "token-empty", "Bearer").also(401)
	head("empty-quotes", "ANS-2", "token-malformed", `Bearer ""`).also(400)
	head("quoted-token", "ANS-2", "token-malformed", `Bearer "{token}"`).also(400)
	head("token-with-parameter", "ANS-2", "token-malformed", "Bearer {token};a=b").also(400)
	head("token-named", "ANS-2", "token-malformed", "Bearer token={token}").also(400)
	head("token-and-word", "ANS-2", "token-malformed", "Bearer {token} word").also(400)
	head("token-and-other-scheme", "ANS-2", "token-malformed", "Bearer {token}, Basic b3BlcmF0b3I6c2VjcmV0").also(400)
	head("other-scheme-and-token", "ANS-1", "no-token", "Basic b3BlcmF0b3I6c2VjcmV0, Bearer {token}").also(400)
	head("word", "ANS-2", "token-malformed", "Bearer word").also(400)
	head("token-twice", "ANS-4", "two-tokens", "Bearer {token}, Bearer {token}").also(401)
	head("token-twice-without-space", "ANS-4", "two-tokens", "Bearer {token},Bearer {token}").also(401)
	head("token-twice-mixed-case", "ANS-4", "two-tokens", "Bearer {token},\tbEARER {token}").also(401)
	head("token-and-forged", "ANS-4", "two-tokens", "Bearer {token}, Bearer x.y.z").also(401)
	head("two-headers", "ANS-4", "two-tokens", "Bearer {token}", "Bearer {token}").also(401)
	head("two-headers-one-bad", "ANS-4", "two-tokens", "Bearer x.y.z", "Bearer {token}").also(401)
	head("two-headers-good-first", "ANS-4", "two-tokens", "Bearer {token}", "Bearer x.y.z").also(401)
	head("three-headers", "ANS-4", "two-tokens", "Bearer {token}", "Bearer {token}", "Bearer {token}").also(401)

	const events = "/x-nmos/events/v1.0/sources/1"
	socketToken := b.permitting("events", "events=sources/*")
	socket := func(name, rule, reason string, r Request) *Case {
		r.Scheme = "wss"
		if r.Method == "" {
			r.Method = "GET"
		}
		c := Case{Name: "query-" + name, Rule: rule, Part: "request", Token: socketToken, Request: r}
		if !strings.Contains(r.Target+strings.Join(r.Authorization, ""), "{token}") {
			c.Token = ""
		}
		return b.add(c, reason)
	}
	const query = events + "?access_token={token}"
	ws := func(target string, headers ...string) Request {
		return Request{Target: target, Upgrade: "websocket", Authorization: headers}
	}
	socket("handshake", "ANS-9", "ok", ws(query))
	socket("handshake-among-others", "ANS-9", "ok", ws(events+"?a=b&access_token={token}&c=d"))
	socket("handshake-upgrade-in-capitals", "ANS-9", "ok", Request{Target: query, Upgrade: "WebSocket"})
	socket("handshake-upgrade-list", "ANS-9", "ok", Request{Target: query, Upgrade: "h2c, websocket"}).also(401)
	socket("handshake-header", "ANS-9", "ok", ws(events, "Bearer {token}"))
	socket("handshake-none", "ANS-1", "no-token", ws(events))
	socket("handshake-empty", "ANS-4", "token-empty", ws(events+"?access_token=")).also(401)
	socket("handshake-without-equals", "ANS-4", "token-empty", ws(events+"?access_token")).also(401)
	socket("handshake-malformed", "ANS-2", "token-malformed", ws(events+"?access_token=x.y")).also(400)
	socket("handshake-twice", "ANS-4", "two-tokens", ws(query+"&access_token={token}")).also(401)
	socket("handshake-twice-one-bad", "ANS-4", "two-tokens",
		ws(events+"?access_token=x&access_token={token}")).also(401)
	socket("handshake-header-too", "ANS-4", "two-tokens", ws(query, "Bearer {token}")).also(401)
	socket("handshake-header-forged-too", "ANS-4", "two-tokens", ws(query, "Bearer x.y.z")).also(401)
	socket("handshake-basic-too", "ANS-9", "ok", ws(query, "Basic b3BlcmF0b3I6c2VjcmV0")).also(400, 401)
	socket("handshake-name-in-capitals", "ANS-9", "no-token", ws(events+"?Access_Token={token}"))
	socket("handshake-name-encoded", "ANS-9", "no-token", ws(events+"?access%5Ftoken={token}")).also(200)
	socket("handshake-name-longer", "ANS-9", "no-token", ws(events+"?access_token2={token}"))
	socket("handshake-name-array", "ANS-9", "no-token", ws(events+"?access_token[]={token}")).also(400)
	socket("handshake-semicolon", "ANS-9", "no-token", ws(events+"?a=b;access_token={token}")).also(200)
	socket("handshake-other-name", "ANS-9", "no-token", ws(events+"?token={token}"))
	socket("handshake-bearer-in-query", "ANS-2", "token-malformed",
		ws(events+"?access_token=Bearer%20{token}")).also(400)
	socket("handshake-space", "ANS-2", "token-malformed", ws(events+"?access_token={token}+")).also(400)
	socket("handshake-bad-encoding", "ANS-2", "token-malformed", ws(events+"?access_token={token}%")).also(400)
	socket("handshake-not-granted", "ANS-3", "path-not-granted", ws("/x-nmos/events/v1.0/other?access_token={token}"))
	socket("no-handshake", "ANS-9", "no-token", Request{Target: query})
	socket("no-handshake-h2c", "ANS-9", "no-token", Request{Target: query, Upgrade: "h2c"})
	socket("no-handshake-websockets", "ANS-9", "no-token", Request{Target: query, Upgrade: "websockets"})
	socket("no-handshake-post", "ANS-9", "no-token", Request{Method: "POST", Target: query, Upgrade: "websocket"})
	socket("no-handshake-head", "ANS-9", "no-token", Request{Method: "HEAD", Target: query, Upgrade: "websocket"})
	socket("no-handshake-patch", "ANS-9", "no-token", Request{Method: "PATCH", Target: query})
	socket("no-handshake-with-header", "ANS-9", "ok",
		Request{Target: events + "?access_token=x.y.z", Authorization: []string{"Bearer {token}"}}).also(400)
	socket("no-handshake-with-header-same",
		"ANS-9", "ok", Request{Target: query, Authorization: []string{"Bearer {token}"}}).also(400)
	for i := range b.group.Cases {
		if c := b.group.Cases[i]; c.Request.Scheme == "wss" && !strings.EqualFold(c.Request.Upgrade, "websocket") &&
			c.Name != "query-handshake-upgrade-list" {
			c.Request.Scheme = "https"
		}
	}
}

func (b *builder) methods() {
	b.begin("methods", "What methods need: read, write, nothing; and those that NMOS APIs do not have.")
	b.setting("methods", "")
	const staged = "/x-nmos/connection/v1.1/single/senders/1/staged"
	both, reads, writes := b.permitting("", "connection=*|*"), b.permitting("", "connection=*"),
		b.permitting("", "connection=|*")
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		name := strings.ToLower(m)
		by := func(reads bool) string {
			switch {
			case m == "OPTIONS":
				return "public"
			case reads == (m == "GET" || m == "HEAD"):
				return "ok"
			}
			return "path-not-granted"
		}
		b.ask("method-", "permission", both,
			ask{name + "-with-both", "PATH-1", m, staged,
				map[bool]string{true: "public", false: "ok"}[m == "OPTIONS"], nil})
		b.ask("method-", "permission", reads,
			ask{name + "-with-read", "PATH-1", m, staged, by(true), nil})
		b.ask("method-", "permission", writes,
			ask{name + "-with-write", "PATH-1", m, staged, by(false), nil})
		b.ask("method-", "request", "",
			ask{name + "-without-token", map[bool]string{true: "PATH-2", false: "ANS-1"}[m == "OPTIONS"], m, staged,
				map[bool]string{true: "public", false: "no-token"}[m == "OPTIONS"], nil})
	}
	for _, m := range []string{"TRACE", "CONNECT", "PROPFIND", "LINK", "SEARCH", "QUERY", "PURGE", "MOVE", "get", "Get",
		"options", "patch", "GETS", "G", "BREW", "X-HTTP", "PRI", "*", "GET1", "SUBSCRIBE"} {
		name := strings.ToLower(m)
		switch {
		case m == "*":
			name = "star"
		case m == "get", m == "options", m == "patch":
			name += "-in-small-letters"
		case m == "Get":
			name = "get-mixed"
		}
		b.ask("method-none-", "request", both,
			ask{name, "PATH-1", m, staged, "method", []int{400, 403, 501}})
	}
	b.ask("method-none-", "request", "",
		ask{"trace-without-token", "PATH-1", "TRACE", staged, "method", []int{400, 401, 501}})
	b.ask("method-", "request", "",
		ask{"options-star", "PATH-2", "OPTIONS", "*", "public", []int{400}},
		ask{"options-root", "PATH-2", "OPTIONS", "/", "public", nil},
		ask{"options-outside", "PATH-2", "OPTIONS", "/vendor/page", "public", nil},
		ask{"options-unknown-api", "PATH-2", "OPTIONS", "/x-nmos/future/v1.0/x", "public", nil},
		ask{"options-ncp", "PATH-2", "OPTIONS", "/x-nmos/ncp/v1.0", "public", nil},
		ask{"options-ambiguous", "PATH-9", "OPTIONS", "/x-nmos//node", "path-ambiguous", []int{200}},
	)
	b.ask("method-", "request", "a.b.c",
		ask{"options-with-bad-token", "PATH-2", "OPTIONS", staged, "public", nil},
		ask{"get-public-with-bad-token", "PATH-3", "GET", "/x-nmos/", "public", []int{401}},
	)
	b.ask("method-override-", "permission", reads,
		ask{"in-query", "PATH-1", "GET", staged + "?_method=PATCH", "ok", nil},
		ask{"post-in-query", "PATH-1", "POST", staged + "?_method=GET", "path-not-granted", nil},
		ask{"head-is-read", "PATH-1", "HEAD", "/x-nmos/connection/v1.1/bulk/senders", "ok", nil},
		ask{"post-to-bulk", "PATH-1", "POST", "/x-nmos/connection/v1.1/bulk/senders", "path-not-granted", nil},
	)
}
