package agent_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// watcher is a stack that holds an open WebSocket and has left its question standing.
type watcher struct {
	t       *testing.T
	conn    net.Conn
	packets chan answer   // as they come
	ended   chan struct{} // the daemon has closed the connection
}

// newWatcher reads what comes on a stack's end of a connection.
func newWatcher(t *testing.T, conn net.Conn) *watcher {
	w := &watcher{t: t, conn: conn, packets: make(chan answer, 8), ended: make(chan struct{})}
	t.Cleanup(func() { conn.Close() })
	go func() {
		defer close(w.ended)
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			w.packets <- parseAnswer(t, buf[:n])
		}
	}()
	return w
}

// watch has a device serve a connection in virtual time, and leaves a question standing on it.
func (d *device) watch(t *testing.T, packet string) *watcher {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		if err := d.NewSessionOf(agent.Peer{UID: 1000, PID: 7}).ServePackets(theirs); err != nil &&
			err != io.ErrClosedPipe {
			t.Errorf("the connection ended with %v", err)
		}
	}()
	w := newWatcher(t, ours)
	if _, err := ours.Write([]byte(packet)); err != nil {
		t.Fatal(err)
	}
	return w
}

// next is what has come: first line and reason, "" if nothing has.
func (w *watcher) next() string {
	w.t.Helper()
	synctest.Wait()
	select {
	case got := <-w.packets:
		if got.lines["id"] != "7" {
			w.t.Errorf("the id is %q, want 7", got.lines["id"])
		}
		return got.first + " " + got.reason()
	default:
		return ""
	}
}

// done reports whether the daemon has closed the connection.
func (w *watcher) done() bool {
	synctest.Wait()
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *watcher) want(want string, done bool) {
	w.t.Helper()
	if got := w.next(); got != want {
		w.t.Errorf("got the packet %q, want %q", got, want)
	}
	if got := w.done(); got != done {
		w.t.Errorf("the connection was closed: %v, want %v", got, done)
	}
}

// standing asks for the whole model of a device, as the handshake of an IS-12 socket does.
func standing(raw string) string {
	return "watch-token 1\ntarget=/x-nmos/ncp/v1.0\nupgrade=websocket\nid=7\nauthorization=Bearer " + raw + "\n"
}

func controller(life time.Duration) *mint.Token {
	return mint.New(mint.Options{Life: life, Permissions: map[string]mint.Permission{"control": mint.Everything}})
}

// Whatever an answer follows from: when it changes, a standing question is answered again, once, and immediately.
func TestWatch(t *testing.T) {
	spec.Rules(t, "ANS-8")
	const hour = time.Hour
	for name, c := range map[string]struct {
		change func(d *device, tok *mint.Token)
		want   string
	}{
		"expired": {func(*device, *mint.Token) { time.Sleep(hour + time.Second) }, "deny 401 token-expired"},
		"the-clock-was-set": {func(d *device, tok *mint.Token) {
			later := tok.Now.Add(2 * hour)
			d.clock.Store(&later)
			d.Rejudge()
		}, "deny 401 token-expired"},
		"the-clock-was-lost": {func(d *device, tok *mint.Token) {
			unset := time.Unix(5, 0)
			d.clock.Store(&unset)
			d.Rejudge()
		}, "deny 503 clock-untrusted"},
		"key-removed": {func(d *device, tok *mint.Token) {
			d.publish(mint.CachedKey("key-2", 2048).JWK())
			time.Sleep(time.Second)
			d.store.RenewNow()
			time.Sleep(10 * time.Second)
		}, "deny 401 key-unknown"},
		"issuer-removed": {func(d *device, tok *mint.Token) {
			c := *d.config
			c.Authorization.Servers = []string{"https://other.example.com"}
			d.store.Configure(agent.KeyPolicy(&c))
		}, "deny 401 issuer-untrusted"},
		"issuer-forgotten": {func(d *device, tok *mint.Token) {
			c := *d.config
			c.Authorization.Servers, c.Authorization.TrustedIssuers = nil, []string{"https://*.example.com"}
			d.store.Configure(agent.KeyPolicy(&c))
			if !d.store.Forget(mint.DefaultIssuer) {
				t.Error("it was not there")
			}
		}, "deny 503 keys-pending"}, // it may be learned again
		"device-renamed": {func(d *device, tok *mint.Token) { d.Configure(d.config, []string{"node-2.example.org"}) },
			"deny 403 audience"},
		"path-closed": {func(d *device, tok *mint.Token) {
			c := *d.config
			c.Limits.PathBytes = 5
			d.Configure(&c, d.config.Device.Names)
		}, "deny 400 path-too-long"},
	} {
		t.Run("ANS-8/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tok := controller(hour)
				d := newDevice(t, nil, tok.Key.JWK())
				w := d.watch(t, standing(tok.Sign()))
				w.want("allow 200 ok", false)
				d.Rejudge()
				w.want("", false) // nothing has turned
				c.change(d, tok)
				w.want(c.want, true)
			})
		})
	}
}

