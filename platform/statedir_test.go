package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestStateDir_KEY3(t *testing.T) {
	d := StateDir{Path: filepath.Join(t.TempDir(), "state")}
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
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := d.ReadFile("a", 9); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "over 9 bytes") {
		t.Errorf("over the limit: %q, %v", got, err)
	}
	for path, want := range map[string]fs.FileMode{d.Path: fs.ModeDir | 0o700, filepath.Join(d.Path, "a"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if got := names(t, d.Path); got != "a" {
		t.Errorf("left behind: %s", got)
	}
}

// Nothing configured is nothing kept, and no error.
func TestStateDirNone_KEY3(t *testing.T) {
	var d StateDir
	if err := errors.Join(d.Prepare(), d.WriteFile("a", []byte("x"))); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadFile("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if path, err := d.SetAside("a"); path != "" || err != nil {
		t.Error(path, err)
	}
}

func TestStateDirSetAside_KEY3(t *testing.T) {
	d := StateDir{Path: t.TempDir()}
	for _, text := range []string{"older", "newer"} {
		if err := d.WriteFile("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		path, err := d.SetAside("a")
		if err != nil || path != filepath.Join(d.Path, "a.damaged") {
			t.Errorf("%s, %v", path, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
		if got := names(t, d.Path); got != "a.damaged" {
			t.Errorf("the directory holds %s", got)
		}
	}
	if _, err := d.SetAside("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// What a killed daemon has left is removed at the start, and nothing else, whatever it is called.
func TestStateDirPrepare_KEY3(t *testing.T) {
	d := StateDir{Path: t.TempDir()}
	for _, name := range []string{
		".a.new-01234567", ".a.b.new-deadbeef", "a", "a.damaged", ".a", ".a.new-", ".a.new-0123456", ".a.new-0123456g",
		"a.new-01234567", ".new-01234567",
	} {
		if err := os.WriteFile(filepath.Join(d.Path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, d.Path), ".a .a.new- .a.new-0123456 .a.new-0123456g .new-01234567 a a.damaged a.new-01234567"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
}

func TestStateDirErrors_KEY3(t *testing.T) {
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
		d    StateDir
		is   error
		want string
	}{
		{"parent missing", StateDir{Path: filepath.Join(dir, "no", "state")}, ErrNoDirectory,
			filepath.Join(dir, "no/state/a") + ": neither the directory is there nor the one to make it in"},
		{"a file", StateDir{Path: filepath.Join(dir, "file")}, syscall.ENOTDIR, filepath.Join(dir, "file/a") + ": not a directory"},
		{"read-only", StateDir{Path: "/x", Disk: readOnly}, ErrReadOnly, "/x/a: the file system is read-only"},
		{"full", StateDir{Path: "/x", Disk: full}, syscall.ENOSPC, "/x/a: no space left on device"},
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

func (d faultyDisk) Names(string) ([]string, error)  { return nil, d.err }
func (d faultyDisk) Create(string) (DiskFile, error) { return nil, d.err }
func (d faultyDisk) Rename(from, to string) error    { return d.err }

func TestStateDirNames_KEY3(t *testing.T) {
	d := StateDir{Path: t.TempDir()}
	for _, name := range []string{"", ".", "..", "../a", "/a", "b/a", ".a", "a\x00", "a.damaged"} {
		_, readErr := d.ReadFile(name, 10)
		_, asideErr := d.SetAside(name)
		for _, err := range []error{d.WriteFile(name, nil), readErr, asideErr} {
			if err == nil || !strings.Contains(err.Error(), "is no name for a state file") {
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
