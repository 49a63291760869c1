package system_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// A server that lost all its clients is met with one more registration, which "token 1" bridges with the token that is
// held, and a restart does not lead to another (CLI-44).
func TestClientServerReset(t *testing.T) {
	spec.Rules(t, "CLI-44", "CLI-36")
	t.Parallel()
	server := newServer(t, authserver.Options{Life: 20 * time.Second})
	b := start(t, clientOf(t, "", server))
	b.register()
	b.awaitOwnToken("scope=registration")
	first := b.clientStatus().Clients[0].ClientID
	server.ForgetClients()
	eventuallyOwn(t, "another registration, stored", func() bool { // before that a kill would lose it (CLI-36)
		b.ownToken("scope=registration")
		clients := b.clientStatus().Clients
		return len(clients) == 1 && clients[0].ClientID != "" && clients[0].ClientID != first
	})
	b.awaitOwnToken("scope=registration")
	b.again(nil)
	b.awaitOwnToken("scope=registration")
	if n := server.Registrations(); n != 2 || !strings.Contains(server.Registered()[0].ID, "2") {
		t.Errorf("%d registrations, and %+v is registered; want 2, and the second", n, server.Registered())
	}
	noViolations(t, server)
}

// While the clock is unset no assertion leaves the device, whatever is asked of it, and the firmware is told why
// (CLI-53, OPS-1). To a daemon that is built in half a year the clock of this machine looks like that.
func TestClientClockUnset(t *testing.T) {
	spec.Rules(t, "CLI-53", "OPS-1")
	t.Parallel()
	built := time.Now().AddDate(0, 6, 0).UTC().Format(time.RFC3339)
	later, err := daemon.Build(t.TempDir(), "-ldflags=-X nmosauthd/platform.buildTime="+built)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t, authserver.Options{})
	config, folder := clientOf(t, "", server), newDir(t)
	if err := folder.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, folder)}
	b.Daemon = startCommand(t, exec.Command(later), folder)
	eventuallyOwn(t, "the reason", func() bool {
		command(t, "", "client", "register", "--config", b.ConfigFile())
		r := b.ownToken("scope=registration")
		if r.Status != 503 || r.RetryAfter < 1 {
			t.Fatalf("got %d %s, want 503 and when to ask again", r.Status, r.Reason)
		}
		return strings.Contains(r.Detail, "clock is not trusted")
	})
	if n := server.Requests(authserver.PathToken); n != 0 {
		t.Errorf("%d token requests by a clock that is unset, want none", n)
	}
	if _, status := b.admin("GET", "/status", ""); !strings.Contains(status,
		"clock is not trusted yet, so it cannot prove") {
		t.Errorf("the status has no word about the clock: %s", status)
	}
}
