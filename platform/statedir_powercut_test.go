package platform_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"nmosauthd/platform"
	"nmosauthd/tinytest/powercut"
)

const (
	stateDir = "/var/lib/nmos-authd"
	kept     = "keys.json"
	oldText  = "the keys of yesterday"
	newText  = "the keys of today, which are more"
)

// diskWith returns a disk that holds the old file; with "" it holds no file, and no directory for it.
func diskWith(t *testing.T, text string) *powercut.Disk {
	t.Helper()
	disk := powercut.New("/var/lib")
	if text != "" {
		state := platform.StateDir{Path: stateDir, Disk: disk}
		if err := errors.Join(state.Prepare(), state.WriteFile(kept, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

// read returns the text of the file, "" where there is none.
func read(t *testing.T, disk platform.Disk) string {
	t.Helper()
	data, err := platform.StateDir{Path: stateDir, Disk: disk}.ReadFile(kept, 1000)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// Whenever the power goes while the file is written, the old or the new one is found, and the new one for certain once
// WriteFile has said so. Whatever is left over goes at the next start, and the file can be written then.
func TestPowerCut_KEY3(t *testing.T) {
	for _, before := range []string{"", oldText} {
		disk := diskWith(t, before)
		state := platform.StateDir{Path: stateDir, Disk: disk}
		cuts := map[string]int{} // by what was found
		err := disk.Cut(func() error { return state.WriteFile(kept, []byte(newText)) }, func(moment string, found *powercut.Disk) {
			text := read(t, found)
			cuts[text]++
			if text != before && text != newText {
				t.Fatalf("%s: neither the old nor the new file but %q", moment, text)
			}
			if moment == "at the end" && text != newText {
				t.Fatalf("written, and gone again: %q", text)
			}
			next := platform.StateDir{Path: stateDir, Disk: found}
			if err := next.Prepare(); err != nil {
				t.Fatal(err)
			}
			names, err := found.Names(stateDir)
			if err != nil || len(names) > 1 || len(names) == 1 && names[0] != kept || read(t, found) != text {
				t.Fatalf("%s: prepared, the directory holds %q, %v", moment, names, err)
			}
			if err := next.WriteFile(kept, []byte("next")); err != nil || read(t, found) != "next" {
				t.Fatalf("%s: the next write: %v", moment, err)
			}
		})
		if err != nil || cuts[before] < 50 || cuts[newText] == 0 {
			t.Errorf("cuts %v, %v", cuts, err)
		}
	}
}

// Setting a file aside leaves it under the one name or the other.
func TestPowerCutSetAside_KEY3(t *testing.T) {
	disk := diskWith(t, oldText)
	state := platform.StateDir{Path: stateDir, Disk: disk}
	err := disk.Cut(func() error {
		_, err := state.SetAside(kept)
		return err
	}, func(moment string, found *powercut.Disk) {
		names, _ := found.Names(stateDir)
		if len(names) != 1 || moment == "at the end" && names[0] != kept+".damaged" {
			t.Errorf("%s: %q", moment, names)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// forgetful leaves out one step of the sequence.
type forgetful struct {
	*powercut.Disk
	fsync, fsyncDir bool
}

type forgetfulFile struct {
	platform.DiskFile
}

func (forgetfulFile) Sync() error { return nil }

func (d forgetful) Create(path string) (platform.DiskFile, error) {
	f, err := d.Disk.Create(path)
	if d.fsync {
		f = forgetfulFile{f}
	}
	return f, err
}

func (d forgetful) SyncDir(path string) error {
	if d.fsyncDir {
		return nil
	}
	return d.Disk.SyncDir(path)
}

// The disk must show what each step of the sequence is there for, or the tests above say nothing.
func TestPowerCutNeedsEachStep_KEY3(t *testing.T) {
	for _, c := range []struct {
		name            string
		fsync, fsyncDir bool
		neither, undone bool
	}{
		{name: "whole"},
		{name: "no fsync of the file", fsync: true, neither: true},
		{name: "no fsync of the directory", fsyncDir: true, undone: true},
	} {
		disk := diskWith(t, oldText)
		state := platform.StateDir{Path: stateDir, Disk: forgetful{disk, c.fsync, c.fsyncDir}}
		neither, undone := false, false
		err := disk.Cut(func() error { return state.WriteFile(kept, []byte(newText)) }, func(moment string, found *powercut.Disk) {
			text := read(t, found)
			neither = neither || text != oldText && text != newText
			undone = undone || moment == "at the end" && text == oldText
		})
		if err != nil || neither != c.neither || undone != c.undone {
			t.Errorf("%s: %v; found neither old nor new: %v; undone: %v", c.name, err, neither, undone)
		}
	}
}

// A step that fails leaves the old file, and nothing else; but after the rename it is the new one that stands.
func TestWriteFails_KEY3(t *testing.T) {
	failure := errors.New("input/output error")
	for _, c := range []struct{ step, want string }{
		{"create ", oldText},
		{"write ", oldText},
		{"fsync " + stateDir + "/", oldText},
		{"close ", oldText},
		{"rename ", oldText},
		{"fsync directory ", newText},
	} {
		disk := diskWith(t, oldText)
		disk.Step = func(next string) error {
			if strings.HasPrefix(next, c.step) {
				return failure
			}
			return nil
		}
		state := platform.StateDir{Path: stateDir, Disk: disk}
		if err := state.WriteFile(kept, []byte(newText)); !errors.Is(err, failure) {
			t.Errorf("%s: %v", c.step, err)
		}
		disk.Step = nil
		names, err := disk.Names(stateDir)
		if text := read(t, disk); text != c.want || len(names) != 1 || err != nil {
			t.Errorf("%s fails: the file holds %q, the directory %q, %v", c.step, text, names, err)
		}
	}
}
