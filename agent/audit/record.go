// Package audit keeps one record of each decision (OPS-2): who asked, for what, by whose token, what was answered
// and why. AUDIT.md beside this file describes the records.
//
// A record has one form in memory, Record, and one on paper, the line. A decision never waits for a disk or a
// network: Append copies what it is told into a slot of a queue, one goroutine hands the record on to the queue of
// each sink, to the records kept in memory and to Options.Observe, and each sink makes its lines itself, so that
// one that is stuck costs itself alone. What does not fit is counted, and for every sink the decisions kept,
// dropped and queued add up to those that it was offered. The lines of a sink are chained by hash; Verify says
// which are missing or altered.
//
// The package never sees a token: callers hand in a digest. The texts of a record may hold whatever a client sent.
package audit

import (
	"bytes"
	"unicode/utf8"

	"nmosauthd/agent/wire"
)

// Clock is what was known of the device's clock when a record was made (OPS-1). The zero value is the worst.
type Clock uint8

// The states, with the numbers that package platform gives them.
const (
	ClockUnset Clock = iota
	ClockUnsynchronised
	ClockSynchronised
)

// String names the state as the configuration and the log do.
func (c Clock) String() string {
	switch c {
	case ClockUnsynchronised:
		return "unsynchronised"
	case ClockSynchronised:
		return "synchronised"
	}
	return "unset"
}

// Decision is what Append is told of one decision. Its texts are borrowed.
type Decision struct {
	Time  int64 // microseconds since 1970
	Clock Clock

	UID int64  // of the peer; -1 if unknown
	GID uint32 // of the peer, if UID is known
	PID int32  // of the peer; 0 if unknown

	Question wire.Verb
	Reason   wire.Reason
	Enforced wire.Reason // observe mode: what enforce would have answered; else Undecided
	Reads    bool        // if allowed, it leaves the device as it is. Others are never joined with one another

	Method  []byte        // as it came
	Path    []byte        // normalised, without a query; for decide-all that of the first target
	Targets int           // decide-all, control: how many were asked for; else 0
	Answers []wire.Answer // decide-all; observe mode: as enforce would have it

	// Of control; observe mode: as enforce would have it. Then Targets is their number, Path the role path and Method
	// the method of the first denied, or of the first.
	Commands    []wire.Command
	Verdicts    []wire.Verdict // one each
	ListAllowed bool           // the record names those allowed, too

	Kind   []byte // of a resource
	Name   []byte
	Access []byte // read or write

	Resource []byte // what the inventory calls what was asked about, "kind/name"; empty if it knows no name for it

	Issuer  []byte // of a verified token
	Subject []byte
	Client  []byte
	Claimed []byte // the issuer that an unverified token names: anybody can have written it

	JTI    []byte   // of a verified token
	Digest [16]byte // first half of the SHA-256 of the token; zero if none. It is written if there is no JTI
	KeyID  []byte
	Cached bool // the token had been verified before
}

// Record is one decision, or several that are counted together: the one form that a decision has in memory. It
// holds its texts itself, without what looks like a token in them, each cut to its limit.
type Record struct {
	matter
	Seq    uint64 // assigned by Append, from 1 at each start of the daemon
	Time   int64
	Clock  Clock
	Digest [16]byte
	Cached bool

	// Of a record that stands for several, Seq, Time and Clock are those of the last, and what tells them apart is
	// left out.
	Count uint64 // decisions that it stands for, 1 or more
	First uint64 // sequence number of the first of them
	Since int64  // time of the first of them

	unseen uint64        // of them, those that Options.Observe was not shown
	cut    set           // of the texts that were cut
	ends   [texts]uint16 // where each text ends
	text   []byte        // all of them, in the order of Text
}

// matter is, with the texts before those of the token, what makes two decisions equal. See Decision.
type matter struct {
	UID      int64
	GID      uint32
	PID      int32
	Targets  int32
	Allowed  int32 // control: of them, those allowed
	Question wire.Verb
	Reason   wire.Reason
	Enforced wire.Reason
	Joined   Joined // what those have in common for which the record stands
}

// denies reports whether the decision denies, or would in enforce mode.
func (r *Record) denies() bool { return !r.Reason.Allowed() || r.Enforced != wire.Undecided }

// Text is one of the texts of a record.
type Text uint8

// The texts, in the order in which they are held.
const (
	Method Text = iota
	Path
	denied    // targets, each with a line feed: see Answers
	permitted // those
	Kind
	Name
	Access
	Resource
	Issuer
	Subject
	Client
	Claimed
	JTI
	KeyID
	texts

	ofToken = JTI // from here on a text tells tokens apart
)

var textNames = [texts]string{
	"method", "path", "denied", "permitted", "kind", "name", "access", "resource",
	"issuer", "subject", "client", "unverified_issuer", "jti", "kid",
}

// set is a set of texts, a bit each.
type set uint16

// tokenTexts are those of the token.
const tokenTexts = set(1<<JTI | 1<<KeyID)

func (s set) has(t Text) bool { return s>>t&1 == 1 }

// MaxPath and MaxText are the longest texts that a record holds, in bytes as they came and in characters as they
// are written.
const (
	MaxPath = 1024 // a path, the targets denied together, and those permitted
	MaxText = 256  // any other

	maxTexts = 3*MaxPath + (int(texts)-3)*MaxText // all together
)

// limit returns the length of the longest text t, in bytes.
func (t Text) limit() int {
	if t == Path || t == denied || t == permitted {
		return MaxPath
	}
	return MaxText
}

// Text returns a text, which is empty if the record has none. It is valid as long as the record.
//
//go:noinline // for flash
func (r *Record) Text(t Text) []byte {
	start := uint16(0)
	if t > 0 {
		start = r.ends[t-1]
	}
	return r.text[start:r.ends[t]:r.ends[t]]
}

