package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The exit status says whether a server can be used; that one can is in tinytest/system.
func TestDiscoverStatus(t *testing.T) {
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	os.Stdout = null
	none, bad := filepath.Join(t.TempDir(), "none.toml"), filepath.Join(t.TempDir(), "bad.toml")
	for file, text := range map[string]string{none: "[discovery]\nmode = \"off\"\n", bad: "mode = 1\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want exit
	}{
		{[]string{"--config", none}, exitDeny},
		{[]string{"--config", bad}, exitFail},
		{[]string{"--config", bad + "-not"}, exitFail},
		{[]string{"--config", none, "extra"}, exitFail},
		{[]string{"--nonsense"}, exitFail},
	} {
		if got := tell(runDiscover(c.args)); got != c.want {
			t.Errorf("%q: exit status %d, want %d", c.args, got, c.want)
		}
	}
}
