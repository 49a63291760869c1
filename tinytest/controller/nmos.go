package controller

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// Resource is an IS-04 resource, as far as the controller reads it.
type Resource struct {
	ID           string
	Label        string
	DeviceID     string `json:"device_id"`
	Transport    string
	ManifestHref string `json:"manifest_href"`
	Controls     []struct{ Type, Href string }
	Subscription struct {
		SenderID string `json:"sender_id"`
		Active   bool
	}
}

// The transports.
const (
	RTP       = "urn:x-nmos:transport:rtp"
	WebSocket = "urn:x-nmos:transport:websocket"
)

// FindRegistry finds the registry's Query API by DNS-SD and returns its origin.
func (c *Controller) FindRegistry(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.registry == "" {
		found, err := c.opt.Resolver.Browse(ctx, "_nmos-query._tcp", c.opt.Domain, "v1.3")
		if err != nil {
			return "", err
		}
		c.registry = found[0].URL()
	}
	return c.registry, nil
}

// Query returns the resources of one type, such as "senders".
func (c *Controller) Query(ctx context.Context, kind string) (list []Resource, err error) {
	registry, err := c.FindRegistry(ctx)
	if err != nil {
		return nil, err
	}
	return list, c.get(ctx, registry+"/x-nmos/query/v1.3/"+kind, &list)
}

// control returns where a device's Connection API is, for one of its senders or receivers.
func (c *Controller) control(ctx context.Context, r Resource) (string, error) {
	registry, err := c.FindRegistry(ctx)
	if err != nil {
		return "", err
	}
	var device Resource
	if err := c.get(ctx, registry+"/x-nmos/query/v1.3/devices/"+r.DeviceID, &device); err != nil {
		return "", err
	}
	for _, control := range device.Controls {
		if control.Type == "urn:x-nmos:control:sr-ctrl/v1.1" {
			return strings.TrimSuffix(control.Href, "/") + "/single/", nil
		}
	}
	return "", fmt.Errorf("controller: the device of %s has no Connection API", r.Label)
}

// Connect connects a sender to a receiver (IS-05), and returns once the receiver says that it is.
func (c *Controller) Connect(ctx context.Context, sender, receiver Resource) error {
	sdp, err := c.do(ctx, http.MethodGet, sender.ManifestHref, nil)
	if err != nil {
		return err
	}
	at, err := c.control(ctx, receiver)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPatch, at+"receivers/"+receiver.ID+"/staged", map[string]any{
		"sender_id": sender.ID, "master_enable": true, "activation": map[string]string{"mode": "activate_immediate"},
		"transport_file": map[string]string{"data": string(sdp), "type": "application/sdp"},
	})
	if err != nil {
		return err
	}
	var active struct {
		SenderID string `json:"sender_id"`
		Enabled  bool   `json:"master_enable"`
	}
	if err := c.get(ctx, at+"receivers/"+receiver.ID+"/active", &active); err != nil {
		return err
	}
	if active.SenderID != sender.ID || !active.Enabled {
		return fmt.Errorf("controller: %s is not connected to %s", receiver.Label, sender.Label)
	}
	return nil
}

// Mute switches a sender off.
func (c *Controller) Mute(ctx context.Context, sender Resource) error {
	at, err := c.control(ctx, sender)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPatch, at+"senders/"+sender.ID+"/staged", map[string]any{
		"master_enable": false, "activation": map[string]string{"mode": "activate_immediate"},
	})
	return err
}

