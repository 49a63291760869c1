package registry

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// daemon pretends to be the registry's nmos-authd: see answer.
func daemon(t *testing.T, answer func(packet string) string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "authz.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				packet := make([]byte, 64<<10)
				for {
					n, err := c.Read(packet)
					if n == 0 || err != nil {
						return
					}
					if _, err := c.Write([]byte(answer(string(packet[:n])))); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return socket
}

// values are the lines of a packet.
func valuesOf(packet string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(packet) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[name] = value
	}
	return values
}

// answer takes the token for the client's name; "no" is denied, and "old" is not good.
func answer(packet string) string {
	values := valuesOf(packet)
	path, _, _ := strings.Cut(values["target"], "?")
	client := strings.TrimPrefix(values["authorization"], "Bearer ")
	if client == "old" {
		return "deny 401\nid=" + values["id"] +
			"\nreason=token-expired\nwww-authenticate=Bearer realm=\"r\",error=invalid_token\n"
	}
	if client == "no" ||
		client == "nodes" && strings.HasPrefix(packet, "watch-token 1\n") && path != QueryAPI+"/nodes" {
		return "deny 403\nid=" + values["id"] +
			"\nreason=path-not-granted\nwww-authenticate=Bearer realm=\"r\",error=insufficient_scope\n"
	}
	return "allow 200\nid=" + values["id"] + "\nreason=ok\nclient-id=" + client + "\npath=" + path + "\n"
}

// rig is a registry with a clock that the test turns.
type rig struct {
	*Registry
	t      *testing.T
	ca     *authserver.CA
	client *http.Client

	mu  sync.Mutex
	now time.Time
}

