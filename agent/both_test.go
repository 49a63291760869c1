package agent_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

// webServer asks a device over HTTP on a Unix socket, by a connection that it keeps open.
type webServer struct {
	conn   net.Conn
	reader *bufio.Reader
}

func askHTTP(tb testing.TB, d *device) *webServer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	report := func(err error) { tb.Error(err) }
	server := &agent.Server{
		Handle: func(conn *agent.Conn) error {
			return httpauth.NewServer(httpauth.Handler(d.NewSession(), nil), false, report).ServeConn(conn)
		},
		Report: report,
	}
	go server.Serve(l)
	tb.Cleanup(func() {
		l.Close()
		server.Shutdown(tb.Context())
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &webServer{conn, bufio.NewReader(conn)}
}

// headersOf are the names under which a web server passes on what a packet says.
var headersOf = map[string]string{
	"method": "X-Original-Method", "target": "X-Original-URI", "authorization": "Authorization",
	"upgrade": "X-Original-Upgrade",
}

// asHTTP writes a packet's question as an HTTP request. ok is false where HTTP cannot say it: another question than
// decide, a value that no field has (RFC 9110 §5.5), or none if the web server has none to pass on.
func asHTTP(packet string) (text string, ok bool) {
	lines, decide := strings.CutPrefix(packet, "decide 1\n")
	text = "GET " + httpauth.Path + " HTTP/1.1\r\nHost: localhost\r\n"
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, "=")
		header := headersOf[name]
		control := func(r rune) bool { return r < ' ' || r == 0x7f }
		if value != strings.Trim(value, " ") || strings.ContainsFunc(value, control) ||
			value == "" && name != "authorization" {
			return "", false
		}
		if name == "id" {
			continue
		}
		if header == "" {
			return "", false
		}
		text += header + ": " + value + "\r\n"
	}
	return text + "\r\n", decide
}

// ask puts the question and returns the answer in the lines of the other socket.
func (w *webServer) ask(tb testing.TB, text string) answer {
	tb.Helper()
	if _, err := w.conn.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		tb.Fatal(err)
	}
	response.Body.Close()
	a := answer{first: response.Status[:3], lines: map[string]string{}}
	for line, header := range map[string]string{
		"reason": "X-Auth-Reason", "www-authenticate": "WWW-Authenticate", "retry-after": "Retry-After",
		"client-id": "X-Auth-Client-Id", "subject": "X-Auth-Subject", "path": "X-Auth-Path",
		"expires-in": "X-Auth-Expires-In",
	} {
		if values := response.Header.Values(header); len(values) == 1 {
			a.lines[line] = values[0]
		} else if len(values) > 1 {
			tb.Errorf("%s is there %d times", header, len(values))
		}
	}
	return a
}

// compareSockets asks one device the question in a packet and another by HTTP, and compares the answers. It returns
// false where HTTP cannot ask it.
func compareSockets(t *testing.T, packets *device, web *webServer, packet string) bool {
	t.Helper()
	text, ok := asHTTP(packet)
	if !ok {
		return false
	}
	want, got := packets.ask(t, packet), web.ask(t, text)
	if status := want.first[len(want.first)-3:]; got.first != status {
		t.Errorf("the status is %s by HTTP, %s by packet", got.first, status)
	}
	if (got.lines["retry-after"] == "") != (want.lines["retry-after"] == "") { // how long depends on when it was asked
		t.Errorf("retry-after is %q by HTTP, %q by packet", got.lines["retry-after"], want.lines["retry-after"])
	}
	if got, want := got.lines["expires-in"], want.lines["expires-in"]; !nearSeconds(got, want) {
		t.Errorf("expires-in is %q by HTTP, %q by packet", got, want)
	}
	for _, line := range []string{"reason", "www-authenticate", "client-id", "subject", "path"} {
		if got.lines[line] != want.lines[line] {
			t.Errorf("%s is %q by HTTP, %q by packet", line, got.lines[line], want.lines[line])
		}
	}
	return true
}

// nearSeconds reports whether two values are both missing, or seconds that differ by no more than may pass between two
// questions.
func nearSeconds(a, b string) bool {
	x, errA := strconv.Atoi(a)
	y, errB := strconv.Atoi(b)
	return a == b || errA == nil && errB == nil && max(x-y, y-x) <= 60
}

// Both sockets give the same answers to the same questions: every token of the mint, cold and remembered, before and
// after its keys were looked for.
func TestBothSockets(t *testing.T) {
	base := mint.New(mint.Options{})
	asked := 0
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			method, target := c.Request()
			packet := "decide 1\nmethod=" + method + "\ntarget=" + target +
				"\nauthorization=Bearer " + c.Make(base) + "\n"
			if _, ok := asHTTP(packet); !ok || c.Packet != "" {
				continue
			}
			asked++
			t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
				published := []mint.JWK{base.Key.JWK()}
				if c.Publish != nil {
					published = append(published, c.Publish()...)
				}
				one, two := newDevice(t, nil, published...), newDevice(t, nil, published...)
				one.clock.Store(&base.Now)
				two.clock.Store(&base.Now)
				web := askHTTP(t, two)
				first, second := one.store.Set().Generation, two.store.Set().Generation
				compareSockets(t, one, web, packet)
				if c.Then != "" {
					one.waitForKeys(t, first)
					two.waitForKeys(t, second)
				}
				compareSockets(t, one, web, packet)
				compareSockets(t, one, web, packet)
			})
		}
	}
	if all := len(mint.Faults) + len(mint.Variants); asked < all*9/10 {
		t.Errorf("asked %d of %d", asked, all)
	}
}

