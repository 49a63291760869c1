package firmware

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func startDevice(t *testing.T, answer func(string) string) (*Device, *daemon) {
	t.Helper()
	fake := startDaemon(t, "", answer)
	d, err := Start(Options{Socket: fake.socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, fake
}

// response is what came back, the body read.
type response struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, d *Device, method, target, body string, headers ...string) response {
	t.Helper()
	request, err := http.NewRequest(method, d.URL()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{r.StatusCode, r.Header, string(text)}
}

// raw sends bytes as they are and returns the first response.
func raw(t *testing.T, d *Device, request string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	r, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Body.Close() })
	return r, from, c
}

func TestEveryResourceCanBeRead(t *testing.T) {
	d, fake := startDevice(t, allow)
	for path, r := range d.tree {
		want := 200
		if r.get == nil {
			want = http.StatusUpgradeRequired
		}
		for _, slash := range []string{"", "/"} {
			got := send(t, d, "GET", path+slash, "")
			if got.status != want || (r.media == "" && !json.Valid([]byte(got.body))) {
				t.Errorf("GET %s%s: %d %s", path, slash, got.status, got.body)
			}
		}
	}
	if int(d.Asked()) != fake.asked() || fake.asked() != 2*len(d.tree) {
		t.Errorf("%d resources, %d questions, %d arrived", len(d.tree), d.Asked(), fake.asked())
	}
	for path, want := range map[string]string{
		"/": `["x-nmos/"]`, "/x-nmos": `["configuration/","connection/","events/","ncp/","node/"]`,
		"/x-nmos/connection/v1.1/single": `["receivers/","senders/"]`, connectionAPI + "/single/senders/" +
			Sender1ID: `["active/","constraints/","staged/","transportfile/","transporttype/"]`,
		connectionAPI + "/single/receivers": `["` + Receiver1ID + `/","` + Receiver2ID + `/"]`,
		eventsAPI:                           `["sources/"]`,
	} {
		if got := send(t, d, "GET", path, ""); strings.TrimSpace(got.body) != want {
			t.Errorf("%s: %s", path, got.body)
		}
	}
}

func TestWhatIsAsked(t *testing.T) {
	d, fake := startDevice(t, allow)
	send(t, d, "PATCH", "/x-nmos/a%2fb?c=d", "{}", "Authorization", "Bearer abc")
	want := []string{"decide 1", "method=PATCH", "target=/x-nmos/a%2fb?c=d", "authorization=Bearer abc", "id=1"}
	if got := fake.last(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	send(t, d, "GET", "/x-nmos", "", "Authorization", "Bearer a", "Authorization", "Bearer b")
	if got := fake.last(); got[3] != "authorization=Bearer a, Bearer b" {
		t.Errorf("got %q", got)
	}
	for request, target := range map[string]string{
		"GET http://device:80/x-nmos//a/../b HTTP/1.1": "/x-nmos//a/../b", "GET HTTP://device HTTP/1.1": "/",
		"GET http://device?a=b HTTP/1.1": "/?a=b", "OPTIONS * HTTP/1.1": "*", "GET //x-nmos/./ HTTP/1.1": "//x-nmos/./",
	} {
		raw(t, d, request+"\r\nHost: device\r\n\r\n")
		if got := fake.last(); got[2] != "target="+target {
			t.Errorf("%s: %q", request, got)
		}
	}
}

func TestDenialsAreCopied(t *testing.T) {
	d, fake := startDevice(t, allow)
	for _, c := range []struct {
		answer func(string) string
		status int
		debug  string
		header map[string]string
	}{
		{always("deny 401", "reason=no-token", `www-authenticate=Bearer realm="x"`), 401, "no-token",
			map[string]string{"WWW-Authenticate": `Bearer realm="x"`}},
		{always("deny 403", "reason=audience", `www-authenticate=Bearer realm="x",error=insufficient_scope`), 403,
			"audience", map[string]string{"WWW-Authenticate": `Bearer realm="x",error=insufficient_scope`}},
		{always("deny 400", "reason=path-ambiguous"), 400, "path-ambiguous", nil},
		{always("deny 405", "reason=method"), 405, "method", map[string]string{"Allow": methods}},
		{always("deny 503", "reason=keys-pending", "retry-after=7"), 503, "keys-pending",
			map[string]string{"Retry-After": "7"}},
		{always("error 400", "reason=packet-text"), 400, "packet-text", nil},
		{always("allow 200", "reason=off"), 400, "this path cannot be read in one way only", nil},
		{always("pong 1"), 503, "", nil},
		{always("allow 200", "reason="), 503, "the authorization daemon cannot be asked",
			map[string]string{"Retry-After": "1"}},
	} {
		fake.say(c.answer)
		got := send(t, d, "GET", "/x-nmos/node/v1.3/self", "")
		var body struct {
			Code  int
			Error string
			Debug string
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if got.status != c.status || body.Code != c.status || body.Error != http.StatusText(c.status) ||
			body.Debug != c.debug {
			t.Errorf("%d %s, want %d %s", got.status, got.body, c.status, c.debug)
		}
		for name, want := range c.header {
			if got.header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
			}
		}
	}
}

func TestNoDaemonNoAnswer(t *testing.T) {
	d, fake := startDevice(t, allow)
	fake.stop()
	if got := send(t, d, "GET", "/", ""); got.status != 503 || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestRoutesOnTheDaemonsPath(t *testing.T) {
	d, _ := startDevice(t, always("allow 200", "reason=ok", "path="+nodeAPI+"/self"))
	got := send(t, d, "GET", "/somewhere/else", "")
	if got.status != 200 || !strings.Contains(got.body, NodeID) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestMethods(t *testing.T) {
	d, _ := startDevice(t, allow)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"HEAD", nodeAPI + "/self", 200, ""},
		{"OPTIONS", nodeAPI + "/self", 200, methods},
		{"PATCH", nodeAPI + "/self", 405, "GET, HEAD, OPTIONS"},
		{"DELETE", connectionAPI + "/single/senders/" + Sender1ID + "/staged", 405, methods},
		{"GET", nodeAPI + "/nothing", 404, ""},
		{"GET", "/vendor", 404, ""},
	} {
		if got := send(t, d, c.method, c.path, ""); got.status != c.status || got.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, got.status, got.header.Get("Allow"))
		}
	}
}

