package system_test

import (
	"path/filepath"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
)

// clientOf is the configuration of a device that is an OAuth client, with a state folder of its own.
func clientOf(t *testing.T, more string, servers ...*authserver.Server) daemon.Config {
	t.Helper()
	c := trusting(t, servers...)
	c.Admin, c.State = true, filepath.Join(t.TempDir(), "state")
	c.More = "[client]\nscopes = [\"registration\"]\n" + more
	return c
}

// The device registers once, over restarts, and messages that leave it are as they must be (CLI-30, CLI-36).
func TestClientRegistersOnce_CLI36(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, clientOf(t, "", server))
	b.waitLog(0, "registered as an OAuth client")
	if v := server.Violations(); len(v) > 0 {
		t.Errorf("the server says: %s", strings.Join(v, "; "))
	}
}
