package platform

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

func TestReadSecret(t *testing.T) {
	spec.Rules(t, "CLI-4")
	dir := t.TempDir()
	for i, c := range []struct {
		text string
		mode os.FileMode
		want string
		err  string
	}{
		{"s3cret~+ %:", 0o600, "s3cret~+ %:", ""},
		{"\ufeff s3cret\r\n", 0o640, "s3cret", ""},
		{strings.Repeat("x", 64), 0o400, strings.Repeat("x", 64), ""},
		{"s3cret", 0o604, "", "has mode 0604: others must not read it"},
		{"s3cret", 0o644, "", "has mode 0644: others must not read it"},
		{"s3cret", 0o660, "", "has mode 0660: others must not read it"},
		{"s3cret", 0o601, "", "has mode 0601"},
		{" \n", 0o600, "", "is empty"},
		{strings.Repeat("x", 65), 0o600, "", "is over 64 bytes"},
		{"s3cret\nmore", 0o600, "", "is not one line"},
		{"s3cr\u00e8t", 0o600, "", "is not one line"},
	} {
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSecret(path, 64)
		if got != c.want || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), path+" "+c.err) {
			t.Errorf("%q, mode %o: got %q, %v; want %q, %q", c.text, c.mode, got, err, c.want, c.err)
		}
		if err != nil && (strings.Contains(err.Error(), "s3c") || strings.Contains(err.Error(), "xxx")) {
			t.Errorf("the error quotes the file: %v", err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory", dir: "is not a regular file",
		pipe: "is not a regular file",
	} {
		if got, err := ReadSecret(path, 64); got != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v; want %s", path, got, err, want)
		}
	}
}
