package agent_test

import (
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Before the clock is set nothing is said about times: a good token is answered with a wait, and a forged one with what
// it is. But what the good one shows to have expired is that (OPS-1).
func TestClockNotSet(t *testing.T) {
	spec.Rules(t, "OPS-1", "ANS-5")
	tok := mint.New(mint.Options{})
	expired := mint.New(mint.Options{Now: time.Now().Add(-48 * time.Hour)})
	elsewhere := mint.New(mint.Options{Device: "other.example.org"})
	d := newDevice(t, nil, tok.Key.JWK())
	unset := time.Unix(5, 0)
	for _, clock := range []*time.Time{&unset, nil, &unset} { // it is set, and lost again
		d.clock.Store(clock)
		for _, c := range []struct{ name, tok, unset, set string }{
			{"good", tok.Sign(), "deny 503 clock-untrusted", "allow 200 ok"},
			{"expired", expired.Sign(), "deny 401 token-expired", "deny 401 token-expired"},
			{"for another device", elsewhere.Sign(), "deny 503 clock-untrusted", "deny 403 audience"},
			{"forged", forged(tok.Sign()), "deny 401 signature", "deny 401 signature"},
			{"malformed", "x", "deny 401 token-malformed", "deny 401 token-malformed"},
		} {
			want := c.set
			if clock != nil {
				want = c.unset
			}
			for range 2 {
				got := d.ask(t, get(senders, c.tok))
				if got.first+" "+got.reason() != want {
					t.Errorf("%s: %v, want %s", c.name, got, want)
				}
				if (got.lines["retry-after"] != "") != (got.first == "deny 503") {
					t.Errorf("%s: %v", c.name, got)
				}
			}
		}
		if got := d.ask(t, "decide 1\nmethod=GET\ntarget=/x-nmos\n"); got.first != "allow 200" {
			t.Errorf("without token: %v", got)
		}
	}
}

// A leeway holds both ways, for all three times.
func TestLeeway(t *testing.T) {
	spec.Rules(t, "CLM-7", "CLM-8")
	tok := mint.New(mint.Options{Life: time.Minute})
	tok.Claims.SetRaw("nbf", string(tok.Claims.Get("iat")))
	d := newDevice(t, func(c *config.Config) { c.Authorization.Leeway = 10 * time.Second }, tok.Key.JWK())
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{-10*time.Second - time.Microsecond, "token-issued-later"}, {-10 * time.Second, "ok"}, {0, "ok"},
		{70*time.Second - time.Microsecond, "ok"}, {70 * time.Second, "token-expired"},
	} {
		now := tok.Now.Add(c.after)
		d.clock.Store(&now)
		if got := d.ask(t, get(senders, tok.Sign())); got.reason() != c.want {
			t.Errorf("after %v: %v, want %s", c.after, got, c.want)
		}
	}
}