// Answers yields the targets of decide-all that there was room for, first those denied; in observe mode, as enforce
// would have it.
func (r *Record) Answers(yield func(target []byte, allowed bool) bool) {
	for _, list := range [...]Text{denied, permitted} {
		for target := range bytes.Lines(r.Text(list)) {
			target, whole := bytes.CutSuffix(target, []byte("\n"))
			if whole && !yield(target, list == permitted) {
				return
			}
		}
	}
}

// Set makes r the record of one decision.
func (r *Record) Set(seq uint64, d *Decision) {
	r.head(seq, d)
	r.cut, r.text = 0, r.text[:0]
	var all [texts][]byte
	d.texts(&all)
	for t, text := range all {
		switch t := Text(t); {
		case t != denied && t != permitted:
			r.add(t, text)
		case d.Question == wire.Control:
			r.addCommands(t, d)
		default:
			r.addTargets(t, d.Answers)
		}
	}
}

// head makes r the record of one decision, but for its texts.
//
//go:noinline // for flash
func (r *Record) head(seq uint64, d *Decision) {
	*r = Record{
		matter: matter{
			UID: d.UID, GID: d.GID, PID: d.PID, Targets: int32(d.Targets),
			Question: d.Question, Reason: d.Reason, Enforced: d.Enforced,
		},
		Seq: seq, Time: d.Time, Clock: d.Clock, Digest: d.Digest, Cached: d.Cached,
		Count: 1, First: seq, Since: d.Time, unseen: 1, cut: r.cut, ends: r.ends, text: r.text,
	}
}

// add adds the next text.
func (r *Record) add(t Text, text []byte) {
	start := len(r.text)
	if len(text) > 0 {
		r.text = appendClean(r.text, text, t.limit())
	}
	r.end(t, start)
}

// addTargets adds the targets of a list as the next text, each with a line feed; no more of them than tell that
// they are too long.
func (r *Record) addTargets(t Text, answers []wire.Answer) {
	start := len(r.text)
	end := start + t.limit()
	for i := range answers {
		if a := &answers[i]; a.Allowed == (t == permitted) && len(r.text) <= end {
			r.text = appendClean(r.text, a.Target, end-len(r.text))
			r.endItem(a.Observed)
		}
	}
	r.end(t, start)
}

// addCommands adds those of a list as addTargets does: the access that each needs, its method and class, or subscribe,
// its role path, and if it is denied the status and reason. The handle is left out, so that equal ones have equal
// texts.
func (r *Record) addCommands(t Text, d *Decision) {
	start := len(r.text)
	end := start + t.limit()
	for i, v := range d.Verdicts {
		allowed := v.Reason.Allowed()
		if allowed && t == denied {
			r.Allowed++
		}
		if allowed != (t == permitted) || allowed && !d.ListAllowed || len(r.text) > end {
			continue
		}
		c := &d.Commands[i]
		words := [...][]byte{read, c.Method(), c.Class()}
		if v.Writes {
			words[0] = write
		}
		if c.Subscribes() {
			words = [...][]byte{read, subscribe, nil}
		}
		for _, word := range words {
			if len(word) > 0 {
				r.text = append(append(r.text, word...), ' ')
			}
		}
		r.text = appendClean(r.text, c.RolePath(), max(end-len(r.text), 0))
		if !allowed {
			r.text = v.Reason.Append(append(r.text, ' '))
		}
		r.endItem(v.Observed)
	}
	r.end(t, start)
}

var read, write, subscribe = []byte("read"), []byte("write"), []byte("subscribe")

// endItem ends what is denied, and says if it was let pass all the same.
func (r *Record) endItem(observed bool) {
	if observed {
		r.text = append(r.text, " observed"...)
	}
	r.text = append(r.text, '\n')
}

// end ends the text that was begun at start, within its limit.
//
//go:noinline // for flash
func (r *Record) end(t Text, start int) {
	if most := t.limit(); len(r.text)-start > most {
		for range utf8.UTFMax - 1 { // not in the middle of a character
			if !utf8.RuneStart(r.text[start+most]) {
				most--
			}
		}
		r.text = r.text[:start+most]
		r.cut |= 1 << t
	}
	r.ends[t] = uint16(len(r.text))
}

// copy makes r a record like o but for some texts. It keeps its own buffer.
func (r *Record) copy(o *Record, without set) {
	text := r.text[:0]
	*r = *o
	r.cut &^= without
	if r.text = text; without == 0 {
		r.text = append(r.text, o.text...)
		return
	}
	for t := range texts {
		if !without.has(t) {
			r.text = append(r.text, o.Text(t)...)
		}
		r.ends[t] = uint16(len(r.text))
	}
}

// key returns the texts that, with matter, make two records equal.
func (r *Record) key() []byte { return r.text[:r.ends[ofToken-1]] }

// equals reports whether r and o are equal but for when they were made, and their tokens.
func (r *Record) equals(o *Record) bool {
	return r.matter == o.matter && [ofToken]uint16(r.ends[:]) == [ofToken]uint16(o.ends[:]) &&
		bytes.Equal(r.key(), o.key())
}

// decisions returns for which decisions r stands.
func (r *Record) decisions() span { return span{r.Count, r.First, r.Seq} }

// span are decisions: how many, and between which sequence numbers.
type span struct{ count, first, last uint64 }

//go:noinline // for flash
func (s *span) add(m span) {
	if m.count == 0 {
		return
	}
	if s.count == 0 || m.first < s.first {
		s.first = m.first
	}
	s.last = max(s.last, m.last)
	s.count += m.count
}
