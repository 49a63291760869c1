package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each value of the last line is where its words say.
func TestCheckConfigSaysWhatIsInForce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	text := "mode = \"observe\"\n[device]\nnames = [\"a.example.com\"]\n[authorization]\nca_file = \"\"\n" +
		"servers = [\"https://b.example.com\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout := os.Stdout
	os.Stdout = in
	err = checkConfig(file, false)
	os.Stdout = stdout
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		file + ": discovery is off, ",
		"\n" + file + ": good. Mode observe; this device is [\"a.example.com\"], model ",
		"; servers [\"https://b.example.com\"].\n",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("check-config prints\n%swhich lacks %q", got, want)
		}
	}
}
