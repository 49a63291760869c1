package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/platform"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

const certFolder = "/etc/tls"

// bundleOf is what a client holds that has these pairs.
func bundleOf(t *testing.T, ca *estserver.CA, pairs ...estserver.Pair) (b certs.Bundle) {
	t.Helper()
	b.Roots = ca.PEM()
	for i, p := range pairs {
		leaf, err := x509.ParseCertificate(p.Certificate.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		b.Pairs = append(b.Pairs, certs.Pair{
			Kind: []certs.KeyKind{certs.ECDSA, certs.RSA}[i], Key: p.KeyPEM, Chain: p.ChainPEM, Leaf: leaf,
		})
	}
	return b
}

func handOverTo(disk *powercut.Disk) *handOver {
	dir := platform.SharedDir{Path: certFolder, Disk: disk, Pointers: disk.LosesRenames}
	h := &handOver{dir: dir, first: make(chan struct{})}
	h.files.Store(&fileModes{mode: 0o640})
	return h
}

// servedPair is what a web server finds that reads its folder as CERTIFICATES.md has it; nil if there is no file.
func servedPair(t *testing.T, disk *powercut.Disk) []byte {
	t.Helper()
	text := func(name string) ([]byte, bool) {
		f, err := disk.Open(certFolder + "/" + name)
		if err != nil {
			return nil, false
		}
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return data, true
	}
	if !disk.LosesRenames {
		all, _ := text("ecdsa.pem")
		return all
	}
	for _, pointer := range []string{"ecdsa.now", "ecdsa.now.2"} {
		name, _ := text(pointer)
		if all, is := text(strings.TrimSuffix(string(name), "\n")); is {
			return all
		}
	}
	return nil
}

// The power fails at every step of every write while a device gets its certificate, and renews it: what the web server
// finds then is no file before the first, and a key with its own certificate ever after, whole, and the new one once
// that was said to be there. After the next start the folder holds what the device holds, and nothing else.
func TestHandOverPowerCut(t *testing.T) {
	spec.Rules(t, "CERT-29")
	now := time.Now()
	ca := estserver.NewCA("Studio CA", now)
	first, second := ca.Device("7", now, now.Add(time.Hour)), ca.Device("7", now, now.Add(2*time.Hour))
	for _, fat := range []bool{false, true} {
		disk := powercut.New("/etc")
		disk.LosesRenames = fat
		if err := disk.Mkdir(certFolder); err != nil {
			t.Fatal(err)
		}
		h := handOverTo(disk)
		found, none := map[string]int{}, 0
		var before, next estserver.Pair
		check := func(moment string, after *powercut.Disk) {
			if _, err := after.Names(certFolder); err != nil {
				return // not made yet
			}
			text := servedPair(t, after)
			if text == nil || strings.Trim(string(text), "\x00") == "" && before.KeyPEM == nil {
				if none++; before.KeyPEM != nil {
					t.Fatalf("FAT %v, %s: there is no pair", fat, moment)
				}
			} else {
				pair, err := tls.X509KeyPair(text, text)
				if err != nil {
					t.Fatalf("FAT %v, %s: %v\n%s", fat, moment, err, text)
				}
				whole := ""
				for _, p := range []estserver.Pair{before, next} {
					if string(text) == string(p.KeyPEM)+string(p.ChainPEM) {
						whole = p.Leaf.NotAfter.String()
					}
				}
				if whole == "" || len(pair.Certificate) < 2 {
					t.Fatalf("FAT %v, %s: neither pair, or without its chain:\n%s", fat, moment, text)
				}
				found[whole]++
			}
			again := handOverTo(after)
			if err := again.give(bundleOf(t, ca, next)); err != nil {
				t.Fatalf("FAT %v, %s: the next start: %v", fat, moment, err)
			}
			names, _ := after.Names(certFolder)
			want := []string{"changed", "ecdsa.pem", "roots.pem"}
			if fat {
				letter := "ecdsa.b.pem"
				if slices.Contains(names, "ecdsa.a.pem") {
					letter = "ecdsa.a.pem"
				}
				want = []string{"changed", letter, "ecdsa.now", "ecdsa.now.2", "roots.pem"}
			}
			got := slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, ".new") })
			if !slices.Equal(got, want) {
				t.Fatalf("FAT %v, %s: the folder holds %q, want %q", fat, moment, got, want)
			}
			if got := servedPair(t, after); string(got) != string(next.KeyPEM)+string(next.ChainPEM) {
				t.Fatalf("FAT %v, %s: after the next start another pair", fat, moment)
			}
		}
		for _, next = range []estserver.Pair{first, second} {
			if err := disk.Cut(func() error { return h.give(bundleOf(t, ca, next)) }, check); err != nil {
				t.Error(err)
			}
			before = next
		}
		if len(found) != 2 || none == 0 {
			t.Errorf("FAT %v: found %v, and %d times none; want both, and none", fat, found, none)
		}
	}
}