func TestPatch(t *testing.T) {
	d, _ := startDevice(t, allow)
	base := connectionAPI + "/single/receivers/" + Receiver1ID
	before := send(t, d, "GET", base+"/staged", "").body
	for _, bad := range []string{
		``, `null`, `[]`, `{} {}`, `{"nothing":1}`, `{"master_enable":"yes"}`, `{"master_enable":null}`,
		`{"sender_id":7}`, `{"transport_params":{}}`, `{"transport_params":[{},{}]}`, `{"transport_params":[{"x":1}]}`,
		`{"activation":null}`, `{"activation":{"x":1}}`, `{"receiver_id":null}`,
	} {
		if got := send(t, d, "PATCH", base+"/staged", bad); got.status != 400 {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
	if got := send(t, d, "PATCH", base+"/staged",
		`{"activation":{"mode":"activate_scheduled_relative"}}`); got.status != 501 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := send(t, d, "PATCH", base+"/staged", strings.Repeat(" ", bodyLimit+1)+"{}"); got.status != 400 {
		t.Errorf("a large body: %d", got.status)
	}
	if after := send(t, d, "GET", base+"/staged", "").body; after != before {
		t.Errorf("changed by what was refused:\n%s\n%s", before, after)
	}

	staged := send(t, d, "PATCH", base+"/staged", `{"transport_params":[{"multicast_ip":"239.1.1.1"}]}`)
	if staged.status != 200 || !strings.Contains(staged.body, `"multicast_ip":"239.1.1.1"`) ||
		!strings.Contains(staged.body, `"destination_port":5004`) {
		t.Errorf("%d %s", staged.status, staged.body)
	}
	if active := send(t, d, "GET", base+"/active", ""); strings.Contains(active.body, "239.1.1.1") {
		t.Errorf("active already: %s", active.body)
	}
	send(t, d, "PATCH", base+"/staged",
		`{"master_enable":true,"sender_id":"`+Sender1ID+`","activation":{"mode":"activate_immediate"}}`)
	active := send(t, d, "GET", base+"/active", "").body
	for _, want := range []string{"239.1.1.1", `"master_enable":true`, Sender1ID, `"mode":"activate_immediate"`} {
		if !strings.Contains(active, want) {
			t.Errorf("active without %s: %s", want, active)
		}
	}
	if staged := send(t, d, "GET", base+"/staged", "").body; !strings.Contains(staged, `"mode":null`) {
		t.Errorf("the staged activation stays: %s", staged)
	}

	sender := connectionAPI + "/single/senders/" + Sender1ID
	send(t, d, "PATCH", sender+"/staged", `{"transport_params":[{"destination_ip":"239.9.9.9"}],"activation":{"mode":"activate_immediate"}}`)
	sdp := send(t, d, "GET", sender+"/transportfile", "")
	if sdp.header.Get("Content-Type") != "application/sdp" || !strings.Contains(sdp.body, "c=IN IP4 239.9.9.9/32\r\n") {
		t.Errorf("%v %q", sdp.header, sdp.body)
	}
}

func TestMeter(t *testing.T) {
	d, _ := startDevice(t, allow)
	for level, want := range map[float64]string{-12.34: "-123", 5: "0", -500: "-1200"} {
		d.SetLevel(level)
		got := send(t, d, "GET", eventsAPI+"/sources/"+MeterSourceID+"/state", "")
		if !strings.Contains(got.body, `"payload":{"scale":10,"value":`+want+`}`) {
			t.Errorf("%v dBFS: %s", level, got.body)
		}
	}
}

// upgrade is a handshake with RFC 6455's own example key.
func upgrade(target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: device\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

func TestWebSocket(t *testing.T) {
	d, fake := startDevice(t, always("allow 200", "reason=ok"))
	d.SetLevel(-6)
	r, from, conn := raw(t, d, upgrade(socketPath+"?access_token=abc"))
	if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	want := []string{
		"decide-all 1", "method=GET", "target=/x-nmos/events/v1.0/sources/" + MeterSourceID + "?access_token=abc",
		"upgrade=websocket", "id=1",
	}
	if got := fake.last(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	frames, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if len(frames) < 8 || frames[0] != 0x81 || frames[1] != 126 {
		t.Fatalf("% x", frames[:min(8, len(frames))])
	}
	size := int(frames[2])<<8 | int(frames[3])
	text, rest := frames[4:4+size], frames[4+size:]
	if !json.Valid(text) || !strings.Contains(string(text), `"value":-60`) || fmt.Sprintf("%x", rest) != "880203e8" {
		t.Errorf("%s, % x", text, rest)
	}
}

func TestWebSocketIsRefused(t *testing.T) {
	d, fake := startDevice(t, always("allow 200", "reason=ok"))
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"version": {strings.Replace(upgrade(socketPath), "Version: 13", "Version: 8", 1), http.StatusUpgradeRequired},
		"key":     {strings.Replace(upgrade(socketPath), "dGhl", "", 1), http.StatusBadRequest},
	} {
		if r, _, _ := raw(t, d, c.request); r.StatusCode != c.status {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	fake.say(always("deny 403", "reason=path-not-granted", "denied=/a", `www-authenticate=Bearer realm="x"`))
	if r, _, _ := raw(t, d, upgrade(socketPath)); r.StatusCode != 403 || r.Header.Get("Www-Authenticate") == "" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	// Spelt in another way it is still the socket, for which every source has to be asked.
	fake.say(func(packet string) string {
		if strings.HasPrefix(packet, "decide 1\n") {
			return always("allow 200", "reason=ok", "path="+socketPath)(packet)
		}
		return always("deny 401", "reason=no-token", `www-authenticate=Bearer realm="x"`)(packet)
	})
	if r, _, _ := raw(t, d, upgrade("/x-nmos/events/v1.0/%77s")); r.StatusCode != 401 {
		t.Errorf("got %d", r.StatusCode)
	}
	if got := fake.last(); got[0] != "decide-all 1" {
		t.Errorf("got %q", got)
	}
}

func TestCloseEndsWebSockets(t *testing.T) {
	defer func(d time.Duration) { farewell = d }(farewell)
	farewell = time.Hour // whoever waited for it would wait until the tests are given up
	d, _ := startDevice(t, always("allow 200", "reason=ok"))
	r, _, _ := raw(t, d, upgrade(socketPath)) // left open by the client
	if r.StatusCode != 101 {
		t.Fatalf("got %d, want 101", r.StatusCode)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
