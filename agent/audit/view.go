package audit

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
)

// View writes lines for people: a row each, in columns.
type View struct {
	Width  int  // of the terminal; 0: any
	Colour bool // by ANSI escapes
}

// viewed is what a row shows of a line.
type viewed struct {
	Audit       int      `json:"audit"`
	Event       string   `json:"event"`
	Time        string   `json:"time"`
	Clock       string   `json:"clock"`
	Question    string   `json:"question"`
	Method      string   `json:"method"`
	Path        string   `json:"path"`
	Targets     int      `json:"targets"`
	Denied      []string `json:"denied"`
	Kind        string   `json:"kind"`
	Name        string   `json:"name"`
	Access      string   `json:"access"`
	Decision    string   `json:"decision"`
	Status      int      `json:"status"`
	Reason      string   `json:"reason"`
	Would       string   `json:"would"`
	WouldStatus int      `json:"would_status"`
	Client      string   `json:"client"`
	Count       uint64   `json:"count"`
}

// ViewHead is what stands above the columns. A time with a question mark is by a clock that nobody vouches for.
const ViewHead = "UTC           decision  reason              client                method  path\n"

const (
	clientWidth = 20
	leastWidth  = 12 // of the path
)

// Append appends the row of a line.
func (v *View) Append(dst, line []byte) ([]byte, error) {
	var r viewed
	if err := json.Unmarshal(line, &r); err != nil {
		return dst, err
	}
	switch {
	case r.Event == "missed":
		return fmt.Appendf(dst, "-- %d decisions are left out: they came faster than they were shown --\n", r.Count), nil
	case r.Audit != 1 || r.Decision == "" || len(r.Time) < len("2006-01-02T15:04:05.000"):
		return dst, errors.New("a record in a form that this program does not know; is the daemon of another version?")
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
	dst = fmt.Appendf(dst, "%.12s%s %s%-5s %3d%s %-19s %-*s  %-6s  ", r.Time[len("2006-01-02T"):], doubt, colour, r.Decision, r.Status,
		plain, show(r.Reason, 0), clientWidth, show(r.Client, clientWidth), show(method, clientWidth))
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
