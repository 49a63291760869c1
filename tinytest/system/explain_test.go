package system_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// On the device the daemon's keys are at hand: a forged token is told from a good one, without the keys in a file.
func TestExplainByTheDaemonsKeys(t *testing.T) {
	spec.Rules(t, "TOK-6")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	forged := everything(server)
	forged.Key = mint.CachedKey("attacker", 2048)
	for _, c := range []struct {
		name, token string
		status      int
		says        string
	}{
		{"good", everything(server).Sign(), 0, "one of the 1 keys that the daemon holds verifies the signature"},
		{"forged", forged.Sign(), 1, "none of the 1 keys that the daemon holds"},
	} {
		r := command(t, c.token, "explain", "--config", b.ConfigFile(), "GET", senders)
		r.check(t, c.status, c.says, "")
		if strings.Contains(r.out, "not checked") {
			t.Errorf("TOK-6: %s: the signature is not checked:\n%s", c.name, r.out)
		}
	}
}

// A denial in the log is explained by its number, and the claim that is said to be missing fixes it: put into a token,
// and beforehand as a question what would be.
func TestExplainDenial(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	token := server.Token(mint.Options{Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}}}}).Sign()
	b.want(question{method: "PATCH", target: receiver}.bearing(token), 403, "path-not-granted")
	b.want(get(receiver), 401, "no-token")
	b.want(get(receiver).bearing(token), 200, "ok")

	explained := func(seq, status int, says string) string {
		t.Helper()
		var r result
		eventually(t, "the record", func() bool { // it is there a few milliseconds after the answer
			r = command(t, "", "explain", "--config", b.ConfigFile(), "--seq", fmt.Sprint(seq))
			return !strings.Contains(r.errors, "the daemon remembers ")
		})
		r.check(t, status, says, "")
		if leak := leaked(r.out, token); leak != "" {
			t.Errorf("it prints %q of the token", leak)
		}
		return r.out
	}
	explained(2, 1, "deny 401 no-token")
	explained(3, 0, "allow 200 ok")
	out := explained(1, 1, "rule PATH-5 (IS-10 Access Tokens)")
	_, text, _ := strings.Cut(out, "\nMissing: ")
	text, _, _ = strings.Cut(text, "\n")
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &claims); err != nil || len(claims) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	r := command(t, text, "explain", "--config", b.ConfigFile(), "--claims", "-", "PATCH", receiver)
	r.check(t, 0, "Left out, and taken as good: aud, client_id, exp, iss, sub.", "")
	r = command(t, text, "explain", "--config", b.ConfigFile(), "--claims", "-", "GET", receiver)
	r.check(t, 1, `Missing: {"x-nmos-connection":{"read":["single/receivers/`, "")
	fixed := server.Token(mint.Options{})
	fixed.Claims.SetRaw("x-nmos-connection", string(claims["x-nmos-connection"]))
	b.want(question{method: "PATCH", target: receiver}.bearing(fixed.Sign()), 200, "ok")

	for _, c := range []struct {
		args      []string
		complaint string
	}{
		{[]string{"--seq", "1000"}, "decision 1000: the daemon remembers decisions 1 to "},
		{[]string{"--seq", "0"}, "decision 0: the daemon remembers decisions 1 to "},
		{[]string{"--seq", "x"}, `invalid value "x"`},
		{[]string{"--seq", "1", "GET", "/"}, "--seq takes no METHOD and TARGET"},
		{[]string{"--seq", "1", "--token", "-"}, "no other flag than --config"},
		{[]string{"--claims", "-", "--token", "-"}, "--claims replaces a token"},
		{[]string{"--claims", "-"}, "standard input is empty"},
		{[]string{"--claims", file(t, "claims", "[]")}, "the claims are not a plain JSON object"},
		{[]string{"--claims", file(t, "claims", strings.Repeat(" ", 70_000))}, "is over 65536 bytes"},
		{[]string{"--claims", "/no/such/file"}, "--claims takes a file, not the claims"},
	} {
		args := append([]string{"explain", "--config", b.ConfigFile()}, c.args...)
		command(t, "", args...).check(t, 2, "", c.complaint)
	}
	dir := newDir(t)
	if err := dir.Write(daemon.Config{Admin: true}); err != nil {
		t.Fatal(err)
	}
	command(t, "", "explain", "--seq", "1", "--config", dir.ConfigFile()).check(t, 2, "", dir.Admin())
}

// The running daemon's inventory says what a resource is, and commands and sockets are explained, too (CTL-86, CTL-40).
func TestExplainCommandAndResource(t *testing.T) {
	spec.Rules(t, "CTL-40", "CTL-86")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	token := server.Token(mint.Options{Permissions: map[string]mint.Permission{
		"control": {Read: []string{"root.meters.in-1"}}}}).Sign()
	explained := func(status int, says string, args ...string) {
		t.Helper()
		command(t, token,
			append([]string{"explain", "--config", b.ConfigFile()}, args...)...).check(t, status, says, "")
	}
	if got := command(t, token, "explain", "--config", b.ConfigFile(), "--resource", "meter", "in-1",
		"read"); got.status != 2 {
		t.Errorf("without an inventory: got exit %d, want 2: %s", got.status, got.errors)
	}
	if status, body := b.admin("PUT", "/inventory",
		`{"resources": [{"kind": "meter", "name": "in-1", "control": "root.meters.in-1"}]}`); status/100 != 2 {
		t.Fatalf("pushed: %d %s", status, body)
	}
	explained(0, `it stands for "root.meters.in-1"`, "--resource", "meter", "in-1", "read")
	explained(1, `Missing: {"x-nmos-control":{"write":["root.meters.in-1"]}}`, "--resource", "meter", "in-1", "write")
	explained(0, `the inventory calls it "meter" "in-1"`, "--command", "1.2.0.1", "1m1", "root.meters.in-1")
	explained(1, "asks to write", "--command", "1.2.0.1", "1m2", "root.meters.in-1")
	explained(1, "api-not-granted", "--upgrade", "websocket", "GET", "/x-nmos/query/v1.3")
	for _, wrong := range [][]string{{"--command", "1", "1m1"}, {"--resource", "a", "b", "c"},
		{"--command", "--resource", "a", "b", "read"},
		{"--command", "x", "1m1", "root"}, {"GET", "/", "/"}, {"--command", "--upgrade",
			"websocket", "1", "1m1", "root"},
		{"--model", "slot2B", "GET", "/"}, {"--command", "--model", "slot2B", "1", "1m1", "root"}} {
		if got := command(t, token,
			append([]string{"explain", "--config", b.ConfigFile()}, wrong...)...); got.status != 2 || got.errors == "" {
			t.Errorf("%q: got exit %d, want 2: %s", wrong, got.status, got.errors)
		}
	}
}
