package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	report "nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// clientOf is the configuration of a device that is an OAuth client, with a state folder of its own.
func clientOf(t *testing.T, more string, servers ...*authserver.Server) daemon.Config {
	t.Helper()
	c := trusting(t, servers...)
	c.Admin, c.State = true, filepath.Join(t.TempDir(), "state")
	c.More = "[client]\nscopes = [\"registration\", \"events\"]\n" + more
	return c
}

// secretFile writes a file that only its owner may read.
func secretFile(t *testing.T, path, secret string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// client runs a subcommand of "nmos-authd client".
func (b *box) client(what string, args ...string) result {
	b.t.Helper()
	return command(b.t, "", append([]string{"client", what, "--config", b.ConfigFile()}, args...)...)
}

// register has the device registered now.
func (b *box) register() {
	b.t.Helper()
	b.client("register").check(b.t, 0, "The device is registered", "")
}

// clientStatus is the daemon's status as an OAuth client.
func (b *box) clientStatus() report.Client {
	b.t.Helper()
	code, text := b.admin("GET", "/status", "")
	s, err := report.Parse([]byte(text))
	if code != 200 || err != nil {
		b.t.Fatalf("%d, %v: %s", code, err, text)
	}
	return s.Client
}

// accessToken asks for the device's own token until there is one, and returns it.
func (b *box) accessToken(scope string) string {
	b.t.Helper()
	token := ""
	eventually(b.t, "a token for "+scope, func() bool {
		r, err := b.packet.Ask("token 1", "scope="+scope)
		if err != nil {
			b.t.Fatal(err)
		}
		token = r.AccessToken
		return token != ""
	})
	return token
}

// noViolations fails the test if a message that left the device was not as it must be.
func noViolations(t *testing.T, servers ...*authserver.Server) {
	t.Helper()
	for _, s := range servers {
		if v := s.Violations(); len(v) > 0 {
			t.Errorf("the server says: %s", strings.Join(v, "; "))
		}
	}
}

// The device registers once, whatever ends the daemon, and gets its tokens by that registration (CLI-30, CLI-31,
// CLI-36).
func TestClientRegistersOnce(t *testing.T) {
	spec.Rules(t, "CLI-36")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	b.register()
	b.accessToken("registration")
	at := server.Registered()
	if len(at) != 1 || at[0].Name == "" || at[0].Scope != "events registration" ||
		at[0].AuthMethod != "private_key_jwt" {
		t.Fatalf("registered: %+v", at)
	}
	kept, err := filepath.Glob(filepath.Join(b.config.State, "client*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	for _, file := range kept {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v; want 0600 (CLI-4)", file, info.Mode(), err)
		}
	}
	for range 2 {
		b.again(nil) // the power is cut
		if s := b.clientStatus(); s.Registrations != 0 {
			t.Errorf("registered again: %+v", s)
		}
		b.register()
		b.accessToken("registration events")
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	b.again(nil)
	b.register()
	b.client("status").check(t, 0, "registered at "+server.Issuer(), "")
	if s := b.clientStatus(); !s.Registered || len(s.Clients) != 1 ||
		s.Clients[0].ClientID != at[0].ID || s.Trouble != "" {
		t.Errorf("status %+v, want client %s", s, at[0].ID)
	}
	if n := server.Registrations(); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
	noViolations(t, server)
}

// A power cut between the server's answer and the write leaves one client behind, is told, and makes only one more.
func TestClientPowerCut(t *testing.T) {
	spec.Rules(t, "CLI-36")
	t.Parallel()
	server := newServer(t, authserver.Options{Drip: time.Minute})
	server.Misbehave(authserver.PathRegister, authserver.Drip) // before its turn comes
	b := start(t, clientOf(t, "", server))
	done := make(chan struct{})
	go func() {
		defer close(done)
		command(t, "", "client", "register", "--config", b.ConfigFile()) // the daemon will not live to answer
	}()
	eventually(t, "the server has registered it", func() bool { return server.Registrations() == 1 })
	b.Kill()
	<-done
	server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted)
	b.again(nil)
	b.client("register").check(t, 1, "", "HTTP 403")
	text := strings.Join(strings.Fields(b.client("status").out), " ")
	if !strings.Contains(text, "a registration was sent and not answered: one may be left at the server") {
		t.Errorf("client status: %s", text)
	}
	server.Behave()
	b.register()
	b.again(nil)
	b.register()
	if n := server.Registrations(); n != 2 {
		t.Errorf("%d registrations, want 2: one for the power cut, and one that is kept", n)
	}
	b.accessToken("events")
	noViolations(t, server)
}

