package platform_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"nmosauthd/platform"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

const (
	sharedDir = "/etc/tls"
	oldPair   = "key 1, certificate 1"
	newPair   = "key 2, certificate 2, which is longer"
)

// served is what a web server finds in a directory, by the rule that the type's comment gives it: "" if nothing.
func served(t *testing.T, disk *powercut.Disk) string {
	t.Helper()
	text := func(name string) (string, bool) {
		f, err := disk.Open(sharedDir + "/" + name)
		if err != nil {
			return "", false
		}
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(data), true
	}
	if !disk.LosesRenames {
		all, _ := text("ecdsa.pem")
		return all
	}
	for _, pointer := range []string{"ecdsa.now", "ecdsa.now.2"} {
		name, _ := text(pointer)
		if all, is := text(strings.TrimSuffix(name, "\n")); is {
			return all
		}
	}
	return ""
}

func sharedOn(disk *powercut.Disk) *platform.SharedDir {
	return &platform.SharedDir{Path: sharedDir, Disk: disk, Pointers: disk.LosesRenames}
}

func names(t *testing.T, disk *powercut.Disk) string {
	t.Helper()
	all, err := disk.Names(sharedDir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// Whenever the power goes while a pair is replaced, a reader finds the old or the new one, whole, and the new one for
// certain once Replace has said so. The next one can be written over whatever is found, and then nothing else is left:
// the former key is gone.
func TestSharedDirPowerCut(t *testing.T) {
	spec.Rules(t, "CERT-29")
	for kind, fat := range disks {
		for _, before := range []string{"", oldPair} {
			disk := powercut.New(sharedDir)
			disk.LosesRenames = fat
			dir := sharedOn(disk)
			if before != "" {
				if err := dir.Replace("ecdsa.pem", []byte(before), 0o640, ""); err != nil {
					t.Fatal(err)
				}
			}
			cuts := map[string]int{}
			err := disk.Cut(func() error {
				return dir.Replace("ecdsa.pem", []byte(newPair), 0o640, "")
			}, func(moment string, found *powercut.Disk) {
				text := served(t, found)
				cuts[text]++
				if text != before && text != newPair || moment == "at the end" && text != newPair {
					t.Fatalf("after %q%s, %s: got %q, want the old or the new pair", before, kind, moment, text)
				}
				next := sharedOn(found)
				if err := next.Replace("ecdsa.pem", []byte("next"), 0o640, ""); err != nil ||
					served(t, found) != "next" {
					t.Fatalf("%s: the next: got %q, %v", moment, served(t, found), err)
				}
				if err := next.Replace("ecdsa.pem", []byte("last"), 0o640, ""); err != nil {
					t.Fatal(err)
				}
				want := map[bool]int{false: 1, true: 3}[fat]
				if left := names(t, found); len(strings.Fields(left)) != want || served(t, found) != "last" {
					t.Fatalf("%s: left are %s, with %q", moment, left, served(t, found))
				}
				if err := next.Remove("ecdsa.pem"); err != nil || names(t, found) != "" {
					t.Fatalf("%s: removed, and left are %q, %v", moment, names(t, found), err)
				}
			})
			if err != nil || cuts[before] < 20 || cuts[newPair] == 0 {
				t.Errorf("after %q%s: cuts %v, %v", before, kind, cuts, err)
			}
		}
	}
}

// What is there already is not written again, so that no web server loads it again.
func TestSharedDirSame(t *testing.T) {
	spec.Rules(t, "CERT-29")
	for _, fat := range disks {
		disk := powercut.New(sharedDir)
		disk.LosesRenames = fat
		dir := sharedOn(disk)
		if err := errors.Join(dir.Prepare(), dir.Remove("ecdsa.pem")); err != nil { // nothing to remove
			t.Fatal(err)
		}
		for i := range 3 {
			disk.Step = func(next string) error {
				if op, _, _ := strings.Cut(next, " "); i > 0 && op != "open" {
					return fmt.Errorf("unexpected: %s", next)
				}
				return nil
			}
			err := errors.Join(dir.Replace("ecdsa.pem", []byte(oldPair), 0o640, ""), dir.Write("changed", nil, 0o644))
			if err != nil || served(t, disk) != oldPair {
				t.Errorf("FAT %v, time %d: got %q, %v", fat, i, served(t, disk), err)
			}
		}
	}
}

// Each step that fails leaves a pair, names the file, and the next attempt succeeds.
func TestSharedDirFails(t *testing.T) {
	spec.Rules(t, "CERT-29")
	failure := errors.New("input/output error")
	for _, fat := range disks {
		for _, step := range []string{"create ", "write ", "fsync /etc/tls/", "close ", "rename ", "fsync directory "} {
			disk := powercut.New(sharedDir)
			disk.LosesRenames = fat
			dir := sharedOn(disk)
			if err := dir.Replace("ecdsa.pem", []byte(oldPair), 0o640, ""); err != nil {
				t.Fatal(err)
			}
			disk.Step = func(next string) error {
				if strings.HasPrefix(next, step) {
					return failure
				}
				return nil
			}
			err := dir.Replace("ecdsa.pem", []byte(newPair), 0o640, "")
			if never := fat && step == "rename "; never != (err == nil) ||
				err != nil && (!errors.Is(err, failure) || !strings.Contains(err.Error(), "/etc/tls/ecdsa.pem")) {
				t.Errorf("FAT %v, %s fails: %v", fat, step, err)
			}
			disk.Step = nil
			if text := served(t, disk); text != oldPair && text != newPair {
				t.Errorf("FAT %v, %s fails: got %q", fat, step, text)
			}
			if err := dir.Replace("ecdsa.pem", []byte("next"), 0o640, ""); err != nil || served(t, disk) != "next" {
				t.Errorf("FAT %v, %s failed, the next: got %q, %v", fat, step, served(t, disk), err)
			}
		}
	}
}

// What all may read is durable once Write has said so, on FAT too, and until then the old one, the new one, or on FAT
// none.
func TestSharedDirWrite(t *testing.T) {
	spec.Rules(t, "CERT-29")
	for _, fat := range disks {
		disk := powercut.New(sharedDir)
		disk.LosesRenames = fat
		dir := sharedOn(disk)
		text := func(found *powercut.Disk) string {
			f, err := found.Open(sharedDir + "/roots.pem")
			if err != nil {
				return ""
			}
			data, _ := io.ReadAll(f)
			return string(data)
		}
		if err := dir.Write("roots.pem", []byte("one"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := disk.Cut(func() error { return dir.Write("roots.pem", []byte("two"), 0o644) },
			func(moment string, found *powercut.Disk) {
				got := text(found)
				whole := got == "one" || got == "two" || fat && strings.Trim(got, "\x00") == ""
				if !whole || moment == "at the end" && got != "two" {
					t.Errorf("FAT %v, %s: got %q", fat, moment, got)
				}
			})
		if err != nil {
			t.Error(err)
		}
	}
}

// The power fails, and again while what it left is put right or replaced: there is always a whole pair.
func TestSharedDirPowerCutTwice(t *testing.T) {
	spec.Rules(t, "CERT-29")
	for kind, fat := range disks {
		disk := powercut.New(sharedDir)
		disk.LosesRenames = fat
		dir := sharedOn(disk)
		if err := dir.Replace("ecdsa.pem", []byte(oldPair), 0o640, ""); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := disk.Cut(func() error { return dir.Replace("ecdsa.pem", []byte(newPair), 0o640, "") },
			func(moment string, found *powercut.Disk) {
				for _, next := range []string{oldPair, newPair, "third"} {
					if n++; n%7 != 0 || t.Failed() {
						continue // a choice
					}
					again := copyOf(t, found)
					err := again.Cut(func() error {
						return sharedOn(again).Replace("ecdsa.pem", []byte(next), 0o640, "")
					},
						func(later string, found *powercut.Disk) {
							text := served(t, found)
							// a pointer may be a mixture of two
							whole := text == oldPair || text == newPair || text == next
							if !whole || later == "at the end" && text != next {
								t.Fatalf("%s%s, then %s: got %q, want a pair, and at the end %q",
									moment, kind, later, text, next)
							}
						})
					if err != nil {
						t.Error(err)
					}
				}
			})
		if err != nil || n < 100 {
			t.Errorf("%d cuts, %v", n, err)
		}
	}
}

// copyOf returns a disk that holds the same.
func copyOf(t *testing.T, disk *powercut.Disk) *powercut.Disk {
	for found := range disk.Found() { // nothing is pending, so there is one
		return found
	}
	t.Fatal("no disk")
	return nil
}
