package daemon

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// The limit of memory is that of the configuration, at the start and when it is read again; without one it is what it
// was.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	file := filepath.Join(t.TempDir(), "nmos-authd.toml")
	write := func(bytes int) {
		t.Helper()
		text := fmt.Sprintf("[device]\nnames = [\"node-1.example.com\"]\n[discovery]\nmode = \"off\"\n"+
			"[authorization]\nca_file = \"\"\n[state]\ndir = \"\"\n[limits]\nmemory_bytes = %d\n", bytes)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want int64) {
		t.Helper()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("the limit is %d, want %d", got, want)
		}
	}
	write(64 << 20)
	d, err := newDaemon(file, "test", NewLogQueue(io.Discard), nil)
	if err != nil {
		t.Fatal(err)
	}
	check(64 << 20)
	for _, c := range []struct {
		bytes int
		want  int64
	}{{32 << 20, 32 << 20}, {0, before}, {16 << 20, 16 << 20}} {
		write(c.bytes)
		d.reload()
		check(c.want)
	}
}
