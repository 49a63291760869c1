package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
	"nmosauthd/tinytest/spec"
)

func record(path string) *audit.Decision {
	return &audit.Decision{
		Time: time.Now().UnixMicro(), Clock: audit.ClockSynchronised, UID: 1000, PID: 7, Question: wire.Decide,
		Reason: wire.OK, Method: []byte("GET"), Path: []byte(path), Client: []byte("controller-1"),
	}
}

func fileSink(path string, bytes, files int) audit.Sink {
	return audit.NewFile(&platform.LogFile{Path: path, Files: files}, path, bytes, files)
}

func open(report func(audit.Trouble), sinks ...audit.Sink) *audit.Log {
	return audit.New(audit.Options{Sinks: sinks, QueueBytes: 1 << 20, RingBytes: 4096, Version: "test", Report: report})
}

func shut(l *audit.Log) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l.Close(ctx)
}

// verifyFiles checks the stream in these files, the oldest first.
func verifyFiles(t *testing.T, paths ...string) audit.Report {
	t.Helper()
	var v audit.Verifier
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Read(filepath.Base(path), f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return v.Report()
}

// A file is closed and rotated at its size, no more than so many are kept, each is under its size, and they chain to
// each other; so do those of the next start.
func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const size, files = 64 << 10, 3
	for run := range 2 {
		l := open(nil, fileSink(path, size, files))
		for i := range 800 {
			l.Append(record("/x-nmos/connection/v1.1/single/senders/" + strings.Repeat("a", i*7%400)))
		}
		shut(l)
		s := l.Stats().Sinks[0]
		if s.Kept != 800 || s.Err != nil {
			t.Fatalf("run %d: %+v", run, s)
		}
		names, _ := filepath.Glob(path + "*")
		if len(names) != files {
			t.Fatalf("got %v, want %d files", names, files)
		}
		for _, name := range names {
			info, _ := os.Stat(name)
			if info.Size() > size || info.Mode() != 0o640 {
				t.Errorf("%s: %d bytes, %v", name, info.Size(), info.Mode())
			}
			text, _ := os.ReadFile(name)
			lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			if !strings.Contains(lines[0], `"event":"open"`) ||
				!strings.Contains(lines[len(lines)-1], `"event":"close"`) {
				t.Errorf("%s begins with %s and ends with %s", name, lines[0], lines[len(lines)-1])
			}
		}
		r := verifyFiles(t, path+".2", path+".1", path)
		if !r.Good() || !r.Closed || r.Head != s.Head || r.Last != s.Lines || len(r.Notes) > 0 {
			t.Errorf("run %d: %+v", run, r)
		}
		if r := verifyFiles(t, path+".1", path+".2", path); r.Good() {
			t.Error("files in the wrong order pass")
		}
		if r := verifyFiles(t, path+".2", path); r.Good() || r.Faults[0].Kind != audit.Missing {
			t.Errorf("a file taken out passes: %+v", r.Faults)
		}
	}
	// Fewer files from now on: those over are removed at the next rotation.
	l := open(nil, fileSink(path, size, 1))
	for range 400 {
		l.Append(record("/x-nmos/connection/v1.1/single/senders"))
	}
	shut(l)
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("got %v, want one file", names)
	}
	if r := verifyFiles(t, path); !r.Good() || r.First == 1 || len(r.Notes) > 0 {
		t.Errorf("got %+v, want a good stream that does not begin with 1", r)
	}
}

// A file that is over its size when it is opened, since the configuration now says less, is rotated though no record
// comes.
func TestFileIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for _, size := range []int{1 << 20, 64 << 10} {
		l := open(nil, fileSink(path, size, 2))
		for i := 0; i < 300 && size == 1<<20; i++ {
			l.Append(record("/x-nmos/connection/v1.1/single/senders"))
		}
		eventually(t, "the file is opened", func() bool { return l.Stats().Sinks[0].Lines > 0 })
		shut(l)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 2000 {
		t.Errorf("got %+v, %v, want 2000 bytes at most", info, err)
	}
	if r := verifyFiles(t, path+".1", path); !r.Good() || r.Decisions != 300 || len(r.Notes) > 0 {
		t.Errorf("got %+v, want a good stream of 300 decisions without a note", r)
	}
}

