package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
	"nmosauthd/hal"
	"nmosauthd/platform"
)

// shelf is an inventories without the daemon around it.
type shelf struct {
	*inventories
	t       *testing.T
	logs    *observer.ObservedLogs
	session *agent.Session
}

// newShelf starts an inventories with the state in dir, for a device that lists these.
func newShelf(t *testing.T, dir string, list func(string) ([]hal.Resource, error)) *shelf {
	core, logs := observer.New(zapcore.InfoLevel)
	log := zap.New(core)
	m := &persisted{dir: platform.StateDir{Path: dir}, log: log}
	m.load()
	a := agent.New(config.Default(), []string{"node-1.example.com"}, keys.NewStore(nil, nil), newClock().now)
	return &shelf{newInventories(a, list, m, log), t, logs, a.NewSession()}
}

// want checks which inventory is in force: that whose one meter has this path; "": none.
func (s *shelf) want(when, source, path string) {
	s.t.Helper()
	got := s.session.Ask(&wire.Request{Verb: wire.Resource, Kind: []byte("meter"), Name: []byte("in-1"),
		Access: []byte("read")})
	if status := s.status(); status.Source != source || string(got.Path) != path ||
		(got.Reason == wire.InventoryPending) != (source == "") ||
		(s.document() == nil) != (source == "") || status.Since.IsZero() != (source == "") {
		s.t.Errorf("%s: %s has %q, %v, of %d resources; want %s with %q",
			when, status.Source, got.Path, got.Reason, status.Resources, source, path)
	}
}

// logged returns what was logged since it was last asked.
func (s *shelf) logged() string {
	var lines []string
	for _, e := range s.logs.TakeAll() {
		lines = append(lines, fmt.Sprintf("%s: %s %v\n", e.Level, e.Message, e.ContextMap()))
	}
	return strings.Join(lines, "")
}

func meterAt(path string) string {
	return fmt.Sprintf("{\"resources\": [\n{\"kind\": \"meter\", \"name\": \"in-1\", \"read\": %q}\n]}", path)
}

// replace writes a file as firmware should: beside it, and renamed.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// An idle device is woken for a file that the configuration names and for no other, and soon only for one that may be
// being written.
func TestInventoryLooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	s := newShelf(t, "", nil)
	want := func(when string, wait time.Duration) {
		t.Helper()
		if got := s.look(); got != wait {
			t.Errorf("%s: got the next look after %v, want %v", when, got, wait)
		}
	}
	s.configure("")
	want("no file is named", 0)
	s.configure(file)
	want("it is not there", lookEvery)
	replace(t, file, meterAt("/1"))
	want("it is new", lookAgain)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	want("it is old", lookEvery)
	replace(t, file, "{")
	want("it may be half written", lookAgain)
	want("it is broken", lookEvery)
}

// A file that is named while the daemon runs is looked at, though none was before.
func TestInventoryNamedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "inventory.json")
		s := newShelf(t, "", nil)
		s.configure("")
		ctx, cancel := context.WithCancel(t.Context())
		go s.watch(ctx)
		time.Sleep(time.Hour)
		s.configure(file)
		replace(t, file, meterAt("/1"))
		time.Sleep(lookEvery)
		synctest.Wait()
		s.want("named later", fromFile, "/1")
		cancel()
		synctest.Wait()
	})
}

