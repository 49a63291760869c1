package powercut

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

// found lists what may be found of the file /d/a after a power cut, each once, sorted; "-" stands for no file.
func found(t *testing.T, d *Disk) string {
	t.Helper()
	all := map[string]bool{}
	for f := range d.Found() {
		all[content(t, f, "/d/a")] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), " ")
}

func content(t *testing.T, d *Disk, path string) string {
	t.Helper()
	f, err := d.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(f)
	return `"` + strings.ReplaceAll(string(b), "\x00", "0") + `"`
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, d *Disk, path, text string, sync bool) {
	t.Helper()
	f, err := d.Create(path)
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

// What may be found is all that a file system may do, and nothing that it may not.
func TestFound(t *testing.T) {
	d := New("/d")
	write(t, d, "/d/a", "xy", false)
	if got, want := found(t, d), `"" "00" "x" "x0" "xy" -`; got != want {
		t.Errorf("nothing synced: %s, want %s", got, want)
	}
	must(t, d.SyncDir("/d"))
	if got, want := found(t, d), `"" "00" "x" "x0" "xy"`; got != want {
		t.Errorf("directory synced: %s, want %s", got, want)
	}

	d = New("/d")
	write(t, d, "/d/a", "xy", true)
	if got, want := found(t, d), `"xy" -`; got != want {
		t.Errorf("file synced: %s, want %s", got, want)
	}
	must(t, d.SyncDir("/d"))
	if got, want := found(t, d), `"xy"`; got != want {
		t.Errorf("both synced: %s, want %s", got, want)
	}

	write(t, d, "/d/b", "z", false)
	must(t, d.Rename("/d/b", "/d/a"))
	if got, want := found(t, d), `"" "0" "xy" "z"`; got != want {
		t.Errorf("replaced without a sync: %s, want %s", got, want)
	}
	must(t, d.SyncDir("/d"), d.Remove("/d/a"))
	if got, want := found(t, d), `"" "0" "z" -`; got != want {
		t.Errorf("removed: %s, want %s", got, want)
	}
}

// Of data that were written over others, either part may be the old one, or zeros.
func TestFoundOverwritten(t *testing.T) {
	d := New("/d")
	write(t, d, "/d/a", "xy", true)
	must(t, d.SyncDir("/d"))
	f, err := d.Edit("/d/a")
	must(t, err)
	_, err = f.Write([]byte("vwz"))
	must(t, err)
	if got, want := found(t, d), `"000" "v00" "vw" "vw0" "vwz" "vy" "xwz" "xy" "xyz"`; got != want {
		t.Errorf("written over: %s, want %s", got, want)
	}
	must(t, f.Sync())
	if got, want := found(t, d), `"vwz"`; got != want {
		t.Errorf("synced: %s, want %s", got, want)
	}
	f, err = d.Edit("/d/a")
	must(t, err)
	_, err = f.Write([]byte("V"))
	must(t, err)
	if got, want := content(t, d, "/d/a"), `"Vwz"`; got != want {
		t.Errorf("its beginning written over: %s, want %s", got, want)
	}
	if _, err := d.Edit("/e/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	f, err = d.Edit("/d/b")
	must(t, err, f.Close())
	if got, want := content(t, d, "/d/b"), `""`; got != want {
		t.Errorf("made: %s, want %s", got, want)
	}
}

// On FAT a file that was renamed is lost until it is synced again, whatever becomes of the directory.
func TestFoundRenamedOnFAT(t *testing.T) {
	d := New("/d")
	d.LosesRenames = true
	write(t, d, "/d/a", "x", true)
	must(t, d.SyncDir("/d"))
	write(t, d, "/d/b", "y", true)
	must(t, d.SyncDir("/d"), d.Rename("/d/b", "/d/a"))
	if got, want := found(t, d), `"" "0" "x" "y"`; got != want {
		t.Errorf("renamed: %s, want %s", got, want)
	}
	must(t, d.SyncDir("/d"))
	if got, want := found(t, d), `"" "0" "y"`; got != want {
		t.Errorf("directory synced: %s, want %s", got, want)
	}
	f, err := d.Edit("/d/a")
	must(t, err, f.Sync())
	if got, want := found(t, d), `"y"`; got != want {
		t.Errorf("file synced once more: %s, want %s", got, want)
	}
}

func TestFoundDirectory(t *testing.T) {
	d := New("/")
	must(t, d.Mkdir("/d"))
	write(t, d, "/d/a", "x", true)
	must(t, d.SyncDir("/d"))
	if got, want := found(t, d), `"x" -`; got != want {
		t.Errorf("parent not synced: %s, want %s", got, want)
	}
	must(t, d.SyncDir("/"))
	if got, want := found(t, d), `"x"`; got != want {
		t.Errorf("parent synced: %s, want %s", got, want)
	}
}

// A file that was made, renamed and removed, none of it synced, may come back.
func TestFoundRemoved(t *testing.T) {
	d := New("/d")
	write(t, d, "/d/b", "x", true)
	must(t, d.Rename("/d/b", "/d/a"), d.Remove("/d/a"))
	if got, want := found(t, d), `"x" -`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCut(t *testing.T) {
	d := New("/d")
	var moments []string
	failure := errors.New("no")
	err := d.Cut(func() error {
		write(t, d, "/d/a", "x", true)
		return failure
	}, func(moment string, found *Disk) {
		if n := len(moments); n == 0 || moments[n-1] != moment {
			moments = append(moments, moment)
		}
	})
	want := "before create /d/a, before write 1 bytes to /d/a, before fsync /d/a, before close /d/a, at the end"
	if got := strings.Join(moments, ", "); got != want || err != failure {
		t.Errorf("%s, %v", got, err)
	}
}

func TestStepFails(t *testing.T) {
	d := New("/d")
	full := errors.New("full")
	d.Step = func(next string) error {
		if strings.HasPrefix(next, "write ") {
			return full
		}
		return nil
	}
	f, err := d.Create("/d/a")
	must(t, err)
	if n, err := f.Write([]byte("x")); n != 0 || err != full {
		t.Errorf("%d, %v", n, err)
	}
	if got := content(t, d, "/d/a"); got != `""` {
		t.Errorf("holds %s", got)
	}
}

// A long file is cut off at many lengths, not at each.
func TestRemainsOfALongFile(t *testing.T) {
	n := &inode{data: make([]byte, 100_000)}
	if got := len(n.remains()); got < 2*everyLength || got > 5*everyLength {
		t.Errorf("got %d outcomes, want a few times %d", got, everyLength)
	}
}
