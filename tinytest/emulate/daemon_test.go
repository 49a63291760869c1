package emulate_test

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

const (
	self  = "/x-nmos/node/v1.3/self"
	meter = "6f3a0c1e-8d5b-4b52-9a0e-3f0d4c1b2a01"
)

// permissions are what a test's token permits.
var permissions = map[string]mint.Permission{
	"node":       {Read: []string{"self"}},
	"connection": {Read: []string{"single/*"}, Write: []string{"single/receivers/*"}},
	"events":     {Read: []string{"sources/" + meter + "/state"}},
}

// tokenFor returns a good token but for its life, in seconds: it may be over, or longer than a time.Duration.
func tokenFor(server *authserver.Server, life int64) string {
	t := server.Token(mint.Options{Device: "node-1.example.com", Permissions: permissions})
	t.Claims.Set("exp", t.Now.Unix()+life)
	return t.Sign()
}

// The whole story on the device's processor: keys over TLS, decisions over both sockets, a reload, flash, a power cut.
func TestDaemon(t *testing.T) {
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	onEach(t, func(t *testing.T, m machine) {
		d := newDevice(t, m)
		wantMachine(t, m, d.example)
		wantMachine(t, m, m.daemonProgram(t))
		config := daemon.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(), State: d.dir.File("state"),
			Sockets: fmt.Sprintf("allow_uids = [%d]", os.Getuid()),
			More:    fmt.Sprintf("[inventory]\nfile = %q\n", d.dir.File("inventory.json"))}
		const inventory = `{"resources": [{"kind": "meter", "name": "in-1", "id": "` + meter + `"},
			{"kind": "meter", "name": "in-2", "id": "6f3a0c1e-8d5b-4b52-9a0e-3f0d4c1b2a02"}]}`
		if err := os.WriteFile(d.dir.File("inventory.json"), []byte(inventory), 0o600); err != nil {
			t.Fatal(err)
		}
		d.configure(config)

		if a := d.ask("", "GET", self); a.exit != 2 || !strings.Contains(a.all, "the daemon cannot be reached") {
			t.Errorf("before the daemon runs: exit %d\n%s", a.exit, a.all)
		}
		d.start()
		// The log is written behind the daemon's back, after it has answered.
		d.await("line of the log that qemu has no Landlock", func() bool { return d.logged("no Landlock") > 0 })
		token := tokenFor(server, 3600)
		d.awaitKeys(token)
		a := d.ask(token, "GET", self)
		a.want(t, "a good token", "allow 200", "ok")
		if a.lines["client-id"] != mint.DefaultClient || a.lines["issuer"] != server.Issuer() ||
			a.lines["path"] != self {
			t.Errorf("a good token: %v", a.lines)
		}
		d.ask(token, "PATCH", "/x-nmos/connection/v1.1/single/receivers/1/staged").want(t, "a write", "allow 200", "ok")
		d.ask(token, "PATCH", "/x-nmos/connection/v1.1/single/senders/1/staged").want(t, "a write",
			"deny 403", "path-not-granted")
		d.ask(token, "GET", "/x-nmos//node").want(t, "an ambiguous path", "deny 400", "path-ambiguous")
		d.ask(token, "BREW", self).want(t, "an unknown method", "deny 405", "method")
		d.ask("", "GET", self).want(t, "no token", "deny 401", "no-token")
		d.ask("", "GET", "/x-nmos/").want(t, "the base path", "allow 200", "public")
		d.ask(tokenFor(server, -1), "GET", self).want(t, "an expired token", "deny 401", "token-expired")
		d.ask(token, "meter", "in-1", "read").want(t, "a level meter", "allow 200", "ok")
		d.ask(token, "meter", "in-2", "read").want(t, "another level meter", "deny 403", "path-not-granted")
		d.ask(token, "meter", "in-1", "write").want(t, "a write to a meter", "deny 403", "resource-unknown")
		broken := token[:len(token)-8] + "AAAAAAAA"
		if a := d.ask(broken, "GET", self); a.first != "deny 401" {
			t.Errorf("a broken signature: %s", a.all)
		}
		d.wantHTTP(token, 200)
		d.wantHTTP("", 401)

		// A reload, by a signal.
		before := len(d.running.Log())
		config.Mode = "observe"
		d.configure(config)
		if err := d.running.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		d.awaitReason("observe")
		if a := d.ask("", "GET", self); a.lines["would"] != "401 no-token" {
			t.Errorf("in observe mode: %s", a.all)
		}
		if len(d.running.Log()) == before {
			t.Error("the daemon does not log that it read its configuration again")
		}
		d.stop()

		// The keys are in flash: they outlive a power cut where no server answers.
		config.Mode = "enforce"
		config.Servers = []string{server.Issuer()}
		d.configure(config)
		d.start()
		d.awaitKeys(token)
		d.running.Kill()
		config.CAPEM = nil // no root: whatever answers is not believed
		d.configure(config)
		d.start()
		d.ask(token, "GET", self).want(t, "after a power cut", "allow 200", "ok")
		if log := d.running.Log(); strings.Contains(log, token) {
			t.Error("the daemon logged a token")
		}
		d.stop()
		if left, err := filepath.Glob(filepath.Join(d.dir.Path(), "run", "*.sock")); err != nil || len(left) > 0 {
			t.Errorf("the daemon left %v, %v", left, err)
		}
	})
}

