package interop_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/tinytest/mint"
)

// provider is an oidc-provider for one test.
type provider struct {
	t       *testing.T
	port    int
	process *process
	config  object
}

const initialToken = "initial-access-token-of-oidc-provider"

// newProvider starts oidc-provider, with a viewer and an operator as its clients. It keeps its clients in memory.
func newProvider(t *testing.T) *provider {
	t.Helper()
	needFetched(t)
	if _, err := os.Stat(filepath.Join(fetched, "oidc-provider", "node_modules")); err != nil {
		t.Skip("make interop could not fetch oidc-provider")
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	client := func(id string) object {
		return object{
			"client_id": id, "client_secret": id + "-secret-of-a-controller",
			"grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{},
			"scope": "node connection",
		}
	}
	all, read := []string{"*"}, object{"read": []string{"*"}}
	p := &provider{t: t, port: port, config: object{
		"port": port, "cert": shared.cert, "key": shared.key, "audience": audience, "life": 300,
		"initialToken": initialToken, "clients": []object{client("viewer"), client("operator")},
		"claims": object{
			"viewer":   object{"node": read, "connection": read},
			"operator": object{"node": read, "connection": object{"read": all, "write": []string{"single/*/staged"}}},
			"":         object{"registration": object{"read": all, "write": all}, "events": read},
		},
	}}
	p.start("key-1")
	t.Cleanup(func() {
		p.process.kill()
		if t.Failed() {
			t.Logf("oidc-provider wrote:\n%s", p.process.said())
		}
	})
	return p
}

// start runs it with these keys, the first of which signs, and without the clients that registered before.
func (p *provider) start(keys ...string) {
	p.t.Helper()
	if p.process != nil {
		p.process.kill()
	}
	var set jose.JSONWebKeySet
	for _, name := range keys {
		k := mint.CachedKey(name, 2048)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private, KeyID: name, Use: "sig", Algorithm: "RS512"})
	}
	p.config["jwks"] = set
	data, err := json.Marshal(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.t.TempDir(), "oidc-provider.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.process, err = launch(
		p.issuer()+"/jwks", nil, "node", "--max-old-space-size=128",
		filepath.Join(fetched, "oidc-provider", "server.mjs"), file,
	)
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *provider) issuer() string { return fmt.Sprintf("https://localhost:%d", p.port) }

// token gets one by a client's secret.
func (p *provider) token(id, scope string) string {
	p.t.Helper()
	return getToken(p.t, p.issuer()+"/token", id, id+"-secret-of-a-controller", url.Values{
		"grant_type": {"client_credentials"}, "scope": {scope},
	})
}

// What a viewer and an operator may do, with tokens of oidc-provider; expiry; keys that come and go.
func TestProviderAllowsAndDenies(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	d := newDevice(t, quick(p.issuer()))
	viewer, operator := p.token("viewer", "node connection"), p.token("operator", "node connection")
	d.want("GET", receivers, viewer, 200, "ok")
	d.want("PATCH", staged, viewer, 403, "path-not-granted")
	d.want("PATCH", staged, operator, 200, "ok")
	d.want("GET", "/x-nmos/events/v1.0/sources", operator, 403, "api-not-granted")
	d.want("GET", self, p.token("viewer", "connection"), 403, "api-not-granted")
	d.want("GET", receivers, spoiled(viewer), 401, "signature")
	c := quick(p.issuer())
	c.Names = []string{"ax8.other.example.com"}
	newDevice(t, c).want("GET", receivers, viewer, 403, "audience")

	p.start("key-2", "key-1") // it signs with the first
	d.await("GET", receivers, p.token("viewer", "connection"), 200, "ok")
	d.want("GET", receivers, viewer, 200, "ok")
	p.config["life"] = 20
	p.start("key-2")
	d.await("GET", receivers, viewer, 401, "key-unknown")
	short := d.awaitNew(func() string { return p.token("viewer", "connection") }, "GET", receivers, 200, "ok")
	d.await("GET", receivers, short, 401, "token-expired")
}
