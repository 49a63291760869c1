package webserver_test

import (
	"slices"
	"strings"

	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// row is a request with a name.
type row struct {
	name string
	request
}

// allRows are all requests that are compared in enforce mode.
func allRows(r *rig) []row {
	return slices.Concat(tokenRows(r), targetRows(r.good()), methodRows(r.good()), headerRows(r),
		handshakeRows(r), modelRows(r))
}

// tokenRows are all that the mint can make, but those whose answer changes when keys have been fetched: see
// pendingRows.
func tokenRows(r *rig) []row {
	all, _ := mintRows(r)
	return all
}

// pendingRows name a key that the authorization server does not have: 503 until that is known.
func pendingRows(r *rig) []row {
	_, pending := mintRows(r)
	return pending
}

func mintRows(r *rig) (settled, pending []row) {
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			method, target := c.Request()
			one := row{c.Rule + "/" + c.Name, request{method: method, target: target}.bearing(c.Make(r.everything()))}
			if c.Then != "" {
				pending = append(pending, one)
			} else {
				settled = append(settled, one)
			}
		}
	}
	return settled, pending
}

func targetRows(good string) (all []row) {
	for _, target := range targets {
		all = append(all, row{"target " + target, get(target)},
			row{"target with token " + target, get(target).bearing(good)},
			row{"target options " + target, request{method: "OPTIONS", target: target}})
	}
	return all
}

// unreadRows cannot be asked about over HTTP, whoever asks: their 400 is no fault of the daemon.
func unreadRows() []row {
	return []row{
		{"unread delete", get(self + "\x7f")}, {"unread control character", get(self + "\x01")},
		{"unread escape", get(self + "?\x1b")},
		{"too long", get(self + strings.Repeat("a", 60_000))},
		{"too long, nearly all", get(self + strings.Repeat("a", 65_300))},
		{"unread control character, to write", request{method: "PATCH", target: receiver + "\x01", body: "{}"}},
	}
}

// modelRows are denied in IS-14's API, whose errors have a body of their own (CTL-67), and whose query counts (CTL-64).
func modelRows(r *rig) (all []row) {
	object := r.granting(map[string]mint.Permission{
		"configuration": {Read: []string{"root.a"}, Write: []string{"root.a b"}}})
	const base = "/x-nmos/configuration/v1.0"
	for name, q := range map[string]request{
		"no token":       get(base + "/rolePaths"),
		"base":           get("/x-nmos/configuration"),
		"another API":    get("/x-nmos/configurations"),
		"another object": get(base + "/rolePaths/root.b").bearing(object),
		"below":          get(base + "/rolePaths/root.a.b/properties").bearing(object),
		"subtree":        get(base + "/rolePaths/root.a/bulkProperties").bearing(object),
		"subtree, twice": get(base + "/rolePaths/root.a/bulkProperties?recurse=false&recurse=true").bearing(object),
		"written":        {method: "PUT", target: base + "/rolePaths/root.a/properties/1p6/value", body: "{}"},
		"written by read": request{method: "PATCH", target: base + "/slot2/rolePaths/root.a/methods/1m1",
			body: "{}"}.bearing(object),
		"ambiguous":        get(base + "//rolePaths").bearing(object),
		"dots into it":     get("/x-nmos/node/../configuration/v1.0/rolePaths"),
		"dots out of it":   get("/x-nmos/configuration/../node/v1.3/self"),
		"encoded":          get("/x-nmos/%63onfiguration/v1.0/rolePaths"),
		"a forged token":   get(base + "/rolePaths").bearing("a.b.c"),
		"a method unknown": {method: "PROPFIND", target: base + "/rolePaths"},
	} {
		all = append(all, row{"model " + name, q})
	}
	return all
}

func methodRows(good string) (all []row) {
	const methods = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND get Get M-SEARCH PATCHX"
	for _, method := range strings.Fields(methods) {
		for _, target := range []string{self, receiver, senders, "/", "/x-nmos/", "/admin"} {
			q := request{method: method, target: target}
			all = append(all, row{"method " + method + " " + target, q})
			q.body = `{"master_enable":true}`
			all = append(all, row{"method with body " + method + " " + target, q},
				row{"method with token " + method + " " + target, q.bearing(good)})
		}
	}
	return all
}