// A question that is denied does not stand: its connection goes on as any other.
func TestWatchDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := controller(time.Hour)
		d := newDevice(t, nil, tok.Key.JWK())
		w := d.watch(t, standing(forged(tok.Sign())))
		if got := w.next(); !strings.HasPrefix(got, "deny ") {
			t.Errorf("a forged token: got %q, want a denial", got)
		}
		w.conn.Write([]byte("ping 1\nid=7\n"))
		w.want("pong 1 ", false)
		w.conn.Write([]byte(standing(tok.Sign())))
		w.want("allow 200 ok", false)
	})
}

// The connection is given over to the question: anything sent while it stands ends it, unanswered, and so does hanging
// up.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := controller(time.Hour)
		d := newDevice(t, nil, tok.Key.JWK())
		w := d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		w.conn.SetWriteDeadline(time.Now().Add(time.Minute))
		w.conn.Write([]byte("ping 1\nid=7\n"))
		w.want("", true)

		w = d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		w.conn.Close()
		d.Rejudge()
		w.want("", true)
	})
}

// A question about all sources of a socket stands until one of them turns (PATH-12).
func TestWatchSources(t *testing.T) {
	spec.Rules(t, "PATH-12")
	synctest.Test(t, func(t *testing.T) {
		events := mint.New(mint.Options{Permissions: map[string]mint.Permission{
			"events": {Read: []string{"sources/*"}}}})
		d := newDevice(t, func(c *config.Config) { c.Paths.Public = []string{"/a"} }, events.Key.JWK())
		w := d.watch(t, "watch-token 1\nid=7\ntarget=/a\ntarget="+sources+"1\ntarget="+sources+
			"2\nauthorization=Bearer "+events.Sign()+"\n")
		w.want("allow 200 ok", false)
		d.Configure(d.config, d.config.Device.Names)
		w.want("", false)
		c := *d.config
		c.Paths.Public = nil
		d.Configure(&c, c.Device.Names)
		w.want("deny 403 path-closed", true)
	})
}

// In observe mode an answer turns only with the mode; what enforce would answer is recorded when that turns. In mode
// off nothing else counts. The turn is recorded, and a judgement that changes nothing is not (OPS-2, OPS-3).
func TestWatchInEveryMode(t *testing.T) {
	spec.Rules(t, "OPS-2", "OPS-3")
	synctest.Test(t, func(t *testing.T) {
		tok := controller(time.Hour)
		d := newDevice(t, func(c *config.Config) { c.Mode = config.ModeObserve }, tok.Key.JWK())
		var records []string
		log := audit.New(audit.Options{RingBytes: 64 << 10, QueueBytes: 64 << 10, Observe: func(r *audit.Record) {
			records = append(records, fmt.Sprintf("%s %s %s", r.Question, r.Reason, r.Enforced))
		}})
		d.Audit(log)
		set := func(mode config.Mode) {
			c := *d.config
			c.Mode = mode
			d.Configure(&c, c.Device.Names)
		}
		w := d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		time.Sleep(2 * time.Hour)
		w.want("", false)
		set(config.ModeOff)
		w.want("", false)
		set(config.ModeEnforce)
		w.want("deny 401 token-expired", true)
		log.Close(t.Context())
		want := []string{"watch-token 1 ok undecided", "watch-token 1 observe token-expired",
			"watch-token 1 off undecided", "watch-token 1 token-expired undecided"}
		if got := strings.Join(records, "; "); got != strings.Join(want, "; ") {
			t.Errorf("recorded %s, want %s", got, strings.Join(want, "; "))
		}
	})
}