// A file that changes is read again, whole; one that is broken or gone changes nothing, and that is said once.
func TestInventoryFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	s := newShelf(t, "", nil)
	s.configure(file)
	s.want("no file yet", "", "")
	if got := s.logged(); strings.Count(got, "error: inventory not read") != 1 || !strings.Contains(got, file) {
		t.Errorf("logged %s", got)
	}
	for range 5 {
		s.look()
	}
	if got := s.logged(); got != "" {
		t.Errorf("nothing has changed, and it is logged %s", got)
	}
	replace(t, file, meterAt("/1"))
	s.look()
	s.want("the first file", fromFile, "/1")
	replace(t, file, meterAt("/2"))
	s.look()
	s.want("another file of the same length", fromFile, "/2")
	s.logged()
	s.look()
	replace(t, file, meterAt("/2"))
	s.look()
	if got := s.logged(); got != "" {
		t.Errorf("the same text in another file is logged: %s", got)
	}

	// Half of it is written, and then the rest: nothing is said.
	whole := meterAt("/in-two-writes")
	if err := os.WriteFile(file, []byte(whole[:20]), 0o600); err != nil {
		t.Fatal(err)
	}
	s.look()
	s.want("half a file", fromFile, "/2")
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	s.look()
	s.want("the whole", fromFile, "/in-two-writes")
	if got := s.logged(); strings.Contains(got, "error") {
		t.Errorf("of a file that was written in two steps: %s", got)
	}

	for _, broken := range []struct {
		name  string
		spoil func() error
		want  string
	}{
		{"a mistake", func() error {
			return os.WriteFile(file,
				[]byte("{\"resources\": [\n{\"kind\": \"meter\"}]}"), 0o600)
		}, file + ": line 2: resource 1: name is missing"},
		{"empty", func() error { return os.WriteFile(file, nil, 0o600) }, file + ": line 1: "},
		{"too long", func() error { return os.Truncate(file, inventory.MaxDocument+1) },
			"the document is over 4194304 bytes"},
		{"gone", func() error { return os.Remove(file) }, "open " + file + ": no such file"},
		{"a folder", func() error { return os.Mkdir(file, 0o700) }, file + ": not a regular file"},
		{"a pipe", func() error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
			file + ": not a regular file"},
	} {
		if err := broken.spoil(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			s.look()
		}
		s.want(broken.name, fromFile, "/in-two-writes")
		if got := s.logged(); strings.Count(got, "\n") != 1 || !strings.Contains(got, broken.want) ||
			!strings.Contains(got, "in_force:file") {
			t.Errorf("%s: logged %s, want one line with %s", broken.name, got, broken.want)
		}
	}
	s.configure(file)
	if got := s.logged(); strings.Count(got, "error: ") != 1 {
		t.Errorf("SIGHUP with a file that is broken: logged %s", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	replace(t, file, whole)
	s.look()
	if got := s.logged(); got != "" {
		t.Errorf("as it was before: %s", got)
	}
	replace(t, file, meterAt("/fixed"))
	s.look()
	s.want("fixed", fromFile, "/fixed")

	if err := s.push([]byte(meterAt("/pushed"))); !errors.Is(err, admin.ErrFixed) ||
		!strings.Contains(err.Error(), file) {
		t.Errorf("pushed beside a file: %v", err)
	}
	s.want("pushed beside a file", fromFile, "/fixed")
	s.configure("") // the configuration does not name it any more
	s.want("no file any more", "", "")
	s.look()
	s.want("and it is not looked at", "", "")
}

// A file that is written over within one tick of the file system's clock, with as many bytes, looks the same and is
// read nevertheless.
func TestInventoryFileWithinOneTick(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	tick := time.Now().Add(2 * time.Second) // young for as long as the test may take
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, tick, tick)); err != nil {
			t.Fatal(err)
		}
	}
	s := newShelf(t, "", nil)
	write(meterAt("/1"))
	s.configure(file)
	s.want("at first", fromFile, "/1")
	write(meterAt("/2"))
	s.look()
	s.want("written over", fromFile, "/2")
	write(meterAt("/3"))
	s.look()
	s.want("and once more", fromFile, "/3")
	write("not JSON, and of the same length" +
		strings.Repeat(".", len(meterAt("/3"))-len("not JSON, and of the same length")))
	s.look()
	s.look()
	s.want("with a mistake", fromFile, "/3")
	if got := s.logged(); strings.Count(got, "error: ") != 1 {
		t.Errorf("logged %s", got)
	}
	tick = tick.Add(-time.Minute)
	write(meterAt("/4"))
	s.look()
	if s.mtimeTooRecent {
		t.Error("a file of a minute ago is read each second")
	}
}

// A file with a mistake that is written again and again is not taken for one that is still being written.
func TestInventoryFileNeverWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	replace(t, file, meterAt("/1"))
	s := newShelf(t, "", nil)
	s.configure(file)
	s.logged()
	for i := range 4 {
		replace(t, file, strings.Repeat("{", i+1))
		s.look()
	}
	if got := s.logged(); strings.Count(got, "error: inventory not read") != 2 || s.status().Refused == nil {
		t.Errorf("refused: %v; logged %s", s.status().Refused, got)
	}
	s.want("meanwhile", fromFile, "/1")
}

// Who asks how the daemon is does not wait for a disk that hangs.
func TestInventoryStatusDoesNotWait(t *testing.T) {
	s := newShelf(t, "", nil)
	s.persisted.mu.Lock() // as while a file is written
	pushed := make(chan error)
	go func() { pushed <- s.push([]byte(meterAt("/pushed"))) }()
	for deadline := time.Now().Add(time.Minute); s.status().Source != fromPush; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was pushed is not shown before it is kept")
		}
	}
	s.want("not yet kept", fromPush, "/pushed")
	s.persisted.mu.Unlock()
	if err := <-pushed; err != nil {
		t.Fatal(err)
	}
}