// Watch follows a level meter by the WebSocket of its sender (IS-07), and calls seen with each level in dBFS until that
// returns false.
func (c *Controller) Watch(ctx context.Context, sender Resource, seen func(dBFS float64) (more bool)) error {
	at, err := c.control(ctx, sender)
	if err != nil {
		return err
	}
	var active struct {
		Params []struct {
			Socket string `json:"connection_uri"`
			Source string `json:"ext_is_07_source_id"`
		} `json:"transport_params"`
	}
	if err := c.get(ctx, at+"senders/"+sender.ID+"/active", &active); err != nil {
		return err
	}
	if len(active.Params) != 1 {
		return fmt.Errorf("controller: the sender %s has no WebSocket", sender.Label)
	}
	socket, err := c.open(ctx, active.Params[0].Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	alive, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // IS-07 §5.2: every five seconds, or the sender hangs up
		for {
			if websocket.JSON.Send(socket, map[string]string{"command": "health", "timestamp": "0:0"}) != nil {
				return
			}
			select {
			case <-alive.Done():
				return
			case <-time.After(5 * time.Second):
			}
		}
	}()
	subscription := map[string]any{"command": "subscription", "sources": []string{active.Params[0].Source}}
	if err := websocket.JSON.Send(socket, subscription); err != nil {
		return err
	}
	for {
		var state struct {
			Kind    string `json:"message_type"`
			Payload struct{ Value, Scale float64 }
		}
		if err := websocket.JSON.Receive(socket, &state); err != nil {
			return errors.Join(fmt.Errorf("controller: the WebSocket of %s ended: %w", sender.Label, err), ctx.Err())
		}
		if state.Kind == "state" && state.Payload.Scale > 0 && !seen(state.Payload.Value/state.Payload.Scale) {
			return nil
		}
	}
}

// open opens a WebSocket with the controller's token in the header, never in the URL (CLI-13).
func (c *Controller) open(ctx context.Context, at string) (*websocket.Conn, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "wss" {
		return nil, fmt.Errorf("controller: %q is not a secure WebSocket", at)
	}
	config, err := websocket.NewConfig(at, "https://"+u.Host)
	if err != nil {
		return nil, err
	}
	token, err := c.Token(ctx)
	if err != nil {
		return nil, err
	}
	if token != "" {
		config.Header.Set("Authorization", "Bearer "+token)
	}
	conn, err := c.opt.Resolver.Dial(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	heard := &recorder{Conn: tls.Client(conn, &tls.Config{RootCAs: c.opt.Roots, ServerName: u.Hostname()})}
	socket, err := websocket.NewClient(config, heard)
	if err == nil {
		heard.stop()
		return socket, nil
	}
	defer conn.Close()
	if response, err := http.ReadResponse(bufio.NewReader(&heard.kept), nil); err == nil {
		text, _ := io.ReadAll(response.Body) // as much as came
		return nil, &RefusedError{"GET " + at, response.StatusCode, reason(text)}
	}
	return nil, err
}

// recorder keeps what is read, so that a refusal can be read again: package websocket does not say which it was.
type recorder struct {
	net.Conn
	kept bytes.Buffer
	done bool
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if !r.done {
		r.kept.Write(b[:n])
	}
	return n, err
}

// stop is called before anybody else reads.
func (r *recorder) stop() { r.done, r.kept = true, bytes.Buffer{} }

// Follow follows the resources of one type by a subscription of the Query API, and calls seen with each as it is now
// and at each change, until that returns false.
func (c *Controller) Follow(ctx context.Context, kind string, seen func(Resource) (more bool)) error {
	registry, err := c.FindRegistry(ctx)
	if err != nil {
		return err
	}
	text, err := c.do(ctx, http.MethodPost, registry+"/x-nmos/query/v1.3/subscriptions", map[string]any{
		"max_update_rate_ms": 100, "resource_path": "/" + kind, "params": map[string]any{}, "persist": false,
		"secure": true, "authorization": true,
	})
	if err != nil {
		return err
	}
	var subscription struct {
		Socket string `json:"ws_href"`
	}
	if err := json.Unmarshal(text, &subscription); err != nil {
		return fmt.Errorf("controller: the subscription: %w", err)
	}
	socket, err := c.open(ctx, subscription.Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	for {
		var message struct {
			Grain struct {
				Data []struct{ Post *Resource }
			}
		}
		if err := websocket.JSON.Receive(socket, &message); err != nil {
			return errors.Join(fmt.Errorf("controller: the subscription to %s ended: %w", kind, err), ctx.Err())
		}
		for _, d := range message.Grain.Data {
			if d.Post != nil && !seen(*d.Post) {
				return nil
			}
		}
	}
}

// Get reads any document of a device or the registry, and returns its bytes.
func (c *Controller) Get(ctx context.Context, at string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodGet, at, nil)
}
