package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// audience is who Keycloak's tokens are for, by setup.sh.
const audience = "*.studio.example.com"

// keycloak is the one Keycloak of all tests; each has a realm of its own.
type keycloak struct {
	port int

	mu      sync.Mutex
	process *process
	token   string // of the administrator
	until   time.Time
}

const password = "interop-admin"

var startKeycloak = sync.OnceValues(func() (*keycloak, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	k := &keycloak{port: port}
	return k, k.start()
})

// newKeycloak returns it, running.
func newKeycloak(t *testing.T) *keycloak {
	t.Helper()
	needFetched(t)
	if _, err := os.Stat(filepath.Join(fetched, "keycloak")); err != nil {
		t.Skip("make interop could not fetch Keycloak")
	}
	k, err := startKeycloak()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Keycloak wrote:\n%s", k.process.said())
		}
	})
	return k
}

// start runs Keycloak on an empty store, which is in memory.
func (k *keycloak) start() error {
	begin := time.Now()
	// kc.sh runs Java as its child, which must not outlive it.
	java := filepath.Join(shared.dir, "java")
	if err := os.WriteFile(java, []byte("#!/bin/sh\nexec setpriv --pdeathsig KILL java \"$@\"\n"), 0o700); err != nil {
		return err
	}
	p, err := launch(
		k.url("/realms/master"),
		[]string{
			"JAVA=" + java, "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD=" + password,
			"JAVA_OPTS_KC_HEAP=-Xms64m -Xmx320m -XX:MaxMetaspaceSize=256m",
			"JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1", // it starts in half the time
		},
		filepath.Join(fetched, "keycloak", "bin", "kc.sh"), "start", "--optimized", "--cache=local",
		"--http-host=127.0.0.1", fmt.Sprintf("--https-port=%d", k.port), "--https-certificate-file="+shared.cert,
		"--https-certificate-key-file="+shared.key, "--hostname="+k.url(""), "--truststore-paths="+shared.ca,
	)
	if err != nil {
		return err
	}
	fmt.Printf("FIGURES Keycloak started in %.1f s\n", time.Since(begin).Seconds())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process, k.until = p, time.Time{}
	return nil
}

func (k *keycloak) url(path string) string {
	return fmt.Sprintf("https://localhost:%d%s", k.port, path)
}

// realm is a realm for one test.
type realm struct {
	t *testing.T
	*keycloak
	name  string
	setup []string // arguments of setup.sh
}

// realms are those that are set up, by name: making one takes long, so tests share them if they leave it as it is.
var realms sync.Map

// realmOf sets up a realm by configs/keycloak/setup.sh, unless another test has.
func realmOf(t *testing.T, name string, args ...string) *realm {
	t.Helper()
	k := newKeycloak(t)
	r := &realm{t: t, keycloak: k, name: name}
	r.setup = append([]string{
		"../../configs/keycloak/setup.sh", "--server", k.url(""), "--realm", name, "--ca", shared.ca, "--audience",
		audience,
	}, args...)
	once, _ := realms.LoadOrStore(name, &sync.Once{})
	once.(*sync.Once).Do(r.setUp)
	return r
}

// studio is a realm in which devices need an initial access token, and devices one in which those on this host do not.
// Tokens of devices live for 20 s in both.
func studio(t *testing.T) *realm  { return realmOf(t, "studio") }
func devices(t *testing.T) *realm { return realmOf(t, "devices", "--trusted-host", "localhost") }

// in is the same realm for a subtest.
func (r *realm) in(t *testing.T) *realm {
	copied := *r
	copied.t = t
	return &copied
}

// setUp runs setup.sh.
func (r *realm) setUp() {
	r.t.Helper()
	c := exec.Command("sh", r.setup...)
	c.Env = append(os.Environ(), "KEYCLOAK_PASSWORD="+password)
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("issuer: "+r.issuer()+"\n")) {
		r.t.Fatalf("setup.sh: %v\n%s", err, out)
	}
	r.admin("PUT", "", object{"accessTokenLifespan": 20}, nil)
}

func (r *realm) issuer() string { return r.url("/realms/" + r.name) }

