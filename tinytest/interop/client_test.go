package interop_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/spec"
)

// clientConfig is that of a device which is an OAuth client, with more keys of [client].
func clientConfig(issuer, scopes, more string) daemon.Config {
	c := quick(issuer)
	c.Admin = true
	c.More += fmt.Sprintf("[client]\nscopes = [%s]\n%s\n", scopes, more)
	return c
}

const (
	registration = `"registration"`
	both         = `"registration", "events"`
)

// reload puts another configuration into force.
func (d *device) reload(c daemon.Config) {
	d.t.Helper()
	d.configure(c)
	after := len(d.Log())
	if err := d.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	d.awaitLog(after, "configuration reread")
}

// awaitLog waits for a text in the log, behind its first bytes.
func (d *device) awaitLog(after int, text string) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("the log to say %q", text),
		func() bool { return strings.Contains(d.Log()[after:], text) })
}

// command runs nmos-authd, and returns what it says.
func (d *device) command(args ...string) (said string, ok bool) {
	d.t.Helper()
	out, err := exec.Command(shared.program, append(args, "--config", d.ConfigFile())...).CombinedOutput()
	return string(out), err == nil
}

// register has the device registered immediately, and not in its turn.
func (d *device) register() {
	d.t.Helper()
	if said, ok := d.command("client", "register"); !ok {
		d.t.Fatalf("client register: %s", said)
	}
}

// own waits for a token of the device's own, other than that of this name.
func (d *device) own(scope, other string) firmware.Reply {
	d.t.Helper()
	var r firmware.Reply
	defer func() {
		if d.t.Failed() {
			d.t.Logf("last reply: %d %s, %s", r.Status, r.Reason, r.Detail)
		}
	}()
	eventually(d.t, "a token for "+scope, func() bool {
		var err error
		if r, err = d.Ask("token 1", "scope="+scope); err != nil {
			d.t.Fatal(err)
		}
		return r.Allowed() && r.TokenID != other
	})
	return r
}

// another is own after a registry has refused the token of this name.
func (d *device) another(scope, refused string) firmware.Reply {
	d.t.Helper()
	if _, err := d.Ask("token 1", "scope="+scope, "refused="+refused); err != nil {
		d.t.Fatal(err)
	}
	return d.own(scope, refused)
}

// clientID is what the device is registered as.
func (d *device) clientID() string {
	d.t.Helper()
	var s struct {
		Clients []struct {
			ClientID string `json:"client_id"`
		}
	}
	said, _ := d.command("client", "status", "--json")
	if err := json.Unmarshal([]byte(said), &s); err != nil || len(s.Clients) != 1 {
		d.t.Fatalf("client status: %v\n%s", err, said)
	}
	return s.Clients[0].ClientID
}

