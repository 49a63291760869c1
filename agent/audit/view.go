package audit

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// View writes lines for people: a row each, in columns.
type View struct {
	Width  int  // of the terminal; 0: any
	Colour bool // by ANSI escapes
}

// ViewHead is what stands above the columns. The number is that for "explain --seq". A time with a question mark is by a clock that
// nobody vouches for.
const ViewHead = "   seq  UTC           decision  reason              client                method  path\n"

const (
	clientWidth = 20
	leastWidth  = 12 // of the path
)

// Append appends the row of a line.
func (v *View) Append(dst, line []byte) ([]byte, error) {
	r, err := ParseLine(line)
	switch {
	case err != nil:
		return dst, err
	case r.Event == "missed":
		return fmt.Appendf(dst, "-- %d decisions are left out: they came faster than they were shown --\n", r.Count), nil
	case r.Decision == "" || len(r.Time) < len("2006-01-02T15:04:05.000"):
		return dst, ErrForm
	}
	doubt, colour, plain := " ", "", ""
	if r.Clock != "synchronised" {
		doubt = "?"
	}
	if r.Would != "" {
		r.Decision, r.Status, r.Reason = "would", r.WouldStatus, r.Would
	}
	if v.Colour {
		plain = "\x1b[0m"
		switch r.Decision {
		case "allow":
			colour = "\x1b[32m"
		case "would":
			colour = "\x1b[33m"
		default:
			colour = "\x1b[31m"
		}
	}
	method, what, suffix := r.Method, r.Path, ""
	if r.Kind != "" {
		method, what = r.Access, r.Kind+"/"+r.Name
	}
	if method == "" {
		method = r.Question
	}
	if r.Targets > 1 {
		suffix = fmt.Sprintf(" and %d more, %d denied", r.Targets-1, len(r.Denied))
	}
	if r.Count > 1 {
		suffix += fmt.Sprintf(" ×%d", r.Count)
	}
	start := len(dst)
	dst = fmt.Appendf(dst, "%6d  %.12s%s %s%-5s %3d%s %-19s %-*s  %-6s  ", r.Seq, r.Time[len("2006-01-02T"):], doubt, colour, r.Decision,
		r.Status, plain, show(r.Reason, 0), clientWidth, show(r.Client, clientWidth), show(method, clientWidth))
	room := 0
	if v.Width > 0 {
		used := utf8.RuneCount(dst[start:]) - len(colour) - len(plain) + utf8.RuneCountInString(suffix)
		room = max(v.Width-used, leastWidth)
	}
	return append(append(append(dst, show(what, room)...), suffix...), '\n'), nil
}

// show returns a text that does nothing to a terminal. One longer than most characters is cut in the middle; 0: none is.
func show(text string, most int) string {
	text = strconv.Quote(text) // control characters and what turns the direction of writing are escaped
	runes := []rune(text[1 : len(text)-1])
	if most > 0 && len(runes) > most {
		head := (most - 2) / 3
		runes = append(append(runes[:head:head], '.', '.'), runes[len(runes)-(most-2-head):]...)
	}
	return string(runes)
}