// login gets the administrator's token, which lives for a minute.
func (k *keycloak) login() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.until) {
		return k.token, nil
	}
	res, err := shared.http.PostForm(k.url("/realms/master/protocol/openid-connect/token"), url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {password},
	})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var m struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || m.Token == "" {
		return "", fmt.Errorf("Keycloak's administrator got no token: %s, %v", res.Status, err)
	}
	k.token, k.until = m.Token, time.Now().Add(30*time.Second)
	return k.token, nil
}

// admin sends a request to the realm's administration and reads the answer into out unless that is nil. It returns the
// id of what was made.
func (r *realm) admin(method, resource string, body, out any) string {
	r.t.Helper()
	token, err := r.login()
	if err != nil {
		r.t.Fatal(err)
	}
	data := []byte{}
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			r.t.Fatal(err)
		}
	}
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url("/admin/realms/"+r.name+resource),
		bytes.NewReader(data))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Content-Type", "application/json")
	res, err := shared.http.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		r.t.Fatalf("%s %s: %s, %v\n%.500s", method, resource, res.Status, err, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			r.t.Fatalf("%s %s: %v\n%.500s", method, resource, err, answer)
		}
	}
	return path.Base(res.Header.Get("Location"))
}

type object = map[string]any

// find is the id of the thing of that name.
func (r *realm) find(list, name string) string {
	r.t.Helper()
	var all []struct{ ID, Name string }
	r.admin("GET", list, nil, &all)
	for _, x := range all {
		if x.Name == name {
			return x.ID
		}
	}
	r.t.Fatalf("no %q in %s: %v", name, list, all)
	return ""
}

// controller is a client that an administrator made.
type controller struct {
	r      *realm
	id     string // of the administration
	name   string
	secret string
}

// newController makes a client with a secret, whose service account is in a group unless that is "", and whose tokens
// live for so many seconds.
func (r *realm) newController(name, group string, life int) *controller {
	r.t.Helper()
	name = strings.ToLower(r.t.Name()) + "-" + name
	c := &controller{r: r, name: name, secret: name + "-secret-of-a-controller"}
	c.id = r.admin("POST", "/clients", object{
		"clientId": name, "secret": c.secret, "serviceAccountsEnabled": true, "standardFlowEnabled": false,
		"directAccessGrantsEnabled": true, "attributes": object{"access.token.lifespan": fmt.Sprint(life)},
	}, nil)
	if group != "" {
		var user struct{ ID string }
		r.admin("GET", "/clients/"+c.id+"/service-account-user", nil, &user)
		r.admin("PUT", "/users/"+user.ID+"/groups/"+r.find("/groups", group), nil, nil)
	}
	return c
}

// token gets one for a scope, by the client's secret.
func (c *controller) token(scope string) string {
	c.r.t.Helper()
	return getToken(c.r.t, c.r.issuer()+"/protocol/openid-connect/token", c.name, c.secret, url.Values{
		"grant_type": {"client_credentials"}, "scope": {scope},
	})
}

// personsToken gets one for a user who is in a group, by the client.
func (c *controller) personsToken(name, group, scope string) string {
	r := c.r
	r.t.Helper()
	r.admin("POST", "/users", object{
		"username": name, "enabled": true, "email": name + "@example.com", "firstName": name, "lastName": "O",
		"credentials": []object{{"type": "password", "value": name + "s password"}}, "groups": []string{group},
	}, nil)
	return getToken(r.t, r.issuer()+"/protocol/openid-connect/token", c.name, c.secret, url.Values{
		"grant_type": {"password"}, "scope": {scope}, "username": {name}, "password": {name + "s password"},
	})
}

// getToken sends a token request of a client with a secret.
func getToken(t *testing.T, endpoint, id, secret string, form url.Values) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "POST", endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	res, err := shared.http.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var m struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || m.Token == "" {
		t.Fatalf("a token for %s: got %s, %v, %s", form.Get("scope"), res.Status, err, m.Error)
	}
	return m.Token
}

// keyIDs are the key ids of the realm's key set, for an algorithm.
func (r *realm) keyIDs(alg string) []string {
	r.t.Helper()
	res, err := shared.http.Get(r.issuer() + "/protocol/openid-connect/certs")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var set struct {
		Keys []struct{ KID, Alg string }
	}
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		if k.Alg == alg {
			ids = append(ids, k.KID)
		}
	}
	return ids
}