// Without a folder for the registration none is made: each start would leave another one at the server.
func TestClientWithoutState(t *testing.T) {
	spec.Rules(t, "CLI-36")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	for name, c := range map[string]struct{ dir, says string }{
		"none":    {"", "[state] dir is empty"},
		"missing": {filepath.Join(t.TempDir(), "not", "there"), "the directory and its parent do not exist"},
	} {
		config := clientOf(t, "", server)
		config.State = c.dir
		b := start(t, config)
		r := b.client("register")
		r.check(t, 1, "", c.says)
		b.client("status").check(t, 1, "at "+server.Issuer(), "")
		if s := b.clientStatus(); s.Registered || !strings.Contains(s.Error, c.says) {
			t.Errorf("%s: status %+v", name, s)
		}
		if c.dir == "" { // by hand, nothing has to be kept
			if err := server.GiveClient("by-hand", "events registration", "s3cret-by-hand", nil); err != nil {
				t.Fatal(err)
			}
			config.More += fmt.Sprintf("client_id = \"by-hand\"\nclient_secret_file = %q\n",
				secretFile(t, b.File("secret"), "s3cret-by-hand"))
			b.reload(config)
			b.register()
			b.accessToken("events")
		}
	}
	if n := server.Registrations(); n != 0 {
		t.Errorf("%d registrations, want 0", n)
	}
	noViolations(t, server)
}

