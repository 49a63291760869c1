package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/dnssd"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/spec"
)

// patience is how long anything is waited for that should come.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v to no effect: %s", patience, what)
		}
	}
}

// tokens pretends to be the device's daemon, which hands out a token for each question.
type tokens struct {
	mu    sync.Mutex
	next  string   // the token; "" if it is pending, "never" if the device may not have it
	asked []string // the packets
}

func (d *tokens) give(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = token
}

func (d *tokens) packets() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.asked, "\n")
}

func (d *tokens) answer(packet string) string {
	id := "\nid=" + valuesOf(packet)["id"] + "\n"
	if !strings.HasPrefix(packet, "token 1\n") { // the device's own APIs
		return answer(packet)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, packet)
	if d.next == "old" && strings.Contains(packet, "refused=old-id\n") {
		d.next = "box"
	}
	switch d.next {
	case "":
		return "deny 503" + id + "reason=own-token-pending\nretry-after=1\ndetail=not yet\n"
	case "never":
		return "deny 403" + id + "reason=own-token-scope\ndetail=not configured\n"
	}
	return "allow 200" + id + "reason=own-token\nexpires-in=60\nscope=registration\ntoken-id=" + d.next +
		"-id\naccess-token=" + d.next + "\n"
}

// device is one that announces itself.
type device struct {
	*firmware.Device
	*tokens
	announced chan string
	ended     chan error
}

func (r *rig) announce(token string, auth bool) *device {
	r.t.Helper()
	dns, err := dnsserver.Start(dnsserver.Options{Zone: fmt.Sprintf(`
		$ORIGIN example.com.
		_nmos-register._tcp           PTR registry._nmos-register._tcp
		registry._nmos-register._tcp  SRV 0 0 %s registry
		registry._nmos-register._tcp  TXT "api_proto=https" "api_ver=v1.3" "api_auth=%t" "pri=0"
		registry                      A 127.0.0.1`, r.Port(), auth)})
	if err != nil {
		r.t.Fatal(err)
	}
	d := &device{tokens: &tokens{next: token}, announced: make(chan string, 100), ended: make(chan error, 1)}
	if d.Device, err = firmware.Start(firmware.Options{Socket: daemon(r.t, d.answer), Timeout: patience}); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	go func() {
		d.ended <- d.Announce(ctx, firmware.Announcement{
			Resolver: dnssd.Resolver{Server: dns.Addr()}, Domain: "example.com", Roots: r.ca.Pool(),
			Heartbeat: 20 * time.Millisecond, Announced: func(registry string) { d.announced <- registry },
		})
		close(d.ended)
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-d.ended; err != nil {
			r.t.Error(err)
		}
		if err := d.Close(); err != nil {
			r.t.Error(err)
		}
		if err := dns.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return d
}

func (d *device) wait(t *testing.T) {
	t.Helper()
	select {
	case url := <-d.announced:
		if !strings.HasPrefix(url, "https://registry.example.com:") {
			t.Errorf("announced at %s", url)
		}
	case err := <-d.ended:
		t.Fatalf("ended by itself: %v", err)
	case <-time.After(patience):
		t.Fatal("not announced")
	}
}

// A device finds the registry, asks its daemon for a token of scope registration for each request, and keeps everything
// it has registered, whatever the registry forgets.
func TestDeviceAnnouncesItself(t *testing.T) {
	spec.Rules(t, "CLI-10", "CLI-12", "CLI-13")
	r := start(t)
	d := r.announce("box", true)
	d.wait(t)
	for kind, want := range map[string]int{"nodes": 1, "devices": 1, "sources": 2, "flows": 2,
		"senders": 3, "receivers": 2} {
		if n := r.count(kind); n != want {
			t.Errorf("%s: got %d, want %d", kind, n, want)
		}
	}
	if got := d.packets(); !strings.Contains(got, "token 1\nscope=registration\nid=") ||
		strings.Contains(got, "refused=") {
		t.Errorf("asked %q, want the scope registration", got)
	}
	r.turn(Expiry + time.Second)
	d.wait(t) // registered again
	if n := r.count("receivers"); n != 2 {
		t.Errorf("after the registry had forgotten: got %d receivers, want 2", n)
	}

	// A connection that is made shows in the registry.
	body := fmt.Sprintf(`{"sender_id":%q,"master_enable":true,"activation":{"mode":"activate_immediate"}}`,
		firmware.Sender1ID)
	request, err := http.NewRequest("PATCH",
		d.URL()+"/x-nmos/connection/v1.1/single/receivers/"+firmware.Receiver1ID+"/staged", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	eventually(t, "the connection in the registry", func() bool {
		return strings.Contains(r.want("c", "GET", QueryAPI+"/receivers/"+firmware.Receiver1ID, "", 200),
			`"active":true,"sender_id":"`+firmware.Sender1ID)
	})
}

// A token that the registry refuses is reported once and replaced.
func TestRefusedTokenIsReplaced(t *testing.T) {
	spec.Rules(t, "CLI-14")
	r := start(t)
	d := r.announce("old", true)
	d.wait(t)
	if got := d.packets(); strings.Count(got, "refused=old-id") != 1 {
		t.Errorf("asked %q, want one report of the refused token", got)
	}
}

// At 403 a device does not try again and again; nor if its daemon may never give it a token.
func TestForbiddenDeviceStops(t *testing.T) {
	spec.Rules(t, "CLI-14")
	r := start(t)
	d := r.announce("no", true)
	select {
	case err := <-d.ended:
		if err == nil || !strings.Contains(err.Error(), "403") || strings.Count(d.packets(), "token 1") != 1 {
			t.Errorf("got %v, asked %q, want 403 and one question", err, d.packets())
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

// While there is no token nothing is sent; where the registry wants none, none is asked for.
func TestTokenOnlyIfNeeded(t *testing.T) {
	spec.Rules(t, "CLI-12")
	r := start(t)
	d := r.announce("", true)
	eventually(t, "a question for a token", func() bool { return d.packets() != "" })
	if n := r.asked.Load(); n != 0 {
		t.Errorf("without a token: %d requests at the registry", n)
	}
	d.give("box")
	d.wait(t)

	open := start(t)
	d = open.announce("", false)
	d.wait(t)
	if got := d.packets(); got != "" {
		t.Errorf("a registry without authorization: asked %q", got)
	}
}
