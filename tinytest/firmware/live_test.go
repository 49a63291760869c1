package firmware

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/spec"
)

func startLive(t *testing.T, answer func(string) string) *Device {
	t.Helper()
	d, err := Start(Options{Socket: startDaemon(t, "", answer).socket, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// follow opens the WebSocket and sends these commands.
func follow(t *testing.T, d *Device, commands ...string) *websocket.Conn {
	t.Helper()
	c, err := websocket.Dial("ws"+strings.TrimPrefix(d.URL(), "http")+socketPath, "", d.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		if err := websocket.Message.Send(c, command); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func receive(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	var text string
	if err := websocket.Message.Receive(c, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

const subscribe = `{"command":"subscription","sources":["` + MeterSourceID + `"]}`

// Who has subscribed gets the state, and every change.
func TestLiveMeter(t *testing.T) {
	spec.Rules(t, "PATH-12")
	d := startLive(t, always("allow 200", "reason=ok", "expires-in=60"))
	d.SetLevel(-6)
	c := follow(t, d, `{"command":"health","timestamp":"1:2"}`)
	if got := receive(t, c); !strings.Contains(got, `"message_type":"health"`) ||
		!strings.Contains(got, `"origin_timestamp":"1:2"`) {
		t.Fatalf("got %s, want health alone, since nothing is subscribed", got)
	}
	if err := websocket.Message.Send(c, subscribe); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"value":-60`, `"value":-70`, `"value":-80`} {
		if got := receive(t, c); !strings.Contains(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
		if want == `"value":-60` {
			d.SetLevel(-7)
		} else if want == `"value":-70` {
			d.SetLevel(-8)
		}
	}
	if err := websocket.Message.Send(c, `{"command":"subscription","sources":[]}`); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Send(c, `{"command":"health","timestamp":"3:4"}`); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); !strings.Contains(got, `"3:4"`) {
		t.Fatalf("got %s, want health", got)
	}
	d.SetLevel(-9)
	if err := websocket.Message.Send(c, `{"command":"health","timestamp":"5:6"}`); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); !strings.Contains(got, `"5:6"`) {
		t.Errorf("got %s, want health, since nothing is subscribed any more", got)
	}
}

// The WebSocket ends with the permission, with the device and after a command that is none.
func TestLiveMeterEnds(t *testing.T) {
	spec.Rules(t, "ANS-8")
	d := startLive(t, always("allow 200", "reason=ok", "expires-in=1"))
	c := follow(t, d, subscribe)
	var text string
	for websocket.Message.Receive(c, &text) == nil { // the state, if there was time
	}

	d = startLive(t, always("allow 200", "reason=ok", "expires-in=3600"))
	for _, command := range []string{`{"command":"reboot"}`, "{",
		`{"command":"` + strings.Repeat("x", commandLimit) + `"}`} {
		if err := websocket.Message.Receive(follow(t, d, command), &text); err == nil {
			t.Errorf("%.20s: got %s, want the end", command, text)
		}
	}
	c = follow(t, d, subscribe)
	receive(t, c)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := websocket.Message.Receive(c, &text); err == nil {
		t.Errorf("got %s after the device was closed", text)
	}
}

// A token of the device's own is in no error and in no text.
func TestOwnTokenReply(t *testing.T) {
	spec.Rules(t, "CLI-69")
	const secret = "eyJsecret"
	packet := "allow 200\nreason=own-token\nexpires-in=60\nscope=registration\ntoken-id=ab\n" +
		"access-token=" + secret + "\n"
	r, err := ParseReply([]byte(packet))
	if err != nil || r.AccessToken != secret || r.TokenID != "ab" || r.Scope != "registration" || r.Text != "" {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, bad := range []string{
		packet + "\n", strings.Replace(packet, "own-token", "ok",
			1), strings.Replace(packet, "allow 200", "deny 403", 1),
		"allow 200\nreason=own-token\nexpires-in=60\n",
	} {
		if r, err := ParseReply([]byte(bad)); err == nil || r.AccessToken != "" ||
			strings.Contains(err.Error(), secret) {
			t.Errorf("%q: got %+v, %v, want an error without the token", bad, r, err)
		}
	}
	r, err = ParseReply([]byte("deny 503\nreason=own-token-pending\nretry-after=2\ndetail=not yet\n"))
	if err != nil || r.RetryAfter != 2 || r.Detail != "not yet" {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err = ParseReply([]byte("deny 403\nreason=own-token-scope\n")); err != nil || r.Allowed() {
		t.Errorf("got %+v, %v", r, err)
	}
}

// The socket ends when the answer turns, long before the permission's end; and it outlives the daemon if the next one
// allows it (ANS-8).
func TestLiveSocketEndsWithItsPermission(t *testing.T) {
	spec.Rules(t, "ANS-8")
	for name, c := range map[string]struct {
		turn func(t *testing.T, fake *daemon)
		ends bool
	}{
		"turned": {func(t *testing.T, fake *daemon) {
			fake.tell("deny 401\nid=1\nreason=key-unknown\nwww-authenticate=Bearer realm=\"a\"\n")
		}, true},
		"nonsense": {func(t *testing.T, fake *daemon) { fake.tell("nonsense") }, true},
		"restarted": {func(t *testing.T, fake *daemon) { fake.stop(); startDaemon(t, fake.socket, fake.answer) },
			false},
		"and denied": {func(t *testing.T, fake *daemon) {
			fake.stop()
			startDaemon(t, fake.socket,
				always("deny 403", "reason=path-not-granted", `www-authenticate=Bearer realm="a"`))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			fake := startDaemon(t, "", always("allow 200", "reason=ok", "expires-in=3600"))
			d, err := Start(Options{Socket: fake.socket, Live: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			socket := follow(t, d, subscribe)
			receive(t, socket)
			if got := fake.last()[0]; got != "watch-token 1" {
				t.Errorf("asked %s, want watch-token 1", got)
			}
			asked := d.Asked() // before the turn: the device may ask again in the middle of it
			c.turn(t, fake)
			var text string
			if c.ends {
				if err := websocket.Message.Receive(socket, &text); err == nil {
					t.Errorf("got %s, want the socket ended", text)
				}
				return
			}
			for d.Asked() == asked { // the next one is asked
				time.Sleep(time.Millisecond)
			}
			d.SetLevel(-12)
			receive(t, socket)
		})
	}
}

// Without room for a standing question the socket ends when the answer says.
func TestLiveSocketWithoutWatch(t *testing.T) {
	spec.Rules(t, "ANS-8")
	d := startLive(t, func(packet string) string {
		if strings.HasPrefix(packet, "watch-token 1\n") {
			return always("deny 503", "reason=watch-limit", "retry-after=30")(packet)
		}
		return always("allow 200", "reason=ok", "expires-in=1")(packet)
	})
	c := follow(t, d, subscribe)
	var text string
	for websocket.Message.Receive(c, &text) == nil {
	}
}
