package platform

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nmosauthd/tinytest/spec"
)

// killedChild names the directory into which the process that TestStateDirKilled starts writes for as long as it lives.
const killedChild = "PLATFORM_TEST_STATE_DIR"

const killedFile = "state"

// numbered is the content of the n-th file: as long as its number says, and the same number all through.
func numbered(n int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%08d\n", n), 1+n*7919%5000))
}

// A process that is killed in the middle leaves the old file or the new one, whole, each time.
func TestStateDirKilled(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if dir := os.Getenv(killedChild); dir != "" {
		writeUntilKilled(&StateDir{Path: dir, Disk: &toldDisk{}})
	}
	torn := 0
	d := &StateDir{Path: t.TempDir(), Told: func(error) { torn++ }}
	last := -1
	for range 40 {
		reported := killWriter(t, d.Path, rand.IntN(60))
		data, err := d.ReadFile(killedFile, 1<<20)
		if errors.Is(err, fs.ErrNotExist) && last < 0 && reported < 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(string(data[:min(8, len(data))]))
		if err != nil || string(data) != string(numbered(n)) {
			t.Fatalf("a broken file of %d bytes: %.20q", len(data), data)
		}
		if n < max(last, reported) || n > max(last, reported)+1 {
			t.Fatalf("file %d, but %d was there before and %d reported as written", n, last, reported)
		}
		last = n
	}
	t.Logf("%d files written, %d kills left a slot that is not whole", last+1, torn)
	if last < 0 {
		t.Error("nothing was written")
	}
	if got, want := names(t, d.Path), killedFile+" "+killedFile+secondSuffix; got != want {
		t.Errorf("the directory holds %s, want %s", got, want)
	}
}

// killWriter starts a writer, kills it when it is about to take that step, and returns the number of the last file that
// it reported as written, -1 for none.
func killWriter(t *testing.T, dir string, step int) (reported int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStateDirKilled$", "-test.count=1")
	cmd.Env = append(os.Environ(), killedChild+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reported = -1
	lines := bufio.NewScanner(out)
	for steps := 0; lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "written "); ok {
			if reported, err = strconv.Atoi(n); err != nil {
				t.Error(err)
			}
		} else if lines.Text() != "step" {
			t.Errorf("the writer says %q", lines.Text())
		} else if steps++; steps == step+1 {
			cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the writer was not killed: %v", err)
	}
	return reported
}

// writeUntilKilled goes on after the last number that it finds.
func writeUntilKilled(d *StateDir) {
	n := 0
	if data, err := d.ReadFile(killedFile, 1<<20); err == nil {
		n, err = strconv.Atoi(string(data[:8]))
		if err != nil {
			panic(err)
		}
		n++
	}
	if err := d.Prepare(); err != nil {
		panic(err)
	}
	for ; ; n++ {
		if err := d.WriteFile(killedFile, numbered(n)); err != nil {
			panic(err)
		}
		fmt.Println("written", n)
	}
}

// toldDisk is the real disk, and prints each step of a write before it is taken.
type toldDisk struct{ realDisk }

func (d *toldDisk) Edit(path string) (DiskFile, error) {
	fmt.Println("step")
	f, err := d.realDisk.Edit(path)
	return toldFile{f}, err
}

func (d *toldDisk) SyncDir(dir string) error {
	fmt.Println("step")
	return d.realDisk.SyncDir(dir)
}

type toldFile struct{ DiskFile }

func (f toldFile) Write(p []byte) (int, error) {
	fmt.Println("step")
	return f.DiskFile.Write(p)
}

func (f toldFile) Sync() error {
	fmt.Println("step")
	return f.DiskFile.Sync()
}

const readOnlyChild = "PLATFORM_TEST_READ_ONLY"

// A file system that is mounted read-only is told as such: what it held is read, nothing is written, nobody fails to
// start.
func TestStateDirReadOnly(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if dir := os.Getenv(readOnlyChild); dir != "" {
		useReadOnly(t, &StateDir{Path: dir})
		return
	}
	d := StateDir{Path: t.TempDir()}
	if err := d.WriteFile("a", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	againToMount(t, readOnlyChild+"="+d.Path)
}

// againToMount runs the calling test again in a process with a mount namespace of its own, so that nothing is mounted
// for others, and with one more variable in its environment.
func againToMount(t *testing.T, variable string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), variable)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	switch {
	case err == nil:
		if strings.Contains(string(out), "SKIP") {
			t.Skipf("%s", out)
		}
	case errors.As(err, &status):
		t.Errorf("%v\n%s", err, out)
	default:
		t.Skip("no namespace to mount in: ", err)
	}
}