// A file that is left out by a reload and comes back by the next is one stream: the first has written all before the
// second begins.
func TestFileComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	options := audit.Options{Sinks: []audit.Sink{fileSink(path, 64<<20, 2)}, QueueBytes: 1 << 20}
	l := audit.New(options)
	for range 20 {
		for range 1000 {
			l.Append(record("/1"))
		}
		time.Sleep(6 * time.Millisecond) // some are sorted
		l.Reconfigure(audit.Options{QueueBytes: 1 << 20})
		options.Sinks = []audit.Sink{fileSink(path, 64<<20, 2)}
		l.Reconfigure(options)
	}
	shut(l)
	if r := verifyFiles(t, path); !r.Good() || !r.Closed || r.Decisions < 1000 {
		t.Errorf("got %s, want an ended stream of 1,000 decisions or more", r.String())
	}
}

// The power is cut in the middle of a line, at every byte: the next start goes on in the same file, which is good.
func TestFileAfterPowerCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	l := open(nil, fileSink(path, 1<<20, 2))
	for i := range 3 {
		l.Append(record(fmt.Sprint("/", i)))
	}
	shut(l)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(text); cut += 1 + cut%5 {
		path := filepath.Join(dir, "cut")
		if err := os.WriteFile(path, text[:cut], 0o640); err != nil {
			t.Fatal(err)
		}
		if r := verifyFiles(t, path); !r.Good() {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		l := open(nil, fileSink(path, 1<<20, 2))
		l.Append(record("/after"))
		shut(l)
		r := verifyFiles(t, path)
		if !r.Good() || !r.Closed || r.Runs < 1 ||
			r.Lines != uint64(strings.Count(string(text[:cut+1]), "\n"))+3 && !torn(text[:cut]) {
			t.Fatalf("cut at %d of %d: %+v", cut, len(text), r)
		}
		if torn(text[:cut]) != strings.Contains(strings.Join(r.Notes, "\n"), "torn") {
			t.Errorf("cut at %d: %v", cut, r.Notes)
		}
	}
}

// torn reports whether text ends within a line, other than right before its line feed.
func torn(text []byte) bool { return text[len(text)-1] != '\n' && text[len(text)-1] != '}' }

// troubles collects what is reported.
type troubles struct {
	mu  sync.Mutex
	all []audit.Trouble
}

func (t *troubles) add(r audit.Trouble) { t.mu.Lock(); t.all = append(t.all, r); t.mu.Unlock() }

func (t *troubles) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.all)
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func kept(l *audit.Log) uint64 { return l.Stats().Sinks[0].Kept }

// A folder that is not there, and comes; a file that is removed, or renamed by another log rotation: it is made again,
// and the stream says what is missing.
func TestFileVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "late")
	path := filepath.Join(dir, "audit.jsonl")
	var told troubles
	l := open(told.add, fileSink(path, 1<<20, 2))
	l.Append(record("/1"))
	eventually(t, "an error", func() bool { return l.Stats().Sinks[0].Err != nil })
	eventually(t, "a report that names the file", func() bool { return strings.Contains(told.text(), path) })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first record", func() bool { return kept(l) == 1 })
	eventually(t, "that it is over", func() bool { return strings.Contains(told.text(), "true") })

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Append(record("/2"))
	eventually(t, "the second record", func() bool { return kept(l) == 2 })
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.Append(record("/3"))
	eventually(t, "the third record", func() bool { return kept(l) == 3 })
	shut(l)
	if r := verifyFiles(t, path+".old", path); !r.Good() || r.Decisions != 2 || r.First == 1 {
		t.Errorf("got %+v, want a good stream of 2 decisions that does not begin with 1", r)
	}
}

