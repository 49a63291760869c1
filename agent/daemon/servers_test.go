package daemon

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// Roots come from a file or from all files of a folder; what is read is what is there at that moment.
func TestReadRoots(t *testing.T) {
	spec.Rules(t, "DIS-5")
	write := func(dir, name string, pem []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var authorities [2]*authserver.CA
	for i := range authorities {
		ca, err := authserver.NewCA("test authority")
		if err != nil {
			t.Fatal(err)
		}
		authorities[i] = ca
	}
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none.pem")} {
		if _, err := ReadRoots(path); err == nil || !strings.Contains(err.Error(), "ca_file") {
			t.Errorf("%s: got %v, want an error that names ca_file", path, err)
		}
	}
	write(dir, "one.pem", authorities[0].PEM())
	write(dir, ".two.pem.new", authorities[1].PEM())
	write(dir, "README", []byte("not a certificate"))
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "one.pem")} {
		if pool, err := ReadRoots(path); err != nil || !pool.Equal(authorities[0].Pool()) {
			t.Errorf("%s: %v, or not the one root that is there", path, err)
		}
	}
	write(dir, "two.pem", authorities[1].PEM())
	both := authorities[0].Pool()
	both.AppendCertsFromPEM(authorities[1].PEM())
	if pool, err := ReadRoots(dir); err != nil || !pool.Equal(both) {
		t.Errorf("%v, or not both roots", err)
	}
	if err := os.Remove(filepath.Join(dir, "one.pem")); err != nil {
		t.Fatal(err)
	}
	if pool, err := ReadRoots(dir); err != nil || !pool.Equal(authorities[1].Pool()) {
		t.Errorf("%v, or a root that was removed is still there", err)
	}
}

// An editor's byte order mark hides no certificate, neither in front of the file nor where one file was appended to
// another.
func TestReadRootsWithByteOrderMarks(t *testing.T) {
	spec.Rules(t, "DIS-5")
	file := filepath.Join(t.TempDir(), "ca.pem")
	want := x509.NewCertPool()
	var text []byte
	for range 2 {
		ca, err := authserver.NewCA("test authority")
		if err != nil {
			t.Fatal(err)
		}
		want.AppendCertsFromPEM(ca.PEM())
		text = append(append(text, "\ufeff"...), ca.PEM()...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if pool, err := ReadRoots(file); err != nil || !pool.Equal(want) {
		t.Errorf("got error %v, or not both roots", err)
	}
}

// A pipe would hold up whoever fetches, and the daemon's end; a device never ends, and a mistaken file may be huge.
func TestRootsAreARegularFileOfABoundedSize(t *testing.T) {
	spec.Rules(t, "DIS-5", "CERT-47")
	dir := t.TempDir()
	pipe, device, huge := filepath.Join(dir, "pipe"), filepath.Join(dir, "device"), filepath.Join(dir, "huge")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no pipes here:", err)
	}
	if err := os.Symlink("/dev/zero", device); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 8<<30); err != nil {
		t.Skip("no sparse files here:", err)
	}
	for path, want := range map[string]string{
		pipe: "not a regular file", device: "not a regular file", huge: "is over 1048576 bytes",
	} {
		for name, read := range map[string]func() error{
			"roots":        func() error { _, err := ReadRoots(path); return err },
			"certificates": func() error { _, err := readCertificates(path); return err },
		} {
			done, want := make(chan error, 1), want
			go func() { done <- read() }()
			select {
			case err := <-done:
				says := want
				if name == "certificates" {
					says = strings.Replace(want, "1048576", "131072", 1)
				}
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
					t.Errorf("%s in %s: got %v, want one that names it and says %q", name, path, err, says)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s in %s: reading does not end", name, path)
			}
		}
	}
}