func headerRows(r *rig) []row {
	good, patch := r.good(), request{method: "PATCH", target: receiver, body: `{"master_enable":false}`}
	chunked := request{method: "PATCH", target: receiver, body: "{}", chunked: true}.bearing(good)
	identity := []string{"X-Auth-Client-Id: forged", "X-Auth-Subject: forged", "X-Auth-Expires-In: forged",
		"X-Auth-Would: forged", "X-Auth-Error: forged"}
	return []row{
		{"header none", get(self)},
		{"header lower case", get(self).with("authorization: bearer " + good)},
		{"header basic", get(self).with("Authorization: Basic b3BlcmF0b3I6c2VjcmV0")},
		{"header empty", get(self).with("Authorization:")},
		{"header empty token", get(self).with("Authorization: Bearer ")},
		{"header two tokens in one", get(self).bearing(good + ", Bearer " + good)},
		{"header twice", get(self).bearing(good).bearing(good)},
		{"header twice, one basic", get(self).bearing(good).with("Authorization: Basic b3BlcmF0b3I6c2VjcmV0")},
		{"header space before colon", get(self).with("Authorization : Bearer " + good)},
		{"header folded", get(self).with("Authorization: Bearer\r\n " + good)},
		{"header with a delete", get(self).with("Authorization: Bearer a\x7fb")},
		{"header not ASCII", get(self).with("Authorization: Bearer \xff")},

		{"forged original", get(self).with("X-Original-URI: /x-nmos/", "X-Original-Method: GET")},
		{"forged original method", get(self).with("X-Original-Method: OPTIONS")},
		{"forged forwarded", get(self).with("X-Forwarded-Uri: /x-nmos/", "X-Forwarded-Method: OPTIONS")},
		{"forged forwarded, with token",
			get(self).bearing(good).with("X-Forwarded-Uri: /x-nmos/", "X-Forwarded-Method: OPTIONS")},
		{"forged original, with token", get(self).bearing(good).with("X-Original-URI: /x-nmos/",
			"X-Original-Method: OPTIONS", "X-Original-Upgrade: x")},
		{"forged underscores",
			get(self).with("X_Original_URI: /x-nmos/", "X_Forwarded_Uri: /x-nmos/", "X_Auth_Reason: ok")},
		{"forged upgrade", get(self + "?access_token=" + good).with("X-Original-Upgrade: websocket")},
		{"forged answer", get(self).with("X-Auth-Reason: ok", "X-Auth-Path: "+self).with(identity...)},
		{"forged answer, with token",
			get(self).bearing(good).with("X-Auth-Reason: public", "X-Auth-Path: /x").with(identity...)},
		{"forged answer, public", get("/x-nmos/").with("X-Auth-Reason: ok", "X-Auth-Path: "+self).with(identity...)},
		{"forged hops",
			get(self).with("Connection: close, X-Original-URI, X-Original-Method, X-Forwarded-Uri, Authorization")},
		{"forged hops, with token", get(self).bearing(good).with(
			"Connection: close, X-Original-URI, X-Original-Method, X-Forwarded-Uri, X-Original-Upgrade")},
		{"forged hops of the answer",
			get(self).bearing(good).with("Connection: close, X-Auth-Reason, X-Auth-Path, X-Auth-Subject")},

		{"body patch", patch.bearing(good)},
		{"body patch without token", patch},
		{"body chunked", chunked},
		{"body expected", patch.bearing(good).with("Expect: 100-continue")},
		{"body expected without token", patch.with("Expect: 100-continue")},
		{"body no JSON", request{method: "PATCH", target: receiver, body: "nonsense"}.bearing(good)},
		{"body of two lengths", patch.bearing(good).with("Content-Length: 5")},
		{"body of no length", request{method: "PATCH", target: receiver}.bearing(good).with("Content-Length: x")},
		{"body with a length and chunked", chunked.with("Content-Length: 2")},
		{"body of a GET", request{method: "GET", target: self, body: "{}"}.bearing(good)},
		{"query of 14 KiB", get(self + "?x=" + strings.Repeat("y", 14<<10)).bearing(good)},
		{"path of 14 KiB", get(self + "/" + strings.Repeat("y", 14<<10)).bearing(good)},
	}
}

