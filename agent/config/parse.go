package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"nmosauthd/agent/ascii"
)

// Limits of a file. The full example has 10 KiB and 66 statements (headers and keys).
const (
	maxConfigBytes = 256 << 10
	maxStatements  = 1000
)

// Parse parses the text of a configuration file. name is the file's, for messages only: nothing is opened here.
//
// The error joins one *Error for every mistake found, in the order of their lines: all mistakes of a file are
// reported together, unless a line is not TOML, which ends the reading. On error the Config is nil.
func Parse(name string, data []byte) (*Config, error) {
	return ParseOver(Default(), name, data)
}

// ParseOver is Parse with other defaults, those of the device. It changes defaults even if there are mistakes: it then
// holds the valid part of the file.
func ParseOver(defaults *Config, name string, data []byte) (*Config, error) {
	r := newReader(defaults, name)
	if r.read(data) {
		r.assign()
		r.crossChecks()
	}
	if err := r.mistakes.err(); err != nil {
		return nil, err
	}
	return r.cfg, nil
}

// reader is one parse of one file. The library gives the position of a syntax error but not of a value, and a whole
// file can cost it quadratic time and memory. So it gets one statement at a time, a key with its value or the header of
// a section, whose position is known; how statements fit together is checked here.
type reader struct {
	cfg      *Config
	keys     []Key
	header   toml.Key           // of the section at hand
	tables   map[string]int     // the line of each section's header or inline table
	dotted   map[string]int     // the line of each section's first key in the form section.key
	set      map[string]setting // by Key.String
	unknown  map[string]bool    // sections and keys that were reported
	mistakes mistakes
}

func newReader(c *Config, name string) *reader {
	return &reader{
		cfg:      c,
		keys:     Keys(c),
		tables:   make(map[string]int),
		dotted:   make(map[string]int),
		set:      make(map[string]setting),
		unknown:  make(map[string]bool),
		mistakes: mistakes{file: name},
	}
}

// setting is the value of a key in the file.
type setting struct {
	value any
	line  int
}

// read collects the settings of a file. It reports false if the file cannot be parsed to its end.
func (r *reader) read(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the byte order mark that some editors write
	if len(data) > maxConfigBytes {
		r.mistakes.add(1, "the file is over %d KiB", maxConfigBytes>>10)
		return false
	}
	text := string(data)
	line := 0
	for l := range strings.SplitSeq(text, "\n") {
		if line++; !utf8.ValidString(l) {
			r.mistakes.add(line, "the file is not UTF-8 text")
			return false
		}
	}
	line = 1
	for n := 0; text != "" && !r.mistakes.full(); n++ {
		start, end, problem := statement(text)
		switch {
		case problem != "":
			r.mistakes.add(line+lineAt(text, end)-1, "%s", problem)
			return false
		case n == maxStatements:
			r.mistakes.add(line, "the file holds over %d keys and sections", maxStatements)
			return false
		}
		path, value, at, err := decode(text[:end])
		if err != nil {
			r.mistakes.add(line+lineAt(text, at)-1, "%s", sentence(err.Error()))
			return false
		}
		if len(path) > 0 { // else there are only comments left
			r.statement(path, value, text[start] == '[', line+lineAt(text, start)-1)
		}
		line += strings.Count(text[:end], "\n")
		text = text[end:]
	}
	return true
}

// lineAt returns the line of a place in a text, 1 for the first.
func lineAt(text string, at int) int { return 1 + strings.Count(text[:at], "\n") }

