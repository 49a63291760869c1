package httpauth_test

import (
	"net/http"
	"testing"

	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// headers makes a Header of name, value, name, value, …; a name may come many times.
func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// with returns the headers of a plain question and more.
func with(more ...string) http.Header {
	return headers(append([]string{"X-Original-Method", "GET", "X-Original-URI", "/a"}, more...)...)
}

// What a web server sends, and what its client may have sent along. The original request must be clear, or the answer
// is 400.
func TestQuestion(t *testing.T) {
	spec.Rules(t, "ANS-4", "ANS-9")
	for _, c := range []struct {
		name   string
		header http.Header
		fault  wire.Reason
		want   string // method target|authorization|upgrade; "-" for an absent authorization
	}{
		{"nginx", with(), wire.Undecided, "GET /a|-|"},
		{"Traefik", headers("X-Forwarded-Method", "PUT", "X-Forwarded-Uri", "/a?b"), wire.Undecided, "PUT /a?b|-|"},
		{"any method", headers("X-Original-Method", "BREW", "X-Original-URI", "*"), wire.Undecided, "BREW *|-|"},
		{"both the same", with("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a"), wire.Undecided, "GET /a|-|"},
		{"half of the other, the same", with("X-Forwarded-Uri", "/a"), wire.Undecided, "GET /a|-|"},
		{"other headers of proxies", with("X-Forwarded-For", "::1", "X-Forwarded-Proto", "https",
			"X-HTTP-Method-Override", "PUT", "X-Original-URL", "/b", "X-Rewrite-URL", "/b"),
			wire.Undecided, "GET /a|-|"},

		{"none", headers(), wire.PacketMissing, ""},
		{"method alone", headers("X-Original-Method", "GET"), wire.PacketMissing, ""},
		{"URI alone", headers("X-Original-URI", "/a"), wire.PacketMissing, ""},
		{"forwarded method alone", headers("X-Forwarded-Method", "GET"), wire.PacketMissing, ""},
		{"forwarded URI alone", headers("X-Forwarded-Uri", "/a"), wire.PacketMissing, ""},
		{"one half of each", headers("X-Original-Method", "GET", "X-Forwarded-Uri", "/a"), wire.PacketMissing, ""},
		{"the other half of each",
			headers("X-Forwarded-Method", "GET", "X-Original-URI", "/a"), wire.PacketMissing, ""},
		{"half from the client beside a whole", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a",
			"X-Original-Method", "GET"), wire.PacketMissing, ""},
		{"method empty", headers("X-Original-Method", "", "X-Original-URI", "/a"), wire.PacketMissing, ""},
		{"URI empty", headers("X-Original-Method", "GET", "X-Original-URI", ""), wire.PacketMissing, ""},
		{"empty beside a whole", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Original-Method", "",
			"X-Original-URI", ""), wire.PacketMissing, ""},

		{"both, methods differ", with("X-Forwarded-Method", "PUT", "X-Forwarded-Uri", "/a"), wire.PacketTwice, ""},
		{"both, URIs differ", with("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/b"), wire.PacketTwice, ""},
		{"half of the other, different", with("X-Forwarded-Method", "PUT"), wire.PacketTwice, ""},
		{"half of the other, empty", with("X-Forwarded-Uri", ""), wire.PacketTwice, ""},
		{"method doubled", with("X-Original-Method", "GET"), wire.PacketTwice, ""},
		{"URI doubled", with("X-Original-URI", "/b"), wire.PacketTwice, ""},
		{"forwarded method doubled", headers("X-Forwarded-Method", "GET", "X-Forwarded-Method", "PUT",
			"X-Forwarded-Uri", "/a"), wire.PacketTwice, ""},
		{"forwarded URI doubled", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Uri",
			"/a"), wire.PacketTwice, ""},

		{"token", with("Authorization", "Bearer x"), wire.Undecided, "GET /a|Bearer x|"},
		{"empty authorization", with("Authorization", ""), wire.Undecided, "GET /a||"},
		{"two authorizations", with("Authorization", "Bearer x", "Authorization", "Bearer y"), wire.Undecided,
			"GET /a|Bearer x,Bearer y|"},
		{"a scheme and a token", with("Authorization", "Basic x", "Authorization", "Bearer y"), wire.Undecided,
			"GET /a|Basic x,Bearer y|"},
		{"token of the proxy itself", with("Proxy-Authorization", "Bearer x", "X-Original-Authorization", "Bearer x"),
			wire.Undecided, "GET /a|-|"},

		{"upgrade", with("Upgrade", "websocket"), wire.Undecided, "GET /a|-|websocket"},
		{"original upgrade", with("X-Original-Upgrade", "websocket"), wire.Undecided, "GET /a|-|websocket"},
		{"original upgrade first", with("X-Original-Upgrade", "h2c", "Upgrade", "websocket"),
			wire.Undecided, "GET /a|-|h2c"},
		{"original upgrade empty", with("X-Original-Upgrade", "", "Upgrade", "websocket"), wire.Undecided, "GET /a|-|"},
		{"Traefik's handshake", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Proto",
			"wss"), wire.Undecided, "GET /a|-|websocket"},
		{"Traefik's, without TLS", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Proto",
			"ws"), wire.Undecided, "GET /a|-|websocket"},
		{"Traefik's plain request", headers("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Proto",
			"https"), wire.Undecided, "GET /a|-|"},
		{"from nginx's client", with("X-Forwarded-Proto", "wss"), wire.Undecided, "GET /a|-|"},

		{"method not UTF-8", headers("X-Original-Method", "G\xff", "X-Original-URI", "/a"), wire.PacketText, ""},
		{"URI not UTF-8", headers("X-Original-Method", "GET", "X-Original-URI", "/\xff"), wire.PacketText, ""},
		{"token not UTF-8", with("Authorization", "Bearer \xff"), wire.PacketText, ""},
		{"upgrade not UTF-8", with("Upgrade", "\xff"), wire.PacketText, ""},
	} {
		request, fault := httpauth.Question(c.header)
		if fault != c.fault || (request == nil) != (fault != wire.Undecided) {
			t.Errorf("%s: %v %+v, want %v", c.name, fault, request, c.fault)
			continue
		}
		if request == nil {
			continue
		}
		authorization := "-"
		if request.Authorization != nil {
			authorization = string(request.Authorization)
		}
		got := string(request.Method) + " " + string(request.Targets[0]) + "|" + authorization + "|" +
			string(request.Upgrade)
		if got != c.want || request.Verb != wire.Decide || len(request.Targets) != 1 || request.ID != nil {
			t.Errorf("%s: %s, want %s (%+v)", c.name, got, c.want, request)
		}
	}
}
