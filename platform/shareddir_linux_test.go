package platform

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

// Files have the mode and the group that they are to have from the moment at which their name is there; others may
// enter the directory, whatever the umask.
func TestSharedDirModes(t *testing.T) {
	spec.Rules(t, "CERT-29", "CERT-48")
	defer syscall.Umask(syscall.Umask(0o077))
	d := &SharedDir{Path: filepath.Join(t.TempDir(), "tls")}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(); err != nil { // again
		t.Fatal(err)
	}
	look := func(path string, mode fs.FileMode, gid int) {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm() != mode || fileGroup(info) != gid {
			t.Errorf("%s: got %v, %v; want mode %o, group %d", path, info, err, mode, gid)
		}
	}
	own := os.Getegid()
	look(d.Path, 0o755, own)
	if d.Pointers {
		t.Skip("the test's own directory is on FAT")
	}
	groups := []int{own}
	if os.Geteuid() == 0 {
		groups = append(groups, own+7)
	}
	file := filepath.Join(d.Path, "ecdsa.pem")
	for _, gid := range groups {
		for _, mode := range []fs.FileMode{0o640, 0o600} {
			var before os.FileInfo
			for again := range 2 {
				if err := d.Replace("ecdsa.pem", []byte("x"), mode, fmt.Sprint(gid)); err != nil {
					t.Errorf("mode %o, group %d: %v", mode, gid, err)
				}
				look(file, mode, gid)
				info, err := os.Stat(file)
				if err != nil || again == 1 && !os.SameFile(info, before) {
					t.Errorf("mode %o, group %d: written again, %v", mode, gid, err)
				}
				before = info
			}
		}
	}
	if err := d.Replace("ecdsa.pem", []byte("y"), 0o640, "no-such-group"); err == nil {
		t.Error("an unknown group: no error")
	}
	if text, err := os.ReadFile(file); string(text) != "x" || err != nil {
		t.Errorf("got %q, %v; want the file as it was", text, err)
	}
	// A link in the place of the new file leads nowhere.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(other, file+".new"); err != nil {
		t.Fatal(err)
	}
	if err := d.Replace("ecdsa.pem", []byte("z"), 0o640, ""); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(other); err == nil {
		t.Error("the key was written where a link led")
	}
	if err := (&SharedDir{Path: filepath.Join(d.Path, "a", "b")}).Prepare(); err == nil {
		t.Error("a directory without a parent: no error")
	}
}

// A folder in which others could replace a file is not used.
func TestSharedDirOfAll(t *testing.T) {
	spec.Rules(t, "CERT-29")
	d := &SharedDir{Path: t.TempDir()}
	if err := os.Chmod(d.Path, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(); d.Pointers {
		t.Skip("the test's own directory is on FAT, which has no modes")
	} else if err == nil || !strings.Contains(err.Error(), "others may write to it") {
		t.Errorf("got %v, want that others may write to it", err)
	}
}
