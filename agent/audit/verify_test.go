package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

// stream makes a stream of so many records, opened and closed.
func stream(t *testing.T, records int) (lines []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		l := New(options(out))
		for i := range records {
			r := deniedAt(fmt.Sprintf("/%d", i))
			l.Append(&r)
		}
		closeLog(l)
		lines = slices.Collect(strings.Lines(out.String()))
	})
	if len(lines) != records+2 {
		t.Fatalf("%d lines", len(lines))
	}
	return lines
}

func verify(t *testing.T, text string) Report {
	t.Helper()
	r, err := Verify(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyGood(t *testing.T) {
	lines := stream(t, 5)
	r := verify(t, strings.Join(lines, ""))
	if !r.Good() || !r.Closed || r.Truncated || r.Lines != 7 || r.Decisions != 5 || r.Runs != 1 || r.First != 1 ||
		r.Last != 7 || !strings.Contains(lines[6], r.Head) {
		t.Errorf("got %+v, want a good stream of 5 decisions, 1 to 7, in 7 lines, which is closed", r)
	}
}

// Every line altered in every byte, taken away, doubled, swapped, put elsewhere, or joined by another: the first fault
// is there, of the right kind and at the right line.
func TestVerifyTampering(t *testing.T) {
	lines := stream(t, 8)
	n := len(lines)
	first := func(what string, tampered []string, kind FaultKind, at int) {
		t.Helper()
		r := verify(t, strings.Join(tampered, ""))
		if r.Good() {
			t.Errorf("%s: nothing noticed", what)
			return
		}
		if f := r.Faults[0]; kind != "" && f.Kind != kind || at > 0 && f.At != at {
			t.Errorf("%s: found %v, want %s at %d", what, f, kind, at)
		}
		if len(r.Faults) > 2 {
			t.Errorf("%s: one fault became %v", what, r.Faults)
		}
	}
	for i, line := range lines {
		for b := range len(line) - 1 {
			changed := slices.Clone(lines)
			changed[i] = line[:b] + string(line[b]^1) + line[b+1:]
			// A changed line number may look like lines missing, a changed name of the first line like that line
			// missing.
			r := verify(t, strings.Join(changed, ""))
			if r.Good() || r.Faults[0].At != i+1 && r.Faults[0].At != i+2 {
				t.Errorf("line %d, byte %d: %v", i+1, b, r.Faults)
			}
		}
		altered := slices.Clone(lines)
		altered[i] = strings.Replace(line, `"time":"2`, `"time":"1`, 1)
		if i == 0 {
			altered[i] = strings.Replace(line, `"version":"test"`, `"version":"tesT"`, 1)
		}
		first("altered", altered, Altered, i+1)

		if i < n-1 {
			kind := Missing
			first("missing", slices.Delete(slices.Clone(lines), i, i+1), kind, i+1)
		}
		if i < n-1 {
			first("doubled", slices.Insert(slices.Clone(lines), i, line), Doubled, i+2)
			first("inserted", slices.Insert(slices.Clone(lines), i+1, "hello\n"), Altered, i+2)
			first("forged", slices.Insert(slices.Clone(lines), i+1, strings.Replace(line, "403", "200", 1)), "", i+2)
		}
		if i > 0 && i < n-1 {
			swapped := slices.Clone(lines)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			first("swapped", swapped, Reordered, i+1)
		}
		if i > 2 {
			moved := slices.Insert(slices.Delete(slices.Clone(lines), i, i+1), 1, line)
			first("moved to the front", moved, "", 2)
		}
		// Who alters a line and gives it the right chain has to give all that follow theirs.
		forged := slices.Clone(lines)
		before := chain{}
		if i > 0 {
			before, _, _ = parseChain([]byte(lines[i-1]))
		}
		body, _, _ := strings.Cut(line, `,"line":`)
		again, _ := before.append(nil, []byte(strings.Replace(body, "2", "3", 1)))
		forged[i] = string(again)
		if i < n-1 {
			first("forged with its chain", forged, Altered, i+2)
		}
	}
	if r := verify(t, strings.Join(lines[:n-1], "")); !r.Good() || r.Closed {
		t.Errorf("without its closing line: %+v", r)
	}
}

// A tail cut off anywhere is a cut, not an alteration; and nothing before it is in doubt.
func TestVerifyTruncated(t *testing.T) {
	lines := stream(t, 3)
	text := strings.Join(lines, "")
	ends := map[int]bool{0: true}
	length := 0
	for _, l := range lines {
		length += len(l)
		ends[length], ends[length-1] = true, true // the line feed alone is not missed
	}
	for cut := range len(text) {
		r := verify(t, text[:cut])
		whole := strings.Count(text[:cut+1], "\n")
		if !ends[cut] {
			whole = strings.Count(text[:cut], "\n")
		}
		if !r.Good() || r.Truncated == ends[cut] || r.Closed != (cut == len(text)-1) ||
			int(r.Lines) != whole && cut > 0 {
			t.Errorf("cut at %d of %d: %+v", cut, len(text), r)
		}
	}
}

// What an opening line calls torn is no more than that: other bytes than it says are an alteration.
func TestVerifyTornElsewhere(t *testing.T) {
	lines := stream(t, 2)
	before, _, _ := parseChain([]byte(lines[3]))
	for torn, good := range map[string]bool{"half a li\n": true, "half\n": false,
		"ten bytes\nand more\n": false, "": true} {
		text := `{"audit":1,"event":"open","time":"","previous":"` + string(before.head[:]) + `","torn":10`
		opening, _ := before.append(nil, []byte(text))
		r := verify(t, strings.Join(lines, "")+torn+string(opening))
		if r.Good() != good || !good && (r.Faults[0].Kind != Altered || r.Faults[0].At != 5) {
			t.Errorf("%q: got %+v, want it good: %v, else line 5 altered", torn, r, good)
		}
	}
	// The closing line's account of what was kept must be true, too.
	closing, _ := before.append(nil, []byte(`{"audit":1,"event":"close","kept":3`))
	if r := verify(t, strings.Join(lines, "")+string(closing)); r.Good() {
		t.Errorf("got %+v, want it not good", r)
	}
}

// The lines stand among others in the daemon's log, and a restart begins again there.
func TestVerifyMixed(t *testing.T) {
	a, b := stream(t, 3), stream(t, 2)
	var text strings.Builder
	for _, l := range append(slices.Clone(a[:4]), b...) {
		text.WriteString(`{"time":"2026-01-01","level":"info","message":"serving"}` + "\n" + l + "\n")
	}
	v := Verifier{Mixed: true}
	if err := v.Read("journal", strings.NewReader(text.String())); err != nil {
		t.Fatal(err)
	}
	if r := v.Report(); !r.Good() || r.Runs != 2 || r.Decisions != 5 || len(r.Notes) != 1 {
		t.Errorf("got %+v, want 5 decisions of two good runs, and a note", r)
	}
	// The same as a file of its own is not good, and neither is a journal with a line taken out.
	if r := verify(t, strings.Join(append(slices.Clone(a[:4]), b...), "")); r.Good() || r.Faults[0].Kind != Restarted {
		t.Errorf("got %+v, want that the chain restarts", r)
	}
	v = Verifier{Mixed: true}
	v.Read("journal", strings.NewReader(strings.Replace(text.String(), a[2], "", 1)))
	if r := v.Report(); len(r.Faults) != 1 || r.Faults[0].Kind != Missing {
		t.Errorf("got %+v, want a line missing", r)
	}
	v = Verifier{Mixed: true}
	v.Read("journal", strings.NewReader(strings.Join(a[2:], "")))
	if r := v.Report(); !r.Good() || len(r.Notes) != 1 || r.First != 3 {
		t.Errorf("a journal whose beginning is gone: %+v", r)
	}
}

// The range is that of what is there, in whatever order it was written: records that stand for several decisions come
// later (issue 10, D.23).
func TestVerifyRange(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, _ := budgeted(out)
		l := New(o)
		clock := time.Now()
		for i := range 1000 {
			r := strangerAt(fmt.Sprint("/", i))
			if i == 100 { // the clock is set back
				clock = clock.Add(-time.Hour)
			}
			r.Time = clock.Add(time.Duration(i) * time.Millisecond).UnixMicro()
			l.Append(&r)
		}
		r := allowed()
		r.Time = clock.Add(time.Minute).UnixMicro()
		l.Append(&r)
		closeLog(l)
		v := verify(t, out.String())
		const first, last = "1999-12-31T23:00:00.", "2000-01-01T00:00:00.019000Z"
		if !v.Good() || v.FirstSeq != 1 || v.LastSeq != 1001 ||
			!strings.HasPrefix(v.FirstTime, first) || v.LastTime != last {
			t.Errorf("seq %d to %d, %s to %s; want 1 to 1001, %s to %s",
				v.FirstSeq, v.LastSeq, v.FirstTime, v.LastTime, first, last)
		}
	})
}

