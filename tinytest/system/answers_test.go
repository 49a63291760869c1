package system_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// synchronised returns what tells the daemon that its clock is right, as a time service does, whatever this machine's
// is worth.
func synchronised(t *testing.T) string {
	t.Helper()
	mark := filepath.Join(t.TempDir(), "synchronised")
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[clock]\nsynchronised_file = %q\n", mark)
}

// Every class of answer, by real tokens of a real server, over both sockets alike.
func TestAnswers(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = synchronised(t)
	b := start(t, config)
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")

	readOnly := server.Token(mint.Options{Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}}}}).Sign()
	other := server.Token(mint.Options{Device: "node-2.example.com"}).Sign()
	expired := server.Token(mint.Options{Now: time.Now().Add(-2 * time.Hour)}).Sign()
	later := server.Token(mint.Options{Now: time.Now().Add(time.Hour)}).Sign()
	forged := everything(server)
	forged.Key = mint.CachedKey("attacker", 2048)
	short := server.Token(mint.Options{Life: 90 * time.Second}).Sign()
	const ws = "/x-nmos/events/v1.0/ws"

	for _, c := range []struct {
		name   string
		q      question
		status int
		reason string
		error  string // of the challenge
	}{
		{"PATH-5/good", get(senders).bearing(good), 200, "ok", ""},
		{"PATH-1/patch", question{method: "PATCH", target: receiver}.bearing(good), 200, "ok", ""},
		{"PATH-3/base", get("/x-nmos/"), 200, "public", ""},
		{"PATH-2/options", question{method: "OPTIONS", target: senders}, 200, "public", ""},
		{"ANS-1/no-token", get(senders), 401, "no-token", ""},
		{"ANS-1/basic", question{method: "GET", target: senders, authorization: "Basic b3BlcmF0b3I6c2VjcmV0"}, 401,
			"no-token", ""},
		{"ANS-2/nonsense", get(senders).bearing("nonsense"), 401, "token-malformed", "invalid_token"},
		{"ANS-2/expired", get(senders).bearing(expired), 401, "token-expired", "invalid_token"},
		{"ANS-2/issued-later", get(senders).bearing(later), 401, "token-issued-later", "invalid_token"},
		{"TOK-6/forged", get(senders).bearing(forged.Sign()), 401, "signature", "invalid_token"},
		{"CLM-6/another-device", get(senders).bearing(other), 403, "audience", "insufficient_scope"},
		{"ANS-3/read-only", question{method: "PATCH", target: receiver}.bearing(readOnly), 403, "path-not-granted",
			"insufficient_scope"},
		{"PATH-4/api-not-granted", get("/x-nmos/system/v1.0").bearing(good), 403, "api-not-granted",
			"insufficient_scope"},
		{"PATH-11/closed", get("/admin").bearing(good), 403, "path-closed", "insufficient_scope"},
		{"PATH-9/ambiguous", get("/x-nmos//connection/v1.1/").bearing(good), 400, "path-ambiguous", "invalid_request"},
		{"PATH-9/encoded-slash", get(senders + "%2fstaged").bearing(good), 400, "path-ambiguous", "invalid_request"},
		{"ANS-4/empty-token", question{method: "GET", target: senders, authorization: "Bearer "}, 400,
			"token-empty", "invalid_request"},
		{"ANS-4/two-tokens", get(senders).bearing(good + ", Bearer " + good), 400, "two-tokens", "invalid_request"},
		{"PATH-1/method", question{method: "TRACE", target: senders}.bearing(good), 405, "method", ""},
		{"PATH-1/method-in-lower-case", question{method: "get", target: senders}.bearing(good), 405, "method", ""},
		{"ANS-9/query", get(ws + "?access_token=" + good), 401, "no-token", ""},
		{"ANS-9/query-of-handshake",
			question{method: "GET", target: ws + "?access_token=" + good, upgrade: "websocket"}, 200, "ok", ""},
		{"ANS-4/query-and-header", question{method: "GET", target: ws + "?access_token=" + good,
			upgrade: "websocket"}.bearing(good), 400, "two-tokens", "invalid_request"},
		{"ANS-8/seconds-left", get(senders).bearing(short), 200, "ok", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.on(t).askBoth(c.q)
			if a.status != c.status || a.reason != c.reason {
				t.Fatalf("got %v, want %d %s", a, c.status, c.reason)
			}
			if challenged := a.status == 401 || a.status == 403 || a.status == 400; challenged !=
				strings.HasPrefix(a.challenge, `Bearer realm="node-1.example.com"`) {
				t.Errorf("challenge %q", a.challenge)
			}
			if _, text, _ := strings.Cut(a.challenge, ",error="); c.error != "" &&
				!strings.HasPrefix(text, c.error+",") || c.error == "" && text != "" {
				t.Errorf("challenge %q, want error %q", a.challenge, c.error)
			}
			known := a.reason == "ok" || a.status == 403 || strings.HasPrefix(a.reason, "token-expired") ||
				a.reason == "token-issued-later"
			if known != (a.client == mint.DefaultClient && a.subject == mint.DefaultSubject) {
				t.Errorf("client %q, subject %q", a.client, a.subject)
			}
			if (a.expires >= 0) != (a.reason == "ok") || a.reason == "ok" && (a.expires < 60 || a.expires > 3600) {
				t.Errorf("expires in %d", a.expires)
			}
		})
	}
	if a := b.ask(get(senders + "/?a=b").bearing(short)); a.expires > 90 || a.path != senders+"/" {
		t.Errorf("got %+v, want an end within 90 s and the path without its query", a)
	}
}