// A file that is taken away behind one that was rotated: its lines are missing between the two that are left.
func TestFileVanishesBehindAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(nil, fileSink(path, 64<<10, 3))
	for range 300 {
		l.Append(record("/1"))
	}
	eventually(t, "the first records", func() bool { return kept(l) == 300 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Append(record("/2"))
	shut(l)
	r := verifyFiles(t, path+".1", path)
	if len(r.Faults) != 1 || r.Faults[0].Kind != audit.Missing || r.Faults[0].File != "audit.jsonl" ||
		r.Faults[0].At != 1 || !r.Closed {
		t.Errorf("got %+v, want a fault: what is missing before line 1 of audit.jsonl", r)
	}
}

// What is at the path is not a plain file: a pipe, that would block, or a link, that would lead elsewhere.
func TestFileMustBePlain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	l := open(nil, fileSink(path, 1<<20, 2))
	l.Append(record("/1"))
	eventually(t, "an error", func() bool { return l.Stats().Sinks[0].Err != nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Close(ctx)
	if s := l.Stats().Sinks[0]; s.Dropped != 1 || !strings.Contains(s.Err.Error(), "is not a plain file") {
		t.Errorf("got %+v, want 1 dropped, since it is not a plain file", s)
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("the link was followed")
	}
}

// A disk that fills up in the middle of a line, is read-only for a while, and works again: what is held is written
// then.
func TestFileOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	disk := &fullDisk{LogFile: &platform.LogFile{Path: path, Files: 2}, room: 1000}
	var told troubles
	l := open(told.add, audit.NewFile(disk, path, 1<<20, 2))
	for i := range 20 {
		l.Append(record(fmt.Sprint("/", i)))
	}
	eventually(t, "an error", func() bool { return l.Stats().Sinks[0].Err != nil })
	if s := l.Stats().Sinks[0]; s.Kept == 0 || s.Kept == 20 || s.Dropped != 0 || s.Kept+s.Queued != s.Offered {
		t.Errorf("while the disk is full: %+v", s)
	}
	disk.set(1 << 20)
	eventually(t, "all records", func() bool { return kept(l) == 20 })
	shut(l)
	r := verifyFiles(t, path)
	if !r.Good() || r.Decisions != 20 || !strings.Contains(strings.Join(r.Notes, "\n"), "torn") {
		text, _ := os.ReadFile(path)
		t.Errorf("got %+v, want a good stream of 20 decisions with a torn line\n%s", r, text)
	}
	var seqs []float64
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["seq"] != nil && m["event"] == nil {
			seqs = append(seqs, m["seq"].(float64))
		}
	}
	if len(seqs) != 20 || !slices.IsSorted(seqs) {
		t.Errorf("got the numbers %v, want 20 in order", seqs)
	}
}

// fullDisk has room for so many bytes.
type fullDisk struct {
	*platform.LogFile
	mu   sync.Mutex
	room int
}

func (d *fullDisk) set(room int) { d.mu.Lock(); d.room = room; d.mu.Unlock() }

func (d *fullDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fits := min(len(p), d.room)
	n, err := d.LogFile.Write(p[:fits])
	d.room -= n
	if err == nil && n < len(p) {
		err = fmt.Errorf("no space left on device")
	}
	return n, err
}

// Nothing of an old file that is not ours is lost or taken for a stream.
func TestFileOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(strings.Repeat("not ours\n", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(nil, fileSink(path, 1<<20, 2))
	l.Append(record("/1"))
	shut(l)
	text, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(text), strings.Repeat("not ours\n", 10000)) ||
		!strings.Contains(string(text), `"torn":90000,`) {
		t.Errorf("got %s behind 90000 bytes, want them left, and said to be torn", text[90000:])
	}
}

// A file that was begun because another was full is not a start of the daemon; the next start is (issue 10, D.23).
func TestStartsAreNotFiles(t *testing.T) {
	spec.Rules(t, "OPS-2")
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for start := 1; start <= 3; start++ {
		l := open(nil, fileSink(path, 64<<10, 9))
		for range 400 {
			l.Append(record("/x-nmos/connection/v1.1/single/senders"))
		}
		shut(l)
		paths, err := filepath.Glob(path + "*")
		if err != nil || len(paths) < 2*start {
			t.Fatalf("%v, %v: too few files to tell them from starts", paths, err)
		}
		slices.Sort(paths) // the current one, then .1, .2
		slices.Reverse(paths)
		if r := verifyFiles(t, paths...); !r.Good() || r.Runs != start || r.Decisions != uint64(400*start) {
			t.Errorf("got %d starts of the daemon and %d decisions in %d files, want %d and %d: %v",
				r.Runs, r.Decisions, len(paths), start, 400*start, r.Faults)
		}
	}
}