// An inventory that is replaced has standing questions judged again.
func TestWatchAndInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := controller(time.Hour)
		d := newDevice(t, nil, tok.Key.JWK())
		w := d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		later := tok.Now.Add(2 * time.Hour)
		d.clock.Store(&later) // nobody was told
		w.want("", false)
		d.SetInventory(&inventory.Table{})
		w.want("deny 401 token-expired", true)
	})
}

// A permission without an end, or with one far away, sets no timer that a device could trip over; a clock that runs
// slower than the timer has the question judged once more.
func TestWatchTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := mint.New(mint.Options{Life: 100 * 365 * 24 * time.Hour,
			Permissions: map[string]mint.Permission{"control": mint.Everything}})
		d := newDevice(t, nil, tok.Key.JWK())
		w := d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		time.Sleep(72 * time.Hour)
		w.want("", false)

		tok = controller(time.Hour)
		slow := tok.Now.Add(time.Hour - time.Millisecond)
		d.clock.Store(&slow)
		w = d.watch(t, standing(tok.Sign()))
		w.want("allow 200 ok", false)
		time.Sleep(time.Second) // it is judged again and again, since the clock stands still
		w.want("", false)
		end := tok.Now.Add(time.Hour)
		d.clock.Store(&end)
		time.Sleep(time.Second)
		w.want("deny 401 token-expired", true)
	})
}

// As many questions stand as leave room for those that are asked: half of what one process may hold, and half of all
// slots. A connection whose question stands keeps its slot though it asks nothing while others wait.
func TestWatchLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := controller(time.Hour)
		d := newDevice(t, nil, tok.Key.JWK())
		h := openHall(t, 8) // of one process at most 6
		h.Handle = func(conn *agent.Conn) error { return d.NewSessionOf(conn.Peer).ServePackets(conn) }
		dial := func(pid int32) *watcher {
			ours, theirs := net.Pipe()
			h.peers.Store(theirs, pid)
			h.door <- theirs
			return newWatcher(t, ours)
		}
		ask := func(pid int32, want string) *watcher {
			t.Helper()
			w := dial(pid)
			w.conn.Write([]byte(standing(tok.Sign())))
			w.want(want, false)
			return w
		}
		var stand []*watcher
		for range 3 {
			stand = append(stand, ask(1, "allow 200 ok"))
		}
		refused := ask(1, "deny 503 watch-limit")
		stand = append(stand, ask(2, "allow 200 ok"))
		ask(3, "deny 503 watch-limit") // half of all stand
		for range 12 {                 // more than there are slots, none of which asks anything after this
			w := dial(4)
			go w.conn.Write([]byte("ping 1\nid=7\n"))
		}
		time.Sleep(10 * time.Second)
		for i, w := range stand {
			if w.done() {
				t.Errorf("watcher %d lost its connection to others who wait", i)
			}
		}
		stand[0].conn.Close()
		synctest.Wait()
		ask(3, "allow 200 ok")
		refused.conn.Close()
		time.Sleep(2 * time.Hour)
		for i, w := range stand[1:] {
			w.want("deny 401 token-expired", true)
			_ = i
		}
		close(h.door)
	})
}

// A question that stands is at most one packet and needs what decide-all needs.
func TestWatchPacket(t *testing.T) {
	tok := controller(time.Hour)
	d := newDevice(t, nil, tok.Key.JWK())
	for packet, want := range map[string]string{
		"watch-token 1\n":                        "error 400 packet-missing",
		"watch-token 2\ntarget=/\n":              "error 400 packet-verb",
		"watch-token 1\ntarget=/\nname=a\n":      "error 400 packet-name",
		"watch-token 1\ntarget=/\n":              "allow 200 public",
		"watch-token 1\ntarget=//\ntarget=/\n":   "deny 400 path-ambiguous",
		"watch-token 1\ntarget=/\nmethod=COPY\n": "deny 405 method",
	} {
		if got := d.ask(t, packet); got.first+" "+got.reason() != want {
			t.Errorf("%q: got %v, want %s", packet, got, want)
		}
	}
	if !wire.WatchToken.Many() || wire.Resource.Many() || wire.Verb(200).Many() {
		t.Error("Many: got another answer for watch-token, resource or no verb")
	}
}
