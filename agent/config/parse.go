package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

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

// reader is one parse of one file. The library parses it statement by statement, a key with its value or the header of
// a section; how statements fit together is checked here.
type reader struct {
	cfg      *Config
	keys     []Key
	header   []string           // of the section at hand
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
	line := 0
	for l := range bytes.SplitSeq(data, []byte("\n")) {
		if line++; !utf8.Valid(l) {
			r.mistakes.add(line, "the file is not UTF-8 text")
			return false
		}
	}
	return r.statements(data)
}

// statements takes one statement after the other. The library panics on internal faults; the running daemon rereads its
// configuration, so a panic becomes a mistake here.
func (r *reader) statements(data []byte) (whole bool) {
	line, at := 1, 0
	defer func() {
		if fault := recover(); fault != nil {
			r.mistakes.add(line, "the line cannot be read as TOML: %s", shown(fmt.Sprint(fault)))
			whole = false
		}
	}()
	place := func(offset int) int { // offsets never become smaller
		line, at = line+bytes.Count(data[at:offset], []byte("\n")), offset
		return line
	}
	var p unstable.Parser
	p.Reset(data)
	for n := 0; !r.mistakes.full() && p.NextExpression(); n++ {
		e := p.Expression()
		keys := e.Key()
		keys.Next()
		place(int(keys.Node().Raw.Offset))
		if n == maxStatements {
			r.mistakes.add(line, "the file holds over %d keys and sections", maxStatements)
			return false
		}
		path, err := keyPath(e)
		var value any
		switch {
		case err != nil:
		case e.Kind == unstable.Table:
			value = map[string]any{}
		case e.Kind == unstable.ArrayTable:
			value = []map[string]any{}
		default:
			value, err = valueOf(e.Value())
		}
		if err != nil {
			r.mistakes.add(line, "%v", err)
			return false
		}
		r.statement(path, value, e.Kind != unstable.KeyValue, line)
	}
	if syntax := (*unstable.ParserError)(nil); errors.As(p.Error(), &syntax) {
		offset := int(p.Range(syntax.Highlight).Offset)
		message := sentence(syntax.Message)
		// The library names the first byte of a character as one of its own: “ is U+00E2 to it.
		if c, _ := utf8.DecodeRune(data[offset:]); c >= utf8.RuneSelf && len(syntax.Highlight) > 0 {
			message = fmt.Sprintf("the character %q cannot stand here", c)
		}
		r.mistakes.add(place(offset), "%s", message)
		return false
	}
	return true
}

// keyPath returns the parts of a statement's key.
func keyPath(e *unstable.Node) (path []string, err error) {
	const most, longest = 8, 1024
	for keys := e.Key(); keys.Next(); {
		part := keys.Node().Data
		switch {
		case len(path) == most:
			return nil, errors.New("the key has too many parts")
		case len(part) > longest:
			return nil, fmt.Errorf("the name %s is over %d bytes", shown(string(part[:longest])), longest)
		}
		path = append(path, string(part))
	}
	return path, nil
}

// valueOf returns what a value stands for: a string, bool, int64, float64, time.Time (what a date says does not matter:
// no key has one), []any, or map[string]any of an inline table.
func valueOf(n *unstable.Node) (value any, err error) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), nil
	case unstable.Bool:
		return n.Data[0] == 't', nil
	case unstable.Integer:
		i, err := strconv.ParseInt(string(n.Data), 0, 64) // the library has seen that it is written as TOML has it
		if err != nil {
			return nil, errors.New("the number " + shown(string(n.Data)) + " is out of range")
		}
		return i, nil
	case unstable.Float:
		return 0.5, nil // no key has one, either
	case unstable.Array:
		list := []any{}
		for elements := n.Children(); elements.Next(); {
			value, err := valueOf(elements.Node())
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case unstable.InlineTable:
		return tableOf(n)
	}
	return time.Time{}, nil
}

// tableOf returns what an inline table holds. What has a dotted key is a table of its own, which is left empty: no key
// has one.
func tableOf(n *unstable.Node) (map[string]any, error) {
	table := map[string]any{}
	dotted := map[string]bool{}
	for entries := n.Children(); entries.Next(); {
		path, err := keyPath(entries.Node())
		if err != nil {
			return nil, err
		}
		name := path[0]
		if _, twice := table[name]; twice && !(dotted[name] && len(path) > 1) {
			return nil, errors.New(shown(name) + " is set twice in a table")
		}
		value, err := valueOf(entries.Node().Value())
		if err != nil {
			return nil, err
		}
		if len(path) > 1 {
			dotted[name], value = true, map[string]any{}
		}
		table[name] = value
	}
	return table, nil
}

// statement takes the value at a path, which is below the header at hand unless it is a header itself.
func (r *reader) statement(path []string, value any, isHeader bool, line int) {
	if isHeader {
		r.header = path
	} else if len(r.header) > 0 {
		r.put(slices.Concat(r.header, path), value, line)
		return
	}
	section := path[0]
	table, isTable := value.(map[string]any)
	before := r.tables[section]
	// an inline table is all of a section; the library lets a header follow dotted keys
	if !isHeader && len(path) == 1 {
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
			r.put([]string{section, name}, table[name], line)
		}
	}
}

// put stores the value of the key at a path, or reports an unknown key, once.
func (r *reader) put(path []string, value any, line int) {
	section, name := "", path[0]
	if r.isSection(name) {
		section, name, path = name, path[1], path[1:]
	}
	if len(path) > 1 {
		value = map[string]any{}
	}
	k := r.key(section, name)
	switch before, twice := r.set[(&row{Section: section, Name: name}).String()]; {
	case k == nil:
		if full := section + "\x00" + name; !r.unknown[full] {
			r.unknown[full] = true
			r.unknownKey(section, name, value, line)
		}
	case twice && len(path) > 1 && kind(before.value) == kind(value): // what is in a section in place of a value
	case twice && areTables(before.value) && (len(path) > 1 || areTables(value)): // or in one of a list of sections
	case twice:
		r.mistakes.add(line, "%s is set in line %d already", k, before.line)
	default:
		r.set[k.String()] = setting{value, line}
	}
}

func areTables(value any) bool {
	_, are := value.([]map[string]any)
	return are
}

// unknownKey reports an unknown name: outside all sections one with a table is a section.
func (r *reader) unknownKey(section, name string, value any, line int) {
	_, table := value.(map[string]any)
	switch {
	case section != "":
		r.mistakes.add(line, "unknown key %s in [%s]%s", shown(name), section, r.hint(section, name))
	case table || areTables(value):
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
	for i := range r.keys {
		k := &r.keys[i]
		s, ok := r.set[k.String()]
		if !ok {
			continue
		}
		for _, err := range Mistakes(k.set(r.cfg, s.value)) {
			r.mistakes.add(s.line, "%s: %v", k, err)
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
	return name != "" && slices.ContainsFunc(r.keys, func(k Key) bool { return k.Section == name })
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
//
//go:noinline // for flash
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
