package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What is logged in an ordinary start is logged behind the sockets: the first line starts a writer, and takes longer
// than most steps before it.
func TestOrdinaryStartLogsNothingBeforeTheSockets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nmos-authd.toml")
	text := "[device]\nnames = [\"node-1.example.com\"]\n[authorization]\nca_file = \"\"\n" +
		"servers = [\"https://auth.example.com\"]\n[state]\ndir = \"" + dir + "/state\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	queue := NewLogQueue(&log)
	d, err := newDaemon(file, "test", queue, nil)
	if err != nil {
		t.Fatal(err)
	}
	if queue.Flush(time.Minute); log.Len() > 0 {
		t.Errorf("got %s", log.Bytes())
	}
	d.examine(d.startConfig, d.inForce.Load().names)
	if queue.Flush(time.Minute); !bytes.Contains(log.Bytes(), []byte(d.startConfig.DiscoveryTrust())) {
		t.Errorf("got %s, want whom the configuration trusts", log.Bytes())
	}
}