// wantMachine checks that a program is for the machine and needs nothing to run on it.
func wantMachine(t *testing.T, m machine, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if f.Machine.String() != m.machine || err != nil || len(libraries) > 0 {
		t.Errorf("%s is for %v and needs %v, %v", path, f.Machine, libraries, err)
	}
}

// awaitKeys waits until the daemon has the keys for a good token.
func (d *device) awaitKeys(token string) {
	d.t.Helper()
	d.await("keys", func() bool { return d.ask(token, "GET", self).first == "allow 200" })
}

func (d *device) awaitReason(reason string) {
	d.t.Helper()
	d.await(reason, func() bool { return d.ask("", "GET", self).lines["reason"] == reason })
}

func (d *device) await(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("no %s after a minute:\n%s", what, d.running.Log())
		}
	}
}

// wantHTTP asks over the HTTP socket, as a web server does.
func (d *device) wantHTTP(token string, status int) {
	d.t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.dir.HTTP())
		}}}
	request, err := http.NewRequest(http.MethodGet, "http://device/authorize", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	request.Header.Set("X-Original-Method", "GET")
	request.Header.Set("X-Original-URI", self)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status || response.Header.Get("X-Auth-Reason") == "" {
		d.t.Errorf("over HTTP: %d %v, %v; want %d\n%s", response.StatusCode, response.Header, err, status, body)
	}
}

// Times need 64 bits everywhere, on the machine whose words have 32 as well: in the daemon, and in what the C client
// makes of them.
func TestTimesBeyond2038(t *testing.T) {
	spec.Rules(t, "CLM-7")
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	onEach(t, func(t *testing.T, m machine) {
		d := newDevice(t, m)
		d.configure(daemon.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM()})
		d.start()
		d.awaitKeys(tokenFor(server, 60))
		const year = 365 * 24 * 3600
		for _, life := range []int64{
			20 * year,         // exp beyond 2^31
			70 * year,         // lives longer than 2^31 s
			90 * year,         // exp beyond 2^32
			1<<32 - 1000,      // in 32 bits: expired a while ago
			1<<32 + 1000,      // in 32 bits: a short life
			1<<33 + 1<<31 + 7, // year 2364
		} {
			a := d.ask(tokenFor(server, life), "GET", self)
			a.want(t, fmt.Sprintf("a life of %d s", life), "allow 200", "ok")
			most := life
			if m.longBits == 32 {
				most = min(life, math.MaxInt32) // the client's long ends there: early, never late
			}
			got, err := strconv.ParseInt(a.lines["expires-in"], 10, 64)
			if err != nil || got > most || got < most-120 {
				t.Errorf("a life of %d s: expires in %d, %v; want about %d", life, got, err, most)
			}
		}
		// down to before 1970
		for _, life := range []int64{-1, -year, -20 * year, -(1<<32 - 1000), -(1<<32 + 1000), -(1 << 33)} {
			d.ask(tokenFor(server, life), "GET", self).want(t,
				fmt.Sprintf("a life of %d s", life), "deny 401", "token-expired")
		}
		d.stop()
	})
}

// Only the users that the configuration names are served (SO_PEERCRED).
func TestPeerCredentials(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		d := newDevice(t, m)
		d.configure(daemon.Config{Sockets: fmt.Sprintf("allow_uids = [%d]", os.Getuid()+1)})
		d.start()
		if a := d.ask("", "GET", "/"); a.exit != 2 || !strings.Contains(a.all, "the daemon closed the connection") {
			t.Errorf("a user who is not served: exit %d\n%s", a.exit, a.all)
		}
		d.stop()
	})
}

// The client's threads and forks, on the device's processor: each question gets its own answer.
func TestClient(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		d := newDevice(t, m)
		d.configure(daemon.Config{})
		d.start()
		// A value is x and its bytes in hexadecimal. "/" may be read by everybody, the other target needs a token.
		commands := fmt.Sprintf("threads 8 100 x%x x%x x%x -\non\nfork 100\nping\n", "GET", "/", self)
		out, exit := run(t, commands, m.qemu, m.program(t, "probe", probe), d.dir.Authz(), "30000")
		want := "init=0\n\nhalf=yes\n\nallowed=400\nwrong=0\nanswered=800\n\nparent=0\nchild=0\n\nerror=0\n\n"
		if out != want || exit != 0 {
			t.Errorf("exit %d, printed %q; want %q", exit, out, want)
		}
		d.stop()
	})
}