// What the folder holds follows what the device holds: a pair of each kind, roots, and what was taken away is gone.
// Files that are as they are to be are not touched, and the file that is written last changes if anything does.
func TestHandOver(t *testing.T) {
	spec.Rules(t, "CERT-21", "CERT-29", "CERT-45", "CERT-48")
	now := time.Now()
	ca := estserver.NewCA("Studio CA", now)
	a, b := ca.Device("7", now, now.Add(time.Hour)), ca.Device("7", now, now.Add(time.Hour))
	dir := filepath.Join(t.TempDir(), "certs")
	h := &handOver{dir: platform.SharedDir{Path: dir}, first: make(chan struct{})}
	h.files.Store(&fileModes{mode: 0o640})
	if err := h.give(certs.Bundle{}); err != nil || !missing(dir) {
		t.Errorf("with nothing to give: %v, the folder is there: %v", err, !missing(dir))
	}
	said := ""
	for i, c := range []struct {
		mode    fs.FileMode
		bundle  certs.Bundle
		want    string
		changes bool
	}{
		{0o640, bundleOf(t, ca), "changed 644 roots.pem 644", true},
		{0o640, bundleOf(t, ca, a), "changed 644 ecdsa.pem 640 roots.pem 644", true},
		{0o640, bundleOf(t, ca, a), "changed 644 ecdsa.pem 640 roots.pem 644", false},
		{0o640, bundleOf(t, ca, a, b), "changed 644 ecdsa.pem 640 roots.pem 644 rsa.pem 640", true},
		{0o600, bundleOf(t, ca, a, b), "changed 644 ecdsa.pem 600 roots.pem 644 rsa.pem 600", false},
		{0o600, bundleOf(t, ca, b), "changed 644 ecdsa.pem 600 roots.pem 644", true},
		{0o600, certs.Bundle{}, "changed 644", true},
	} {
		h.files.Store(&fileModes{mode: c.mode})
		if err := h.give(c.bundle); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Name()+" "+info.Mode().String()[1:])
		}
		modes := strings.NewReplacer(" 644", " rw-r--r--", " 640", " rw-r-----", " 600", " rw-------")
		if want := modes.Replace(c.want); strings.Join(got, " ") != want {
			t.Errorf("%d: got %q, want %q", i, got, want)
		}
		text, err := os.ReadFile(filepath.Join(dir, changedFile))
		if now := string(text); err != nil || (now != said) != c.changes || strings.Contains(now, "PRIVATE") {
			t.Errorf("%d: changed: %v, want %v: %q, %v", i, now != said, c.changes, now, err)
		}
		said = string(text)
		if len(c.bundle.Pairs) == 0 {
			continue
		}
		file := filepath.Join(dir, "ecdsa.pem")
		pair, err := tls.LoadX509KeyPair(file, file)
		if err != nil || !pair.Leaf.Equal(c.bundle.Pairs[0].Leaf) {
			t.Errorf("%d: %v", i, err)
		}
	}
	// What cannot be written is an error that names the file and shows nothing of it.
	if err := os.MkdirAll(filepath.Join(dir, "ecdsa.pem", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := h.give(bundleOf(t, ca, a))
	if err == nil || !strings.Contains(err.Error(), "ecdsa.pem") || strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("got %v", err)
	}
}

// Roots that a person installed are read as they are, whatever else is in the file.
func TestReadCertificates(t *testing.T) {
	spec.Rules(t, "CERT-13")
	one, two := estserver.NewCA("One", time.Now()), estserver.NewCA("Two", time.Now())
	file := filepath.Join(t.TempDir(), "roots.pem")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})
	for _, c := range []struct {
		text string
		want int
		err  string
	}{
		{string(one.PEM()), 1, ""},
		{"a note\n" + string(one.PEM()) + string(key) + string(two.PEM()), 2, ""},
		{"", 0, "holds no certificate in PEM"},
		{string(key), 0, "holds no certificate in PEM"},
		{strings.Replace(string(one.PEM()), "MII", "MIJ", 1), 0, "x509"},
		{strings.Repeat("\n", maxPEM+1), 0, "is over"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := readCertificates(file)
		if len(all) != c.want || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), file) && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.40q: got %d, %v; want %d, %q", c.text, len(all), err, c.want, c.err)
		}
	}
	if all, err := readCertificates(""); all != nil || err != nil {
		t.Errorf("no file: got %v, %v", all, err)
	}
	if _, err := readCertificates(file + ".not"); err == nil {
		t.Error("a missing file: no error")
	}
}
