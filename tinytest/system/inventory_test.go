package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// resource asks in the device's own terms.
func (b *box) resource(kind, name, access, token string) string {
	b.t.Helper()
	lines := []string{"resource 1", "kind=" + kind, "name=" + name, "access=" + access}
	if token != "" {
		lines = append(lines, "authorization=Bearer "+token)
	}
	r, err := b.packet.Ask(lines...)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s %s", r.Status, r.Reason, r.Path)
}

// wantResource asks and compares status, reason and path.
func (b *box) wantResource(kind, name, access, token, want string) {
	b.t.Helper()
	if got := b.resource(kind, name, access, token); got != want {
		b.t.Errorf("%s %s %s: %s, want %s", access, kind, name, got, want)
	}
}

// metered is an inventory of one meter at this path below the events API.
func metered(path string) string {
	return fmt.Sprintf("{\"resources\": [\n"+
		"{\"kind\": \"meter\", \"name\": \"in-1\", \"read\": \"/x-nmos/events/v1.0/%s\"}\n]}", path)
}

// replaceFile writes a file as firmware should: beside it, and renamed.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// awaitPath waits until the meter stands for a path.
func (b *box) awaitPath(path string) {
	b.t.Helper()
	eventually(b.t, path, func() bool {
		return strings.HasSuffix(b.resource("meter", "in-1", "read", ""), " /x-nmos/events/v1.0/"+path)
	})
}

