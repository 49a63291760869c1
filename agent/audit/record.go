// Package audit keeps one record of each decision (OPS-2): who asked, for what, by whose token, what was answered and why.
// AUDIT.md beside this file describes the records.
//
// A decision never waits for a disk or a network: Append copies the record into memory, one goroutine makes a line of it, and
// each sink takes the lines from a queue of its own, so that a sink that is stuck costs itself alone. What does not fit is
// counted, and for every sink the decisions kept, dropped and queued add up to those that it was offered. The lines of a sink
// are chained by hash; Verify says which are missing or altered.
//
// The package never sees a token: callers hand in a digest. The texts of a record may hold whatever a client sent.
package audit

import (
	"bytes"
	"encoding/binary"
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

// Record is one decision, or several equal ones. Its texts are borrowed: Append copies them, without what looks like a token in
// them. An empty text is left out of the line; one longer than its limit is cut and marked as cut.
type Record struct {
	Seq   uint64 // assigned by Append, from 1 at each start of the daemon
	Time  int64  // microseconds since 1970
	Clock Clock

	UID int64  // of the peer; -1 where it is not known
	GID uint32 // of the peer; where UID is known
	PID int32  // of the peer; 0 where it is not known

	Question wire.Verb
	Reason   wire.Reason
	Enforced wire.Reason // observe mode: what enforce would have answered; else Undecided
	Reads    bool        // if allowed, it leaves the device as it is. Others are never joined with one another

	Method  []byte        // as it came
	Path    []byte        // normalised, without a query; for decide-all that of the first target
	Targets int           // decide-all: how many were asked for; else 0
	Answers []wire.Answer // decide-all; observe mode: as enforce would have it; read back: as many as had room
	Kind    []byte        // of a resource
	Name    []byte
	Access  []byte // read or write

	Issuer  []byte // of a verified token
	Subject []byte
	Client  []byte
	Claimed []byte // the issuer that a token names which was not verified: anybody can have written it

	JTI    []byte   // of a verified token
	Digest [16]byte // first half of the SHA-256 of the token; zero: none. It is written where there is no JTI
	KeyID  []byte
	Cached bool // the token had been verified before

	// Set by the Log for a record that stands for several: Seq and Time are then those of the last, and what tells them apart is
	// left out.
	Joined Joined // what they have in common
	Count  uint64 // decisions that it stands for, 1 or more
	First  uint64 // sequence number of the first of them
	Since  int64  // time of the first of them

	unseen  uint64    // of them, those that Options.Observe was not shown
	cut     uint16    // a bit for each text that was cut
	partial [2][]byte // what there is of the target for which the denied, and the permitted, had no room left
}

// denies reports whether the decision denies, or would in enforce mode.
func (r *Record) denies() bool { return !r.Reason.Allowed() || r.Enforced != wire.Undecided }

// The texts of a record in the order in which they are held. Those up to textToken make decisions equal.
const (
	textMethod = iota
	textPath
	textDenied
	textPermitted
	textKind
	textName
	textAccess
	textIssuer
	textSubject
	textClient
	textClaimed
	textJTI
	textKeyID
	texts

	textToken = textJTI // from here on a text tells tokens apart
)

// MaxPath and MaxText are the longest texts that a record holds, in bytes as they came and in characters as they are written.
const (
	MaxPath = 1024 // a path, the targets denied together, and those permitted
	MaxText = 256  // any other
)

var textNames = [texts]string{"method", "path", "denied", "permitted", "kind", "name", "access", "issuer", "subject", "client",
	"unverified_issuer", "jti", "kid"}

// limit returns the longest text i, in bytes.
func limit(i int) int {
	if i == textPath || i == textDenied || i == textPermitted {
		return MaxPath
	}
	return MaxText
}

// text returns one of the texts but for the targets, which are a list.
func (r *Record) text(i int) *[]byte {
	switch i {
	case textMethod:
		return &r.Method
	case textPath:
		return &r.Path
	case textKind:
		return &r.Kind
	case textName:
		return &r.Name
	case textAccess:
		return &r.Access
	case textIssuer:
		return &r.Issuer
	case textSubject:
		return &r.Subject
	case textClient:
		return &r.Client
	case textClaimed:
		return &r.Claimed
	case textJTI:
		return &r.JTI
	}
	return &r.KeyID
}

// A record in memory: first what differs from one decision to the next, then what makes two equal, then the texts of the token.
const (
	atSeq    = 0
	atTime   = 8
	atCount  = 16
	atFirst  = 24
	atSince  = 32
	atUnseen = 40
	atDigest = 48
	atClock  = 64
	atCached = 65
	atCut    = 66
	atKey    = 68 // what makes two equal starts here
	atUID    = 68
	atPID    = 76
	atGID    = 80
	atTarget = 84
	atVerb   = 88
	atReason = 89
	atWould  = 90
	atJoined = 91
	atTexts  = 92 // each two bytes of length and itself

	maxRecord = atTexts + 2*texts + 3*MaxPath + (texts-3)*MaxText
)

// append appends r's form in memory to b. It returns where in b the part ends that makes two equal.
func (r *Record) append(b []byte) (record []byte, key int) {
	var head [atTexts]byte
	binary.LittleEndian.PutUint64(head[atSeq:], r.Seq)
	binary.LittleEndian.PutUint64(head[atTime:], uint64(r.Time))
	unseen := r.unseen
	if r.Count == 0 {
		unseen = 1
	}
	binary.LittleEndian.PutUint64(head[atCount:], max(r.Count, 1))
	binary.LittleEndian.PutUint64(head[atUnseen:], unseen)
	binary.LittleEndian.PutUint64(head[atFirst:], r.First)
	binary.LittleEndian.PutUint64(head[atSince:], uint64(r.Since))
	copy(head[atDigest:], r.Digest[:])
	head[atClock] = byte(r.Clock)
	if r.Cached {
		head[atCached] = 1
	}
	binary.LittleEndian.PutUint64(head[atUID:], uint64(r.UID))
	binary.LittleEndian.PutUint32(head[atPID:], uint32(r.PID))
	binary.LittleEndian.PutUint32(head[atGID:], r.GID)
	binary.LittleEndian.PutUint32(head[atTarget:], uint32(r.Targets))
	head[atVerb], head[atReason], head[atWould], head[atJoined] = byte(r.Question), byte(r.Reason), byte(r.Enforced), byte(r.Joined)
	start := len(b)
	b = append(b, head[:]...)
	cut := r.cut
	for i := range texts {
		if i == textToken {
			key = len(b)
		}
		most := limit(i)
		at := len(b) + 2
		b = append(b, 0, 0)
		if i == textDenied || i == textPermitted {
			b = appendTargets(b, r.Answers, i == textPermitted, most)
		} else if text := *r.text(i); len(text) > 0 {
			b = appendClean(b, text, most)
		}
		if len(b)-at > most {
			for range utf8.UTFMax - 1 { // not in the middle of a character
				if !utf8.RuneStart(b[at+most]) {
					most--
				}
			}
			b = b[:at+most]
			cut |= 1 << i
		}
		binary.LittleEndian.PutUint16(b[at-2:], uint16(len(b)-at))
	}
	binary.LittleEndian.PutUint16(b[start+atCut:], cut)
	return b, key
}

// appendTargets appends the targets that are allowed, or those that are not, each with a line feed; no more of them
// than tell that they are longer than most.
func appendTargets(b []byte, answers []wire.Answer, allowed bool, most int) []byte {
	end := len(b) + most
	for i := range answers {
		if a := &answers[i]; a.Allowed == allowed && len(b) <= end {
			b = append(appendClean(b, a.Target, end-len(b)), '\n')
		}
	}
	return b
}

// read makes r the record that b holds, borrowing from b. Texts that are not there are empty.
func (r *Record) read(b []byte) {
	*r = Record{
		Seq:   binary.LittleEndian.Uint64(b[atSeq:]),
		Time:  int64(binary.LittleEndian.Uint64(b[atTime:])),
		Count: binary.LittleEndian.Uint64(b[atCount:]),
		First: binary.LittleEndian.Uint64(b[atFirst:]),
		Since: int64(binary.LittleEndian.Uint64(b[atSince:])),
		Clock: Clock(b[atClock]), Cached: b[atCached] != 0, cut: binary.LittleEndian.Uint16(b[atCut:]),
		UID: int64(binary.LittleEndian.Uint64(b[atUID:])), PID: int32(binary.LittleEndian.Uint32(b[atPID:])),
		GID:      binary.LittleEndian.Uint32(b[atGID:]),
		unseen:   binary.LittleEndian.Uint64(b[atUnseen:]),
		Joined:   Joined(b[atJoined]),
		Targets:  int(binary.LittleEndian.Uint32(b[atTarget:])),
		Question: wire.Verb(b[atVerb]), Reason: wire.Reason(b[atReason]), Enforced: wire.Reason(b[atWould]),
		Answers: r.Answers[:0],
	}
	if r.Count == 1 {
		r.First, r.Since = r.Seq, r.Time
	}
	copy(r.Digest[:], b[atDigest:])
	b = b[atTexts:]
	for i := 0; i < texts && len(b) > 0; i++ {
		end := 2 + int(binary.LittleEndian.Uint16(b))
		text := b[2:end:end]
		b = b[end:]
		if i != textDenied && i != textPermitted {
			*r.text(i) = text
			continue
		}
		for len(text) > 0 {
			target, rest, whole := bytes.Cut(text, []byte("\n"))
			if !whole {
				r.partial[i-textDenied] = target
				break
			}
			r.Answers = append(r.Answers, wire.Answer{Target: target, Allowed: i == textPermitted})
			text = rest
		}
	}
}
