package daemon

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

// found is a facility with one server, whose signer is key-1.
func found() (f *facts, token string) {
	f = newFacts(mint.DefaultIssuer)
	f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
	return f, mint.New(mint.Options{Key: mint.CachedKey("key-1", 2048), Life: day(400)}).Sign()
}

// kept fills a directory with the state of a device that ran for a day, and returns the content of a file.
func kept(t *testing.T, dir string, disk platform.Disk, name string) []byte {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, _ := found()
		stop := f.newDevice(dir, disk).start(t)
		pass(day(1))
		stop()
	})
	data, err := (&platform.StateDir{Path: dir, Disk: disk}).ReadFile(name, keys.MaxLastGood)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sealed is a line as an intact file has it, be it of another release.
func sealed(line string) []byte {
	return fmt.Appendf(nil, "%s\n%x\n", line, sha256.Sum256([]byte(line)))
}

// A state file that cannot be used never keeps the daemon from starting: it is set aside, the log says where, and what
// comes next is kept in its place.
func TestDamagedState(t *testing.T) {
	spec.Rules(t, "KEY-3")
	good := map[string][]byte{}
	for _, name := range []string{keysFile, timeFile} {
		good[name] = kept(t, filepath.Join(t.TempDir(), "state"), nil, name)
	}
	text := string(good[keysFile])
	line, _, _ := strings.Cut(text, "\n")
	for _, c := range []struct {
		name, file string
		content    []byte // nil: a directory
		says       string
	}{
		{"garbage", keysFile, []byte("\x00\xff\x00garbage"), "the checksum is not"},
		{"empty", keysFile, []byte{}, "the checksum is not"},
		{"zeros", keysFile, make([]byte, len(text)), "the checksum is not"},
		{"truncated", keysFile, good[keysFile][:len(text)/2], "the checksum is not"},
		{"without its last byte", keysFile, good[keysFile][:len(text)-1], "the checksum is not"},
		{"one bit", keysFile, bytes.Replace(good[keysFile], []byte("https"), []byte("httpr"), 1),
			"the checksum is not"},
		{"older format", keysFile, sealed(strings.Replace(line, `"format":1`, `"format":0`, 1)), "format 0"},
		{"newer format", keysFile, sealed(strings.Replace(line, `"format":1`, `"format":2`, 1)), "format 2"},
		{"other JSON", keysFile, sealed("[1,2,3]"), "not JSON in the form expected"},
		{"oversized", keysFile, bytes.Repeat([]byte("x"), keys.MaxLastGood+1), "too large"},
		{"directory", keysFile, nil, "not a regular file"},
		{"garbage", timeFile, []byte("yesterday\n"), "parsing time"},
		{"empty", timeFile, []byte{}, "parsing time"},
		{"zeros", timeFile, make([]byte, len(good[timeFile])), "parsing time"},
		{"truncated", timeFile, good[timeFile][:10], "parsing time"},
		{"oversized", timeFile, bytes.Repeat([]byte("2"), 1000), "too large"},
		{"directory", timeFile, nil, "not a regular file"},
	} {
		t.Run("KEY-3/"+c.file+"/"+c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range good {
				write(t, filepath.Join(dir, name), content)
			}
			path := filepath.Join(dir, c.file)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, c.content)
			synctest.Test(t, func(t *testing.T) {
				f, token := found()
				d := f.newDevice(dir, nil)
				w := d.warnings()
				if len(w) != 1 || !strings.Contains(w[0], "a state file is not used") ||
					!strings.Contains(w[0], c.says) || !strings.Contains(w[0], "set_aside:"+path+".damaged") {
					t.Errorf("at the start it says %q", w)
				}
				if c.content != nil {
					if aside, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(aside, c.content) {
						t.Errorf("set aside: %d bytes of %d, %v", len(aside), len(c.content), err)
					}
				} else if info, err := os.Stat(path + ".damaged"); err != nil || !info.IsDir() {
					t.Errorf("set aside: %v", err)
				}
				if c.file == timeFile {
					want(t, "from the other file", d, token, "allow 200 ok")
				} else {
					want(t, "from nothing", d, token, "deny 503 keys-pending")
				}
				stop := d.start(t)
				pass(day(2))
				stop()
				if w := d.warnings(); len(w) != 1 {
					t.Errorf("later it says %q", w)
				}
				f.setDown(true)
				again := f.newDevice(dir, nil)
				want(t, "after the next restart", again, token, "allow 200 ok")
				if w := again.warnings(); len(w) != 0 {
					t.Errorf("after the next restart it says %q", w)
				}
				if known := again.times.(*knownTime).remembered; !known.After(platform.BuildTime()) {
					t.Errorf("after the next restart it knows of no time after %v", known)
				}
			})
		})
	}
}

