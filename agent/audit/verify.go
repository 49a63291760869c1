package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// FaultKind says what is wrong with a stream.
type FaultKind string

// The faults.
const (
	Altered   FaultKind = "altered"   // a line is not what was written
	Missing   FaultKind = "missing"   // lines are not there
	Doubled   FaultKind = "doubled"   // a line is there twice
	Reordered FaultKind = "reordered" // lines are all there, in another order
	Restarted FaultKind = "restarted" // the stream begins again, as if nothing had been before
)

// Fault is one thing that is wrong.
type Fault struct {
	Kind FaultKind
	File string // as given to Read
	At   int    // line of the file, from 1
	Seq  uint64 // of the decision in that line; 0 if none
	Text string // one sentence for people

	from, to, found uint64 // of lines missing: their numbers in the stream, and how many have come later
}

// String says what is wrong, and where.
func (f Fault) String() string {
	at := f.File + ":" + strconv.Itoa(f.At)
	if f.Seq > 0 {
		at += " (seq " + strconv.FormatUint(f.Seq, 10) + ")"
	}
	return at + ": " + string(f.Kind) + ": " + f.Text
}

// Report is what Verify found. The stream is good if there are no Faults.
type Report struct {
	Lines     uint64  // good ones
	Decisions uint64  // that they stand for
	Dropped   uint64  // decisions that the daemon itself recorded as dropped
	Runs      int     // starts of the daemon that are in it
	Faults    []Fault // in order, at most maxFaults
	More      int     // faults after those
	Notes     []string
	Closed    bool   // the last line closes the stream
	Truncated bool   // the end of the last line is missing, as after a power cut
	First     uint64 // number of the first line in the stream; over 1: files before these were rotated away
	Last      uint64
	Head      string // of the chain, to compare with one known from elsewhere
	Asked     bool   // Verifier.Known was given
	Known     bool   // the line with that chain is there

	// Least and greatest of the good lines: those that stand for several decisions come later than they were made, the
	// clock may have been set, and the numbers of decisions begin again at each start of the daemon.
	FirstSeq, LastSeq   uint64
	FirstTime, LastTime string
}

// Good reports whether nothing is altered, missing, doubled or reordered.
func (r *Report) Good() bool { return len(r.Faults) == 0 }

// Complete reports whether the line is there whose chain was known from elsewhere.
func (r *Report) Complete() bool { return !r.Asked || r.Known }

const (
	maxFaults = 64
	maxNotes  = 64
)

// Verifier checks the lines of one stream, in one file or several, the oldest first. It needs little memory, however
// long they are.
type Verifier struct {
	// Mixed says that other lines stand between those of the stream, as in the daemon's log, and that each start of the
	// daemon begins the stream again. They are passed over.
	Mixed bool
	// Known is the chain of a line that must be there, as known from elsewhere: lines cut off the end do not show
	// otherwise.
	Known string

	report Report
	file   string
	at     int   // line of the file
	chain  chain // behind the last good line
	began  bool  // a line was taken
	bad    bad
	kept   uint64 // decisions since the opening line
	whole  bool   // that line was seen, and no fault since
	last   []byte // the last good line
	run    string // the start of the daemon that it is of
}

// bad are lines, or the rest of one, that are none of ours, and may be what a power cut left.
type bad struct {
	fault Fault
	lines int
	bytes uint64
	cut   bool // the last has no end
}

// Verify checks one file or stream. The error is that of r.
func Verify(r io.Reader) (Report, error) {
	var v Verifier
	err := v.Read("", r)
	return v.Report(), err
}