func useReadOnly(t *testing.T, d *StateDir) {
	err := errors.Join(
		unix.Mount(d.Path, d.Path, "", unix.MS_BIND, ""),
		unix.Mount("", d.Path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
	)
	if err != nil {
		t.Skip("may not mount: ", err)
	}
	if err := d.Prepare(); err != nil {
		t.Errorf("nothing to remove, nothing to make: %v", err)
	}
	if err := d.WriteFile("a", []byte("new")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if _, err := d.SetAside("a"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("set aside: %v", err)
	}
	if data, err := d.ReadFile("a", 10); err != nil || string(data) != "kept" {
		t.Errorf("read: %q, %v", data, err)
	}
}

const fullChild = "PLATFORM_TEST_FULL"

// On a disk that is full a write fails and what the file held stays; with room again it succeeds.
func TestStateDirFull(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if dir := os.Getenv(fullChild); dir != "" {
		useFull(t, &StateDir{Path: dir})
		return
	}
	againToMount(t, fullChild+"="+t.TempDir())
}

func useFull(t *testing.T, d *StateDir) {
	if err := unix.Mount("tmpfs", d.Path, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Skip("may not mount: ", err)
	}
	old, larger := strings.Repeat("old ", 1000), strings.Repeat("larger ", 2000)
	filler := filepath.Join(d.Path, "filler")
	fill := func() {
		f, err := os.Create(filler)
		try(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		f.Close()
	}
	wantFull := func(name, text string) {
		t.Helper()
		if err := d.WriteFile(name, []byte(text)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s on a full disk: got %v, want %v", name, err, syscall.ENOSPC)
		}
	}
	fill()
	wantFull("first", old)
	if data, err := d.ReadFile("first", 1<<20); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first write failed: got %.9q, %v", data, err)
	}
	try(t, os.Remove(filler))
	try(t, d.WriteFile("a", []byte(old)))
	try(t, d.WriteFile("first", []byte(old)))
	fill()
	for range 3 { // never the slot that is whole
		wantFull("a", larger)
		for _, read := range []*StateDir{d, {Path: d.Path}} { // and by a daemon that is started then
			if data, err := read.ReadFile("a", 1<<20); err != nil || string(data) != old {
				t.Errorf("on a full disk: got %.9q, %v, want what was there", data, err)
			}
		}
	}
	try(t, os.Remove(filler))
	try(t, d.WriteFile("a", []byte(larger)))
	if data, err := d.ReadFile("a", 1<<20); err != nil || string(data) != larger {
		t.Errorf("with room: got %.9q, %v, want what was written", data, err)
	}
}

// What another user may have put in a folder that others may write is not believed, and not written to; what comes next
// is kept in its place. A pipe does not keep the start waiting.
func TestPlantedStateFiles(t *testing.T) {
	spec.Rules(t, "KEY-3")
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to other users")
	}
	const other = 65534
	good := func(t *testing.T) []byte { return slotOf(99, []byte("planted")) }
	for _, c := range []struct {
		name  string
		plant func(t *testing.T, path string)
		says  string
	}{
		{"another user's", func(t *testing.T, path string) {
			put(t, path, good(t), 0o600)
			try(t, os.Chown(path, other, other))
		}, "it belongs to user 65534, and the daemon is user 0"},
		{"others may write", func(t *testing.T, path string) { put(t, path, good(t), 0o666) },
			"others may write to it (mode 0666)"},
		{"its group may write", func(t *testing.T, path string) { put(t, path, good(t), 0o660) },
			"others may write to it (mode 0660)"},
		{"a link", func(t *testing.T, path string) {
			put(t, path+"-elsewhere", good(t), 0o600)
			try(t, os.Symlink(path+"-elsewhere", path))
		}, "not a regular file"},
		{"a link to nowhere", func(t *testing.T, path string) { try(t, os.Symlink(path+"-elsewhere", path)) },
			"not a regular file"},
		{"a second name", func(t *testing.T, path string) {
			put(t, path+"-elsewhere", good(t), 0o600)
			try(t, os.Link(path+"-elsewhere", path))
		}, "it has 2 names (hard links)"},
		{"a pipe", func(t *testing.T, path string) { try(t, unix.Mkfifo(path, 0o600)) }, "not a regular file"},
		{"a device", func(t *testing.T, path string) {
			try(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		}, "not a regular file"},
		{"a socket", func(t *testing.T, path string) { try(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0)) },
			"not a regular file"},
		{"a directory", func(t *testing.T, path string) { try(t, os.Mkdir(path, 0o700)) }, "not a regular file"},
	} {
		for _, slot := range []string{"", secondSuffix} {
			for _, held := range []bool{false, true} {
				t.Run(fmt.Sprintf("KEY-3/%s/slot%s/held=%v", c.name, slot, held), func(t *testing.T) {
					var told []error
					d := &StateDir{Path: t.TempDir(), Told: func(err error) { told = append(told, err) }}
					path := filepath.Join(d.Path, "a")
					if held {
						try(t, d.WriteFile("a", []byte("old")))
						try(t, d.WriteFile("a", []byte("ours")))
						try(t, d.WriteFile("a", []byte("ours"))) // in both slots
						try(t, os.Remove(path+slot))
					}
					try(t, os.Chmod(d.Path, 0o777))
					c.plant(t, path+slot)
					data, err := d.ReadFile("a", 100)
					if !held {
						if !errors.Is(err, ErrUnfit) ||
							!strings.Contains(err.Error(), path+slot+": "+ErrUnfit.Error()+": "+c.says) {
							t.Errorf("read: got %q, %v, want that it says %q", data, err, c.says)
						}
					} else if err != nil || string(data) != "ours" || len(told) != 1 ||
						!strings.Contains(told[0].Error(), c.says) {
						t.Errorf("read: got %q, %v, told %v, want ours, and told %q", data, err, told, c.says)
					}
					try(t, d.WriteFile("a", []byte("new")))
					try(t, d.WriteFile("a", []byte("newer")))
					told = nil
					if data, err := d.ReadFile("a", 100); err != nil || string(data) != "newer" || len(told) != 0 {
						t.Errorf("written: got %q, %v, told %v", data, err, told)
					}
					for _, s := range slots {
						if info, err := os.Lstat(path + s); err != nil || info.Mode() != 0o600 {
							t.Errorf("a%s: got %v, %v, want a file of mode 0600", s, info, err)
						}
					}
					if text, err := os.ReadFile(path + slot + "-elsewhere"); err == nil &&
						string(text) != string(good(t)) {
						t.Error("what the link leads to was written to")
					}
				})
			}
		}
	}
}

func put(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	try(t, os.WriteFile(path, data, 0o600))
	try(t, os.Chmod(path, mode)) // whatever the umask took away
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
