package system_test

import (
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Observe mode allows what enforce mode would deny, and says what that would have been; off mode looks at nothing. Both
// sockets say the same. Only a question that is none gets no permission: nobody knows what it is about.
func TestModes(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	b := start(t, config)
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")
	expired := server.Token(mint.Options{Now: time.Now().Add(-2 * time.Hour)}).Sign()
	forged := unsigned(everything(server))
	unknown := everything(server)
	unknown.Claims.Set("iss", "https://attacker.example.net")
	questions := []question{
		get("/x-nmos"), get(senders), get(senders).bearing(good), get(senders).bearing(expired),
		get(senders).bearing(forged), get(senders).bearing(unknown.Sign()), get(senders).bearing("nonsense"),
		get("/admin"), get("/a//b").bearing(good),
		{method: "TRACE", target: senders}, {method: "PATCH", target: receiver}, {method: "OPTIONS", target: senders},
		get(senders).bearing(good + ", Bearer " + good), {method: "GET", target: senders, authorization: "Bearer "},
	}
	var enforced []answer
	for _, q := range questions {
		enforced = append(enforced, b.askBoth(q))
	}
	for _, mode := range []string{"observe", "off"} {
		config.Mode = mode
		b.reload(config)
		for i, q := range questions {
			a, was := b.askBoth(q), enforced[i]
			want := answer{status: 200, reason: "off"}
			if mode == "observe" {
				want.reason, want.would = was.reason, ""
				if was.status != 200 {
					want.reason, want.would = "observe", strings.TrimSuffix(was.String(), "\n")
				}
				if a.client != was.client || a.subject != was.subject || a.path != was.path {
					t.Errorf("observe, %s %s: %#v, want the facts of %#v", q.method, q.target, a, was)
				}
			}
			if a.status != want.status || a.reason != want.reason || a.would != want.would ||
				a.challenge != "" || a.retry != 0 {
				t.Errorf("%s, %s %s: %#v, want %v", mode, q.method, q.target, a, want)
			}
		}
		r, err := b.packet.Ask("decide-all 1", "target=/x-nmos/events/v1.0/sources/1", "target=/x-nmos")
		if err != nil || !r.Allowed() || len(r.Denied) > 0 {
			t.Errorf("%s, decide-all: %+v, %v", mode, r, err)
		}
		if r, err = b.packet.Ask("verify 1"); err != nil || !r.Allowed() {
			t.Errorf("%s, verify: %+v, %v", mode, r, err)
		}
		if r, err = b.packet.AskPacket([]byte("decide 1\nmethod=GET\n")); err != nil || r.Allowed() ||
			r.Reason != "packet-missing" {
			t.Errorf("%s, half a packet: %+v, %v", mode, r, err)
		}
		if a, err := b.rawHTTP("GET /authorize HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n"); err != nil ||
			a.status != 400 {
			t.Errorf("%s, half a question over HTTP: %v, %v", mode, a, err)
		}
	}
	config.Mode = "enforce"
	b.reload(config)
	for i, q := range questions {
		if a := b.askBoth(q); !a.same(enforced[i]) {
			t.Errorf("enforced again, %s %s: %#v, want %#v", q.method, q.target, a, enforced[i])
		}
	}
}

// A daemon that is started in off mode, as devices leave the factory, needs no server and no token; that keys cannot be
// had is no trouble to anybody.
func TestOffWithoutServers(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	config := trusting(t)
	config.Mode, config.CAPEM = "off", nil
	b := start(t, config)
	for _, q := range []question{get(senders), get("/"), {method: "PATCH", target: receiver},
		get(senders).bearing("nonsense")} {
		if a := b.askBoth(q); a.status != 200 || a.reason != "off" || a.path != q.target {
			t.Errorf("%s %s: %#v", q.method, q.target, a)
		}
	}
}
