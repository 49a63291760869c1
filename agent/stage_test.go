package agent_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// staged returns a device whose [enforce] has this stage for an API, and enforces all else.
func staged(t testing.TB, mode config.Mode, stages map[string]config.Stage) *device {
	d := newDevice(t, func(c *config.Config) {
		c.Mode = mode
		vendorPaths(c)
		for api := range c.Enforce {
			if stage, given := stages[decide.API(api).String()]; given {
				c.Enforce[api] = stage
			}
		}
	}, mint.New(mint.Options{}).Key.JWK())
	d.setInventory(t, deviceInventory)
	return d
}

// What a stage does not enforce is answered as observe mode answers it; all else as enforce does: each kind of
// question, for reading and for writing (OPS-3).
func TestStages(t *testing.T) {
	spec.Rules(t, "OPS-3")
	tok := "authorization=Bearer " + tokenOf(map[string]claim{"channelmapping": {[]string{"none"}, nil, ""}}, "") + "\n"
	const receiver = "/x-nmos/connection/v1.1/single/receivers/1"
	for _, c := range []struct{ stages, packet, want string }{
		{"", "decide 1\nmethod=GET\ntarget=" + receiver + "\n" + tok, "deny 403 api-not-granted"},
		{"connection=write", "decide 1\nmethod=GET\ntarget=" + receiver + "\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"connection=write", "decide 1\nmethod=HEAD\ntarget=" + receiver + "\n",
			"allow 200 observe, would 401 no-token"},
		{"connection=write", "decide 1\nmethod=PATCH\ntarget=" + receiver + "\n" + tok, "deny 403 api-not-granted"},
		{"connection=write", "decide 1\nmethod=DELETE\ntarget=" + receiver + "\n", "deny 401 no-token"},
		{"connection=none", "decide 1\nmethod=PATCH\ntarget=" + receiver + "\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"connection=write", "decide 1\nmethod=GET\ntarget=/x-nmos/connection\n",
			"allow 200 observe, would 401 no-token"},
		{"connection=none", "decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n" + tok, "deny 403 api-not-granted"},
		{"node=none", "decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		// What does not depend on a token is enforced in any stage.
		{"connection=none other=none", "decide 1\nmethod=GET\ntarget=//\n" + tok, "deny 400 path-ambiguous"},
		{"connection=none other=none", "decide 1\nmethod=TRACE\ntarget=" + receiver + "\n" + tok, "deny 405 method"},
		{"connection=none other=none", "decide 1\nmethod=GET\ntarget=/" + strings.Repeat("a", 2048) + "\n",
			"deny 400 path-too-long"},
		// Whatever has no key of its own.
		{"connection=none", "decide 1\nmethod=GET\ntarget=/ui\n" + tok, "deny 403 path-closed"},
		{"other=write", "decide 1\nmethod=GET\ntarget=/ui\n" + tok, "allow 200 observe, would 403 path-closed"},
		{"other=write", "decide 1\nmethod=PUT\ntarget=/ui\n" + tok, "deny 403 path-closed"},
		{"other=write", "decide 1\nmethod=GET\ntarget=/faders/1\n", "allow 200 observe, would 401 no-token"},
		{"other=write", "decide 1\nmethod=GET\ntarget=/x-nmos/vendor/v1.0/a\n",
			"allow 200 observe, would 401 no-token"},
		{"control=none", "decide 1\nmethod=GET\ntarget=/x-nmos/control/v1.0/a\n" + tok, "deny 403 api-not-granted"},
		{"other=write", "decide 1\nmethod=GET\ntarget=/x-nmos/control/v1.0/a\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"other=write", "verify 1\n", "deny 401 no-token"},
		{"other=none", "verify 1\n", "allow 200 observe, would 401 no-token"},
		{"other=write", "resource 1\nkind=sender\nname=out-9\naccess=read\n" + tok,
			"allow 200 observe, would 403 resource-unknown"},
		{"other=write", "resource 1\nkind=sender\nname=out-9\naccess=write\n" + tok, "deny 403 resource-unknown"},
		{"connection=write", "resource 1\nkind=sender\nname=out-1\naccess=read\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"connection=write", "resource 1\nkind=sender\nname=out-1\naccess=write\n" + tok, "deny 403 api-not-granted"},
		// A socket by which the device can be changed is one that writes (PATH-15).
		{"control=write", "decide 1\nmethod=GET\nupgrade=websocket\ntarget=/x-nmos/ncp/v1.0\n" + tok,
			"deny 403 api-not-granted"},
		{"control=none", "decide 1\nmethod=GET\nupgrade=websocket\ntarget=/x-nmos/ncp/v1.0\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"control=write", "control 1\napi=control\nsubscribe=root.a\n" + tok,
			"allow 200 observe, would 403 api-not-granted subscribe root.a 403 api-not-granted"},
		{"control=write", "control 1\napi=control\ncommand=1 1 1m1 root.a\nsubscribe=root.a\n",
			"allow 200 observe, would 401 no-token *"},
		{"control=write", "control 1\napi=configuration\ncommand=1 1 1m1 root.a\n" + tok,
			"deny 403 api-not-granted, denied command 1 403 api-not-granted"},
		{"configuration=none", "control 1\napi=configuration\ncommand=1 1 1m1 root.a\n" + tok,
			"allow 200 observe, would 403 api-not-granted command 1 403 api-not-granted"},
		{"control=write", "control 1\napi=control\ncommand=1 1 1m2 root.a\ncommand=2 1 1m2 root.a\n",
			"deny 401 no-token, denied *"},
		// Of several, those that count decide, and those alone are named.
		{"control=write", "control 1\napi=control\ncommand=1 1 1m1 root.a\ncommand=2 1 1m2 root.a\n" + tok,
			"deny 403 api-not-granted, denied command 2 403 api-not-granted"},
		{"control=write", "control 1\napi=control\ncommand=1 1 1m1 root.a\ncommand=2 1 1m2 root.a\n",
			"deny 401 no-token, denied command 2 401 no-token"},
		{"connection=write", "decide-all 1\ntarget=" + receiver + "\ntarget=/x-nmos/node/v1.3/self\n" + tok,
			"deny 403 api-not-granted, denied /x-nmos/node/v1.3/self"},
		{"connection=write", "decide-all 1\ntarget=/x-nmos/node/v1.3/self\ntarget=" + receiver + "\n" + tok,
			"deny 403 api-not-granted, denied /x-nmos/node/v1.3/self"},
		{"connection=write node=write", "decide-all 1\ntarget=" + receiver + "\ntarget=/x-nmos/node/v1.3/self\n" + tok,
			"allow 200 observe, would 403 api-not-granted"},
		{"connection=write", "watch-token 1\ntarget=" + receiver + "\n", "allow 200 observe, would 401 no-token"},
	} {
		stages := map[string]config.Stage{}
		for _, s := range strings.Fields(c.stages) {
			api, stage, _ := strings.Cut(s, "=")
			stages[api] = config.Stage(stage)
		}
		got := staged(t, config.ModeEnforce, stages).ask(t, c.packet)
		text := got.first + " " + got.reason()
		if would := got.lines["would"]; would != "" {
			text += ", would " + would
		} else if len(got.many) > 0 {
			text += ", denied"
		}
		if len(got.many) > 0 {
			text += " " + strings.Join(got.many, " ")
		}
		if text != c.want {
			t.Errorf("[enforce] %q, %q:\ngot  %s\nwant %s", c.stages, c.packet, text, c.want)
		}
	}
}

// Whatever the stages are, no answer is another than that of enforce or that of observe mode, and without a stage, or
// by the zero value of one, each is that of enforce (OPS-3): nothing is open that no key names.
func TestStagesTwin(t *testing.T) {
	spec.Rules(t, "OPS-3")
	enforce, observe := staged(t, config.ModeEnforce, nil), staged(t, config.ModeObserve, nil)
	zero := newDevice(t, func(c *config.Config) { vendorPaths(c); c.Enforce = config.Enforce{} },
		mint.New(mint.Options{}).Key.JWK())
	zero.setInventory(t, deviceInventory)
	random := rand.New(rand.NewPCG(1, 2))
	var apis []string
	for api := range decide.APIs {
		apis = append(apis, decide.API(api).String())
	}
	tokens := []string{"", tokenOf(map[string]claim{"connection": {[]string{"single/senders/*"}, nil, ""},
		"control": {[]string{"root.a"}, nil, ""}}, ""),
		tokenOf(map[string]claim{"node": {[]string{"*"}, []string{"*"}, ""}}, "events")}
	for range 40 {
		stages := map[string]config.Stage{}
		for _, api := range apis {
			stages[api] = []config.Stage{config.StageAll, config.StageWrite, config.StageNone}[random.IntN(3)]
		}
		d := staged(t, config.ModeEnforce, stages)
		for range 60 {
			api := append(slices.Clone(apis), "ncp", "vendor")[random.IntN(len(apis)+2)]
			method := []string{"GET", "PATCH", "OPTIONS", "TRACE"}[random.IntN(4)]
			target := fmt.Sprintf("/x-nmos/%s/v1.0/%s", api,
				[]string{"", "single/senders/1", "rolePaths/root", "x"}[random.IntN(4)])
			packet := "decide 1\nmethod=" + method + "\ntarget=" + target + "\n"
			if tok := tokens[random.IntN(len(tokens))]; tok != "" {
				packet += "authorization=Bearer " + tok + "\n"
			}
			strict, open, got := enforce.ask(t, packet), observe.ask(t, packet), d.ask(t, packet)
			if again := zero.ask(t, packet); again.first != strict.first || again.reason() != strict.reason() {
				t.Fatalf("zero stages, %q: got %v, want %v", packet, again, strict)
			}
			key := api
			switch {
			case api == "ncp":
				key = "control"
			case api == "vendor" || api == "other" || api == "control": // IS-12 is ncp
				key = "other"
			}
			socket := strings.HasPrefix(target, "/x-nmos/ncp/v1.0/") && target == "/x-nmos/ncp/v1.0/"
			reads := method == "GET" && !socket
			want := strict
			if stages[key] == config.StageNone || stages[key] == config.StageWrite && reads {
				if strict.first == "deny 401" || strict.first == "deny 403" {
					want = open
				}
			}
			if got.first != want.first || got.reason() != want.reason() || got.lines["would"] != want.lines["would"] {
				t.Fatalf("%v, %q: got %v, want %v", stages, packet, got, want)
			}
		}
	}
}

// What was let pass of a list is told from what was not (OPS-2).
func TestListLetPassIsRecorded(t *testing.T) {
	spec.Rules(t, "OPS-2", "OPS-3")
	d := staged(t, config.ModeEnforce, map[string]config.Stage{"connection": config.StageWrite})
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)
	d.NewSessionOf(agent.Peer{UID: 1000, PID: 42}).Packet(nil,
		[]byte("decide-all 1\ntarget=/x-nmos/connection/v1.1/single\ntarget=/x-nmos/node/v1.3/self\n"), 32<<10)
	log.Close(t.Context())
	want := []any{"/x-nmos/connection/v1.1/single observed", "/x-nmos/node/v1.3/self"}
	if records := out.records(t); len(records) != 1 || !reflect.DeepEqual(records[0]["denied"], want) ||
		records[0]["decision"] != "deny" {
		t.Errorf("got %v, want a denial and %v", records, want)
	}
}
