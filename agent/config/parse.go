package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"nmosauthd/agent/ascii"
)

// maxConfigBytes is the longest configuration that is read. The full example is under 8 KiB.
const maxConfigBytes = 256 << 10

// Parse reads the text of a configuration file. The name is the file's, for messages alone: nothing is opened here.
//
// The error joins one *Error for every mistake found, in the order of their lines: all mistakes of a file are
// reported at once, unless it is no TOML, where the first one hides the rest. On error the Config is nil.
func Parse(name string, data []byte) (*Config, error) {
	return ParseOver(Default(), name, data)
}

// ParseOver is Parse over other defaults than Default: those of a device that has places of its own. It takes over
// defaults and changes it, also where there are mistakes: it then holds what of the file is good.
func ParseOver(defaults *Config, name string, data []byte) (*Config, error) {
	r := &reader{
		cfg:      defaults,
		lines:    make(map[string]int),
		mistakes: mistakes{file: name},
	}
	if r.decode(data) {
		r.unknownKeys()
		r.knownKeys()
		r.crossChecks()
	}
	if err := r.mistakes.err(); err != nil {
		return nil, err
	}
	return r.cfg, nil
}

// reader is one reading of one file. The library gives the place of a value only in the errors that it makes, so
// each value is taken through a probe, which makes it fail on purpose: see at.
type reader struct {
	cfg      *Config
	text     string
	meta     toml.MetaData
	top      map[string]toml.Primitive
	sections map[string]map[string]toml.Primitive
	lines    map[string]int // where a key was set, by its full name; absent where it was not
	mistakes mistakes
}

// decode reads the TOML and opens its sections. It reports whether there is anything to look at.
func (r *reader) decode(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the byte order mark that some editors write
	if len(data) > maxConfigBytes {
		r.mistakes.add(1, "the file is over %d KiB", maxConfigBytes>>10)
		return false
	}
	if !utf8.Valid(data) {
		valid := bytes.ToValidUTF8(data, nil)
		bad := 0
		for bad < len(valid) && valid[bad] == data[bad] {
			bad++
		}
		r.mistakes.add(1+bytes.Count(data[:bad], []byte("\n")), "the file is not UTF-8 text")
		return false
	}
	if line, problem := tooDeep(data); problem != "" {
		r.mistakes.add(line, "%s", problem)
		return false
	}
	r.text = string(data)
	if err := r.decodeTOML(); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			r.mistakes.add(r.lineAt(syntax.Position), "%s", sentence(syntax.Message))
		} else {
			r.mistakes.add(1, "%s", sentence(err.Error()))
		}
		return false
	}
	r.sections = make(map[string]map[string]toml.Primitive)
	for _, name := range sectionNames {
		prim, set := r.top[name]
		if !set {
			continue
		}
		value, line := r.at(prim)
		if _, table := value.(map[string]any); !table {
			r.mistakes.add(line, "[%s] must be a section, not %s", name, kind(value))
			continue
		}
		keys := make(map[string]toml.Primitive)
		if err := r.meta.PrimitiveDecode(prim, &keys); err != nil {
			r.mistakes.add(line, "[%s] cannot be read: %v", name, err)
			continue
		}
		r.sections[name] = keys
	}
	return true
}

// decodeTOML runs the library's decoder. Its parser panics where it meets a fault of its own; the configuration of a
// running daemon is reread on a signal, so such a panic must cost a message and no more.
func (r *reader) decodeTOML() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file cannot be read as TOML: %s", shown(fmt.Sprint(p)))
		}
	}()
	r.meta, err = toml.Decode(r.text, &r.top)
	return err
}

// probe takes any TOML value and then fails, since the library tells the place of a value only in an error.
type probe struct{ value any }

var errProbe = errors.New("probe")

// UnmarshalTOML implements toml.Unmarshaler.
func (p *probe) UnmarshalTOML(value any) error {
	p.value = value
	return errProbe
}

// at returns a value and the line that it starts on; the line is 0 for a table that only dotted keys imply.
func (r *reader) at(prim toml.Primitive) (value any, line int) {
	var p probe
	var placed toml.ParseError
	if err := r.meta.PrimitiveDecode(prim, &p); errors.As(err, &placed) && placed.Position.Line > 0 {
		line = r.lineAt(placed.Position)
	}
	return p.value, line
}

// lineAt returns the line on which a position starts. Its own Line is that of its end: a string over many lines, or a line
// break where none may be, would be reported too low.
func (r *reader) lineAt(p toml.Position) int {
	start := min(max(p.Start, 0), len(r.text))
	return 1 + strings.Count(r.text[:start], "\n")
}

// lineOf returns the line of a value, looking into a table without one of its own for the first line of its content.
func (r *reader) lineOf(prim toml.Primitive) int {
	value, line := r.at(prim)
	if _, table := value.(map[string]any); line > 0 || !table {
		return line
	}
	inner := make(map[string]toml.Primitive)
	if err := r.meta.PrimitiveDecode(prim, &inner); err != nil {
		return 0
	}
	for _, p := range inner {
		if l := r.lineOf(p); l > 0 && (line == 0 || l < line) {
			line = l
		}
	}
	return line
}

