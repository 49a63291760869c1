package system_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// ownToken asks for one of the device's own tokens.
func (b *box) ownToken(more ...string) firmware.Reply {
	b.t.Helper()
	r, err := b.packet.Ask(append([]string{"token 1"}, more...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	if (r.Verdict == firmware.Allow) != (r.AccessToken != "") {
		b.t.Fatalf("got %d %s with a token of %d bytes, want one with 200 and only then", r.Status, r.Reason,
			len(r.AccessToken))
	}
	return r
}

// eventuallyOwn waits longer than eventually: a device starts to register at random in its first 20 s, and makes a key.
func eventuallyOwn(t *testing.T, what string, done func() bool) {
	t.Helper()
	daemon.Eventually(t, 20*time.Second+3*patience, what, done)
}

// awaitOwnToken asks until there is a token.
func (b *box) awaitOwnToken(more ...string) (r firmware.Reply) {
	b.t.Helper()
	eventuallyOwn(b.t, "a token of the device's own", func() bool {
		r = b.ownToken(more...)
		if r.Status != 200 && (r.Status != 503 || r.Reason != "own-token-pending" || r.RetryAfter < 1) {
			b.t.Fatalf("got %d %s, retry-after %d, %s; want 503 own-token-pending until there is one", r.Status,
				r.Reason, r.RetryAfter, r.Detail)
		}
		return r.Status == 200
	})
	return r
}

// tokenAs runs the command as another user.
func tokenAs(t *testing.T, dir daemon.Dir, uid, gid uint32, groups ...uint32) result {
	t.Helper()
	c := exec.Command(program, "token", "--socket", dir.Authz(), "--scope", "registration")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
	return finish(t, c, "")
}

// keysOf reads the device's public keys on http.sock, as a server does by way of the maker's web server.
func keysOf(t *testing.T, dir daemon.Dir) func(string) ([]byte, error) {
	web := httpClient(dir.HTTP())
	t.Cleanup(web.CloseIdleConnections)
	return func(string) ([]byte, error) {
		answer, err := web.Get("http://localhost/jwks")
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK ||
			got != "application/jwk-set+json" {
			return nil, fmt.Errorf("%d %s", answer.StatusCode, got)
		}
		return io.ReadAll(answer.Body)
	}
}

// The firmware gets a token that it sends as it is: the server issued it, and nothing of it is anywhere but in the
// reply (CLI-13, CLI-69, OPS-2). The server reads the device's key from http.sock (CLI-67).
func TestOwnTokenIsGiven(t *testing.T) {
	spec.Rules(t, "CLI-13", "CLI-67", "CLI-69", "OPS-2")
	t.Parallel()
	dir := newDir(t)
	server := newServer(t, authserver.Options{FetchKeys: keysOf(t, dir)})
	c := clientOf(t,
		"keys = \"jwks_uri\"\njwks_uri = \"https://node-1.example.com/x-nmos-authd/jwks\"\n[log]\nlevel = \"debug\"\n"+
			"[audit]\nsinks = [\"log\"]\n", server)
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: c, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	r := b.awaitOwnToken("scope=registration", "resource=https://registry.example.com/x-nmos/registration")
	if r.Scope != "registration" || !r.Expires || r.ExpiresIn <= 0 || len(r.TokenID) != 32 {
		t.Errorf("got scope %q, expires-in %v, token-id %q", r.Scope, r.ExpiresIn, r.TokenID)
	}
	if got, err := b.packet.Ask("verify 1", "authorization=Bearer "+r.AccessToken); err != nil ||
		got.ClientID != server.Registered()[0].ID {
		t.Errorf("got %+v, %v; want a token that the server signed for client %s", got, err, server.Registered()[0].ID)
	}
	if v := server.Violations(); len(v) > 0 {
		t.Errorf("the server says: %s", strings.Join(v, "; "))
	}

	printed := command(t, "", "token", "--config", b.ConfigFile(), "--scope", "registration", "--wait", "20s")
	printed.check(t, 0, "e", "")
	if tok := strings.TrimSuffix(printed.out, "\n"); strings.ContainsAny(tok, " \n\t") || strings.Count(tok, ".") != 2 {
		t.Errorf("printed %q, want a token alone", printed.out)
	}
	_, status := b.admin("GET", "/status", "")
	_, metrics := b.admin("GET", "/metrics", "")
	eventually(t, "the record", func() bool { return strings.Contains(b.Log(), `"question":"token"`) })
	for name, text := range map[string]string{"log": b.Log(), "status": status, "metrics": metrics} {
		for _, tok := range []string{r.AccessToken, strings.TrimSpace(printed.out)} {
			for _, part := range strings.Split(tok, ".") {
				if strings.Contains(text, part) {
					t.Errorf("the %s holds a part of a token", name)
				}
			}
		}
	}
	want := `"question":"token","name":"registration","decision":"allow","status":200,"reason":"own-token"`
	if !strings.Contains(b.Log(), want) {
		t.Errorf("no record has %s", want)
	}
}

// Whom [client] does not name is given no token, and is answered whatever else it asks (CLI-69).
func TestOwnTokenIsForSome(t *testing.T) {
	spec.Rules(t, "CLI-69")
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can ask as another user")
	}
	dir := newDir(t)
	if err := os.Chmod(dir.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	server := newServer(t, authserver.Options{})
	c := clientOf(t, "", server)
	c.Sockets = fmt.Sprintf("group = \"%d\"", nobody)
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: c, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.awaitOwnToken("scope=registration")
	tokenAs(t, dir, nobody, nobody).check(t, 1, "", "own-token-caller")
	askAs(t, dir, nobody, nobody).check(t, 0, "allow 200\nreason=public\n", "")

	const further = 54321 // a group
	base := c.More
	for _, row := range []struct {
		more   string
		groups []uint32
		status int
	}{
		{fmt.Sprintf("allow_uids = [%d]\n", nobody), nil, 0},
		{"allow_uids = [1]\n", nil, 1},
		{fmt.Sprintf("group = \"%d\"\n", further), nil, 1},
		{fmt.Sprintf("group = \"%d\"\n", further), []uint32{further}, 0},
	} {
		c.More = base + row.more
		b.reload(c)
		if got := tokenAs(t, dir, nobody, nobody, row.groups...); got.status != row.status ||
			(got.out != "") != (row.status == 0) {
			t.Errorf("%s with groups %v: exit status %d with %d bytes printed, want %d; %s", row.more, row.groups,
				got.status, len(got.out), row.status, got.errors)
		}
	}
}

// Without a registration there is no token yet, and the answer says when to ask again and why there is none; a scope
// that is not configured never comes (CLI-10, CLI-69).
func TestOwnTokenPending(t *testing.T) {
	spec.Rules(t, "CLI-10", "CLI-69")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted)
	c := clientOf(t, "", server)
	c.More = strings.Replace(c.More, `, "events"`, "", 1)
	b := start(t, c)
	eventuallyOwn(t, "the reason", func() bool {
		r := b.ownToken("scope=registration")
		if r.Status != 503 || r.Reason != "own-token-pending" || r.RetryAfter < 1 {
			t.Fatalf("got %d %s, retry-after %d; want 503 own-token-pending", r.Status, r.Reason, r.RetryAfter)
		}
		return strings.Contains(r.Detail, "Host not trusted")
	})
	command(t, "", "token", "--config", b.ConfigFile(), "--scope", "registration", "--wait", "0s").check(t, 1, "",
		"Host not trusted")
	for _, r := range []firmware.Reply{b.ownToken("scope=node"), b.ownToken("scope=registration node")} {
		if r.Status != 403 || r.Reason != "own-token-scope" || !strings.Contains(r.Detail, "node") {
			t.Errorf("got %d %s %s, want 403 own-token-scope", r.Status, r.Reason, r.Detail)
		}
	}
	command(t, "", "token", "--config", b.ConfigFile(), "--scope", "node").check(t, 1, "", "(own-token-scope)")

	waiting := start(t, clientOf(t, "", newServer(t, authserver.Options{}))) // the command waits for the first token
	finish(t, exec.Command(program, "token", "--config", waiting.ConfigFile(), "--scope", "registration", "--wait",
		"2m"), "").
		check(t, 0, "e", "")

	none := start(t, trusting(t, server))
	if r := none.ownToken("scope=registration"); r.Status != 403 || r.Reason != "own-token-scope" {
		t.Errorf("a device that is not a client: got %d %s, want 403 own-token-scope", r.Status, r.Reason)
	}
}

// Once the server is lost the token that is held is given until it ends, and then none (CLI-58).
func TestOwnTokenOutlivesItsServer(t *testing.T) {
	spec.Rules(t, "CLI-58")
	t.Parallel()
	const life = 15 * time.Second
	server := newServer(t, authserver.Options{Life: life})
	b := start(t, clientOf(t, "", server))
	b.awaitOwnToken("scope=registration")
	server.Misbehave(authserver.PathToken, authserver.ServerError)
	after := len(b.Log())
	held := b.ownToken("scope=registration")
	b.waitLog(after, "as an OAuth client") // a renewal failed, so no other token comes from now on
	asked := time.Now()
	end := asked // of a token that has ended before it could be asked for, on a busy machine
	if r := b.ownToken("scope=registration"); r.Status == 200 {
		held, end = r, asked.Add(r.ExpiresIn)
	}
	eventuallyOwn(t, "the end of the token", func() bool {
		before := time.Now()
		r := b.ownToken("scope=registration")
		if r.Status == 200 && r.AccessToken != held.AccessToken {
			t.Fatal("got another token, from a server that gives none")
		}
		if r.Status != 200 && time.Until(end) > 2*time.Second {
			t.Fatalf("got %d %s, %s after %v, want the token until it ends", r.Status, r.Reason, r.Detail,
				before.Sub(asked))
		}
		return r.Status == 503 && r.Reason == "own-token-pending" && strings.Contains(r.Detail, "500")
	})
	server.Behave()
	if r := b.awaitOwnToken("scope=registration"); r.AccessToken == held.AccessToken {
		t.Error("got a token that has ended")
	}
}

// A server that grants less than was asked for is taken at its word: the reply says what the token is good for
// (CLI-56).
func TestOwnTokenOfLessScope(t *testing.T) {
	spec.Rules(t, "CLI-56")
	t.Parallel()
	server := newServer(t, authserver.Options{Policy: func(_ authserver.RegisteredClient, _,
		api string) (mint.Permission, bool) {
		return mint.Everything, api == "registration"
	}})
	b := start(t, clientOf(t, "", server)) // with both scopes
	if r := b.awaitOwnToken("scope=registration events"); r.Scope != "registration" {
		t.Errorf("got the scope %q, want registration", r.Scope)
	}
	eventuallyOwn(t, "the reason why there is none for events", func() bool {
		r := b.ownToken("scope=events")
		return r.Status == 503 && r.Reason == "own-token-pending" && strings.Contains(r.Detail, "invalid_scope")
	})
}

// A token that a registry refused is replaced, the first time immediately; another one that is refused, too, has to
// wait (CLI-14).
func TestRefusedOwnToken(t *testing.T) {
	spec.Rules(t, "CLI-14")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	first := b.awaitOwnToken("scope=registration")
	sum := sha256.Sum256([]byte(first.AccessToken))
	if want := hex.EncodeToString(sum[:16]); first.TokenID != want {
		t.Errorf("the token-id is %s, want %s", first.TokenID, want)
	}
	requests := server.Requests(authserver.PathToken)
	second := b.awaitOwnToken("scope=registration", "refused="+first.TokenID)
	if n := server.Requests(authserver.PathToken) - requests; second.AccessToken == first.AccessToken || n != 1 {
		t.Errorf("got the token that was refused: %v, after %d requests; want another, after 1",
			second.AccessToken == first.AccessToken, n)
	}
	// Another thread reports the first one, too: it is given the second, and nothing is fetched.
	if r := b.ownToken("scope=registration", "refused="+first.TokenID); r.AccessToken != second.AccessToken {
		t.Errorf("got %d %s, want the second token", r.Status, r.Reason)
	}
	reported := time.Now()
	r := b.ownToken("scope=registration", "refused="+second.TokenID)
	for range 3 {
		r = b.ownToken("scope=registration", "refused="+second.TokenID)
	}
	n := server.Requests(authserver.PathToken) - requests
	if time.Since(reported) > 7*time.Second {
		t.Skip("this machine is too slow to see the back-off of 8 s and more")
	}
	if r.Status != 503 || r.Reason != "own-token-pending" || n != 1 {
		t.Errorf("got %d %s after %d requests, want 503 own-token-pending after 1", r.Status, r.Reason, n)
	}
	// Who does not report it is given it: another server may well take it.
	if r := b.ownToken("scope=registration"); r.AccessToken != second.AccessToken {
		t.Errorf("got %d %s, want the second token", r.Status, r.Reason)
	}
	// The command names a token by its digest.
	refused := filepath.Join(t.TempDir(), "refused")
	if err := os.WriteFile(refused, []byte(first.AccessToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, second.AccessToken, "token", "--config", b.ConfigFile(), "--scope", "registration", "--refused",
		refused)
	got.check(t, 0, second.AccessToken, "")
	command(t, second.AccessToken, "token", "--config", b.ConfigFile(), "--scope", "registration", "--refused", "-",
		"--wait", "0s").
		check(t, 1, "", "a server refused the token, and another is not there yet (own-token-pending); ask again in ")
}

// What the command says if it is used wrongly, or the daemon is not there. No argument of it is ever a token.
func TestOwnTokenCommand(t *testing.T) {
	spec.Rules(t, "CLI-69")
	t.Parallel()
	for _, c := range []struct {
		args      string
		complaint string
	}{
		{"token", "token takes --scope, such as --scope registration"},
		{"token registration", "too few or too many arguments"},
		{"token --scope registration --socket /no/such/socket",
			"cannot ask the daemon: dial unixpacket /no/such/socket"},
		{"token --scope registration --config /no/such/file", "/no/such/file"},
		{"token --scope registration --socket /x --refused /no/such/file",
			`--refused takes a file, not the token; "-" reads standard input: no such file`},
		{"token --scope registration --wait soon", `invalid value "soon"`},
	} {
		command(t, "", strings.Fields(c.args)...).check(t, 2, "", c.complaint)
	}
	b := start(t, trusting(t))
	command(t, "", "token", "--socket", b.Authz(), "--scope", "a  b").check(t, 2, "",
		"no token: error 400 scope (packet-value)")
}

// http.sock gives nobody a token, and its keys to everybody, as they are published: with nothing private (CLI-65).
func TestOwnKeysOnHTTP(t *testing.T) {
	spec.Rules(t, "CLI-67", "CLI-65")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	b.awaitOwnToken("scope=registration")
	answer, err := b.http.Get("http://localhost/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var set struct{ Keys []map[string]any }
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%d keys, %v, want 1", len(set.Keys), err)
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
		if set.Keys[0][private] != nil {
			t.Errorf("the key is published with %s", private)
		}
	}
	age, found := strings.CutPrefix(answer.Header.Get("Cache-Control"), "max-age=")
	if n, err := strconv.Atoi(age); !found || err != nil || n > 5 {
		t.Errorf("Cache-Control is %q, want max-age of 5 at most", answer.Header.Get("Cache-Control"))
	}
	if got, err := b.http.Get("http://localhost/token"); err != nil || got.StatusCode != 404 {
		t.Errorf("GET /token: %v, %v; want 404", got, errors.Join(err))
	}
}
