package interop_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/spec"
)

const (
	receivers = "/x-nmos/connection/v1.1/single/receivers"
	staged    = receivers + "/6f1e0000-0000-4000-8000-000000000041/staged"
	self      = "/x-nmos/node/v1.3/self"
)

// device is a device that runs the daemon.
type device struct {
	t *testing.T
	daemon.Dir
	*daemon.Daemon
	*firmware.Asker
}

// newDevice runs the daemon for ax8.studio.example.com.
func newDevice(t *testing.T, c daemon.Config) *device {
	t.Helper()
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, Dir: dir, Asker: firmware.NewAsker(dir.Authz(), time.Minute)}
	t.Cleanup(func() {
		d.Asker.Close()
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	d.configure(c)
	d.start()
	return d
}

// in is the same device for a subtest.
func (d *device) in(t *testing.T) *device {
	copied := *d
	copied.t = t
	return &copied
}

// state is where the daemon keeps what must survive a restart.
func (d *device) state() string { return d.File("state") }

func (d *device) configure(c daemon.Config) {
	d.t.Helper()
	c.State = d.state()
	if c.Names == nil {
		c.Names = []string{"ax8.studio.example.com"}
	}
	pem, err := os.ReadFile(shared.ca)
	if err != nil {
		d.t.Fatal(err)
	}
	c.CAPEM = pem
	if err := d.Write(c); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) start() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	var err error
	if d.Daemon, err = daemon.Start(ctx, shared.program, d.Dir); err != nil {
		d.t.Fatal(err)
	}
	run := d.Daemon
	d.t.Cleanup(func() {
		run.Kill()
		if d.t.Failed() {
			d.t.Logf("the daemon wrote:\n%s", run.Log())
		}
	})
}

// ask asks whether a request may be served.
func (d *device) ask(method, target, token string) firmware.Reply {
	d.t.Helper()
	r, err := d.Ask("decide 1", "method="+method, "target="+target, "authorization=Bearer "+token)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, target, err)
	}
	return r
}

// want compares the answer, once the token's key is there or is known not to come.
func (d *device) want(method, target, token string, status int, reason string) {
	d.t.Helper()
	var r firmware.Reply
	eventually(d.t, "keys", func() bool {
		r = d.ask(method, target, token)
		return r.Reason != "keys-pending"
	})
	if r.Status != status || r.Reason != reason {
		d.t.Errorf("%s %s: got %d %s, want %d %s", method, target, r.Status, r.Reason, status, reason)
	}
}

// await waits for an answer.
func (d *device) await(method, target, token string, status int, reason string) {
	d.t.Helper()
	var r firmware.Reply
	defer func() {
		if d.t.Failed() {
			d.t.Logf("last answer: %d %s", r.Status, r.Reason)
		}
	}()
	eventually(d.t, fmt.Sprintf("%d %s for %s %s", status, reason, method, target), func() bool {
		r = d.ask(method, target, token)
		return r.Status == status && r.Reason == reason
	})
}

// awaitNew waits until a new token gets an answer, and returns the token: one that does not live long may have ended
// before it was asked about.
func (d *device) awaitNew(token func() string, method, target string, status int, reason string) (last string) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d %s for %s %s", status, reason, method, target), func() bool {
		last = token()
		r := d.ask(method, target, last)
		return r.Status == status && r.Reason == reason
	})
	return last
}

// quick is a device's configuration that has it notice changes of the server's keys soon.
func quick(issuers ...string) daemon.Config {
	return daemon.Config{Servers: issuers, More: "retry = \"1s\"\nrefresh = \"5s\"\n"}
}

// long is a token's life that no test outlasts, in seconds.
const long = 3600

// What a viewer and an operator may do, as setup.sh has it, with Keycloak's own tokens.
func TestKeycloakAllowsAndDenies(t *testing.T) {
	t.Parallel()
	r := studio(t)
	d := newDevice(t, quick(r.issuer()))
	const all = "node query connection channelmapping"
	desk := r.newController("operator", "nmos-operators", long)
	viewer, operator := r.newController("viewer", "nmos-viewers", long).token(all), desk.token(all)
	d.want("GET", receivers, viewer, 200, "ok")
	d.want("GET", self, viewer, 200, "ok")
	d.want("PATCH", staged, viewer, 403, "path-not-granted")
	d.want("PATCH", staged, operator, 200, "ok")
	d.want("PATCH", strings.TrimSuffix(staged, "/staged"), operator, 403, "path-not-granted")
	d.want("POST", "/x-nmos/channelmapping/v1.0/map/activations", operator, 200, "ok")
	d.want("POST", "/x-nmos/channelmapping/v1.0/map/activations", viewer, 403, "path-not-granted")
	d.want("GET", "/x-nmos/events/v1.0/sources", operator, 403, "api-not-granted")
	d.want("GET", receivers, spoiled(viewer), 401, "signature")
	d.want("PATCH", staged, desk.personsToken("ann", "nmos-operators", all), 200, "ok")
	d.want("PATCH", staged, desk.personsToken("bob", "nmos-viewers", all), 403, "path-not-granted")

	// A scope that was asked for, and for which no group has a claim, opens the base path, and no more.
	nobody := r.newController("nobody", "", long).token(all)
	d.want("GET", "/x-nmos/connection/v1.1", nobody, 200, "ok")
	d.want("GET", receivers, nobody, 403, "path-not-granted")

	// Another device's name.
	c := quick(r.issuer())
	c.Names = []string{"ax8.other.example.com"}
	newDevice(t, c).want("GET", receivers, viewer, 403, "audience")

	// A token ends.
	short := r.newController("short", "nmos-viewers", 20)
	token := d.awaitNew(func() string { return short.token("connection") }, "GET", receivers, 200, "ok")
	d.await("GET", receivers, token, 401, "token-expired")
}

