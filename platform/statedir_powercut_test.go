package platform_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"nmosauthd/platform"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

const (
	stateDir = "/var/lib/nmos-authd"
	kept     = "keys.json"
	oldText  = "the keys of yesterday"
	newText  = "the keys of today, which are more"
)

// disks are the kinds of disk: of one, renames are lost.
var disks = map[string]bool{"": false, " on FAT": true}

// diskWith returns a disk that holds these texts, written one after the other; with none it holds no file, and no
// directory for it.
func diskWith(t *testing.T, fat bool, texts ...string) *powercut.Disk {
	t.Helper()
	disk := powercut.New("/var/lib")
	disk.LosesRenames = fat
	state := platform.StateDir{Path: stateDir, Disk: disk}
	for _, text := range texts {
		if err := errors.Join(state.Prepare(), state.WriteFile(kept, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

// plain returns a disk that holds a file as releases without slots wrote it.
func plain(t *testing.T, fat bool, text string) *powercut.Disk {
	t.Helper()
	disk := powercut.New("/var/lib", stateDir)
	disk.LosesRenames = fat
	put(t, disk, kept, text)
	return disk
}

// put writes a file without slots.
func put(t *testing.T, disk *powercut.Disk, name, text string) {
	t.Helper()
	f, err := disk.Create(stateDir + "/" + name)
	if err == nil {
		_, err = f.Write([]byte(text))
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), disk.SyncDir(stateDir))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the text of the file, "" if there is none.
func read(t *testing.T, disk platform.Disk) string {
	t.Helper()
	state := platform.StateDir{Path: stateDir, Disk: disk, Told: func(err error) {
		if !errors.Is(err, platform.ErrTorn) {
			t.Errorf("told of %v, want only of slots that are not whole", err)
		}
	}}
	data, err := state.ReadFile(kept, 1000)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// Whenever the power goes while the file is written, the old or the new one is found, and the new one for certain once
// WriteFile has said so. Two slots are all that there is then, and the file can be written.
func TestPowerCut(t *testing.T) {
	spec.Rules(t, "KEY-3")
	for kind, fat := range disks {
		for name, c := range map[string]struct {
			before string
			disk   *powercut.Disk
		}{
			"the first file":            {"", diskWith(t, fat)},
			"another file":              {oldText, diskWith(t, fat, oldText)},
			"a third":                   {oldText, diskWith(t, fat, newText, oldText)},
			"a shorter one":             {newText + oldText, diskWith(t, fat, newText, newText+oldText)},
			"over an earlier release's": {oldText, plain(t, fat, oldText)},
		} {
			t.Run("KEY-3/"+name+kind, func(t *testing.T) {
				state := platform.StateDir{Path: stateDir, Disk: c.disk}
				cuts := map[string]int{} // by what was found
				write := func() error { return state.WriteFile(kept, []byte(newText)) }
				err := c.disk.Cut(write, func(moment string, found *powercut.Disk) {
					text := read(t, found)
					cuts[text]++
					if text != c.before && text != newText {
						t.Fatalf("%s: got %q, want the old or the new file", moment, text)
					}
					if moment == "at the end" && text != newText {
						t.Fatalf("written, and gone again: got %q", text)
					}
					next := platform.StateDir{Path: stateDir, Disk: found}
					if err := next.Prepare(); err != nil {
						t.Fatal(err)
					}
					if err := next.WriteFile(kept, []byte("next")); err != nil || read(t, found) != "next" {
						t.Fatalf("%s: the next write: got %q, %v", moment, read(t, found), err)
					}
					if names, err := found.Names(stateDir); err != nil ||
						strings.Join(names, " ") != kept+" "+kept+".2" {
						t.Fatalf("%s: the directory holds %q, %v", moment, names, err)
					}
				})
				if err != nil || cuts[c.before] < 50 || cuts[newText] == 0 {
					t.Errorf("cuts %v, %v", cuts, err)
				}
			})
		}
	}
}

// A power cut while the file is written after another power cut, which left one slot torn.
func TestPowerCutTwice(t *testing.T) {
	spec.Rules(t, "KEY-3")
	for kind, fat := range disks {
		t.Run("KEY-3/twice"+kind, func(t *testing.T) {
			n := 0
			disk := diskWith(t, fat, oldText)
			state := platform.StateDir{Path: stateDir, Disk: disk}
			first := func() error { return state.WriteFile(kept, []byte(newText)) }
			err := disk.Cut(first, func(moment string, found *powercut.Disk) {
				if n++; n%7 != 0 || t.Failed() {
					return // a choice
				}
				before := read(t, found)
				again := platform.StateDir{Path: stateDir, Disk: found}
				second := func() error { return again.WriteFile(kept, []byte("third")) }
				err := found.Cut(second, func(later string, found *powercut.Disk) {
					text := read(t, found)
					if text != before && text != "third" || later == "at the end" && text != "third" {
						t.Fatalf("%s, then %s: got %q, want %q or the third", moment, later, text, before)
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
			if err != nil || n < 100 {
				t.Errorf("%d cuts, %v", n, err)
			}
		})
	}
}

// A write that failed at its last sync may not be on the disk although it can be read: the next one goes to the same
// slot, and leaves the one that is whole for certain.
func TestPowerCutAfterFailedSync(t *testing.T) {
	spec.Rules(t, "KEY-3")
	disk := diskWith(t, false, "older", oldText)
	state := platform.StateDir{Path: stateDir, Disk: disk}
	disk.Step = func(next string) error {
		if strings.HasPrefix(next, "fsync "+stateDir+"/") {
			return errors.New("input/output error")
		}
		return nil
	}
	if err := state.WriteFile(kept, []byte("lost")); err == nil {
		t.Fatal("the write succeeds, want the disk's error")
	}
	disk.Step = nil
	err := disk.Cut(func() error { return state.WriteFile(kept, []byte(newText)) },
		func(moment string, found *powercut.Disk) {
			text := read(t, found)
			if !slices.Contains([]string{oldText, "lost", newText}, text) || moment == "at the end" && text != newText {
				t.Fatalf("%s: got %q", moment, text)
			}
		})
	if err != nil {
		t.Error(err)
	}
}

// Setting a file aside leaves it under the one name or the other.
func TestPowerCutSetAside(t *testing.T) {
	spec.Rules(t, "KEY-3")
	disk := diskWith(t, false, oldText)
	state := platform.StateDir{Path: stateDir, Disk: disk}
	err := disk.Cut(func() error {
		_, err := state.SetAside(kept)
		return err
	}, func(moment string, found *powercut.Disk) {
		names, _ := found.Names(stateDir)
		if len(names) != 2 || moment == "at the end" && (names[0] != kept+".2.damaged" || names[1] != kept+".damaged") {
			t.Errorf("%s: got %q", moment, names)
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

func (d forgetful) Edit(path string) (platform.DiskFile, error) {
	f, err := d.Disk.Edit(path)
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
func TestPowerCutNeedsEachStep(t *testing.T) {
	spec.Rules(t, "KEY-3")
	for _, c := range []struct {
		name            string
		fsync, fsyncDir bool
		undone          bool
	}{
		{name: "whole"},
		{name: "no fsync of the file", fsync: true, undone: true},
		{name: "no fsync of the directory", fsyncDir: true, undone: true},
	} {
		disk := diskWith(t, false)
		state := platform.StateDir{Path: stateDir, Disk: forgetful{disk, c.fsync, c.fsyncDir}}
		undone := false
		err := disk.Cut(func() error { return state.WriteFile(kept, []byte(newText)) },
			func(moment string, found *powercut.Disk) {
				state := platform.StateDir{Path: stateDir, Disk: found}
				text, err := state.ReadFile(kept, 1000) // with both slots torn it is an error
				undone = undone || moment == "at the end" && (err != nil || string(text) != newText)
			})
		if err != nil || undone != c.undone {
			t.Errorf("%s: %v; undone: got %v, want %v", c.name, err, undone, c.undone)
		}
	}
}

// A step that fails leaves the old file or the new one, and the next write succeeds.
func TestWriteFails(t *testing.T) {
	spec.Rules(t, "KEY-3")
	failure := errors.New("input/output error")
	for _, c := range []struct{ step, want string }{
		{"edit ", oldText},
		{"write ", oldText},
		{"fsync " + stateDir + "/", newText},
		{"close ", newText},
		{"fsync directory ", newText},
	} {
		disk := diskWith(t, false, oldText)
		disk.Step = func(next string) error {
			if strings.HasPrefix(next, c.step) || strings.HasPrefix(next, "rename ") {
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
		if text := read(t, disk); text != c.want || len(names) != 2 || err != nil {
			t.Errorf("%s fails: the file holds %q, want %q; the directory %q, %v", c.step, text, c.want, names, err)
		}
		if err := state.WriteFile(kept, []byte("next")); err != nil || read(t, disk) != "next" {
			t.Errorf("%s failed: the next write: got %q, %v", c.step, read(t, disk), err)
		}
	}
}

// What is not whole is used only if it is the slot of a write that was cut short; else it is damage, and said to be.
func TestTornSlots(t *testing.T) {
	spec.Rules(t, "KEY-3")
	const torn, missing, whole, other = "torn", "missing", "whole", "plain"
	for _, c := range []struct {
		first, second string // NAME.2, NAME
		want          string // text, or part of the error
	}{
		{torn, missing, "does not exist"}, // the first write, cut short
		{missing, missing, "does not exist"},
		{torn, torn, "the slot is incomplete"},
		{missing, torn, "the slot is incomplete"},
		{whole, torn, newText},
		{torn, whole, newText},
		{whole, missing, newText},
		{missing, whole, newText},
		{missing, other, oldText}, // an earlier release's
		{torn, other, oldText},    // and the first write after it, cut short
		{whole, other, newText},
	} {
		from := diskWith(t, false, newText)
		disk := powercut.New("/var/lib", stateDir)
		for name, what := range map[string]string{kept + ".2": c.first, kept: c.second} {
			f, err := from.Open(stateDir + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			slot, err := io.ReadAll(f)
			if err != nil {
				t.Fatal(err)
			}
			switch what {
			case torn:
				slot = bytes.Replace(slot, []byte("today"), []byte("tOday"), 1)
			case other:
				slot = []byte(oldText)
			case missing:
				continue
			}
			put(t, disk, name, string(slot))
		}
		state := platform.StateDir{Path: stateDir, Disk: disk}
		data, err := state.ReadFile(kept, 1000)
		if got := string(data) + fmt.Sprint(err); !strings.Contains(got, c.want) {
			t.Errorf("%s.2 %s, %s %s: got %q, want %q", kept, c.first, kept, c.second, got, c.want)
		}
	}
}