// Whatever the mint can make gets its answer, and the same one over both sockets. The daemon is one for all rows, with
// everything published that a row needs, so that no row may spoil the next.
func TestEveryTokenOverBothSockets(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	published := []mint.JWK{server.Signer().JWK()}
	for _, c := range mint.Faults {
		if c.Publish != nil {
			published = append(published, c.Publish()...)
		}
	}
	server.SetJWKS(mint.JWKSOf(published...))
	config := trusting(t, server)
	config.More = "retry = \"1s\"\n" + synchronised(t)
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")

	pending := map[string]question{} // rows to be asked again once the keys have been fetched
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
				method, target := c.Request()
				q := question{method: method, target: target}.bearing(c.Make(everything(server)))
				if c.Packet != "" || strings.ContainsAny(q.authorization, "\r\n\x00") {
					checkUnsendable(t, b, c, q)
					return
				}
				if c.Then != "" {
					pending[c.Name] = q
					return
				}
				for range 2 { // worked out, then mostly remembered
					if a := b.on(t).askBoth(q); a.reason != c.Want || a.status != c.Status {
						t.Fatalf("got %v, want %d %s (%s)", a, c.Status, c.Want, c.Note)
					}
				}
			})
		}
	}
	if len(pending) < 3 {
		t.Fatalf("only %d rows wait for keys", len(pending))
	}
	first := map[string]answer{}
	for name, q := range pending {
		first[name] = b.ask(q)
	}
	for name, q := range pending {
		c, _ := mint.Lookup(name)
		t.Run(c.Rule+"/"+c.Name+"/then", func(t *testing.T) {
			b := b.on(t)
			if a := first[name]; a.reason != c.Want || a.status != c.Status || a.retry < 1 {
				t.Errorf("first: %+v, want %d %s", a, c.Status, c.Want)
			}
			eventually(t, c.Then, func() bool { return b.ask(q).reason == c.Then })
			if a := b.askBoth(q); a.reason != c.Then || a.status != c.ThenStatus {
				t.Errorf("then: %v, want %d %s", a, c.ThenStatus, c.Then)
			}
		})
	}
}