// Another secret in the file counts from SIGHUP on; one that others may read is refused, and nothing of it is said.
func TestClientSecretFile(t *testing.T) {
	spec.Rules(t, "CLI-4")
	t.Parallel()
	server := newServer(t, authserver.Options{InitialToken: "initial-token-Zq81Lw5x"})
	path := secretFile(t, filepath.Join(t.TempDir(), "initial"), "wrong-token-Zq81Lw5x")
	config := clientOf(t, fmt.Sprintf("initial_access_token_file = %q\n", path), server)
	b := start(t, config)
	b.client("register").check(t, 1, "", "HTTP 401 Unauthorized: invalid_token")
	secretFile(t, path, "two-Zq81Lw5x words")
	if r := command(t, "", "check-config", "--config", b.ConfigFile()); r.status != 1 ||
		!strings.Contains(r.errors, path+" holds a blank") {
		t.Errorf("check-config of a token with a blank: got %d, %q; want 1, that it holds one", r.status, r.errors)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	says := "[client] initial_access_token_file: " + path + " has mode 0644"
	r := command(t, "", "check-config", "--config", b.ConfigFile())
	if r.status != 1 ||
		!regexp.MustCompile(regexp.QuoteMeta(b.ConfigFile())+`:\d\d: `+regexp.QuoteMeta(says)).MatchString(r.errors) {
		t.Errorf("check-config: %d, %s; want 1, the line and %s", r.status, r.errors, says)
	}
	b.hangUp("configuration not reread")
	if _, text := b.admin("GET", "/status", ""); !strings.Contains(text, says) {
		t.Errorf("status says %s, want %s", text, says)
	}
	b.again(nil) // started with it, the daemon decides, and is not a client
	if s := b.clientStatus(); s.Phase != "broken" || !strings.Contains(s.Error, says) {
		t.Errorf("status %+v, want %s", s, says)
	}
	b.client("register").check(t, 1, "", says)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	secretFile(t, path, "initial-token-Zq81Lw5x")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	b.hangUp("configuration reread")
	b.register()
	if n := server.Registrations(); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
	if text := b.Log(); strings.Contains(text, "Zq81Lw5x") {
		t.Errorf("a secret is in the log: %s", text)
	}
	noViolations(t, server)
}

// The secret of a client that was made by hand is read again at SIGHUP, too.
func TestClientSecretChanges(t *testing.T) {
	spec.Rules(t, "CLI-4")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	if err := server.GiveClient("node 1", "events registration", "new~+ %:secret", nil); err != nil {
		t.Fatal(err)
	}
	path := secretFile(t, filepath.Join(t.TempDir(), "secret"), "old-secret")
	b := start(t, clientOf(t, fmt.Sprintf("client_id = \"node 1\"\nclient_secret_file = %q\n", path), server))
	b.register()
	eventually(t, "the old secret is refused", func() bool {
		if _, err := b.packet.Ask("token 1", "scope=events"); err != nil {
			t.Fatal(err)
		}
		s := b.clientStatus()
		return len(s.Tokens) == 1 && strings.Contains(s.Tokens[0].Error, "invalid_client")
	})
	secretFile(t, path, "new~+ %:secret")
	b.hangUp("configuration reread")
	b.accessToken("events")
	if n := server.Registrations(); n != 0 {
		t.Errorf("%d registrations, want 0", n)
	}
	noViolations(t, server)
}

// Of two servers the device registers at one, and stays there over restarts, whichever answers: another client_id would
// lock it out of the registry (CLI-11, CLI-24). A registration is kept for each issuer.
func TestClientTwoServers(t *testing.T) {
	spec.Rules(t, "CLI-11", "CLI-24")
	t.Parallel()
	first, second := newServer(t, authserver.Options{}), newServer(t, authserver.Options{})
	config := clientOf(t, "", first, second)
	b := start(t, config)
	b.register()
	for _, path := range []string{
		authserver.PathMetadata, authserver.PathJWKS, authserver.PathRegister, authserver.PathToken,
	} {
		first.Misbehave(path, authserver.Reset)
	}
	b.again(nil)
	config.Servers = []string{second.Issuer(), first.Issuer()}
	b.reload(config)
	b.client("register", second.Issuer()).check(t, 1, "", "a client of \""+first.Issuer()+"\"")
	b.register() // it is registered, though its server does not answer
	if a, b := first.Registrations(), second.Registrations(); a != 1 || b != 0 {
		t.Errorf("%d and %d registrations, want 1 and 0", a, b)
	}
	config.Servers = []string{second.Issuer()}
	b.reload(config)
	b.register()
	r := b.client("status")
	r.check(t, 0, "registered at "+second.Issuer(), "")
	r.check(t, 0, "also known to "+first.Issuer(), "")
	first.Behave()
	config.More += fmt.Sprintf("issuer = %q\n", first.Issuer())
	b.reload(config)
	b.register()
	b.accessToken("events")
	if a, b := first.Registrations(), second.Registrations(); a != 1 || b != 1 {
		t.Errorf("%d and %d registrations, want 1 and 1", a, b)
	}

	// Each can be forgotten alone, the other one's included.
	b.client("forget", second.Issuer()).check(t, 0, "Forgotten, here and at the server", "")
	b.client("forget", second.Issuer()).check(t, 1, "", "there is no such client")
	if a, b := len(first.Registered()), len(second.Registered()); a != 1 || b != 0 {
		t.Errorf("%d and %d clients at the servers, want 1 and 0", a, b)
	}
	b.accessToken("registration")
	noViolations(t, first, second)
}

// What is forgotten is removed at the server, its tokens are revoked, and the device registers again when it is told to
// (CLI-43, CLI-59). What stays behind is said.
func TestClientForget(t *testing.T) {
	spec.Rules(t, "CLI-43")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	r := b.client("forget", "https://elsewhere.example.com")
	r.check(t, 1, "", "there is no such client")
	if strings.Contains(r.errors, "not known") {
		t.Errorf("got %q, which says it twice", r.errors)
	}
	b.register()
	token := b.accessToken("registration")
	b.client("forget").check(t, 0, "Forgotten, here and at the server", "")
	if at, revoked := server.Registered(), server.Revoked(); len(at) != 0 || len(revoked) != 1 || revoked[0] != token {
		t.Errorf("left at the server: %+v; %d tokens are revoked", at, len(revoked))
	}
	b.waitLog(0, "the client is forgotten, as asked on the admin socket")
	b.client("status").check(t, 1, "forgotten at "+server.Issuer(), "")
	if r, err := b.packet.Ask("token 1", "scope=registration"); err != nil || r.AccessToken != "" ||
		!strings.Contains(r.Detail, "forgotten by an administrator") {
		t.Errorf("asked for a token: %v, %q", err, r.Detail)
	}
	b.hangUp("configuration reread") // which alone is not being told to
	if s := b.clientStatus(); s.Phase != "forgotten" || server.Registrations() != 1 {
		t.Errorf("status %+v, %d registrations", s, server.Registrations())
	}
	b.register()
	b.accessToken("registration")
	server.Misbehave(authserver.PathClient, authserver.ServerError)
	r = b.client("forget")
	r.check(t, 1, "", "forgotten by this device, but: removal of the registration")
	server.Behave()
	b.register()
	if n := server.Registrations(); n != 3 {
		t.Errorf("%d registrations, want 3", n)
	}
	noViolations(t, server)
}

// A refusal is told in words that name the server's own setting, and is no reason to be degraded: decisions go on.
func TestClientRefused(t *testing.T) {
	spec.Rules(t, "CLI-35")
	t.Parallel()
	server := newServer(t, authserver.Options{Kind: authserver.Keycloak})
	server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted) // before its turn comes
	b := start(t, clientOf(t, "", server))
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	for fault, says := range map[authserver.Fault]string{
		authserver.HostNotTrusted:   `client registration policy "Trusted Hosts"`,
		authserver.MaxClients:       `client registration policy "Max Clients Limit"`,
		authserver.ScopesNotAllowed: `client registration policy "Allowed Client Scopes"`,
	} {
		server.Misbehave(authserver.PathRegister, fault)
		b.client("register").check(t, 1, "", says)
		if s := b.clientStatus(); s.Phase != "refused" || !strings.Contains(s.Error, says) || s.Failed == 0 {
			t.Errorf("status %+v, want %s", s, says)
		}
		text := strings.Join(strings.Fields(b.client("status").out), " ")
		if !strings.Contains(text, "refused at "+server.Issuer()) || !strings.Contains(text, says) ||
			strings.Contains(text, "not answered") {
			t.Errorf("client status: %s", text)
		}
	}
	command(t, "", "status", "--config", b.ConfigFile()).check(t, 0, "healthy: enforce", "")
	_, text := b.admin("GET", "/metrics", "")
	for _, line := range []string{"client_enabled 1", "client_registered 0", "client_failing 1", "client_trouble 0"} {
		if !strings.Contains(text, "\nnmos_authd_"+line+"\n") {
			t.Errorf("the metrics lack %q", line)
		}
	}
	noViolations(t, server)
}
