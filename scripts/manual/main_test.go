package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

const root = "../.."

func TestDocumentsAreUpToDate(t *testing.T) {
	for _, d := range documents {
		want, err := d.make(root)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, d.path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what it is made from: go run ./scripts/manual", d.path)
		}
	}
}

// The guide's table has each reason once, with the code's own status and rule and the advice that explain gives, and no
// other.
func TestGuideHasEveryReason(t *testing.T) {
	spec.Rules(t, "ANS-8")
	guide := read(t, "configs/OPERATING.md")
	_, table, _ := strings.Cut(guide, tableBegin)
	table, _, _ = strings.Cut(table, tableEnd)
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(unescape(line), "| \n"), " | ")
		code := strings.Trim(cells[0], "`")
		if rows[code] != nil {
			t.Errorf("%s stands there twice", code)
		}
		rows[code] = cells[1:]
	}
	for r := range wire.Reason(wire.Reasons) {
		info, advice := r.Info(), explain.AdviceOn(r)
		want := []string{fmt.Sprint(info.Status), info.Rule, advice.Means}
		if advice.Do != "" {
			want = append(want, advice.Do)
		}
		if got := rows[info.Code]; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q, want %q", info.Code, got, want)
		}
		delete(rows, info.Code)
	}
	for code := range rows {
		t.Errorf("%s is no reason", code)
	}
	for _, code := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(
		strings.Replace(guide, table, "", 1), -1) {
		if !isReason(code[1]) {
			t.Errorf("the guide speaks of %s, which is no reason", code[0])
		}
	}
}

func isReason(code string) bool {
	for r := range wire.Reason(wire.Reasons) {
		if r.String() == code {
			return true
		}
	}
	return false
}

// A guide without the place for the table is refused rather than written over.
func TestGuideWithoutPlaceForTheTable(t *testing.T) {
	for _, guide := range []string{"", tableBegin, tableEnd + tableBegin} {
		if text, err := replaceTable([]byte(guide), adviceTable()); err == nil {
			t.Errorf("%q became %q", guide, text)
		}
	}
}

var keyLine = regexp.MustCompile(`^\\fB([a-z_]+)\\fR = (.*)$`)

// Every key of the configuration stands in its section of the page with its default, its bounds, its words and whether
// it needs a restart, and no other does.
func TestConfigPageHasEveryKey(t *testing.T) {
	page := pageKeys(t)
	for _, k := range config.Keys(config.Default()) {
		place := k.Section + "." + k.Name
		got, there := page[place]
		if !there {
			t.Errorf("%s is missing: say in configs/nmos-authd.toml what it is for, and go run ./scripts/manual", &k)
			continue
		}
		delete(page, place)
		if want := inTOML(k.Get()); got.value != want && !same(got.value, want) {
			t.Errorf("%s: got the default %s, want %s", &k, got.value, want)
		}
		if len(strings.Fields(got.text)) < 4 {
			t.Errorf("%s: got %q as its words, want a sentence", &k, got.text)
		}
		if least, most, is := strings.Cut(k.Bounds(), " to "); is {
			if !hasRange(got.text, least, most) {
				t.Errorf("%s: got %q, want %s", &k, got.text, k.Bounds())
			}
		} else {
			for word := range strings.SplitSeq(k.Bounds(), ", ") {
				if !strings.Contains(got.text, word) {
					t.Errorf("%s: got %q, want a word on %s", &k, got.text, word)
				}
			}
		}
		if got, want := strings.Contains(got.text, "A change takes effect after a restart."),
			k.Traits&config.Restart != 0; got != want {
			t.Errorf("%s: got %v, want %v: needs a restart", &k, got, want)
		}
	}
	for place := range page {
		t.Errorf("%s is not a key: give it a row in agent/config, or remove it from configs/nmos-authd.toml", place)
	}
}

// inTOML writes a value of the configuration as the example does.
func inTOML(value any) string {
	v := reflect.ValueOf(value)
	if d, is := value.(time.Duration); is {
		return strconv.Quote(d.String())
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		entries := make([]string, v.Len())
		for i := range entries {
			entries[i] = inTOML(v.Index(i).Interface())
		}
		return "[" + strings.Join(entries, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// pageKeys reads the page: what stands at each key, by section and name.
func pageKeys(t *testing.T) map[string]struct{ value, text string } {
	t.Helper()
	page := map[string]struct{ value, text string }{}
	section, inKeys := "", false
	var names []string
	for line := range strings.Lines(read(t, "configs/man/nmos-authd.toml.5")) {
		line = strings.TrimSuffix(line, "\n")
		if heading, is := strings.CutPrefix(line, ".SH "); is {
			inKeys = heading == "KEYS"
		}
		m := keyLine.FindStringSubmatch(line)
		switch {
		case !inKeys:
		case strings.HasPrefix(line, ".SS ["):
			section, names = strings.Trim(line, ".S []"), nil
		case m != nil:
			if len(names) > 0 && page[names[0]].text != "" {
				names = nil // of keys that share their text
			}
			place := section + "." + plain(m[1])
			if _, twice := page[place]; twice {
				t.Errorf("%s stands there twice", place)
			}
			names = append(names, place)
			page[place] = struct{ value, text string }{value: plain(m[2])}
		case !strings.HasPrefix(line, ".") || strings.HasPrefix(line, ".B "):
			for _, n := range names {
				k := page[n]
				k.text += plain(strings.TrimPrefix(line, ".B ")) + " "
				page[n] = k
			}
		}
	}
	return page
}

// hasRange finds "1s to 1h" or "0s (never) to 1h".
func hasRange(text, least, most string) bool {
	for _, r := range regexp.MustCompile(`(\w+)(?: \([a-z]+\))? to (\w+)`).FindAllStringSubmatch(text, -1) {
		if same(r[1], least) && same(r[2], most) {
			return true
		}
	}
	return false
}

// same compares numbers and durations, in quotes or not.
func same(a, b string) bool {
	x, errA := time.ParseDuration(strings.Trim(a, `"`))
	y, errB := time.ParseDuration(strings.Trim(b, `"`))
	return a == b || errA == nil && errB == nil && x == y
}

// What would be read as a request of roff, or is nothing that the maker of the page knows, is not passed on.
func TestConfigPageOf(t *testing.T) {
	page, err := configPage("# Title.\n\n# .lines and\n# 'these\n#\n# a\\b:\n#     make - b\n# one: a\n#      b\n" +
		"# two: c\n# and d\nkey = 1\nother = \"-\"\n\n[s]\n# .\nk = []\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n.PP\nTitle.\n", "\\&.lines and\n\\&'these\n", ".IP\na\\eb:\n", ".nf\nmake \\- b\n.fi\n",
		".RS\n.TP\n.B one\na\nb\n.TP\n.B two\nc\n.RE\n.IP\nand d\n", ".TP\n\\fBkey\\fR = 1\n.TQ\n" +
			"\\fBother\\fR = \"\\-\"\n", ".SS [s]\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for _, bad := range []string{"# A.\n\nkey = 1\n\n", "# A.\n\n# B.\n\nkey = 1\n", "# A.\n\n# B.\nkey = [\n1]\n"} {
		if page, err := configPage(bad); err == nil {
			t.Errorf("%q became a page:\n%s", bad, page)
		}
	}
}

// plain takes off what roff writes.
func plain(s string) string { return strings.NewReplacer(`\-`, "-", `\&`, "", `\e`, `\`).Replace(s) }

// unescape takes off what cell writes.
func unescape(s string) string {
	return regexp.MustCompile(`\\(.)`).ReplaceAllString(strings.ReplaceAll(s, "&lt;", "<"), "$1")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
