package manual_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Each set of claims in SERVERS.md opens what its holder needs, and nothing that another one needs beyond it.
func TestSmallestClaims(t *testing.T) {
	spec.Rules(t, "PATH-5")
	guide := read(t, "configs/SERVERS.md")
	claims := map[string]map[string]json.RawMessage{}
	for _, m := range regexp.MustCompile("(?s)```json ([a-z]+)\n(.*?)```").FindAllStringSubmatch(guide, -1) {
		var set map[string]json.RawMessage
		if err := json.Unmarshal([]byte(m[2]), &set); err != nil {
			t.Fatalf("%s: %v", m[1], err)
		}
		claims[m[1]] = set
	}
	server, dir := newServer(t, "")
	if err := dir.Write(daemon.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := daemon.Start(ctx, program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	asker := firmware.NewAsker(dir.Authz(), patience)
	t.Cleanup(func() { asker.Close() })

	// requests are what people and devices do, each with those who may.
	requests := []struct{ method, path, who string }{
		{"GET", "node/v1.3/self", "viewer operator"},
		{"GET", "node/v1.3/senders", "viewer operator"},
		{"PUT", "node/v1.3/receivers/6f1e/target", ""},
		{"GET", "query/v1.3/nodes", "viewer operator"},
		{"GET", "query/v1.3/senders/6f1e", "viewer operator"},
		{"POST", "query/v1.3/subscriptions", "viewer operator"},
		{"DELETE", "query/v1.3/subscriptions/6f1e", "viewer operator"},
		{"POST", "query/v1.3/nodes", ""},
		{"GET", "connection/v1.1/single/receivers", "viewer operator"},
		{"GET", "connection/v1.1/single/receivers/6f1e/active", "viewer operator"},
		{"PATCH", "connection/v1.1/single/receivers/6f1e/staged", "operator"},
		{"PATCH", "connection/v1.1/single/senders/6f1e/staged", "operator"},
		{"POST", "connection/v1.1/bulk/receivers", ""},
		{"PATCH", "connection/v1.1/single/receivers/6f1e", ""},
		{"GET", "channelmapping/v1.0/map/active", "viewer operator"},
		{"POST", "channelmapping/v1.0/map/activations", "operator"},
		{"DELETE", "channelmapping/v1.0/map/activations/6f1e", "operator"},
		{"PUT", "channelmapping/v1.0/map/active", ""},
		{"POST", "registration/v1.3/resource", "registry"},
		{"GET", "registration/v1.3/resource/nodes/6f1e", "registry"},
		{"DELETE", "registration/v1.3/resource/nodes/6f1e", "registry"},
		{"POST", "registration/v1.3/health/nodes/6f1e", "registry"},
		{"GET", "registration/v1.3/health/nodes/6f1e", "registry"},
		{"GET", "events/v1.0/sources/6f1e/state", "panel"},
		{"GET", "events/v1.0/sources/6f1e/type", "panel"},
		{"POST", "events/v1.0/sources/6f1e/state", ""},
		{"GET", "ncp/v1.0", ""},
		{"GET", "configuration/v1.0/rolePaths", ""},
	}
	for _, who := range []string{"viewer", "operator", "registry", "panel"} {
		if claims[who] == nil {
			t.Errorf("SERVERS.md has no claims of a %s", who)
			continue
		}
		m := server.Token(mint.Options{})
		var minted map[string]json.RawMessage
		if err := json.Unmarshal(m.Claims.Bytes(), &minted); err != nil {
			t.Fatal(err)
		}
		for name := range minted {
			if strings.HasPrefix(name, "x-nmos-") || name == "scope" {
				m.Claims.Delete(name)
			}
		}
		for name, claim := range claims[who] {
			m.Claims.SetRaw(name, string(claim))
		}
		token := m.Sign()
		for _, r := range requests {
			var got firmware.Reply
			for ok := false; !ok; ok = got.Reason != "keys-pending" {
				if got, err = asker.Ask(
					"decide 1", "method="+r.method, "target=/x-nmos/"+r.path, "authorization=Bearer "+token,
				); err != nil || ctx.Err() != nil {
					t.Fatalf("%s: %v, %v", r.path, err, ctx.Err())
				}
			}
			want := strings.Contains(" "+r.who+" ", " "+who+" ")
			if got.Allowed() != want || !want && got.Status != 403 {
				t.Errorf("%s, %s %s: got %d %s, want allowed %v", who, r.method, r.path, got.Status, got.Reason, want)
			}
		}
	}

	// The script gives the same claims to the same groups.
	script := read(t, "configs/keycloak/setup.sh")
	for who, set := range claims {
		for name, claim := range set {
			compact := strings.ReplaceAll(string(claim), " ", "")
			if who != "panel" && !strings.Contains(script, "'"+compact+"'") {
				t.Errorf("keycloak/setup.sh does not have the %s's %s: %s", who, name, compact)
			}
		}
	}
}
