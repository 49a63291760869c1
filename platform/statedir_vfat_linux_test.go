package platform

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/spec"
)

// vfatChild names the directory in which the process that TestStateDirVFAT starts works.
const vfatChild = "PLATFORM_TEST_VFAT"

// A real FAT: whatever the kernel has not written to the medium is lost at a power cut. A copy of the medium at that
// moment holds the old file or the new one, and the new one for certain once WriteFile has said so; and it can be
// written to.
func TestStateDirVFAT(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if dir := os.Getenv(vfatChild); dir != "" {
		useVFAT(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a FAT")
	}
	for _, tool := range []string{"mkfs.vfat", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s, of dosfstools and mount: %v", tool, err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStateDirVFAT$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), vfatChild+"="+t.TempDir())
	// A mount namespace of its own, so that nothing is mounted for others, or for longer than it takes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case err == nil:
		t.Logf("%s", out)
	case errors.As(err, &status):
		t.Errorf("%v\n%s", err, out)
	default:
		t.Skip("no namespace to mount in: ", err)
	}
}

func useVFAT(t *testing.T, dir string) {
	// all files are another user's, and may be written by all: FAT knows no better
	const options = "loop,uid=65534,umask=000"
	medium := filepath.Join(dir, "medium")
	try(t, os.WriteFile(medium, make([]byte, 4<<20), 0o600))
	if out, err := exec.Command("mkfs.vfat", medium).CombinedOutput(); err != nil {
		t.Skipf("mkfs.vfat: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "--make-rprivate", "/").CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	mounted := filepath.Join(dir, "mounted")
	try(t, os.Mkdir(mounted, 0o700))
	if out, err := exec.Command("mount", "-t", "vfat", "-o", options, medium, mounted).CombinedOutput(); err != nil {
		t.Skipf("this kernel mounts no FAT: %v: %s", err, out)
	}
	defer unmount(t, mounted)
	before, next, cuts := "", "", 0
	// cut looks at what a power cut leaves at this moment.
	cut := func(moment string, may ...string) {
		if t.Failed() {
			return
		}
		cuts++
		left := filepath.Join(dir, "left")
		data, err := os.ReadFile(medium)
		try(t, err)
		try(t, os.WriteFile(left, data, 0o600))
		after := filepath.Join(dir, "after")
		try(t, os.MkdirAll(after, 0o700))
		if out, err := exec.Command("mount", "-t", "vfat", "-o", options, left, after).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", moment, err, out)
		}
		defer unmount(t, after)
		d := StateDir{Path: filepath.Join(after, "state")}
		got, err := d.ReadFile("keys", 1<<20)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err != nil || !slices.Contains(may, string(got)) {
			t.Errorf("%s: got %d bytes, %.9q, %v, want one of %.9q", moment, len(got), got, err, may)
		}
		if err := errors.Join(d.Prepare(), d.WriteFile("keys", []byte("after"))); err != nil {
			t.Errorf("%s: the next write: %v", moment, err)
		}
		if got, err := d.ReadFile("keys", 1<<20); err != nil || string(got) != "after" {
			t.Errorf("%s: the next write: got %.9q, %v", moment, got, err)
		}
	}
	disk := &cutDisk{cut: func(step string) { cut("before "+step, before, next) }}
	d := &StateDir{Path: filepath.Join(mounted, "state"), Disk: disk}
	try(t, d.Prepare())
	for n := range 6 { // of many lengths
		next = string(numbered(n))
		try(t, d.WriteFile("keys", []byte(next)))
		cut(fmt.Sprint("written ", n), next)
		before = next
	}
	t.Logf("%d power cuts", cuts)
}

func unmount(t *testing.T, path string) {
	if out, err := exec.Command("umount", path).CombinedOutput(); err != nil {
		t.Errorf("umount %s: %v: %s", path, err, out)
	}
}

// cutDisk is the real disk, and calls cut before each step of a write.
type cutDisk struct {
	realDisk
	cut func(step string)
}

func (d *cutDisk) Edit(path string) (DiskFile, error) {
	d.cut("opening")
	f, err := d.realDisk.Edit(path)
	return cutFile{f, d.cut}, err
}

func (d *cutDisk) SyncDir(dir string) error {
	d.cut("the sync of the directory")
	return d.realDisk.SyncDir(dir)
}

type cutFile struct {
	DiskFile
	cut func(step string)
}

func (f cutFile) Write(p []byte) (int, error) {
	f.cut("writing")
	return f.DiskFile.Write(p)
}

func (f cutFile) Sync() error {
	f.cut("the sync of the file")
	return f.DiskFile.Sync()
}