// One slot of a file that is not whole, as after a power cut, is made up for by the other; both are damage, and that is
// said.
func TestDamagedSlots(t *testing.T) {
	spec.Rules(t, "KEY-3")
	for _, c := range []struct {
		name    string
		slots   []string // that are damaged
		decides string
		says    string
	}{
		{"one", []string{""}, "allow 200 ok", ""},
		{"the other", []string{".2"}, "allow 200 ok", ""},
		{"both", []string{"", ".2"}, "deny 503 keys-pending", "the slot is incomplete"},
	} {
		t.Run("KEY-3/"+c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			same := kept(t, dir, nil, keysFile)
			if err := (&platform.StateDir{Path: dir}).WriteFile(keysFile, same); err != nil { // in the older slot, too
				t.Fatal(err)
			}
			path := filepath.Join(dir, keysFile)
			for _, slot := range c.slots {
				text, err := os.ReadFile(path + slot)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path+slot,
					bytes.Replace(text, []byte("https"), []byte("httpr"), 1), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				f, token := found()
				f.setDown(true)
				d := f.newDevice(dir, nil)
				want(t, "at the start", d, token, c.decides)
				if w := d.warnings(); (c.says == "") != (len(w) == 0) || len(w) > 1 ||
					len(w) == 1 && (!strings.Contains(w[0], c.says) ||
						!strings.Contains(w[0], "set_aside:"+path+".damaged, "+path+".2.damaged")) {
					t.Errorf("got %q, want %q", w, c.says)
				}
			})
		})
	}
}

// Keys that another user put where the daemon keeps its own decide nothing, and the log says whose they are; a pipe
// does not keep the start waiting. In place of the one as of both slots.
func TestPlantedKeys(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to other users")
	}
	good := kept(t, filepath.Join(t.TempDir(), "state"), nil, keysFile)
	for _, c := range []struct {
		name  string
		plant func(path string) error
		says  string
	}{
		{"a file of another user", func(path string) error {
			return errors.Join(os.WriteFile(path, good, 0o600), os.Chown(path, 65534, 65534))
		}, "it belongs to user 65534"},
		{"a file that all may write", func(path string) error {
			return errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, 0o666))
		}, "others may write to it (mode 0666)"},
		{"a link", func(path string) error {
			return errors.Join(os.WriteFile(path+"-elsewhere", good, 0o600), os.Symlink(path+"-elsewhere", path))
		}, "not a regular file"},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
	} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprint("KEY-3/", c.name, "/held=", held), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "state")
				decides := "deny 503 keys-pending"
				if held {
					kept(t, dir, nil, keysFile)
					decides = "allow 200 ok"
				} else if err := os.Mkdir(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, keysFile)
				os.Remove(path)
				if err := c.plant(path); err != nil {
					t.Fatal(err)
				}
				synctest.Test(t, func(t *testing.T) {
					f, token := found()
					f.setDown(true)
					d := f.newDevice("", nil) // recalls nothing
					d.persisted = newPersisted(dir, &Device{}, d.log)
					d.recall()
					want(t, "at the start", d, token, decides)
					if w := d.warnings(); len(w) != 1 ||
						!strings.Contains(w[0], path+": not used as a state file: "+c.says) {
						t.Errorf("got %q, want that %s", w, c.says)
					}
				})
			})
		}
	}
}

// write writes a file, or with nil makes a directory with something in it.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if content == nil {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		path, content = filepath.Join(path, "inside"), []byte("x")
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, when string, d *device, token, decision string) {
	t.Helper()
	if got := d.decide(token); got != decision {
		t.Errorf("%s: %s, want %s", when, got, decision)
	}
}

// Where nothing can be kept the daemon works all the same, and says so once in a month.
func TestNothingCanBeKept(t *testing.T) {
	spec.Rules(t, "KEY-3")
	full := func() *powercut.Disk {
		disk := powercut.New("/var/lib")
		kept(t, stateDir, disk, keysFile)
		return disk
	}
	readOnly := func(disk *powercut.Disk) *powercut.Disk {
		disk.Step = func(next string) error {
			switch op, path, _ := strings.Cut(next, " "); op {
			case "open", "stat":
				return nil
			default:
				return &fs.PathError{Op: op, Path: path, Err: syscall.EROFS}
			}
		}
		return disk
	}
	for _, c := range []struct {
		name, dir string
		disk      *powercut.Disk
		held      bool   // there is a state from before
		says      string // "": nothing
	}{
		{"no directory configured", "", powercut.New(), false, ""},
		{"missing directory", stateDir, powercut.New("/"), false, "the directory and its parent do not exist"},
		{"directory to be made", stateDir, powercut.New("/var/lib"), false, ""},
		{"read-only without the directory", stateDir, readOnly(powercut.New("/var/lib")), false, "read-only"},
		{"read-only and empty", stateDir, readOnly(powercut.New("/var/lib", stateDir)), false, "read-only"},
		{"read-only with a state", stateDir, readOnly(full()), true, "read-only"},
	} {
		t.Run("KEY-3/"+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, token := found()
				d := f.newDevice(c.dir, c.disk)
				if c.held {
					want(t, "at the start", d, token, "allow 200 ok")
				}
				stop := d.start(t)
				pass(time.Minute)
				want(t, "with the network", d, token, "allow 200 ok")
				f.publish(mint.DefaultIssuer, mint.CachedKey("key-2", 2048))
				pass(day(30))
				want(t, "a key withdrawn", d, token, "deny 401 key-unknown")
				stop()
				if got, kept := d.persisted.safe.Load(), c.says == ""; got != kept {
					t.Errorf("the status says kept: got %v, want %v", got, kept)
				}
				w := d.warnings()
				if c.says == "" && len(w) > 0 || c.says != "" && (len(w) != 1 || !strings.Contains(w[0], c.says)) {
					t.Errorf("in a month it says %q", w)
				}
			})
		})
	}
}