// secret writes a file that only its owner may read.
func (d *device) secret(name, text string) string {
	d.t.Helper()
	if err := os.WriteFile(d.File(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.File(name)
}

// registered is how many clients have registered themselves under the name of a device.
func (r *realm) registered() (n int) {
	r.t.Helper()
	var all []struct{ Name string }
	r.admin("GET", "/clients?max=1000", nil, &all)
	for _, c := range all {
		if strings.HasPrefix(c.Name, "NMOS device ") {
			n++
		}
	}
	return n
}

// methods are the ways in which a client authenticates.
var methods = []string{"private_key_jwt", "client_secret_basic"}

// The device registers with Keycloak, gets tokens and renews them, changes its registration and keeps it over a
// restart; and what it gets opens the registry, and nothing else.
func TestKeycloakClient(t *testing.T) {
	spec.Rules(t, "CLI-30", "CLI-42", "CLI-58")
	t.Parallel()
	r := studio(t)
	file := t.TempDir() + "/initial"
	r.setup = append(r.setup, "--initial-token", file, "--devices", "2")
	r.setUp() // again, which must do no harm
	initial, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	registry := newDevice(t, quick(r.issuer()))
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			registry := registry.in(t)
			auth := fmt.Sprintf("auth_method = %q\n", method)
			c := clientConfig(r.issuer(), registration, auth)
			d := newDevice(t, c)
			said, ok := d.command("client", "register")
			if ok || !strings.Contains(said, "Trusted Hosts") {
				t.Errorf("without a token: got %v, %s; want it refused by the policy Trusted Hosts", ok, said)
			}
			if a, err := d.Ask("token 1", "scope=registration"); err != nil || a.Reason != "own-token-pending" ||
				!strings.Contains(a.Detail, "Trusted Hosts") {
				t.Errorf("without a token: got %s %q, %v; want own-token-pending and why", a.Reason, a.Detail, err)
			}

			with := auth + fmt.Sprintf("initial_access_token_file = %q", d.secret("initial", string(initial)))
			d.reload(clientConfig(r.issuer(), registration, with))
			d.register()
			first := d.own("registration", "")
			id := d.clientID()
			mine := func() string { return d.own("registration", "").AccessToken }
			registry.awaitNew(mine, "POST", "/x-nmos/registration/v1.3/resource", 200, "ok")
			registry.awaitNew(mine, "POST", "/x-nmos/registration/v1.3/health/nodes/1", 200, "ok")
			registry.awaitNew(mine, "GET", self, 403, "api-not-granted")
			second := d.another("registration", first.TokenID)

			// Two changes of the registration: Keycloak gives another registration token with each.
			for _, scopes := range []string{both, registration} {
				after := len(d.Log())
				d.reload(clientConfig(r.issuer(), scopes, with))
				d.awaitLog(after, "the registration as an OAuth client is updated")
			}

			d.Kill()
			d.start()
			third := d.own("registration", second.TokenID)
			d.own("registration", third.TokenID) // renewed in time
			if got := d.clientID(); got != id {
				t.Errorf("after a restart: got client %s, want %s", got, id)
			}
			for _, secret := range []string{string(initial), first.AccessToken, third.AccessToken} {
				if strings.Contains(d.Log(), strings.TrimSpace(secret)) {
					t.Error("a secret is in the log")
				}
			}
			if said, ok := d.command("client", "forget"); !ok {
				t.Errorf("client forget: %s", said)
			}
			var all []object
			r.admin("GET", "/clients?clientId="+id, nil, &all)
			if len(all) != 0 {
				t.Errorf("the client %s is still there after it was forgotten", id)
			}
		})
	}
}

// A client that was deleted at Keycloak is registered again. One that was disabled looks the same from outside, so it
// is tried as well: what keeps such a device out is that it may not register.
func TestKeycloakClientIsGone(t *testing.T) {
	spec.Rules(t, "CLI-44", "CLI-57")
	needFetched(t)
	t.Parallel()
	for _, method := range methods {
		t.Run("deleted/"+method, func(t *testing.T) {
			t.Parallel()
			r := devices(t)
			d := newDevice(t, clientConfig(r.issuer(), registration, fmt.Sprintf("auth_method = %q\n", method)))
			d.register()
			last := d.own("registration", "")
			id := d.clientID()
			r.admin("DELETE", "/clients/"+r.client(id)["id"].(string), nil, nil)
			d.awaitAnotherClient(id)
			d.own("registration", last.TokenID)
		})
	}
	t.Run("disabled", func(t *testing.T) {
		t.Parallel()
		r := studio(t)
		var m struct{ Token string }
		r.admin("POST", "/clients-initial-access", object{"count": 1, "expiration": 3600}, &m)
		d := newDevice(t, clientConfig(r.issuer(), registration, ""))
		with := fmt.Sprintf("initial_access_token_file = %q\n", d.secret("initial", m.Token))
		d.reload(clientConfig(r.issuer(), registration, with))
		d.register()
		d.own("registration", "")
		c := r.client(d.clientID())
		c["enabled"] = false
		r.admin("PUT", "/clients/"+c["id"].(string), c, nil)
		eventually(t, "the reason to be told", func() bool {
			a, err := d.Ask("token 1", "scope=registration")
			return err == nil && a.Reason == "own-token-pending" && strings.Contains(a.Detail, "No remaining count")
		})
	})
}

// client is a client as the administration has it.
func (r *realm) client(id string) object {
	r.t.Helper()
	var all []object
	r.admin("GET", "/clients?clientId="+id, nil, &all)
	if len(all) != 1 {
		r.t.Fatalf("got %d clients %s, want one", len(all), id)
	}
	return all[0]
}

// awaitAnotherClient waits until the device has noticed that its client is gone, and is registered as another.
func (d *device) awaitAnotherClient(id string) {
	d.t.Helper()
	eventually(d.t, "another registration", func() bool {
		d.Ask("token 1", "scope=registration") // it is needed
		return strings.Contains(d.Log(), "the registration as an OAuth client is lost") &&
			d.clientID() != "" && d.clientID() != id
	})
}