// Read checks what follows in the stream. The error is that of r, with the file's name.
func (v *Verifier) Read(file string, r io.Reader) error {
	v.file, v.at = file, 0
	b := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		size := uint64(len(line))
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // longer than any of ours: not kept, only counted
			var more []byte
			more, err = b.ReadSlice('\n')
			size += uint64(len(more))
		}
		if size > 0 {
			v.at++
			switch {
			case long:
				v.unrecognized(size, err != nil)
			case err != nil:
				v.unended(line)
			default:
				v.take(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
	}
}

// unended takes the last line of a file, whose line feed is missing.
func (v *Verifier) unended(line []byte) {
	whole := append(slices.Clone(line), '\n')
	if c, hashed, ok := parseChain(whole); ok && v.bad.lines == 0 {
		before, opening := seed(whole, c)
		if v.chain.follows(c, hashed) || opening && before.follows(c, hashed) {
			v.take(whole)
			return
		}
	}
	v.unrecognized(uint64(len(line)), true)
}

// unrecognized counts a line that is not an audit line.
func (v *Verifier) unrecognized(size uint64, cut bool) {
	if v.bad.lines == 0 {
		v.bad.fault = Fault{
			Kind: Altered, File: v.file, At: v.at, Text: "not an audit line, or it was changed beyond recognition",
		}
	}
	v.bad.lines++
	v.bad.bytes += size
	v.bad.cut = cut
}

// take takes a line with its line feed.
func (v *Verifier) take(line []byte) {
	c, hashed, ok := parseChain(line)
	if !ok {
		if !v.Mixed || bytes.HasPrefix(line, lineStart) {
			v.unrecognized(uint64(len(line)), false)
		}
		return
	}
	before, opening := seed(line, c)
	if opening && !before.follows(c, hashed) {
		opening = false // itself altered
	}
	torn := number(line, "torn")
	switch {
	case opening && v.began && before.line == 0 && !bytes.Equal(line, v.last):
		v.endBad()
		if !v.Mixed {
			v.fault(Restarted, line, "the stream begins again here, though there was something to go on from")
		} else if !v.report.Closed {
			v.note("was not closed before %s: the daemon was killed or the power cut, or the end is missing", v.place())
		}
		v.accept(line, c)
	case opening && v.bad.lines > 0 && (v.bad.bytes == torn || v.Mixed && torn > 0) &&
		(!v.began || before == v.chain):
		v.bad = bad{}
		v.note("at %s are %d bytes of a line that a power cut or an error has torn, as the daemon itself noted",
			v.place(), torn)
		v.accept(line, c)
	default:
		v.follow(line, c, hashed)
	}
}

// follow takes a line that should follow the one before.
func (v *Verifier) follow(line []byte, c chain, hashed []byte) {
	if !v.began {
		v.endBad()
		switch before, opening := seed(line, c); {
		case opening && before.follows(c, hashed): // what is wrong stands before it
		case opening || c.line == 1:
			v.fault(Altered, line, "this line is not as it was written")
		case v.Mixed:
			v.note("%s is line %d of a stream whose beginning is not here", v.place(), c.line)
		default:
			v.fault(Missing, line, "the line that opens the file is not here")
		}
		v.accept(line, c)
		return
	}
	passed := uint64(v.bad.lines) // lines that have a place in the stream, but are not as they were
	v.endBad()
	next := v.chain.line + 1
	switch {
	case v.chain.follows(c, hashed):
		v.accept(line, c)
		return
	case c.line == v.chain.line && bytes.Equal(line, v.last):
		v.fault(Doubled, line, "this line repeats the one before")
		return
	case c.line < next:
		if !v.foundLater(c.line) {
			v.fault(Doubled, line, fmt.Sprintf("line %d of the stream stands here again", c.line))
		}
		return
	case passed > 0 && c.line == next+passed:
		// As it should be behind those altered; whether this one is good nobody can say.
	case c.line == next && passed > 0:
		// Foreign lines were put in between, which was said; this one is checked against the one before them.
		v.fault(Altered, line, "this line or one before it is not as it was written")
	case c.line == next:
		v.fault(Altered, line, "this line, or the one before it, is not as it was written")
	default:
		text := fmt.Sprintf("line %d of the stream is not here", next)
		if c.line > next+1 {
			text = fmt.Sprintf("lines %d to %d of the stream are not here", next, c.line-1)
		}
		v.fault(Missing, line, text)
		if f := v.report.Faults; v.report.More == 0 {
			f[len(f)-1].from, f[len(f)-1].to = next, c.line-1
		}
	}
	v.accept(line, c)
}

// foundLater reports whether a line was missing so far; then its lines are in another order, once all of them have
// come.
func (v *Verifier) foundLater(line uint64) bool {
	for i := range v.report.Faults {
		f := &v.report.Faults[i]
		if f.Kind != Missing || line < f.from || line > f.to {
			continue
		}
		if f.found++; f.found > f.to-f.from {
			f.Kind, f.Text = Reordered, fmt.Sprintf("this line stands before line %d of the stream", f.from)
		}
		return true
	}
	return false
}

// accept makes line the last one.
func (v *Verifier) accept(line []byte, c chain) {
	if !v.began || v.report.First == 0 {
		v.report.First = c.line
	}
	v.began = true
	v.chain = c
	v.last = append(v.last[:0], line...)
	r := &v.report
	at := field(line, "time") // RFC 3339 in UTC, whose order is that of the texts
	since := cmp.Or(field(line, "since"), at)
	if r.Lines == 0 {
		r.FirstTime = since
	}
	r.FirstTime, r.LastTime = min(r.FirstTime, since, at), max(r.LastTime, at)
	r.Known = r.Known || string(c.head[:]) == v.Known
	r.Lines++
	r.Closed = false
	switch field(line, "event") {
	case eventOpen:
		if run := field(line, "run"); r.Runs == 0 ||
			run != v.run { // a file that was begun when another was full is not a start
			v.run = run
			r.Runs++
		}
		if c.line > 1 && field(line, "closed") == "false" {
			v.note("was not closed before %s: the daemon was killed, or the power cut", v.place())
		}
		v.kept, v.whole = 0, true
	case eventClose:
		r.Closed = true
		if kept := number(line, "kept"); v.whole && kept != v.kept {
			v.fault(Altered, line, fmt.Sprintf("the stream was closed with %d decisions, and holds %d", kept, v.kept))
		}
	case eventDropped:
		n := number(line, "count")
		r.Dropped += n
		v.note("%s: %d decisions were dropped between seq %s and %s", v.place(), n, field(line, "first"),
			field(line, "last"))
	default:
		l := decisionsOf(line)
		if r.Decisions == 0 {
			r.FirstSeq = l.first
		}
		r.FirstSeq, r.LastSeq = min(r.FirstSeq, l.first), max(r.LastSeq, l.last)
		n := max(number(line, "count"), 1)
		r.Decisions += n
		v.kept += n
	}
}

func (v *Verifier) place() string {
	return v.file + ":" + strconv.Itoa(v.at)
}

func (v *Verifier) fault(kind FaultKind, line []byte, text string) {
	v.add(Fault{Kind: kind, File: v.file, At: v.at, Seq: number(line, "seq"), Text: text})
}

//go:noinline // for flash
func (v *Verifier) add(f Fault) {
	v.whole = false
	if len(v.report.Faults) == maxFaults {
		v.report.More++
		return
	}
	v.report.Faults = append(v.report.Faults, f)
}

//go:noinline // for flash
func (v *Verifier) note(format string, args ...any) {
	if len(v.report.Notes) < maxNotes {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
	}
}

// endBad reports the lines that are none, now that nothing explains them.
func (v *Verifier) endBad() {
	if v.bad.lines > 0 {
		if v.bad.lines > 1 {
			v.bad.fault.Text += fmt.Sprintf("; so are the %d that follow", v.bad.lines-1)
		}
		v.add(v.bad.fault)
	}
	v.bad = bad{}
}

// Report returns what was found. The Verifier is done with then.
func (v *Verifier) Report() Report {
	if v.bad.lines == 1 && v.bad.cut {
		v.report.Truncated = true
		v.report.Closed = false
		v.note(
			"%s ends in the middle of a line (%d bytes): the daemon was writing it, the power was cut, or the end "+
				"was cut off",
			v.place(), v.bad.bytes)
		v.bad = bad{}
	}
	v.endBad()
	v.report.Last, v.report.Asked = v.chain.line, v.Known != ""
	if v.began {
		v.report.Head = string(v.chain.head[:])
	}
	return v.report
}

// String says for people what was found.
func (r *Report) String() string {
	var b strings.Builder
	for _, f := range r.Faults {
		fmt.Fprintln(&b, f)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", r.More)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, n)
	}
	verdict, end := "intact", "open: the daemon is at work, or did not come to close it"
	switch {
	case !r.Good():
		verdict = "ALTERED"
	case !r.Complete():
		verdict = "NOT COMPLETE: the lines agree with one another, but the record with that\nchain is missing"
	}
	if r.Truncated {
		end = "cut off in the middle of a line"
	} else if r.Closed {
		end = "closed"
	}
	fmt.Fprintf(&b, "%s\nlines      %d, number %d to %d\ntime       %s to %s\ndecisions  %d, seq %d to %d\n"+
		"dropped    %d, by the daemon's own account\nstarts     %d of the daemon\nend        %s\nhead       %s\n",
		verdict, r.Lines, r.First, r.Last, r.FirstTime, r.LastTime, r.Decisions, r.FirstSeq, r.LastSeq, r.Dropped,
		r.Runs, end, r.Head)
	return b.String()
}
