package registry

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/spec"
)

// follow makes a subscription and opens its WebSocket; nil: it is refused.
func (r *rig) follow(client, path string) *websocket.Conn {
	r.t.Helper()
	text := r.want(client, "POST", QueryAPI+"/subscriptions", subscribe(path, ""), 201)
	var s subscription
	if err := json.Unmarshal([]byte(text), &s); err != nil ||
		!strings.HasPrefix(s.Socket, "wss://") || !s.Authorization {
		r.t.Fatalf("got %s, %v, want a subscription", text, err)
	}
	config, err := websocket.NewConfig(s.Socket, r.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	config.TlsConfig = &tls.Config{RootCAs: r.ca.Pool()}
	config.Header.Set("Authorization", "Bearer "+client)
	c, err := websocket.DialConfig(config)
	if err != nil {
		return nil
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func subscribe(path, more string) string {
	return fmt.Sprintf(`{"max_update_rate_ms":100,"resource_path":%q,"params":{},"persist":false,"secure":true%s}`,
		path, more)
}

// changes reads a grain: "path pre post" for each.
func changes(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	var message struct {
		Grain struct {
			Topic string
			Data  []struct {
				Path      string
				Pre, Post map[string]any
			}
		}
	}
	if err := websocket.JSON.Receive(c, &message); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range message.Grain.Data {
		list = append(list, fmt.Sprint(d.Path[len(d.Path)-2:], " ", d.Pre["label"], " ", d.Post["label"]))
	}
	return message.Grain.Topic + " " + strings.Join(list, ", ")
}

// Who follows sees what there is, and then each change.
func TestSubscription(t *testing.T) {
	r := start(t)
	r.full("box", 10)
	c := r.follow("c", "/nodes")
	if got := changes(t, c); got != "/nodes/ 10 node10 node10" {
		t.Errorf("first: got %s", got)
	}
	r.want("box", "POST", post, resource("node", 10, `"label":"new"`), 200)
	r.want("box", "POST", post, resource("device", 11, of("node_id", 10)), 200) // which nobody wants to know
	r.want("box", "POST", post, resource("node", 20, ""), 201)
	r.want("box", "DELETE", post+"/nodes/"+id(10), "", 204)
	for _, want := range []string{"/nodes/ 10 node10 new", "/nodes/ 20 <nil> node20", "/nodes/ 10 new <nil>"} {
		if got := changes(t, c); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	all := r.follow("c", "")
	if got := changes(t, all); got != "/ 20 node20 node20" {
		t.Errorf("everything: got %s", got)
	}
	var list []subscription
	if err := json.Unmarshal([]byte(r.want("c", "GET", QueryAPI+"/subscriptions", "", 200)), &list); err != nil ||
		len(list) != 2 {
		t.Errorf("got %v, %v, want two", list, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of a subscription without a WebSocket", func() bool {
		return strings.Count(r.want("c", "GET", QueryAPI+"/subscriptions", "", 200), "ws_href") == 1
	})
	r.turn(Expiry + time.Second)
	r.count("nodes") // by which the registry notices
	if got := changes(t, all); got != "/ 20 node20 <nil>" {
		t.Errorf("after the node's end: got %s", got)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	var more any
	if err := websocket.JSON.Receive(all, &more); err == nil {
		t.Errorf("got %v from a registry that is closed", more)
	}
}

// Of a WebSocket it is the resource_path that decides, never its own path.
func TestSubscriptionIsJudgedByItsResourcePath(t *testing.T) {
	spec.Rules(t, "PATH-14")
	r := start(t)
	if r.follow("nodes", "/nodes") == nil {
		t.Error("nodes: refused, want it open")
	}
	for _, path := range []string{"/senders", ""} {
		if r.follow("nodes", path) != nil {
			t.Errorf("%q: open, want it refused", path)
		}
	}
	for name, body := range map[string]string{
		"unknown": subscribe("/panels", ""), "no slash": subscribe("nodes", ""),
		"deeper": subscribe("/nodes/"+id(1), ""), "a member too many": subscribe("/nodes", `,"id":"x"`),
		"an unknown member": subscribe("/nodes", `,"x":1`), "no object": "[]",
	} {
		if status, _, text := r.send("c", "POST", QueryAPI+"/subscriptions", body); status != 400 {
			t.Errorf("%s: got %d %s, want 400", name, status, text)
		}
	}
	for _, body := range []string{
		strings.Replace(subscribe("/nodes", ""), `"persist":false`, `"persist":true`, 1),
		strings.Replace(subscribe("/nodes", ""), `"params":{}`, `"params":{"label":"a"}`, 1),
	} {
		r.want("c", "POST", QueryAPI+"/subscriptions", body, 501)
	}
}