// spoiled is a token whose signature is another's.
func spoiled(token string) string { return token[:len(token)-40] + strings.Repeat("A", 40) }

// Keycloak is found by DNS-SD, at its root with api_selector.
func TestKeycloakIsFound(t *testing.T) {
	spec.Rules(t, "DIS-4")
	t.Parallel()
	r := studio(t)
	dns, err := dnsserver.Start(dnsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	err = dns.SetZone(fmt.Sprintf(`$ORIGIN example.com.
_nmos-auth._tcp PTR auth._nmos-auth._tcp
auth._nmos-auth._tcp SRV 0 0 %d localhost.
auth._nmos-auth._tcp TXT "api_proto=https" "api_ver=v1.0" "pri=10" "api_selector=realms/%s"
localhost. A 127.0.0.1
`, r.port, r.name))
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, daemon.Config{
		Discovery: fmt.Sprintf("mode = \"unicast\"\ndomains = [\"example.com\"]\ndns_servers = [%q]", dns.Addr()),
	})
	d.await("GET", receivers, r.newController("viewer", "nmos-viewers", long).token("connection"), 200, "ok")
}

const keyProviders = "/components?type=org.keycloak.keys.KeyProvider"

// change changes a part of the realm.
func (r *realm) change(part string, to map[string]string) {
	r.t.Helper()
	var was object
	r.admin("GET", part, nil, &was)
	config := was["config"].(object)
	for name, value := range to {
		if _, list := config[name].(string); list {
			config[name] = value // of a mapper
		} else {
			config[name] = []string{value}
		}
	}
	r.admin("PUT", part, was, nil)
}

// A new key, and one that the administrator disables; then each mistake that configs/SERVERS.md warns of, and what the
// device says to it.
func TestKeycloakKeysAndMistakes(t *testing.T) {
	t.Parallel()
	r := realmOf(t, "mistakes", "--trusted-host", "localhost")
	d := newDevice(t, quick(r.issuer()))
	c := r.newController("viewer", "nmos-viewers", long)
	ask := func() string { return c.token("connection") }

	old := ask()
	d.want("GET", receivers, old, 200, "ok")
	if n := r.keyIDs("RS512"); len(n) != 1 {
		t.Fatalf("got RS512 keys %v, want one", n)
	}
	first := "/components/" + r.find(keyProviders, "nmos-rs512")
	r.admin("POST", "/components", object{
		"name": "next", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
		"config": object{
			"priority": []string{"300"}, "enabled": []string{"true"}, "active": []string{"true"},
			"algorithm": []string{"RS512"},
		},
	}, nil)
	d.await("GET", receivers, ask(), 200, "ok")
	d.want("GET", receivers, old, 200, "ok")
	r.change(first, map[string]string{"enabled": "false", "active": "false"})
	d.await("GET", receivers, old, 401, "key-unknown")
	d.want("GET", receivers, ask(), 200, "ok")

	// Without the client scope basic there is no sub for people; clients have one all the same.
	basic := "/clients/" + c.id + "/default-client-scopes/" + r.find("/client-scopes", "basic")
	r.admin("DELETE", basic, nil, nil)
	d.want("GET", receivers, c.personsToken("ann", "nmos-viewers", "connection"), 401, "subject-missing")
	d.want("GET", receivers, ask(), 200, "ok")
	r.admin("PUT", basic, nil, nil)

	// A mapper of JSON type String, which is the default, writes a text.
	mappers := "/client-scopes/" + r.find("/client-scopes", "connection") + "/protocol-mappers/models"
	claim := mappers + "/" + r.find(mappers, "x-nmos-connection")
	r.change(claim, map[string]string{"jsonType.label": "String"})
	d.want("GET", receivers, ask(), 403, "path-not-granted")
	r.change(claim, map[string]string{"jsonType.label": "JSON"})
	d.want("GET", receivers, ask(), 200, "ok")

	// Without an audience mapper, aud is account alone, or is not there.
	r.admin("DELETE", mappers+"/"+r.find(mappers, "audience-1"), nil, nil)
	d.want("GET", receivers, ask(), 403, "audience")

	// RS512 without a key provider: there is no such key in the set before the first token is signed.
	r.admin("DELETE", first, nil, nil)
	r.admin("DELETE", "/components/"+r.find(keyProviders, "next"), nil, nil)
	if n := r.keyIDs("RS512"); len(n) != 0 {
		t.Errorf("got RS512 keys %v before the first token is signed, want none", n)
	}
	ask()
	if n := r.keyIDs("RS512"); len(n) != 1 {
		t.Errorf("got RS512 keys %v after the first token, want one", n)
	}
	// RS256, which is the default, is not of IS-10.
	r.admin("PUT", "", object{"defaultSignatureAlgorithm": "RS256"}, nil)
	d.want("GET", receivers, ask(), 401, "token-algorithm")

	// Max Clients Limit, and a scope that the realm does not have.
	limit := "/components/" + r.find(
		"/components?type=org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy",
		"Max Clients Limit",
	)
	for _, c := range []struct{ most, scopes, want string }{
		{"1", registration, "Max Clients Limit"}, {"100", `"unheard-of"`, "Allowed Client Scopes"},
	} {
		r.change(limit, map[string]string{"max-clients": c.most})
		other := newDevice(t, clientConfig(r.issuer(), c.scopes, ""))
		if said, ok := other.command("client", "register"); ok || !strings.Contains(said, c.want) {
			t.Errorf("scopes %s: got %v, %s; want it refused by %s", c.scopes, ok, said, c.want)
		}
	}
}