// unknownKeys reports every section and key that the table does not hold, once each, in the order of the file.
func (r *reader) unknownKeys() {
	seen := make(map[string]bool)
	for _, key := range r.meta.Keys() {
		if r.mistakes.full() {
			return
		}
		switch section := key[0]; {
		case !isSection(section):
			if keyOf("", section) == nil && !seen[section] {
				seen[section] = true
				r.unknownTop(section)
			}
		case len(key) > 1 && keyOf(section, key[1]) == nil:
			prim, readable := r.sections[section][key[1]]
			full := section + "\x00" + key[1]
			if readable && !seen[full] {
				seen[full] = true
				r.mistakes.add(r.lineOf(prim), "unknown key %s in [%s]%s", shown(key[1]), section, hint(section, key[1]))
			}
		}
	}
}

// unknownTop reports an unknown name outside all sections: a section where its value is a table, else a key.
func (r *reader) unknownTop(name string) {
	value, _ := r.at(r.top[name])
	line := r.lineOf(r.top[name])
	switch value.(type) {
	case map[string]any, []map[string]any:
		near := nearest(name, sectionNames)
		if near != "" {
			near = " ([" + near + "]?)"
		}
		r.mistakes.add(line, "unknown section [%s]%s", strings.Trim(shown(name), `"`), near)
	default:
		r.mistakes.add(line, "unknown key %s%s", shown(name), hint("", name))
	}
}

// hint says what an unknown key was most likely meant to be: one of another section, or a misspelt one of its own.
func hint(section, name string) string {
	var here []string
	for i := range allKeys {
		switch k := &allKeys[i]; {
		case k.section == section:
			here = append(here, k.name)
		case k.name != name:
		case k.section == "":
			return " (it stands above all sections)"
		default:
			return " (it belongs in [" + k.section + "])"
		}
	}
	if near := nearest(name, here); near != "" {
		return " (" + near + "?)"
	}
	return ""
}

// knownKeys sets every key of the file, in the order of the table.
func (r *reader) knownKeys() {
	for i := range allKeys {
		k := &allKeys[i]
		from := r.top
		if k.section != "" {
			from = r.sections[k.section]
		}
		prim, set := from[k.name]
		if !set {
			continue
		}
		value, line := r.at(prim)
		r.lines[k.String()] = line
		k.set(r.cfg, value, func(format string, args ...any) {
			r.mistakes.add(line, "%s: %s", k, fmt.Sprintf(format, args...))
		})
	}
}

// sentence makes a message of the library one of ours: no capital, no full stop, and one line, since it may quote what the
// file holds as it stands.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return ascii.Line(strings.TrimSuffix(string(unicode.ToLower(first))+s[size:], "."))
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

// tooDeep looks for nesting that no configuration has: the library's parser calls itself once a bracket and takes the
// square of the parts of a dotted key, which a hostile file could turn into all of a small device's memory or time. It
// skips strings and comments as TOML has them, and leaves every other judgement to the parser.
func tooDeep(data []byte) (line int, problem string) {
	const mostBrackets, mostDots = 8, 8
	line = 1
	depth, dots := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '\n':
			line++
			dots = 0
		case '#':
			if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
				i += n - 1 // the newline itself is counted above
			} else {
				return 0, ""
			}
		case '"', '\'':
			n := stringLen(data[i:])
			line += bytes.Count(data[i:i+n], []byte("\n"))
			i += n - 1
		case '[', '{':
			dots = 0
			if depth++; depth > mostBrackets {
				return line, "brackets are nested too deeply"
			}
		case ']', '}':
			depth = max(depth-1, 0)
		case '=', ',':
			dots = 0
		case '.':
			if dots++; dots > mostDots {
				return line, "the key has too many parts"
			}
		}
	}
	return 0, ""
}

// stringLen returns the length of the TOML string, quotes included, that data starts with. One that is not closed takes the
// rest of the file: the parser stops at it too.
func stringLen(data []byte) int {
	quote := data[0]
	long := bytes.Repeat([]byte{quote}, 3)
	if !bytes.HasPrefix(data, long) {
		for i := 1; i < len(data) && data[i] != '\n'; i++ {
			if data[i] == '\\' && quote == '"' {
				i++
			} else if data[i] == quote {
				return i + 1
			}
		}
		return len(data)
	}
	for i := 3; i < len(data); i++ {
		if data[i] == '\\' && quote == '"' {
			i++
		} else if bytes.HasPrefix(data[i:], long) {
			i += 3
			for extra := 0; extra < 2 && i < len(data) && data[i] == quote; extra++ {
				i++ // up to two quotes may stand right before the closing three
			}
			return i
		}
	}
	return len(data)
}
