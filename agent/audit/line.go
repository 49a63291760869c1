package audit

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/wire"
)

// lineStart starts each line, and tells it from those of the daemon's log if both go to standard error. The
// number is the version of the form.
var lineStart = []byte(lineBegin + ",")

const lineBegin = `{"audit":1`

// shortText is the limit of every text in a line that must fit into a datagram.
const shortText = 80

// maxLine is longer than any line.
const maxLine = 8 << 10

const (
	eventOpen    = "open"
	eventClose   = "close"
	eventDropped = "dropped"
)

// appendRecord appends r's line without its end, that is the chain and the closing brace. Texts are cut to their
// limits, and to most characters as they are written.
func appendRecord(dst []byte, r *Record, most int) []byte {
	dst = appendNumber(append(dst, lineBegin...), "seq", r.Seq)
	dst = appendTime(dst, "time", r.Time)
	dst = appendWord(dst, "clock", r.Clock.String())
	if r.UID >= 0 {
		dst = appendNumber(dst, "uid", uint64(r.UID))
		if r.Joined == Alone {
			dst = appendNumber(dst, "gid", uint64(r.GID))
		}
	}
	if r.PID > 0 {
		dst = appendNumber(dst, "pid", uint64(r.PID))
	}
	question, _, _ := strings.Cut(r.Question.String(), " ")
	dst = appendWord(dst, "question", question)
	cut := r.cut
	text := func(from, to Text) {
		for t := from; t <= to; t++ {
			var short bool
			if t == denied && r.Targets > 0 {
				dst = appendNumber(dst, "targets", uint64(r.Targets))
				if r.Question == wire.Control {
					dst = appendNumber(dst, "allowed", uint64(r.Allowed))
				}
			}
			if t == denied || t == permitted {
				dst, short = appendList(dst, textNames[t], r.Text(t), min(most, t.limit()))
			} else {
				dst, short = appendText(dst, textNames[t], r.Text(t), min(most, t.limit()))
			}
			if short {
				cut |= 1 << t
			}
		}
	}
	text(Method, Resource)
	info := r.Reason.Info()
	dst = appendWord(dst, "decision", r.Reason.Decision())
	dst = appendNumber(dst, "status", uint64(info.Status))
	dst = appendWord(dst, "reason", info.Code)
	dst = appendWord(dst, "rule", info.Rule)
	if r.Enforced != wire.Undecided {
		dst = appendWord(dst, "would", r.Enforced.Info().Code)
		dst = appendNumber(dst, "would_status", uint64(r.Enforced.Info().Status))
	}
	text(Issuer, JTI)
	if len(r.Text(JTI)) == 0 && r.Digest != [16]byte{} {
		dst = append(dst, `,"digest":"sha256:`...)
		dst = hex.AppendEncode(dst, r.Digest[:])
		dst = append(dst, '"')
	}
	text(KeyID, KeyID)
	if r.Cached {
		dst = append(dst, `,"cached":true`...)
	}
	if int(r.Joined) < len(joinedNames) {
		dst = appendWord(dst, "joined", joinedNames[r.Joined])
	}
	if r.Count > 1 || r.First != r.Seq && r.First != 0 {
		dst = appendNumber(dst, "count", r.Count)
		dst = appendNumber(dst, "first", r.First)
		dst = appendTime(dst, "since", r.Since)
	}
	if cut != 0 {
		dst = append(dst, `,"cut":[`...)
		for t := range texts {
			if cut.has(t) {
				dst, _ = appendString(dst, []byte(textNames[t]), MaxText)
				dst = append(dst, ',')
			}
		}
		dst[len(dst)-1] = ']'
	}
	return dst
}

// decisionsOf returns for which decisions a line stands, as appendRecord wrote it.
func decisionsOf(line []byte) span {
	l := span{1, number(line, "first"), number(line, "seq")}
	if l.first == 0 {
		l.first = l.last
	} else {
		l.count = number(line, "count")
	}
	return l
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), n, 10)
}

// appendWord appends a member whose value needs no escapes; none for an empty one.
//
//go:noinline // for flash
func appendWord(dst []byte, name, word string) []byte {
	if word == "" {
		return dst
	}
	dst = append(appendName(dst, name), '"')
	dst = append(dst, word...)
	return append(dst, '"')
}

//go:noinline // for flash
func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendText(dst []byte, name string, text []byte, most int) ([]byte, bool) {
	if len(text) == 0 {
		return dst, false
	}
	return appendString(appendName(dst, name), text, most)
}

// appendList appends targets, each with a line feed but the last if there was no room for all of it, as an array.
func appendList(dst []byte, name string, targets []byte, most int) (_ []byte, cut bool) {
	if len(targets) == 0 {
		return dst, false
	}
	dst = append(appendName(dst, name), '[')
	start := len(dst)
	for target := range bytes.Lines(targets) {
		if cut = cut || most <= len(dst)-start; cut {
			break
		}
		dst, cut = appendString(dst, bytes.TrimSuffix(target, []byte("\n")), most-(len(dst)-start))
		dst = append(dst, ',')
	}
	dst[len(dst)-1] = ']'
	return dst, cut
}

// appendString appends a JSON string of at most so many characters between its quotes, and reports whether it was
// cut. It is all ASCII: what else a text holds is escaped, so that nothing in it can end a line, move a terminal's
// cursor or turn the direction of writing, and a syslog message needs no mark of its encoding. Bytes that are not
// UTF-8 become U+FFFD, one each.
func appendString(dst, text []byte, most int) (_ []byte, cut bool) {
	dst = append(dst, '"')
	start := len(dst)
	for len(text) > 0 {
		before := len(dst)
		r, n := utf8.DecodeRune(text)
		if r == '"' || r == '\\' {
			dst = append(dst, '\\')
		}
		dst = ascii.AppendRune(dst, r)
		if len(dst)-start > most {
			dst, cut = dst[:before], true
			break
		}
		text = text[n:]
	}
	return append(dst, '"'), cut
}

// appendTime appends a time, given in microseconds since 1970, as RFC 3339 has it.
func appendTime(dst []byte, name string, t int64) []byte {
	const last = 253402300799999999 // of the year 9999: RFC 3339 has no more
	at := time.UnixMicro(min(max(t, 0), last)).UTC()
	return at.AppendFormat(appendName(dst, name), `"2006-01-02T15:04:05.000000Z"`)
}