// publish serves the device's keys at a URL, as the device's web server does.
func (d *device) publish() (url string) {
	d.t.Helper()
	sock := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.HTTP())
		}}}
	cert, err := tls.LoadX509KeyPair(shared.cert, shared.key)
	if err != nil {
		d.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		res, err := sock.Get("http://daemon/jwks")
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		io.Copy(w, res.Body)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // oidc-provider connects, and hangs up on a private address
	s.StartTLS()
	d.t.Cleanup(func() {
		s.Close()
		sock.CloseIdleConnections()
	})
	return fmt.Sprintf("https://localhost:%d/x-authorization/jwks", s.Listener.Addr().(*net.TCPAddr).Port)
}

// Keycloak fetches the device's keys at its jwks_uri.
func TestKeycloakFetchesKeys(t *testing.T) {
	spec.Rules(t, "CLI-33", "CLI-67")
	t.Parallel()
	r := devices(t)
	d := newDevice(t, clientConfig(r.issuer(), registration, ""))
	more := fmt.Sprintf("keys = \"jwks_uri\"\njwks_uri = %q\n", d.publish())
	d.Kill()
	if err := os.RemoveAll(d.state()); err != nil {
		t.Fatal(err)
	}
	d.configure(clientConfig(r.issuer(), registration, more))
	d.start()
	d.register()
	d.own("registration", "")
	if said, _ := d.command("client", "status"); !strings.Contains(said, "jwks_uri") {
		t.Errorf("client status: got %s, want that the keys go by jwks_uri", said)
	}
}

// The same with oidc-provider: registration, tokens, renewal, changes, and a server that lost its store. It cannot
// fetch a jwks_uri from a private address, so the device sends its keys.
func TestProviderClient(t *testing.T) {
	spec.Rules(t, "CLI-30", "CLI-33", "CLI-42", "CLI-44")
	needFetched(t)
	t.Parallel()
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.config["life"] = 20
			p.start("key-1")
			registry := newDevice(t, quick(p.issuer()))
			auth := fmt.Sprintf("auth_method = %q\n", method)
			d := newDevice(t, clientConfig(p.issuer(), registration, auth))
			if said, ok := d.command("client", "register"); ok || !strings.Contains(said, "initial access token") {
				t.Errorf("without a token: got %v, %s; want that one is needed", ok, said)
			}
			with := auth + fmt.Sprintf("initial_access_token_file = %q\n", d.secret("initial", initialToken))
			if method == methods[0] {
				with += fmt.Sprintf("jwks_uri = %q\n", d.publish())
			}
			d.reload(clientConfig(p.issuer(), registration, with))
			d.register()
			first := d.own("registration", "")
			id := d.clientID()
			mine := func() string { return d.own("registration", "").AccessToken }
			registry.awaitNew(mine, "POST", "/x-nmos/registration/v1.3/resource", 200, "ok")
			d.own("registration", d.another("registration", first.TokenID).TokenID)
			for _, scopes := range []string{both, registration} {
				after := len(d.Log())
				d.reload(clientConfig(p.issuer(), scopes, with))
				d.awaitLog(after, "the registration as an OAuth client is updated")
			}
			last := d.own("registration", "")

			p.start("key-1") // with an empty store
			d.awaitAnotherClient(id)
			d.own("registration", last.TokenID)
			registry.awaitNew(mine, "POST", "/x-nmos/registration/v1.3/resource", 200, "ok")
			if said, ok := d.command("client", "forget"); !ok {
				t.Errorf("client forget: %s", said)
			}
		})
	}
}

// Keycloak is restarted with an empty store, and set up again: the device notices, and registers again. This test runs
// before those that run in parallel.
func TestKeycloakLosesItsStore(t *testing.T) {
	spec.Rules(t, "CLI-44", "CLI-57")
	r := devices(t)
	d := newDevice(t, clientConfig(r.issuer(), registration, ""))
	d.register()
	last := d.own("registration", "")
	id := d.clientID()
	r.process.kill()
	// A device that meets a realm without its policies is refused, and asks again in an hour only: it sleeps meanwhile.
	d.Signal(syscall.SIGSTOP)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.setUp()
	d.Signal(syscall.SIGCONT)
	d.awaitAnotherClient(id)
	d.own("registration", last.TokenID)
	if n := r.registered(); n != 1 {
		t.Errorf("got %d clients of this device, want one", n)
	}
}