func start(t *testing.T) *rig {
	t.Helper()
	ca, err := authserver.NewCA("facility")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1", "registry.example.com")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ca: ca, now: time.Unix(1_800_000_000, 0), client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}}
	r.Registry, err = Start(Options{Socket: daemon(t, answer), TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
		Timeout: time.Minute, Now: func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) turn(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(by)
}

// send makes a request as a client, and returns the status, the header and the body.
func (r *rig) send(client, method, path, body string) (int, http.Header, string) {
	r.t.Helper()
	request, err := http.NewRequest(method, r.URL()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if client != "" {
		request.Header.Set("Authorization", "Bearer "+client)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func (r *rig) want(client, method, path, body string, status int) string {
	r.t.Helper()
	got, header, text := r.send(client, method, path, body)
	if got != status {
		r.t.Errorf("%s: %s %s: got %d %s, want %d", client, method, path, got, text, status)
	}
	if status == http.StatusForbidden && !strings.Contains(header.Get("WWW-Authenticate"), "error=insufficient_scope") {
		r.t.Errorf("%s: %s %s: got the challenge %q, want insufficient_scope",
			client, method, path, header.Get("WWW-Authenticate"))
	}
	return text
}

func id(n int) string { return fmt.Sprintf("6f1e0000-0000-4000-8000-%012d", n) }

// resource is a good registration; more members replace those it has.
func resource(kind string, n int, more string) string {
	data := map[string]any{"id": id(n), "version": "1:0", "label": fmt.Sprint(kind, n), "description": "",
		"tags": map[string]any{}}
	list, object := []any{}, map[string]any{}
	for name, want := range kinds[kind].members {
		data[name] = map[string]any{"text": "x", "list": list, "object": object}[want]
	}
	var changes map[string]any
	if err := json.Unmarshal([]byte("{"+more+"}"), &changes); err != nil {
		panic(err)
	}
	for name, value := range changes {
		data[name] = value
	}
	text, err := json.Marshal(map[string]any{"type": kind, "data": data})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func of(name string, n int) string { return fmt.Sprintf(`"%s": "%s"`, name, id(n)) }

const post = RegistrationAPI + "/resource"

// full registers a node with everything.
func (r *rig) full(client string, from int) {
	r.t.Helper()
	r.want(client, "POST", post, resource("node", from, ""), 201)
	r.want(client, "POST", post, resource("device", from+1, of("node_id", from)), 201)
	r.want(client, "POST", post, resource("source", from+2, of("device_id", from+1)), 201)
	r.want(client, "POST", post, resource("flow", from+3, of("device_id", from+1)+","+of("source_id", from+2)), 201)
	r.want(client, "POST", post, resource("sender", from+4, of("device_id", from+1)+","+of("flow_id", from+3)), 201)
	r.want(client, "POST", post, resource("receiver", from+5, of("device_id", from+1)), 201)
}

func (r *rig) count(kind string) int {
	r.t.Helper()
	var list []map[string]any
	text := r.want("c", "GET", QueryAPI+"/"+kind, "", 200)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		r.t.Fatalf("%v in %s", err, text)
	}
	return len(list)
}

// What is registered can be queried, changed and removed, and goes with its parent.
func TestRegisterAndQuery(t *testing.T) {
	r := start(t)
	r.full("box", 10)
	for _, kind := range []string{"nodes", "devices", "sources", "flows", "senders", "receivers"} {
		if n := r.count(kind); n != 1 {
			t.Errorf("%s: got %d, want 1", kind, n)
		}
	}
	if status, header, _ := r.send("box", "POST", post,
		resource("sender", 14, of("device_id", 11)+`,"flow_id":null,"label":"new"`)); status != 200 ||
		header.Get("Location") != post+"/senders/"+id(14)+"/" {
		t.Errorf("a change: got %d %v, want 200 and its place", status, header)
	}
	if text := r.want("c", "GET", QueryAPI+"/senders?label=new", "", 200); !strings.Contains(text, id(14)) {
		t.Errorf("got %s, want the sender", text)
	}
	if text := r.want("c", "GET", QueryAPI+"/senders?label=old", "", 200); text != "[]\n" {
		t.Errorf("got %s, want nothing", text)
	}
	if text := r.want("c", "GET", QueryAPI+"/devices/"+id(11)+"/", "", 200); !strings.Contains(text, "device11") {
		t.Errorf("got %s, want the device", text)
	}
	r.want("box", "GET", post+"/nodes/"+id(10), "", 200)
	r.want("box", "DELETE", post+"/sources/"+id(12), "", 204)
	if n := r.count("flows"); n != 0 {
		t.Errorf("flows of a source that was removed: got %d, want 0", n)
	}
	r.want("box", "DELETE", post+"/nodes/"+id(10), "", 204)
	if n := r.count("receivers"); n != 0 {
		t.Errorf("receivers of a node that was removed: got %d, want 0", n)
	}
	for path, want := range map[string]string{"/": `["x-nmos/"]`, "/x-nmos/": `["query/","registration/"]`,
		RegistrationAPI + "/": `["health/","resource/"]`} {
		if text := r.want("", "GET", path, "", 200); text != want+"\n" {
			t.Errorf("%s: got %s, want %s", path, text, want)
		}
	}
}

// A node's resources belong to the client that registered the node.
func TestBinding(t *testing.T) {
	spec.Rules(t, "CLI-11")
	r := start(t)
	r.full("box", 10)
	r.full("other", 20)
	health := RegistrationAPI + "/health/nodes/" + id(10)
	for _, c := range []struct{ name, method, path, body string }{
		{"the node", "POST", post, resource("node", 10, "")},
		{"its device", "POST", post, resource("device", 11, of("node_id", 10))},
		{"its device, for a node of one's own", "POST", post, resource("device", 11, of("node_id", 20))},
		{"a new device", "POST", post, resource("device", 99, of("node_id", 10))},
		{"a flow of its source", "POST", post, resource("flow", 99, of("device_id", 21)+","+of("source_id", 12))},
		{"its sender, for a device of one's own", "POST", post,
			resource("sender", 14, of("device_id", 21)+`,"flow_id":null`)},
		{"removal", "DELETE", post + "/receivers/" + id(15), ""},
		{"removal of the node", "DELETE", post + "/nodes/" + id(10), ""},
		{"heartbeat", "POST", health, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			for _, client := range []string{"other", "BOX", ""} {
				if client == "" && strings.Contains(c.name, "one's own") {
					continue
				}
				r.want(client, c.method, c.path, c.body, 403)
			}
		})
	}
	r.t = t
	if a, b := r.count("devices"), r.count("senders"); a != 2 || b != 2 {
		t.Errorf("got %d devices, %d senders, want 2 and 2", a, b)
	}
	r.want("box", "POST", health, "", 200)
	r.want("other", "GET", health, "", 200)
}

// A node that is silent for more than twelve seconds is forgotten; then another client may register it.
func TestExpiry(t *testing.T) {
	spec.Rules(t, "CLI-11")
	r := start(t)
	r.full("box", 10)
	health := RegistrationAPI + "/health/nodes/" + id(10)
	for range 3 {
		r.turn(Expiry)
		r.want("box", "POST", health, "", 200)
	}
	r.turn(Expiry)
	r.want("other", "POST", post, resource("node", 10, ""), 403)
	if n := r.count("senders"); n != 1 {
		t.Errorf("after %v: got %d senders, want 1", Expiry, n)
	}
	r.turn(time.Nanosecond)
	if n := r.count("senders"); n != 0 {
		t.Errorf("after more than %v: got %d senders, want 0", Expiry, n)
	}
	r.want("box", "POST", health, "", 404)
	r.want("other", "POST", post, resource("node", 10, ""), 201)
	r.want("box", "POST", health, "", 403)
}

// What is not as IS-04 has it is refused.
func TestRegistryIsStrict(t *testing.T) {
	r := start(t)
	r.full("box", 10)
	for name, body := range map[string]string{
		"not JSON": "{", "no object": "[]", "two": resource("node", 1, "") + "{}",
		"unknown member": `{"type":"node","data":{},"x":1}`, "unknown type": resource("panel", 1, ""),
		"no data": `{"type":"node"}`, "no href": resource("node", 1, `"href":null`),
		"id in upper case": resource("node", 1, `"id":"6F1E0000-0000-4000-8000-00000000000A"`),
		"id":               resource("node", 1, `"id":"x"`), "version": resource("node", 1, `"version":"now"`),
		"tags": resource("node", 1, `"tags":[]`), "label": resource("node", 1, `"label":1`),
		"no parent": resource("device", 1, ""), "unknown parent": resource("device", 1, of("node_id", 99)),
		"parent of another type": resource("device", 1, of("node_id", 11)),
		"no flow":                resource("sender", 1, of("device_id", 11)),
		"an id of another type":  resource("node", 11, ""),
		"huge":                   resource("node", 1, `"label":"`+strings.Repeat("x", bodyLimit)+`"`),
	} {
		if status, _, text := r.send("box", "POST", post, body); status != 400 ||
			!strings.Contains(text, `"code":400`) {
			t.Errorf("%s: got %d %s, want 400", name, status, text)
		}
	}
	r.full("box", 30)
	// to another node of one's own
	r.want("box", "POST", post, resource("device", 31, of("node_id", 10)), 400)
	r.want("box", "POST", post, resource("flow", 99, of("device_id", 11)+","+of("source_id", 32)), 400) // of two nodes
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"PUT", post, 404}, {"GET", post, 404}, {"POST", QueryAPI + "/subscriptions", 400},
		{"DELETE", QueryAPI + "/subscriptions/" + id(1), 405},
		{"GET", QueryAPI + "/subscriptions/" + id(1), 404},
		{"GET", QueryAPI + "/senders?query.rql=eq(a,b)", 501}, {"GET", QueryAPI + "/panels", 404},
		{"GET", QueryAPI + "/node", 404},
		{"GET", QueryAPI + "/nodes/" + id(11), 404}, {"GET", post + "/senders/" + id(11), 404},
		{"DELETE", post + "/senders/" + id(99), 404},
		{"POST", RegistrationAPI + "/health/nodes/" + id(11), 404},
		{"DELETE", RegistrationAPI + "/health/nodes/" + id(10), 405},
		{"PATCH", post + "/nodes/" + id(10), 405}, {"DELETE", RegistrationAPI, 405}, {"GET", "/x-nmos/node/v1.3", 404},
		{"OPTIONS", post, 200},
	} {
		r.want("box", c.method, c.path, "", c.status)
	}
	r.want("no", "GET", QueryAPI+"/nodes", "", 403)
	if _, err := Start(Options{}); err == nil {
		t.Error("without TLS: want an error")
	}
}

// A client that is slow to send or to read keeps nobody else waiting.
func TestSlowClientsHoldNobodyUp(t *testing.T) {
	r := start(t)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.URL(), "https://"), &tls.Config{RootCAs: r.ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.client.Timeout = 20 * time.Second // the registry itself gives up a slow request after 30
	before := r.asked.Load()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		post)
	eventually(t, "the question about the slow request", func() bool { return r.asked.Load() > before })
	r.full("box", 10)
	if n := r.count("nodes"); n != 1 {
		t.Errorf("got %d nodes, want 1", n)
	}
}

// Without its daemon the registry serves nothing.
func TestWithoutDaemon(t *testing.T) {
	r := start(t)
	if err := r.asker.Close(); err != nil {
		t.Fatal(err)
	}
	if status, header, text := r.send("box", "GET", "/x-nmos/", ""); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("got %d %v %s, want 503 with Retry-After", status, header, text)
	}
}
