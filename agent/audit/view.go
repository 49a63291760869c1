package audit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// View writes lines for people: a row each, in columns, folded if the terminal is narrow.
type View struct {
	Width  int  // of the terminal; 0 if any will do
	Colour bool // by ANSI escapes
}

// Head returns what stands above the columns. The number is that for "explain --seq". A time with a question mark is by
// a clock that no time service has confirmed.
func (v *View) Head() string {
	const front, back = "   seq  UTC           decision  reason              client", "method  path"
	if whole := front + strings.Repeat(" ", pathColumn-len("method  ")-len(front)) + back; v.Width == 0 ||
		len(whole) <= v.Width {
		return whole + "\n"
	}
	return front + "\n" + indent + back + "\n"
}

const (
	clientWidth = 20
	pathColumn  = 82         // where the path begins in a row that is not folded
	indent      = "        " // of a row's second line
	leastWidth  = 12         // of the path
)

// Append appends the row of a line.
func (v *View) Append(dst, line []byte) ([]byte, error) {
	r, err := ParseLine(line)
	switch {
	case err != nil:
		return dst, err
	case r.Event == "missed":
		return fmt.Appendf(dst, "-- %d decisions are left out: they came faster than they were shown --\n",
			r.Count), nil
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
	if r.Kind != "" && r.Question != "control" {
		method, what = r.Access, r.Kind+"/"+r.Name
	}
	if r.Resource != "" {
		what = r.Resource + " " + what
	}
	if r.Question == "token" { // for one of the device's own
		what = r.Name
	}
	if method == "" {
		method = r.Question
	}
	switch r.Joined {
	case joinedNames[ByReason]:
		method, what = "-", "(requests of whatever kind)"
	case joinedNames[ByClient]:
		what = "(whatever path)"
	}
	if r.Targets > 1 {
		denied := len(r.Denied)
		if r.Question == "control" {
			denied = r.Targets - r.Allowed
		}
		suffix = fmt.Sprintf(" and %d more, %d denied", r.Targets-1, denied)
	}
	if r.Count > 1 {
		suffix += fmt.Sprintf(" ×%d", r.Count)
	}
	front := fmt.Sprintf(
		"%6d  %.12s%s %s%-5s %3d%s %-19s ",
		r.Seq,
		r.Time[len("2006-01-02T"):],
		doubt,
		colour,
		r.Decision,
		r.Status,
		plain,
		show(r.Reason),
	)
	client := middle(show(r.Client), clientWidth)
	method, what = middle(show(method), clientWidth), show(what)
	claimed := ""
	if r.Claimed != "" { // anybody can have written it: not in a column of what is known
		claimed = "claims to be of issuer " + show(r.Claimed)
	}
	row := fmt.Sprintf("%s%-*s  %-6s  %s%s", front, clientWidth, client, method, what, suffix)
	if claimed != "" {
		row += "  (" + claimed + ", unverified)"
	}
	if v.Width == 0 || utf8.RuneCountInString(row)-len(colour)-len(plain) <= v.Width {
		return append(append(dst, row...), '\n'), nil
	}
	method = fmt.Sprintf("%s%-6s  ", indent, method)
	room := max(v.Width-utf8.RuneCountInString(method)-utf8.RuneCountInString(suffix), leastWidth)
	dst = fmt.Appendf(dst, "%s\n%s%s%s\n", strings.TrimRight(front+client, " "), method, tail(what, room), suffix)
	if claimed != "" {
		const end = " (unverified)"
		dst = fmt.Appendf(dst, "%s%s%s\n", indent, middle(claimed, max(v.Width-len(indent)-len(end), 3*leastWidth)),
			end)
	}
	return dst, nil
}

// show returns a text that does nothing to a terminal.
func show(text string) string {
	// what is not ASCII may take two columns, or none, or turn the direction of writing
	text = strconv.QuoteToASCII(text)
	return text[1 : len(text)-1]
}

// middle returns text with its middle left out if it is longer than most characters.
//
//go:noinline // for flash
func middle(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	head := (most - 2) / 3
	return string(runes[:head]) + ".." + string(runes[len(runes)-(most-2-head):])
}

// tail returns the end of text if it is longer than most characters: that is how the paths of one API differ.
func tail(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return ".." + string(runes[len(runes)-(most-2):])
}