// handshakeRows open WebSockets, and do not quite.
func handshakeRows(r *rig) (all []row) {
	good := r.good()
	events1 := func(read ...string) string {
		return r.granting(map[string]mint.Permission{"events": {Read: read}})
	}
	in := func(name string, q request) { all = append(all, row{"handshake " + name, q}) }
	query := events + "?access_token="
	in("token in the query", get(query+good).upgrading())
	in("token in the header", get(events).upgrading().bearing(good))
	in("token in both", get(query+good).upgrading().bearing(good))
	in("no token", get(events).upgrading())
	in("empty token", get(query).upgrading())
	in("token twice", get(query+good+"&access_token="+good).upgrading())
	in("token escaped", get(query+strings.ReplaceAll(good, ".", "%2E")).upgrading())
	in("token among others", get(events+"?a=b&access_token="+good+"&c").upgrading())
	in("token in a fragment", get(events+"#?access_token="+good).upgrading())
	in("for one state only", get(query+events1("sources/"+firmware.MeterSourceID+"/state")).upgrading())
	in("for the sources only", get(query+events1("sources/*")).upgrading())
	in("for the source only", get(query+events1("sources/"+firmware.MeterSourceID)).upgrading())
	in("for the socket only", get(query+events1("ws")).upgrading())
	in("another spelling", get("/x-nmos/events/v1.0/%77s?access_token="+good).upgrading())
	in("another spelling, for the socket only", get("/x-nmos/events/v1.0/%77s?access_token="+events1("ws")).upgrading())
	in("dots", get("/x-nmos/events/v1.0/../v1.0/ws?access_token="+good).upgrading())
	in("two slashes", get("/x-nmos/events//v1.0/ws?access_token="+good).upgrading())
	for name, target := range map[string]string{
		"dots from elsewhere":         receiver + "/../../../../../../events/v1.0/ws",
		"encoded dots from elsewhere": receiver + strings.Repeat("/%2e%2e", 6) + "/events/v1.0/ws",
		"encoded slashes":             "/x-nmos/connection/%2e%2e%2fevents/v1.0/ws",
		"all slashes encoded":         "/x-nmos/node%2f..%2fevents%2fv1.0%2fws",
		"a fragment with dots":        "/x-nmos/events/v1.0/w%73#/../../../../connection",
		"a slash behind":              events + "/",
		"a parameter":                 events + ";a",
	} {
		in(name, get(target+"?access_token="+good).upgrading())
		in(name+", no handshake", get(target))
		in(name+", to write", request{method: "PATCH", target: target, body: "{}"})
	}
	in("no handshake", get(events))
	in("to write", request{method: "PUT", target: events, body: "{}"})
	in("absolute form", get("http://node-1.example.com"+query+good).upgrading())
	in("elsewhere", get(self+"?access_token="+good).upgrading())
	in("elsewhere, no token", get(self).upgrading())

	key := []string{"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for name, lines := range map[string][]string{
		"not at all":         nil,
		"no connection":      {"Upgrade: websocket"},
		"no upgrade":         {"Connection: Upgrade"},
		"another protocol":   {"Connection: Upgrade", "Upgrade: h2c"},
		"nearly":             {"Connection: Upgrade", "Upgrade: websockets"},
		"nearly too":         {"Connection: Upgrades", "Upgrade: websocket"},
		"in a list":          {"Connection: keep-alive, Upgrade", "Upgrade: websocket"},
		"in a list, tabs":    {"Connection: keep-alive,\tupgrade\t, x", "Upgrade: WebSocket"},
		"of two protocols":   {"Connection: Upgrade", "Upgrade: h2c, websocket"},
		"after a semicolon":  {"Connection: close", "Upgrade: upgrade;websocket"},
		"before a semicolon": {"Connection: upgrade;", "Upgrade: websocket"},
	} {
		in("asked for "+name, get(query+good).with(append(slices.Clone(key), lines...)...))
		in("asked for elsewhere "+name, get(self+"?access_token="+good).with(append(slices.Clone(key), lines...)...))
	}
	in("by POST", request{method: "POST", target: query + good}.upgrading())
	in("by HEAD", request{method: "HEAD", target: query + good}.upgrading())
	in("version 8",
		get(query+good).with("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", key[1]))
	in("no key", get(query+good).with("Connection: Upgrade", "Upgrade: websocket", key[0]))
	return all
}