// A stream whose record with a known chain is missing is not called intact (issue 10, D.23).
func TestVerifyTheHead(t *testing.T) {
	spec.Rules(t, "OPS-2")
	lines := stream(t, 5)
	head := field([]byte(lines[4]), "chain")
	for name, c := range map[string]struct {
		text, known, want string
		complete          bool
	}{
		"there":     {strings.Join(lines, ""), head, "intact\n", true},
		"not asked": {strings.Join(lines[:3], ""), "", "intact\n", true},
		"cut off": {strings.Join(lines[:4], ""), head,
			"NOT COMPLETE: the lines agree with one another, but", false},
		"cut off inside": {strings.Join(lines[:5], "")[:len(strings.Join(lines[:5], ""))-9],
			head, "NOT COMPLETE: ", false},
		"another stream": {strings.Join(lines, ""), strings.Repeat("7", 32), "NOT COMPLETE: ", false},
		"altered": {strings.Replace(strings.Join(lines, ""), "GET", "PUT", 1),
			strings.Repeat("7", 32), "ALTERED\n", false},
	} {
		v := Verifier{Known: c.known}
		if err := v.Read("f", strings.NewReader(c.text)); err != nil {
			t.Fatal(err)
		}
		r := v.Report()
		text := r.String()
		if r.Complete() != c.complete || !strings.Contains("\n"+text, "\n"+c.want) ||
			strings.Contains(text, "intact") != c.complete {
			t.Errorf("%s: complete %v, want %v and %q:\n%s", name, r.Complete(), c.complete, c.want, text)
		}
		if c.want != "ALTERED\n" { // faults name a file and are as long as they are
			for line := range strings.Lines(text) {
				if len(line) > 81 && !strings.HasPrefix(line, "f:") {
					t.Errorf("%s: %d columns: %s", name, len(line)-1, line)
				}
			}
		}
	}
}