// decode has the library parse one statement, with the comments before it; at is where an error starts. The library
// panics on internal faults; the running daemon rereads its configuration, so a panic becomes an error here.
func decode(text string) (path toml.Key, value any, at int, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the line cannot be read as TOML: %s", shown(fmt.Sprint(fault)))
		}
	}()
	var all map[string]any
	// The space: a byte order mark in the middle of the file is not one at its start.
	meta, err := toml.Decode(" "+text, &all)
	if syntax := (toml.ParseError{}); errors.As(err, &syntax) {
		// Its own Line is that of its end: of a string over many lines, or a line break that may not be there, the
		// last.
		return nil, nil, min(max(syntax.Position.Start-1, 0), len(text)), errors.New(syntax.Message)
	}
	if err != nil || len(meta.Keys()) == 0 {
		return nil, nil, 0, err
	}
	path, value = meta.Keys()[0], all
	for _, part := range path {
		value = value.(map[string]any)[part]
	}
	return path, value, 0, nil
}

// statement takes the value at a path, which is below the header at hand unless it is a header itself.
func (r *reader) statement(path toml.Key, value any, isHeader bool, line int) {
	if isHeader {
		r.header = path
	} else if len(r.header) > 0 {
		r.put(slices.Concat(r.header, path), value, line)
		return
	}
	section := path[0]
	table, isTable := value.(map[string]any)
	before := r.tables[section]
	if !isHeader && len(path) == 1 { // an inline table is all of a section; the library lets a header follow dotted keys
		before = max(before, r.dotted[section])
	}
	switch {
	case !r.isSection(section) || isHeader && len(path) > 1:
		r.put(path, value, line)
	case before > 0:
		r.mistakes.add(line, "[%s] is in line %d already", section, before)
	case len(path) > 1:
		r.dotted[section] = line
		r.put(path, value, line)
	case !isTable:
		r.mistakes.add(line, "[%s] must be a section, not %s", section, kind(value))
	default:
		r.tables[section] = line
		for _, name := range slices.Sorted(maps.Keys(table)) {
			r.put(toml.Key{section, name}, table[name], line)
		}
	}
}

// put stores the value of the key at a path, or reports an unknown key, once.
func (r *reader) put(path toml.Key, value any, line int) {
	section, name := "", path[0]
	if r.isSection(name) {
		section, name, path = name, path[1], path[1:]
	}
	if len(path) > 1 {
		value = map[string]any{}
	}
	k := r.key(section, name)
	switch before, twice := r.set[(&Key{Section: section, Name: name}).String()]; {
	case k == nil:
		if full := section + "\x00" + name; !r.unknown[full] {
			r.unknown[full] = true
			r.unknownKey(section, name, value, line)
		}
	case twice && len(path) > 1 && kind(before.value) == kind(value): // what is in a section in place of a value
	case twice:
		r.mistakes.add(line, "%s is set in line %d already", k, before.line)
	default:
		r.set[k.String()] = setting{value, line}
	}
}

// unknownKey reports an unknown name: outside all sections one with a table is a section.
func (r *reader) unknownKey(section, name string, value any, line int) {
	_, table := value.(map[string]any)
	_, tables := value.([]map[string]any)
	switch {
	case section != "":
		r.mistakes.add(line, "unknown key %s in [%s]%s", shown(name), section, r.hint(section, name))
	case table || tables:
		near := nearest(name, r.sections())
		if near != "" {
			near = " ([" + near + "]?)"
		}
		r.mistakes.add(line, "unknown section [%s]%s", strings.Trim(shown(name), `"`), near)
	default:
		r.mistakes.add(line, "unknown key %s%s", shown(name), r.hint("", name))
	}
}

// hint says what an unknown key was most likely meant to be: one of another section, or a misspelt one of its own.
func (r *reader) hint(section, name string) string {
	var here []string
	for _, k := range r.keys {
		switch {
		case k.Section == section:
			here = append(here, k.Name)
		case k.Name != name:
		case k.Section == "":
			return " (it belongs above all sections)"
		default:
			return " (it belongs in [" + k.Section + "])"
		}
	}
	return meant(name, here)
}

// assign sets every key of the file, in the order of the table.
func (r *reader) assign() {
	for _, k := range r.keys {
		s, ok := r.set[k.String()]
		if !ok {
			continue
		}
		for _, err := range Mistakes(k.set(s.value)) {
			r.mistakes.add(s.line, "%s: %v", &k, err)
		}
	}
}

