package platform

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

func TestStateDir(t *testing.T) {
	spec.Rules(t, "KEY-3")
	d := &StateDir{Path: filepath.Join(t.TempDir(), "state")}
	if _, err := d.ReadFile("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadFile("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"first", "", "the second"} {
		if err := d.WriteFile("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile("a", 10); err != nil || string(got) != text {
			t.Errorf("got %q, error %v", got, err)
		}
	}
	if err := d.WriteFile("b", []byte("the second")); err != nil {
		t.Fatal(err)
	}
	if got, err := d.ReadFile("b", 9); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "over 9 bytes") {
		t.Errorf("over the limit: %q, %v", got, err)
	}
	for path, want := range map[string]fs.FileMode{d.Path: fs.ModeDir | 0o700, filepath.Join(d.Path, "a"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if got, want := names(t, d.Path), "a a.2 b b.2"; got != want {
		t.Errorf("the directory holds %s, want %s", got, want)
	}
	if err := d.WriteFile("a", []byte(strings.Repeat("long ", 5000))); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"short", "shorter"} { // over the longer one, too
		if err := d.WriteFile("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile("a", 10); err != nil || string(got) != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
}

// Nothing configured is nothing kept, and no error.
func TestStateDirNone(t *testing.T) {
	spec.Rules(t, "KEY-3")
	var d StateDir
	if err := errors.Join(d.Prepare(), d.WriteFile("a", []byte("x"))); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadFile("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if path, err := d.SetAside("a"); path != "" || err != nil {
		t.Errorf("got %q, %v; want nothing set aside", path, err)
	}
}

func TestStateDirSetAside(t *testing.T) {
	spec.Rules(t, "KEY-3")
	d := StateDir{Path: t.TempDir()}
	for _, text := range []string{"older", "newer"} {
		if err := d.WriteFile("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		paths, err := d.SetAside("a")
		first, second := filepath.Join(d.Path, "a.damaged"), filepath.Join(d.Path, "a.2.damaged")
		if err != nil || paths != first+", "+second {
			t.Errorf("got %s, %v", paths, err)
		}
		for _, path := range []string{first, second} {
			if got, err := os.ReadFile(path); err != nil || !strings.Contains(string(got), "\n"+text+"\x00") {
				t.Errorf("%s: got %q, %v", path, got, err)
			}
		}
		if got, want := names(t, d.Path), "a.2.damaged a.damaged"; got != want {
			t.Errorf("the directory holds %s, want %s", got, want)
		}
	}
	if _, err := d.SetAside("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.Path, "b"), []byte("of an earlier release"), 0o600); err != nil {
		t.Fatal(err)
	}
	if paths, err := d.SetAside("b"); err != nil || paths != filepath.Join(d.Path, "b.damaged") {
		t.Errorf("one slot: got %s, %v", paths, err)
	}
}

func TestStateDirErrors(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if runtime.GOOS == "windows" {
		t.Skip("the paths are those of Unix")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := faultyDisk{err: &fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}}
	full := faultyDisk{err: &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOSPC}}
	for _, c := range []struct {
		name string
		d    *StateDir
		is   error
		want string
	}{
		{"parent missing", &StateDir{Path: filepath.Join(dir, "no", "state")}, ErrNoDirectory,
			filepath.Join(dir, "no/state/a") + ": the directory and its parent do not exist"},
		{"a file", &StateDir{Path: filepath.Join(dir, "file")}, syscall.ENOTDIR,
			filepath.Join(dir, "file/a") + ": not a directory"},
		{"read-only", &StateDir{Path: "/x", Disk: readOnly}, ErrReadOnly, "/x/a: the file system is read-only"},
		{"full", &StateDir{Path: "/x", Disk: full}, syscall.ENOSPC, "/x/a: no space left on device"},
	} {
		err := c.d.WriteFile("a", []byte("x"))
		if !errors.Is(err, c.is) || err.Error() != "writing "+c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := c.d.Prepare(); !errors.Is(err, c.is) {
			t.Errorf("%s: Prepare: %v", c.name, err)
		}
	}
}

// faultyDisk fails at everything.
type faultyDisk struct {
	Disk
	err error
}

func (d faultyDisk) CheckDir(string) error              { return d.err }
func (d faultyDisk) Open(string) (io.ReadCloser, error) { return nil, d.err }
func (d faultyDisk) Edit(string) (DiskFile, error)      { return nil, d.err }
func (d faultyDisk) Rename(from, to string) error       { return d.err }

func TestStateDirNames(t *testing.T) {
	spec.Rules(t, "KEY-3")
	d := StateDir{Path: t.TempDir()}
	for _, name := range []string{"", ".", "..", "../a", "/a", "b/a", ".a", "a\x00", "a.damaged", "a.2"} {
		_, readErr := d.ReadFile(name, 10)
		_, asideErr := d.SetAside(name)
		for _, err := range []error{d.WriteFile(name, nil), readErr, asideErr} {
			if err == nil || !strings.Contains(err.Error(), "cannot be the name of a state file") {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}