// The same for questions about paths, methods and credentials.
func TestBothSocketsAboutRequests(t *testing.T) {
	tok := mint.New(permit)
	one, two := newDevice(t, configuredPaths, tok.Key.JWK()), newDevice(t, configuredPaths, tok.Key.JWK())
	one.clock.Store(&tok.Now)
	two.clock.Store(&tok.Now)
	web := askHTTP(t, two)
	asked := 0
	compare := func(name, packet string) {
		if _, ok := asHTTP(packet); ok {
			asked++
		}
		t.Run(name, func(t *testing.T) { compareSockets(t, one, web, packet) })
	}
	for _, row := range pathRows {
		packet := "decide 1\nmethod=" + row.Method + "\ntarget=" + row.Target + "\n"
		if !row.Tokenless {
			packet += "authorization=Bearer " + tok.Sign() + "\n"
		}
		compare(row.Name, packet)
	}
	all := tok.Sign()
	some := mint.New(mint.Options{Permissions: map[string]mint.Permission{
		"query": {Read: []string{"nodes", "subscriptions/*"}},
		"ncp":   {Read: []string{"*"}}, "control": {Write: []string{"root.*"}}}}).Sign()
	// PATH-14
	for _, target := range []string{"/x-nmos/query/v1.3", "/x-nmos/query/v1.3/nodes",
		"/x-nmos/query/v1.3/subscriptions/1", "/x-nmos/ncp/v1.0", "/x-nmos/ncp/v1.0/", "/slot/2/ncp", // PATH-15
		"/x-nmos/node/v1.3/" + strings.Repeat("a", 2030), "/x-nmos/node/v1.3/" + strings.Repeat("a", 2031)} { // PATH-16
		for i, raw := range []string{all, some} {
			packet := "decide 1\nmethod=GET\ntarget=" + target + "\nauthorization=Bearer " + raw + "\n"
			compare(fmt.Sprintf("PATH-14 PATH-15 PATH-16/%.40s %d", target, i), packet)
			compare(fmt.Sprintf("PATH-14 PATH-15 PATH-16/%.40s as a socket %d", target, i),
				packet+"upgrade=websocket\n")
		}
	}
	for _, row := range answerRows {
		compare(row.Name, rows.Answer(row.Lines, tok.Sign()))
	}
	if n := len(pathRows) + len(answerRows) + 32; asked < n*8/10 {
		t.Errorf("asked %d of %d", asked, n)
	}
}

// Questions about commands are the same text on both sockets, and so are the answers; only what HTTP says beside them
// is HTTP's own.
func TestBothSocketsAboutCommands(t *testing.T) {
	spec.Rules(t, "CTL-80", "CTL-84", "CTL-85")
	key, tok := mint.New(mint.Options{}).Key.JWK(), monitorToken()
	now := time.Now()
	for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve, config.ModeOff} {
		set := func(c *config.Config) { c.Mode = mode }
		one, two := newDevice(t, set, key), newDevice(t, set, key)
		one.clock.Store(&now)
		two.clock.Store(&now)
		web := askHTTP(t, two)
		for _, row := range controlRows {
			packet := controlPacket("id=31\n"+row.Lines, tok)
			want := string(one.NewSession().Packet(nil, []byte(packet), wire.DefaultPacketLimit))
			status, got := web.post(t, httpauth.ControlPath, packet)
			if code, _, _ := strings.Cut(strings.SplitAfter(want, " ")[1], "\n"); code != status || got != want {
				t.Errorf("%s, %s: got %s %q by HTTP, %q by packet", mode, row.Name, status, got, want)
			}
		}
	}
}

// Any question that is posted as a packet has the decision socket's reply, byte by byte.
func TestBothSocketsByPacket(t *testing.T) {
	spec.Rules(t, "ANS-8")
	tokens := mint.New(mint.Options{})
	now := tokens.Now
	newOne := func() *device {
		d := newDevice(t, vendorPaths, tokens.Key.JWK())
		d.setInventory(t, deviceInventory)
		d.clock.Store(&now)
		return d
	}
	one, web := newOne(), askHTTP(t, newOne())
	sign := func(o mint.Options) string { return mint.New(o).Sign() }
	packets := []string{"ping 1\nid=7\n", "verify 1\n", "decide-all 1\ntarget=/\ntarget=/a\n", "nothing 1\n"}
	for _, row := range rows.All(sign) {
		packets = append(packets, row.Packet)
	}
	session := one.NewSession()
	for _, packet := range packets {
		want := string(session.Packet(nil, []byte(packet), wire.DefaultPacketLimit))
		status, got := web.post(t, httpauth.PacketPath, packet)
		first, _, _ := strings.Cut(want, "\n")
		if wantStatus := first[len(first)-3:]; got != want || status != wantStatus && first != "pong 1" {
			t.Errorf("%.80q: got %s %q by HTTP, %q by packet", packet, status, got, want)
		}
	}
}

// post posts a body and returns the status and the body of the answer.
func (w *webServer) post(tb testing.TB, path, body string) (status, answer string) {
	tb.Helper()
	if _, err := fmt.Fprintf(w.conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body); err != nil {
		tb.Fatal(err)
	}
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	response.Body.Close()
	return response.Status[:3], string(text)
}

// A clock that is not set is the same to both.
func TestBothSocketsWithoutClock(t *testing.T) {
	spec.Rules(t, "OPS-1")
	tok := mint.New(mint.Options{})
	d := newDevice(t, nil, tok.Key.JWK())
	unset := time.Unix(5, 0)
	d.clock.Store(&unset)
	web := askHTTP(t, d)
	for _, raw := range []string{tok.Sign(), forged(tok.Sign())} {
		if !compareSockets(t, d, web, get(senders, raw)) {
			t.Error("HTTP cannot ask")
		}
	}
}