// What is pushed goes before what the model lists, and outlives a restart; it is written only where it differs.
func TestPushedInventory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	listing := func(root string) ([]hal.Resource, error) {
		return []hal.Resource{{Kind: "meter", Name: "in-1", Read: "/listed/" + strings.Trim(root, "/")}}, nil
	}
	s := newShelf(t, dir, listing)
	s.want("before", "", "")
	s.configure("")
	s.want("listed", fromDevice, "/listed/")
	if err := s.push([]byte(`{"resources": [{"kind": "meter"}]}`)); err == nil ||
		!strings.Contains(err.Error(), "resource 1: name is missing") {
		t.Errorf("a mistake: %v", err)
	}
	s.want("after a mistake", fromDevice, "/listed/")
	if err := s.push([]byte(meterAt("/pushed"))); err != nil {
		t.Fatal(err)
	}
	s.want("pushed", fromPush, "/pushed")
	s.configure("") // SIGHUP
	s.want("pushed, after SIGHUP", fromPush, "/pushed")
	file := filepath.Join(dir, inventoryFile)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.push([]byte(meterAt("/pushed"))); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !sameFile(before, after) {
		t.Errorf("the same was written again: %v", err)
	}

	s = newShelf(t, dir, listing)
	s.configure("")
	s.want("after a restart", fromPush, "/pushed")
	if err := os.Rename(file, file+".moved"); err != nil {
		t.Fatal(err)
	}
	s.configure("") // SIGHUP
	s.want("with the file gone", fromPush, "/pushed")
	if err := os.Rename(file+".moved", file); err != nil {
		t.Fatal(err)
	}
	if err := s.push([]byte(meterAt("/pushed"))); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !sameFile(before, after) {
		t.Errorf("the same was written again after a restart: %v", err)
	}
	named := filepath.Join(t.TempDir(), "inventory.json")
	replace(t, named, meterAt("/file"))
	s.configure(named)
	s.want("with a file", fromFile, "/file")
	s.configure("")
	s.want("without it again", fromPush, "/pushed")

	for _, slot := range []string{"", ".2"} {
		if err := os.WriteFile(file+slot, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = newShelf(t, dir, listing)
	s.configure("")
	s.want("after damage", fromDevice, "/listed/")
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Errorf("the damaged file is not set aside: %v", err)
	}

	// Nothing can be kept: what is pushed is in force nevertheless, also after SIGHUP with a file and without.
	s = newShelf(t, filepath.Join(t.TempDir(), "no", "folder"), nil)
	s.configure("")
	s.want("a device that lists nothing", "", "")
	if err := s.push([]byte(meterAt("/pushed"))); err != nil {
		t.Fatal(err)
	}
	s.configure(named)
	s.configure("")
	s.want("not kept", fromPush, "/pushed")
}

// A model that fails, or lists what cannot be, changes nothing.
func TestListedInventory(t *testing.T) {
	var listed []hal.Resource
	var fails error
	s := newShelf(t, "", func(string) ([]hal.Resource, error) { return listed, fails })
	fails = errors.New("/etc/device.json is cut short")
	s.configure("")
	s.want("failing", "", "")
	if got := s.logged(); !strings.Contains(got, "cut short") {
		t.Errorf("logged %s", got)
	}
	fails = nil
	s.configure("")
	s.want("empty", fromDevice, "")
	listed = []hal.Resource{{Kind: "meter", Name: "in-1", Read: "/m"}}
	s.configure("")
	s.want("listed", fromDevice, "/m")
	listed = []hal.Resource{{Kind: "meter", Name: "in-1", Read: "/other"}, {Kind: "meter", Name: "in-2"}}
	s.configure("")
	s.want("with a mistake", fromDevice, "/m")
	if got := s.logged(); !strings.Contains(got, `resource 2, meter "in-2": id is missing`) {
		t.Errorf("logged %s", got)
	}
	fails = errors.New("gone")
	s.configure("")
	s.want("failing again", fromDevice, "/m")
}

// Files that are written all the time, by renaming and in place, are read whole or not at all.
func TestInventoryFileUnderWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	replace(t, file, meterAt("/0000"))
	s := newShelf(t, "", nil)
	s.configure(file)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			text := meterAt(fmt.Sprintf("/%04d", n%10_000))
			if n%2 == 0 {
				os.WriteFile(file, []byte(text), 0o600) // empty for a moment
			} else if os.WriteFile(file+".new", []byte(text), 0o600) == nil {
				os.Rename(file+".new", file)
			}
		}
	}()
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); {
		s.look()
		got := s.session.Ask(&wire.Request{Verb: wire.Resource, Kind: []byte("meter"), Name: []byte("in-1"),
			Access: []byte("read")})
		if len(got.Path) != len("/0000") {
			t.Fatalf("%q is in force", got.Path)
		}
	}
	close(stop)
	<-done
	replace(t, file, meterAt("/last"))
	s.look()
	s.want("at the end", fromFile, "/last")
}
