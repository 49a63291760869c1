package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	report "nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
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

// The device registers once, whatever ends the daemon, and gets its tokens by that registration (CLI-30, CLI-31, CLI-36).
func TestClientRegistersOnce_CLI36(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	b.register()
	b.accessToken("registration")
	at := server.Registered()
	if len(at) != 1 || at[0].Name == "" || at[0].Scope != "events registration" || at[0].AuthMethod != "private_key_jwt" {
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
			t.Errorf("registered anew: %+v", s)
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
	if s := b.clientStatus(); !s.Registered || len(s.Clients) != 1 || s.Clients[0].ClientID != at[0].ID || s.Trouble != "" {
		t.Errorf("status %+v, want client %s", s, at[0].ID)
	}
	if n := server.Registrations(); n != 1 {
		t.Errorf("%d registrations, want 1", n)
	}
	noViolations(t, server)
}

// A power cut between the server's answer and the write leaves one client behind, is told, and makes only one more.
func TestClientPowerCut_CLI36(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{Drip: time.Minute})
	b := start(t, clientOf(t, "", server))
	server.Misbehave(authserver.PathRegister, authserver.Drip)
	done := make(chan struct{})
	go func() {
		defer close(done)
		command(t, "", "client", "register", "--config", b.ConfigFile()) // the daemon will not live to answer
	}()
	eventually(t, "the server has registered it", func() bool { return server.Registrations() == 1 })
	b.Kill()
	<-done
	server.Behave()
	b.again(nil)
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
func TestClientWithoutState_CLI36(t *testing.T) {
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
func TestClientSecretFile_CLI4(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{InitialToken: "initial-token-Zq81Lw5x"})
	path := secretFile(t, filepath.Join(t.TempDir(), "initial"), "wrong-token-Zq81Lw5x")
	config := clientOf(t, fmt.Sprintf("initial_access_token_file = %q\n", path), server)
	b := start(t, config)
	b.client("register").check(t, 1, "", "HTTP 401 Unauthorized: invalid_token")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	says := "[client] initial_access_token_file: " + path + " has mode 0644"
	command(t, "", "check-config", "--config", b.ConfigFile()).check(t, 1, "", says)
	b.hangUp("configuration not reread")
	if _, text := b.admin("GET", "/status", ""); !strings.Contains(text, says) {
		t.Errorf("status says %s, want %s", text, says)
	}
	b.again(nil) // started with it, the daemon decides, and is no client
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
func TestClientSecretChanges_CLI4(t *testing.T) {
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
func TestClientTwoServers_CLI11_CLI24(t *testing.T) {
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
	b.client("register", second.Issuer()).check(t, 1, "", "is \""+first.Issuer()+"\"")
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
func TestClientForget_CLI43(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	b.client("forget").check(t, 1, "", "there is no such client")
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
	r := b.client("forget")
	r.check(t, 1, "", "forgotten by this device; at the server: removal of the registration")
	server.Behave()
	b.register()
	if n := server.Registrations(); n != 3 {
		t.Errorf("%d registrations, want 3", n)
	}
	noViolations(t, server)
}

// A refusal is told in words that name the server's own setting, and is no reason to be degraded: decisions go on.
func TestClientRefused_CLI35(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{Kind: authserver.Keycloak})
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
		if !strings.Contains(text, "refused at "+server.Issuer()) || !strings.Contains(text, says) {
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

// No secret of the client is shown: not the initial token, the registration's, the tokens for the firmware, nor any
// part of the key (OPS-2, CLI-4).
func TestClientSecretsAreNotShown_OPS2(t *testing.T) {
	t.Parallel()
	const initial, given = "initial-Zq81Lw5xTr90-initial", "given-Zq81Lw5xTr90~+ %:given"
	server := newServer(t, authserver.Options{InitialToken: initial})
	if err := server.GiveClient("by hand", "events registration", given, nil); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config := clientOf(t, fmt.Sprintf("initial_access_token_file = %q\n", secretFile(t, filepath.Join(folder, "i"), initial)), server)
	debug := "[log]\nlevel = \"debug\"\n"
	first := config.More
	config.More += debug
	b := start(t, config)
	b.register()
	tokens := []string{b.accessToken("registration"), b.accessToken("events")}
	server.Misbehave(authserver.PathToken, authserver.ServerError)
	server.ForgetClients()
	config.More = strings.Replace(first, "initial_access_token_file", "software_id = \"4e2b7a10-0000-4000-8000-00000000000a\"\ninitial_access_token_file", 1) + debug
	b.reload(config)
	b.waitLog(0, "as an OAuth client")
	server.Behave()
	if err := server.GiveClient("by hand", "events registration", given, nil); err != nil {
		t.Fatal(err)
	}
	config.More = "[client]\nscopes = [\"registration\", \"events\"]\nclient_id = \"by hand\"\n" +
		fmt.Sprintf("client_secret_file = %q\n", secretFile(t, filepath.Join(folder, "s"), given)) + debug
	b.reload(config)
	b.register()
	tokens = append(tokens, b.accessToken("events registration"))

	secrets := secretParts{}
	for _, token := range tokens {
		secrets.add(token)
	}
	secrets.add(given)
	secrets.add(initial)
	kept, err := filepath.Glob(filepath.Join(config.State, "client*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	found := 0
	for _, file := range kept {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{`"pkcs8":"`, `"registration_access_token":"`} {
			for _, rest := range strings.Split(string(text), name)[1:] {
				value, _, _ := strings.Cut(rest, `"`)
				for ; len(value) >= secretPart; value = value[secretPart:] {
					secrets[value[:secretPart]], found = name, found+1
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d parts of secrets are kept", found)
	}
	seen := map[string]string{}
	for _, path := range []string{"/status", "/metrics"} {
		_, seen[path] = b.admin("GET", path, "")
	}
	for _, args := range []string{"status", "client status", "client status --json"} {
		r := command(t, "", append(strings.Fields(args), "--config", b.ConfigFile())...)
		seen[args] = r.out + r.errors
	}
	for _, name := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.PID(), name))
		if err != nil {
			t.Fatal(err)
		}
		seen[name] = string(text)
	}
	if err := b.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	b.waitEnd()
	seen["log"] = b.Log()
	for where, text := range seen {
		if part := secrets.in(text); part != "" || text == "" {
			t.Errorf("the %s: %q of %.200q in %d bytes", where, part, secrets[part], len(text))
		}
	}
	if !strings.Contains(seen["log"], "goroutine ") || secrets.in("x"+tokens[0]) == "" {
		t.Error("nothing is found where there is something")
	}
}

// At a server that discovery finds and whose metadata name another issuer (KEY-8), the device registers by that name,
// at the addresses that were found; and it stays there when another server comes first (CLI-11, CLI-20, CLI-24).
func TestClientOfFoundServer_CLI20_CLI24_KEY8(t *testing.T) {
	t.Parallel()
	f := newFacility(t, 1, "")
	f.servers = append(f.servers, newServer(t, authserver.Options{
		Host: "auth-2.example.com", IssuerPath: "/realms/studio", AtRoot: true,
	}))
	f.zone(advertise(2, 10, 0))
	config := f.config()
	config.Admin, config.State = true, filepath.Join(t.TempDir(), "state")
	config.More += "\n[client]\nscopes = [\"registration\"]\n"
	b := start(t, config)
	f.await(b, 2)
	eventually(t, "the issuer to be known", func() bool { return b.clientStatus().Issuer == f.servers[1].Issuer() })
	b.register()
	b.accessToken("registration")
	f.zone(advertise(1, 5, 0) + advertise(2, 10, 0))
	b.again(nil)
	f.await(b, 1)
	b.register()
	b.accessToken("registration")
	if s := b.clientStatus(); s.Issuer != f.servers[1].Issuer() {
		t.Errorf("a client at %s, want %s", s.Issuer, f.servers[1].Issuer())
	}
	if a, b := f.servers[0].Registrations(), f.servers[1].Registrations(); a != 0 || b != 1 {
		t.Errorf("%d and %d registrations, want 0 and 1", a, b)
	}
	noViolations(t, f.servers...)
}