// sections returns the name of every section.
func (r *reader) sections() (names []string) {
	for _, k := range r.keys {
		if k.Section != "" && !slices.Contains(names, k.Section) {
			names = append(names, k.Section)
		}
	}
	return names
}

func (r *reader) isSection(name string) bool {
	return slices.Contains(r.sections(), name)
}

// key returns the key of that exact name, nil if there is none.
func (r *reader) key(section, name string) *Key {
	for i := range r.keys {
		if k := &r.keys[i]; k.Section == section && k.Name == name {
			return k
		}
	}
	return nil
}

// sentence adapts a message of the library: no capital, no full stop, and a single short line, since it may quote the
// file.
func sentence(s string) string {
	const most = 200
	first, size := utf8.DecodeRuneInString(s)
	s = ascii.Line(strings.TrimSuffix(string(unicode.ToLower(first))+s[size:], "."))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// kind names the type of a TOML value for people.
func kind(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a section"
	case []map[string]any:
		return "a list of sections"
	default:
		return "a list"
	}
}

// statement finds the first statement of a text: it starts at start, after blank lines and comments, and ends
// before end, with its line. It refuses, at end, what no configuration has and what would cost the library's parser
// more than its length: it calls itself once a bracket, and holds the full name of each key in an inline table.
// Strings and comments are skipped as TOML has them, and every other judgement is left to the parser.
func statement(text string) (start, end int, problem string) {
	const mostBrackets, mostDots, mostKeys, longestKey = 8, 8, 64, 1024
	start = -1
	depth, dots, keys, key := 0, 0, 0, 0 // key is where one may have begun
	for i := 0; i < len(text); i++ {
		c := text[i]
		if start < 0 && !strings.ContainsRune(" \t\r\n#", rune(c)) {
			start, key = i, i
		}
		switch c {
		case '\n':
			if start >= 0 && depth == 0 {
				return start, i + 1, ""
			}
			dots, key = 0, i+1
		case '#':
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return max(start, 0), len(text), ""
			}
			i += n - 1
		case '"', '\'':
			i += stringLen(text[i:]) - 1
		case '[', '{':
			dots, key = 0, i+1
			if depth++; depth > mostBrackets {
				return start, i, "brackets are nested too deeply"
			}
		case ']', '}':
			depth = max(depth-1, 0)
			if text[max(start, 0)] == '[' && i-key > longestKey {
				return start, key, fmt.Sprintf("the section's name is over %d bytes", longestKey)
			}
		case ',':
			dots, key = 0, i+1
		case '=':
			if i-key > longestKey {
				return start, key, fmt.Sprintf("the key is over %d bytes", longestKey)
			}
			if keys++; keys > mostKeys {
				return start, i, fmt.Sprintf("the table holds over %d keys", mostKeys)
			}
			dots, key = 0, i+1
		case '.':
			if dots++; dots > mostDots {
				return start, i, "the key has too many parts"
			}
		}
	}
	return max(start, 0), len(text), ""
}

// stringLen returns the length of the TOML string, with its quotes, at the start of text. An unclosed one takes the
// rest of the file, as the parser then fails on it anyway.
func stringLen(text string) int {
	quote := text[0]
	long := strings.Repeat(text[:1], 3)
	if !strings.HasPrefix(text, long) {
		for i := 1; i < len(text) && text[i] != '\n'; i++ {
			if text[i] == '\\' && quote == '"' {
				i++
			} else if text[i] == quote {
				return i + 1
			}
		}
		return len(text)
	}
	for i := 3; i < len(text); i++ {
		if text[i] == '\\' && quote == '"' {
			i++
		} else if strings.HasPrefix(text[i:], long) {
			i += 3
			for extra := 0; extra < 2 && i < len(text) && text[i] == quote; extra++ {
				i++ // up to two quotes may stand right before the closing three
			}
			return i
		}
	}
	return len(text)
}