// Nothing makes it fail or keep much, and who changes a stream does not make it good.
func FuzzVerify(f *testing.F) {
	var out bytes.Buffer
	var c chain
	for _, body := range []string{
		`{"audit":1,"event":"open","time":"","previous":"` + string(none[:]) + `"`, `{"audit":1,"seq":1`,
		`{"audit":1,"seq":2,"count":3`, `{"audit":1,"event":"dropped","count":7,"first":3,"last":9`,
		`{"audit":1,"event":"close","kept":4`,
	} {
		var line []byte
		line, c = c.append(nil, []byte(body))
		out.Write(line)
	}
	good := out.String()
	if r, err := Verify(strings.NewReader(good)); err != nil || !r.Good() || r.Decisions != 4 || r.Dropped != 7 {
		f.Fatalf("%+v", r)
	}
	f.Add([]byte(good), uint16(0), uint16(1))
	f.Add([]byte(good+good), uint16(9), uint16(0))
	f.Add([]byte("\x00\x00\n\xff\n\n"), uint16(100), uint16(30))
	f.Fuzz(func(t *testing.T, text []byte, at, n uint16) {
		for _, mixed := range []bool{false, true} {
			v := Verifier{Mixed: mixed}
			v.Read("a", bytes.NewReader(text))
			v.Read("b", bytes.NewReader(text))
			if r := v.Report(); len(r.Faults) > maxFaults || len(r.Notes) > maxNotes ||
				r.Good() && len(text) > 0 && r.Lines > 0 && !mixed && !bytes.Contains(text, lineStart) {
				t.Errorf("got %+v, want at most %d faults and %d notes, and one in what is not a stream",
					r, maxFaults, maxNotes)
			}
		}
		findTail(text)
		// A piece of the good stream is taken out and the fuzzer's text put in its place.
		from := int(at) % len(good)
		to := min(from+int(n), len(good))
		changed := good[:from] + string(text) + good[to:]
		r, err := Verify(strings.NewReader(changed))
		if err != nil {
			t.Fatal(err)
		}
		if r.Good() && r.Closed && r.Head == string(c.head[:]) && changed != good && changed != good[:len(good)-1] {
			t.Errorf("%q passes for the good stream", changed)
		}
	})
}