// The firmware writes a file: it is noticed when it comes, when it changes, and when it is broken, which changes
// nothing.
func TestInventoryFile(t *testing.T) {
	spec.Rules(t, "PATH-5", "PATH-11")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	if err := os.Mkdir(dir.File("firmware"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir.File("firmware/inventory.json")
	config := trusting(t, server)
	config.More = fmt.Sprintf("[inventory]\nfile = %q\n", path)
	config.Admin = true
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	command(t, "", "check-config", "--config", dir.ConfigFile()).check(t, 0, "good", path+" does not exist yet")
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	tok := server.Token(mint.Options{Permissions: map[string]mint.Permission{
		"events": {Read: []string{"sources/1/*"}}}}).Sign()
	b.wantResource("meter", "in-1", "read", tok, "503 inventory-pending ")

	replaceFile(t, path, metered("sources/1/state"))
	b.awaitPath("sources/1/state")
	b.wantResource("meter", "in-1", "read", tok, "200 ok /x-nmos/events/v1.0/sources/1/state")
	b.wantResource("meter", "in-1", "write", tok, "403 resource-unknown ")
	b.wantResource("meter", "in-2", "read", tok, "403 resource-unknown ")
	b.wantResource("meter", "in-1", "read", "", "401 no-token /x-nmos/events/v1.0/sources/1/state")
	command(t, "", "check-config", "--config", dir.ConfigFile()).check(t, 0, "good", "")

	replaceFile(t, path, metered("sources/2/state"))
	b.awaitPath("sources/2/state")
	b.wantResource("meter", "in-1", "read", tok, "403 path-not-granted /x-nmos/events/v1.0/sources/2/state")

	// Half a document, in place: the old one stays, and once nothing more comes the log says so, once.
	after := len(b.Log())
	if err := os.WriteFile(path, []byte(metered("sources/3/state")[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	b.waitLog(after, "inventory not read; what was in force stays")
	b.wantResource("meter", "in-1", "read", tok, "403 path-not-granted /x-nmos/events/v1.0/sources/2/state")
	command(t, "", "check-config", "--config", dir.ConfigFile()).check(t, 1, "", path+": line ")
	after = len(b.Log())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.waitLog(after, "no such file")
	b.wantResource("meter", "in-1", "read", tok, "403 path-not-granted /x-nmos/events/v1.0/sources/2/state")
	b.hangUp("no such file") // SIGHUP reads again, and finds nothing
	b.wantResource("meter", "in-1", "read", tok, "403 path-not-granted /x-nmos/events/v1.0/sources/2/state")
	replaceFile(t, path, metered("sources/1/level"))
	b.awaitPath("sources/1/level")
	if n := strings.Count(b.Log(), "inventory not read"); n != 4 { // at the start, half a document, gone, SIGHUP
		t.Errorf("%d lines about it", n)
	}

	// Pushing has no place beside a file, and the configuration may change over to it.
	if status, body := b.admin("PUT", "/inventory", metered("sources/9/state")); status != 409 ||
		!strings.Contains(body, path) {
		t.Errorf("pushed beside a file: %d %s", status, body)
	}
	config.More = ""
	b.reload(config)
	b.wantResource("meter", "in-1", "read", tok, "503 inventory-pending ")
}

// What is pushed is in force immediately, outlives a restart and a power cut, and is in force before anything is asked.
func TestInventoryPushed(t *testing.T) {
	spec.Rules(t, "PATH-11")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	config := trusting(t, server)
	config.State, config.Admin = dir.File("state"), true
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	tok := server.Token(mint.Options{}).Sign()
	if status, body := b.admin("GET", "/inventory", ""); status != 404 || !strings.Contains(body, "inventory-pending") {
		t.Errorf("before: %d %s", status, body)
	}
	if status, body := b.admin("PUT", "/inventory",
		"{\"resources\": [\n{\"kind\": \"meter\", \"name\": 1}]}"); status != 400 ||
		!strings.Contains(body, `line 2: resource 1, meter \"1\": id is missing`) {
		t.Errorf("a mistake: %d %s", status, body)
	}
	b.wantResource("meter", "in-1", "read", tok, "503 inventory-pending ")
	if status, body := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 || body != "" {
		t.Errorf("%d %s", status, body)
	}
	b.wantResource("meter", "in-1", "read", tok, "200 ok /x-nmos/events/v1.0/sources/1/state")
	if status, body := b.admin("GET", "/inventory", ""); status != 200 || body != metered("sources/1/state") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := b.admin("PUT", "/inventory", "{"); status != 400 {
		t.Errorf("broken: %d", status)
	}
	b.hangUp("configuration reread")
	b.wantResource("meter", "in-1", "read", tok, "200 ok /x-nmos/events/v1.0/sources/1/state")

	file := filepath.Join(config.State, "inventory")
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("kept as %v, %v", info, err)
	}
	b.Kill()
	b.Daemon = startIn(t, dir)
	b.wantResource("meter", "in-1", "read", tok, "200 ok /x-nmos/events/v1.0/sources/1/state")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(file); err != nil || !os.SameFile(info, again) {
		t.Errorf("written again without need: %v", err)
	}
	for _, slot := range []string{file, file + ".2"} {
		if err := os.WriteFile(slot, []byte("\x00\x00\x00\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.Daemon = startIn(t, dir)
	b.wantResource("meter", "in-1", "read", tok, "503 inventory-pending ")
	b.waitLog(0, "a state file is not used")
}

// The command asks as firmware does (protocol §4).
func TestAskResource(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	tok := file(t, "token", server.Token(mint.Options{}).Sign())
	ask := func(status int, out string, args ...string) {
		t.Helper()
		command(t, "", append([]string{"ask", "--socket", b.Authz(), "--timeout", "20s"}, args...)...).check(t, status,
			out, "")
	}
	ask(1, "deny 503\nreason=inventory-pending\nerror=this device's inventory has not been read or pushed yet\n"+
		"retry-after=2\n", "--resource", "meter", "in-1", "read")
	if status, body := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 {
		t.Fatalf("got %d %s, want 204", status, body)
	}
	ask(0, "path=/x-nmos/events/v1.0/sources/1/state\n", "--token", tok, "--resource", "meter", "in-1", "read")
	ask(1, "deny 403\nreason=resource-unknown\nerror=", "--token", tok, "--resource", "meter", "in-1", "write")
	ask(1, "deny 401\nreason=no-token\n", "--resource", "meter", "in-1", "read")
	ask(2, "error 400\nreason=packet-value\n", "--resource", "meter", "in-1", "own")
}

// Observe says what enforce would answer, and lets pass (OPS-3).
func TestInventoryModes(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin, config.Mode = true, "observe"
	b := start(t, config)
	would := func(want string) {
		t.Helper()
		r, err := b.packet.Ask("resource 1", "kind=meter", "name=in-1", "access=read")
		if err != nil || !r.Allowed() || r.Would != want {
			t.Errorf("%+v, %v, want %s", r, err, want)
		}
	}
	would("503 inventory-pending")
	b.admin("PUT", "/inventory", metered("sources/1/state"))
	would("401 no-token")
	config.Mode = "off"
	b.reload(config)
	would("")
	config.Mode = "enforce"
	b.reload(config)
	b.wantResource("meter", "in-1", "read", "", "401 no-token /x-nmos/events/v1.0/sources/1/state")
}

// Thousands of resources are pushed in one go, and asked for like one.
func TestThousandsOfResources(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	config.Admin = true
	b := start(t, config)
	var text strings.Builder
	const n = 16384
	for i := range n {
		fmt.Fprintf(&text, ",\n{\"kind\": \"meter\", \"name\": %d, \"id\": \"6f1e0000-0000-4000-8000-%012x\"}", i, i)
	}
	if status, body := b.admin("PUT", "/inventory", `{"resources": [`+text.String()[1:]+`]}`); status != 204 {
		t.Fatalf("got %d %s, want 204", status, body)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		b.wantResource("meter", fmt.Sprint(i), "read", "",
			fmt.Sprintf("401 no-token /x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-%012x/state", i))
	}
	b.wantResource("meter", fmt.Sprint(n), "read", "", "401 no-token ")
	if status, body := b.admin("PUT", "/inventory",
		`{"resources": [`+text.String()[1:]+`,{"kind": "meter", "name": "one more", "read": "/"}]}`); status != 400 ||
		!strings.Contains(body, "more than 16384 resources") {
		t.Errorf("one more: %d %s", status, body)
	}
}