// targets are request targets, good and bad, and how to get around a web server.
var targets = strings.Fields(`
/ /x-nmos /x-nmos/ /x-nmos/node /x-nmos/node/ /x-nmos/node/v1.3 /x-nmos/node/v1.3/ /x-nmos/node/v1.3/self
/x-nmos/node/v1.3/self/
/x-nmos/node/v1.3/nothing /x-nmos/node/v1.3/devices /x-nmos/node/v1.3/devices/ /X-NMOS/node/v1.3/self
/x-nmos/node/v1/self
/admin /admin/ /authorize /nmos-authd nmos-authd //nmos-authd @nmos_denied /@nmos_denied /x-nmos/events/v1.0/ws
/x-nmos/events/v1.0/%77s
/x-nmos/events/v1.0/ws/ /x-nmos//events/v1.0/ws
/x-nmos//node/v1.3/self //x-nmos/node/v1.3/self /x-nmos/node/v1.3//self /x-nmos/node/v1.3/self//
/x-nmos/node/v1.3/./self /x-nmos/node/v1.3/x/../self /x-nmos/node/v1.3/self/. /x-nmos/node/v1.3/self/..
/x-nmos/../x-nmos/
/../x-nmos/ /x-nmos/../../x-nmos /x-nmos/.../ /x-nmos/node/v1.3/..;/self /x-nmos/node/v1.3/self;x=y
/%78-nmos/node/v1.3/self /x-nmos/node/v1.3/sel%66 /x-nmos/node/v1.3/%2e/self /x-nmos/node/v1.3/x/%2e%2e/self
/x-nmos/node/v1.3/x/%2E./self
/x-nmos/node%2fv1.3/self /x-nmos/node/v1.3/%2e%2e%2fself /x-nmos/node/v1.3%5cself /x-nmos/node/v1.3\self
/x-nmos/node/v1.3/self%00
/x-nmos/node/v1.3/self%0a /x-nmos/node/v1.3/self%0d%0aX: /x-nmos/node/v1.3/self%20 /x-nmos/node/v1.3/self%7f
/x-nmos/node/v1.3/self%3f
/x-nmos/node/v1.3/self%3fa=b /x-nmos/node/v1.3/self%23 /x-nmos/node/v1.3/self# /x-nmos/node/v1.3/self#x?y
/x-nmos/node/v1.3/self%
/x-nmos/node/v1.3/self%2 /x-nmos/node/v1.3/self%zz /x-nmos/node/v1.3/self%25 /x-nmos/node/v1.3/%c3%a9
/x-nmos/node/v1.3/%C3%A9
/x-nmos/node/v1.3/é /x-nmos/node/v1.3/%c3 /x-nmos/node/v1.3/%c0%af
/x-nmos/node/v1.3/self? /x-nmos/node/v1.3/self?a=b /x-nmos/node/v1.3/self?a=b?c
/x-nmos/node/v1.3/self?a=/../b//c%2f%41
/x-nmos/node/v1.3/self?access_token=abc /x-nmos/node/v1.3/self?a=b#c /x-nmos?x /?x ?x x * **
http://node-1.example.com http://node-1.example.com/ http://node-1.example.com/x-nmos/node/v1.3/self
http://other.example.com/x-nmos/node/v1.3/self?a=b
HTTP://node-1.example.com/x-nmos/node/v1.3/self https://node-1.example.com/x-nmos/node/v1.3/self
http://node-1.example.com//x-nmos/node/v1.3/self
http://node-1.example.com?x http://node-1.example.com#x http:// http:/x-nmos ftp://node-1.example.com/x-nmos/
http://user@node-1.example.com/x-nmos/
/x-nmos/<a> /x-nmos/"a" /x-nmos/{a} /x-nmos/a|b /x-nmos/a^b /x-nmos/` + "`" + ` /x-nmos/a+b /x-nmos/a:b /:80/x-nmos
/x-nmos/a.html /x-nmos/node/v1.3/a.html /x-nmos/node/v1.3/%7eself /x-nmos/node/v1.3/self!$&'()*+,=:@
`)