// A stream of random lengths, cut at a random byte and gone on with as a File does, is good and says what is torn.
func TestVerifyResumed(t *testing.T) {
	lines := stream(t, 6)
	text := strings.Join(lines, "")
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		cut := 1 + random.IntN(len(text)-1)
		for _, zeros := range []int{0, 7} {
			file := &memoryFile{now: []byte(text[:cut] + strings.Repeat("\x00", zeros))}
			synctest.Test(t, func(t *testing.T) {
				l := New(options(NewFile(file, "file", 1<<20, 2)))
				r := allowed()
				l.Append(&r)
				closeLog(l)
				exact(t, l.Stats())
			})
			r := verify(t, string(file.now))
			if !r.Good() || !r.Closed {
				t.Fatalf("cut at %d of %d, %d zeros: %+v\n%q", cut, len(text), zeros, r, file.now)
			}
		}
	}
}

// A file is synced within 5 s of a record, and not again while none comes.
func TestFileIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := &memoryFile{}
		l := New(options(NewFile(file, "file", 1<<20, 2)))
		for i := range 3 {
			for range 10 {
				r := allowed()
				l.Append(&r)
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(time.Hour)
			if file.synced.Load() != int32(i+1) {
				t.Errorf("synced %d times after %d times records came", file.synced.Load(), i+1)
			}
		}
		closeLog(l)
		if file.synced.Load() != 4 {
			t.Errorf("synced %d times at the end", file.synced.Load())
		}
	})
}

// memoryFile is a LogFile in memory.
type memoryFile struct {
	now, before []byte
	synced      atomic.Int32 // times
}

func (f *memoryFile) Open() (int64, error) { return int64(len(f.now)), nil }
func (f *memoryFile) Tail(p []byte) (int, error) {
	return copy(p, f.now[max(0, len(f.now)-len(p)):]), nil
}
func (f *memoryFile) Previous(p []byte) (int, error) {
	return copy(p, f.before[max(0, len(f.before)-len(p)):]), nil
}
func (f *memoryFile) Write(p []byte) (n int, err error) {
	f.now = append(f.now, p...)
	return len(p), nil
}
func (f *memoryFile) Sync() error   { f.synced.Add(1); return nil }
func (f *memoryFile) Moved() bool   { return false }
func (f *memoryFile) Rotate() error { f.before, f.now = f.now, nil; return nil }
func (f *memoryFile) Close() error  { return nil }
