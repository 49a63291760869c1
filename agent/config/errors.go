package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// maxMistakes bounds how many mistakes of one file are reported. A file with more is not a configuration at all.
const maxMistakes = 50

// Error is one mistake in a configuration file. Its text reads `file:line: message`, as editors expect it.
type Error struct {
	File    string
	Line    int // 1 for the first
	Message string
}

// Error returns the mistake as one line.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// KeyError is something wrong with what a key refers to, such as a file: only the device can know of it.
type KeyError struct {
	Key string // as messages name it
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }
func (e *KeyError) Unwrap() error { return e.Err }

// At returns the errors joined in err as mistakes in the text of a file: a KeyError with the line of its key.
func At(file string, data []byte, err error) error {
	m := mistakes{file: file}
	r := newReader(Default(), file)
	r.read(data)
	for _, e := range Mistakes(err) {
		line := 0
		if at := (*KeyError)(nil); errors.As(e, &at) {
			line = r.set[at.Key].line
		}
		m.add(line, "%v", e)
	}
	return m.err()
}

// mistakes collects what is wrong with one file.
type mistakes struct {
	file string
	list []*Error
}

// add adds a mistake, unless the list is full.
func (m *mistakes) add(line int, format string, args ...any) {
	if m.full() {
		return
	}
	m.list = append(m.list, &Error{m.file, max(line, 1), fmt.Sprintf(format, args...)})
}

// full reports whether the list has reached its limit, so that parsing may stop.
func (m *mistakes) full() bool { return len(m.list) >= maxMistakes }

// err returns all mistakes joined, one line each in the order of the file, nil if there are none.
func (m *mistakes) err() error {
	if len(m.list) == 0 {
		return nil
	}
	sort.SliceStable(m.list, func(i, j int) bool { return m.list[i].Line < m.list[j].Line })
	errs := make([]error, 0, len(m.list)+1)
	for _, e := range m.list {
		errs = append(errs, e)
	}
	if m.full() {
		last := m.list[len(m.list)-1]
		errs = append(errs, &Error{m.file, last.Line, "too many mistakes to list the rest"})
	}
	return errors.Join(errs...)
}

// shown quotes a part of the file for a message, shortened if it is long.
func shown(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// Mistakes returns the errors joined in err, or err alone if it is not a joined error; none if err is nil.
func Mistakes(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// meant returns a hint at the name most likely meant by word, " (name?)", or "".
func meant(word string, names []string) string {
	if near := nearest(word, names); near != "" {
		return " (" + near + "?)"
	}
	return ""
}

// nearest returns the name most likely meant by word, "" if none is similar enough.
func nearest(word string, names []string) string {
	const longest = 32 // no key is longer, and the comparison takes the product of the lengths
	if len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", 1+max(1, len(word)/3)
	for _, name := range names {
		if d := distance(word, strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string
// alignment). It counts bytes: the names it serves are ASCII.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