// observe allows all and says what enforce would answer; off allows all. A broken packet is one in every mode.
func TestModes(t *testing.T) {
	spec.Rules(t, "OPS-3")
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}}})
	devices := map[config.Mode]*device{}
	for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve, config.ModeOff} {
		devices[mode] = newDevice(t, func(c *config.Config) { c.Mode = mode }, tok.Key.JWK())
		devices[mode].setInventory(t, deviceInventory)
	}
	authorization := "authorization=Bearer " + tok.Sign() + "\n"
	for _, c := range []struct{ packet, enforce, would, off string }{
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + authorization, "allow 200 ok", "", "allow 200 off"},
		{"decide 1\nmethod=GET\ntarget=/x-nmos\n", "allow 200 public", "", "allow 200 off"},
		{"decide 1\nmethod=PUT\ntarget=" + senders + "\n" + authorization, "deny 403 path-not-granted",
			"403 path-not-granted", "allow 200 off"},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n", "deny 401 no-token", "401 no-token", "allow 200 off"},
		{"decide 1\nmethod=TRACE\ntarget=/\n", "deny 405 method", "405 method", "allow 200 off"},
		{"decide 1\nmethod=GET\ntarget=//\n", "deny 400 path-ambiguous", "400 path-ambiguous", "allow 200 off"},
		{"decide 1\nmethod=GET\ntarget=/" + strings.Repeat("a", 2048) + "\n", "deny 400 path-too-long",
			"400 path-too-long", "allow 200 off"},
		{"verify 1\n", "deny 401 no-token", "401 no-token", "allow 200 off"},
		{"decide-all 1\ntarget=" + senders + "\ntarget=/x-nmos\n", "deny 401 no-token",
			"401 no-token", "allow 200 off"},
		{"decide-all 1\ntarget=" + senders + "\n" + authorization, "allow 200 ok", "", "allow 200 off"},
		{"watch-token 1\ntarget=" + senders + "\n", "deny 401 no-token", "401 no-token", "allow 200 off"},
		{"resource 1\nkind=sender\nname=out-1\naccess=read\n" + authorization, "allow 200 ok", "", "allow 200 off"},
		{"resource 1\nkind=sender\nname=out-1\naccess=write\n" + authorization, "deny 403 path-not-granted",
			"403 path-not-granted", "allow 200 off"},
		{"resource 1\nkind=sender\nname=out-9\naccess=read\n" + authorization, "deny 403 resource-unknown",
			"403 resource-unknown", "allow 200 off"},
		{"resource 1\nkind=sender\nname=out-1\naccess=read\n", "deny 401 no-token", "401 no-token", "allow 200 off"},
		{"resource 1\nkind=sender\nname=out-1\naccess=own\n", "error 400 packet-value", "", "error 400 packet-value"},
		{"decide 1\ncolour=red\n", "error 400 packet-name", "", "error 400 packet-name"},
	} {
		for mode, d := range devices {
			got := d.ask(t, c.packet)
			if path := got.lines["path"]; len(path) > 2048 {
				t.Errorf("%s: a path of %d bytes in the reply, want none of over 2048", mode, len(path))
			}
			want, would := c.enforce, ""
			switch {
			case mode == config.ModeOff:
				want = c.off
			case mode == config.ModeObserve && c.would != "":
				want, would = "allow 200 observe", c.would
			}
			if got.first+" "+got.reason() != want || got.lines["would"] != would {
				t.Errorf("%s: %.60q: %v, want %s, would %q", mode, c.packet, got, want, would)
			}
			if len(got.many) > 0 && got.first != c.enforce[:8] ||
				got.first == "allow 200" && got.lines["www-authenticate"] != "" {
				t.Errorf("%s: %.60q: %v", mode, c.packet, got)
			}
		}
	}
	for mode, d := range devices {
		if got := d.ask(t, "ping 1\nid=7\n"); got.first != "pong 1" || got.lines["id"] != "7" || len(got.lines) != 1 {
			t.Errorf("%s: %v", mode, got)
		}
	}
	got := devices[config.ModeObserve].ask(t, "decide 1\nmethod=PUT\ntarget="+senders+"/a/..\n"+authorization)
	if got.lines["path"] != senders+"/" || got.lines["client-id"] != mint.DefaultClient {
		t.Errorf("observe says less of what it saw: %v", got)
	}
	if got := devices[config.ModeOff].ask(t, "decide 1\nmethod=GET\ntarget=/a/./b\n"); got.lines["path"] != "/a/b" {
		t.Errorf("off does not normalise: %v", got)
	}
}

// A changed configuration is in force with the next question, for sessions that are open too, and nothing is believed
// because it was under the old one.
func TestReconfigure(t *testing.T) {
	spec.Rules(t, "CLM-4", "OPS-3")
	tok := mint.New(mint.Options{})
	d := newDevice(t, nil, tok.Key.JWK())
	session := d.NewSession()
	ask := func() string {
		return parseAnswer(t, session.Packet(nil, []byte(get(senders, tok.Sign())), 32<<10)).reason()
	}
	if got := ask(); got != "ok" {
		t.Fatalf("got %s, want ok", got)
	}
	d.Configure(d.config, []string{"renamed.example.com"})
	if got := ask(); got != "audience" {
		t.Errorf("after a new name: %s", got)
	}
	observe := *d.config
	observe.Mode = config.ModeObserve
	d.Configure(&observe, []string{"renamed.example.com"})
	if got := ask(); got != "observe" {
		t.Errorf("after a new mode: %s", got)
	}
}
