package system_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// response is what the pretend device answered.
type response struct {
	status int
	header http.Header
	body   string
}

// client asks the pretend device over HTTP, as a controller does.
type client struct {
	t      *testing.T
	device *firmware.Device
}

func (c client) send(method, target, token, body string) response {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.device.URL()+target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response{r.StatusCode, r.Header, string(text)}
}

// want sends a request and compares the status, and for a denial the reason that the device passes on.
func (c client) want(method, target, token string, status int, reason string) response {
	c.t.Helper()
	r := c.send(method, target, token, `{"master_enable":true}`)
	var nmos struct {
		Code  int
		Debug string
	}
	if r.status >= 400 {
		if err := json.Unmarshal([]byte(r.body), &nmos); err != nil || nmos.Code != r.status {
			c.t.Errorf("%s %s: the body is not an NMOS error: %s", method, target, r.body)
		}
	}
	if r.status != status || nmos.Debug != reason {
		c.t.Errorf("%s %s: %d %s, want %d %s", method, target, r.status, r.body, status, reason)
	}
	return r
}

func startFirmware(t *testing.T, socket string) client {
	t.Helper()
	d, err := firmware.Start(firmware.Options{Socket: socket, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return client{t, d}
}

// The whole way of a controller's request: a device that asks the daemon about everything and serves what is allowed.
func TestDeviceWithDaemon(t *testing.T) {
	spec.Rules(t, "PATH-12", "PATH-13", "ANS-5", "ANS-7", "ANS-9")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")
	c := startFirmware(t, b.Authz())
	const self = "/x-nmos/node/v1.3/self"
	meter := "/x-nmos/events/v1.0/sources/" + firmware.MeterSourceID

	if r := c.want("GET", "/x-nmos/", "", 200, ""); !strings.Contains(r.body, "connection/") {
		t.Errorf("the base path: %s", r.body)
	}
	c.want("OPTIONS", self, "", 200, "")
	if r := c.want("GET", self, "", 401,
		"no-token"); r.header.Get("WWW-Authenticate") != `Bearer realm="node-1.example.com"` {
		t.Errorf("without a token: %v", r.header)
	}
	if r := c.want("GET", self, good, 200, ""); !strings.Contains(r.body, firmware.NodeID) {
		t.Errorf("the node: %s", r.body)
	}
	for _, id := range firmware.Senders {
		if r := c.want("GET", senders+"/"+id+"/transportfile", good, 200, ""); !strings.HasPrefix(r.body, "v=0\r\n") {
			t.Errorf("a transport file: %s", r.body)
		}
	}
	if r := c.want("PATCH", receiver, good, 200, ""); !strings.Contains(r.body, `"master_enable":true`) {
		t.Errorf("a PATCH: %s", r.body)
	}
	reader := server.Token(mint.Options{Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}}, "events": {
			Read: []string{"sources/" + firmware.MeterSourceID + "/state"}}}}).Sign()
	r := c.want("PATCH", receiver, reader, 403, "path-not-granted")
	if text := r.header.Get("WWW-Authenticate"); !strings.Contains(text, ",error=insufficient_scope,") {
		t.Errorf("a PATCH with a token to read: %v", r.header)
	}
	c.want("GET", receiver, reader, 200, "")
	c.device.SetLevel(-12.5)
	if r := c.want("GET", meter+"/state", reader, 200, ""); !strings.Contains(r.body, `"value":-125`) {
		t.Errorf("the meter: %s", r.body)
	}
	c.want("GET", "/x-nmos/connection/v1.1//single", good, 400, "path-ambiguous")
	c.want("GET", "/x-nmos/connection/v1.1/single/senders%2f", good, 400, "path-ambiguous")
	c.want("GET", "/x-nmos/connection/v1.1/../v1.1/single/./senders", good, 200, "")
	c.want("GET", "/firmware/upload", good, 403, "path-closed")
	if r := c.want("TRACE", self, good, 405, "method"); !strings.Contains(r.header.Get("Allow"), "PATCH") {
		t.Errorf("TRACE: %v", r.header)
	}
	other := server.Token(mint.Options{Device: "node-2.example.com"}).Sign()
	c.want("GET", self, other, 403, "audience")
	c.want("GET", self, unsigned(everything(server)), 401, "signature")
	c.want("GET", self+"?access_token="+good, "", 401, "no-token")

	checkHandshake(t, c, good, reader)

	server.Replace()
	fresh := everything(server).Sign()
	if r := c.want("GET", self, fresh, 503, "keys-pending"); r.header.Get("Retry-After") == "" {
		t.Errorf("while keys are fetched: %v", r.header)
	}
	b.await(get(senders).bearing(fresh), 200, "ok")
	c.want("GET", self, fresh, 200, "")
	c.want("GET", self, good, 401, "key-unknown")

	// Without the daemon nothing is served, not even what needs no token; with it all is as before.
	b.Kill()
	for _, target := range []string{self, "/x-nmos/"} {
		if r := c.want("GET", target, fresh, 503,
			"the authorization daemon cannot be asked"); r.header.Get("Retry-After") == "" {
			t.Errorf("without the daemon: %v", r.header)
		}
	}
	b.Daemon = startIn(t, b.Dir)
	b.await(get(senders).bearing(fresh), 200, "ok")
	c.want("GET", self, fresh, 200, "")
	c.want("PATCH", receiver, "", 401, "no-token")
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	c.want("GET", self, fresh, 503, "the authorization daemon cannot be asked")
	b.Daemon = startIn(t, b.Dir)
	c.want("GET", "/x-nmos/", "", 200, "")
}

// checkHandshake opens the level meter's WebSocket: the token stands in the query, since browsers can set no header
// (ANS-9), and must permit every source (PATH-12).
func checkHandshake(t *testing.T, c client, all, stateOnly string) {
	t.Helper()
	whole := "/x-nmos/events/v1.0/ws"
	for _, one := range []struct {
		name, target, header string
		status               int
	}{
		{"in the query", whole + "?access_token=" + all, "", 101},
		{"in the header", whole, "Authorization: Bearer " + all + "\r\n", 101},
		{"in both", whole + "?access_token=" + all, "Authorization: Bearer " + all + "\r\n", 400},
		{"nowhere", whole, "", 401},
		{"empty", whole + "?access_token=", "", 400},
		{"for what lies below the source", whole + "?access_token=" + stateOnly, "", 403},
		{"twice", whole + "?access_token=" + all + "&access_token=" + all, "", 400},
		{"escaped", whole + "?access_token=" + strings.ReplaceAll(all, ".", "%2E"), "", 101},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.device.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: device\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", one.target,
			one.header)
		from := bufio.NewReader(conn)
		r, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatalf("%s: %v", one.name, err)
		}
		if r.StatusCode != one.status {
			t.Errorf("%s: %s, want %d", one.name, r.Status, one.status)
		}
		if r.StatusCode == http.StatusSwitchingProtocols {
			frames, err := io.ReadAll(from)
			if r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
				!strings.Contains(string(frames), `"value":-125`) {
				t.Errorf("%s: %v, %q, %v", one.name, r.Header, frames, err)
			}
		}
		conn.Close()
	}
}