// checkUnsendable asks with what a packet or a header cannot carry: the packet is an error with the reason that the row
// names, and the HTTP server refuses the request before anything is asked.
func checkUnsendable(t *testing.T, b *box, c mint.Case, q question) {
	packet := strings.Join(q.lines(), "\n") + "\n"
	r, err := b.packet.AskPacket([]byte(packet))
	want, status := c.Want, c.Status
	if c.Packet != "" {
		want, status = c.Packet, 400
	}
	if errors.Is(err, syscall.EMSGSIZE) { // over what the kernel carries in one packet
		b.want(get("/x-nmos"), 200, "public")
	} else if err != nil || r.Reason != want || r.Status != status {
		t.Errorf("authz.sock: %d %s, %v, want %d %s", r.Status, r.Reason, err, status, want)
	}
	a, err := b.rawHTTP(fmt.Sprintf("GET /authorize HTTP/1.1\r\nHost: daemon\r\nX-Original-Method: %s\r\n"+
		"X-Original-URI: %s\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", q.method, q.target, q.authorization))
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusBadRequest && a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("http.sock: %v", a)
	}
}

// Two questions that only HTTP can ask wrongly: without the original request, and with two of them.
func TestHTTPFormErrors(t *testing.T) {
	spec.Rules(t, "ANS-4")
	t.Parallel()
	b := start(t, trusting(t))
	for _, c := range []struct {
		name, head string
		status     int
		reason     string
	}{
		{"no original", "", 400, "packet-missing"},
		{"method alone", "X-Original-Method: GET\r\n", 400, "packet-missing"},
		{"target alone", "X-Forwarded-Uri: /x-nmos\r\n", 400, "packet-missing"},
		{"two methods", "X-Original-Method: GET\r\nX-Original-Method: OPTIONS\r\nX-Original-URI: " + senders + "\r\n",
			400, "packet-twice"},
		{"two targets", "X-Original-Method: GET\r\nX-Original-URI: /x-nmos\r\nX-Original-URI: " + senders + "\r\n", 400,
			"packet-twice"},
		{"pairs that differ", "X-Original-Method: GET\r\nX-Original-URI: " + senders +
			"\r\nX-Forwarded-Uri: /x-nmos\r\n", 400, "packet-twice"},
		{"pairs that agree", "X-Original-Method: GET\r\nX-Original-URI: /x-nmos\r\nX-Forwarded-Method: GET\r\n" +
			"X-Forwarded-Uri: /x-nmos\r\n", 200, "public"},
		{"two tokens", "X-Original-Method: GET\r\nX-Original-URI: " + senders +
			"\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400, "two-tokens"},
		{"not UTF-8", "X-Original-Method: GET\r\nX-Original-URI: /x-nmos/\xff\r\n", 400, "packet-text"},
		{"absolute form", "X-Original-Method: GET\r\nX-Original-URI: http://node-1.example.com/x-nmos\r\n", 400,
			"path-ambiguous"},
	} {
		a, err := b.rawHTTP("GET /authorize HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n" + c.head + "\r\n")
		if err != nil || a.status != c.status || a.reason != c.reason {
			t.Errorf("%s: %v, %v, want %d %s", c.name, a, err, c.status, c.reason)
		}
	}
	// Anything but the place where questions are asked, and below it, opens nothing, whatever a misconfigured web
	// server asks for.
	for _, line := range []string{"GET /", "GET /authorized", "GET //authorize", "GET /authorise", "OPTIONS *",
		"CONNECT daemon:80",
		"GET http://daemon/x-nmos", "PATCH /x-nmos"} {
		a, err := b.rawHTTP(line + " HTTP/1.1\r\nHost: daemon\r\nX-Original-Method: GET\r\n" +
			"X-Original-URI: /x-nmos\r\nConnection: close\r\n\r\n")
		if err != nil || a.status < 300 {
			t.Errorf("%s: %v, %v", line, a, err)
		}
	}
}
