package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"nmosauthd/agent/config"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
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

// The guide's table has each reason once, with the code's own status and rule and the advice that explain gives, and no other.
func TestGuideHasEveryReason_ANS8(t *testing.T) {
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
	for _, code := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(strings.Replace(guide, table, "", 1), -1) {
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

// Every key of the configuration stands in its section of the page with its default, its range and its words, and no other does.
func TestConfigPageHasEveryKey(t *testing.T) {
	var example map[string]any
	if err := toml.Unmarshal([]byte(read(t, "configs/nmos-authd.toml")), &example); err != nil {
		t.Fatal(err)
	}
	type key struct {
		section, name string
		value         any
	}
	var keys []key
	for name, value := range example {
		if section, ok := value.(map[string]any); ok {
			for k, v := range section {
				keys = append(keys, key{name, k, v})
			}
		} else {
			keys = append(keys, key{"", name, value})
		}
	}
	if len(keys) < 40 {
		t.Fatalf("the example has %d keys", len(keys))
	}
	page := pageKeys(t)
	for _, k := range keys {
		place := k.section + "." + k.name
		got, there := page[place]
		if !there {
			t.Errorf("the page lacks %s", place)
			continue
		}
		delete(page, place)
		if want := fmt.Sprintf("%#v", k.value); got.value != want && got.value != fmt.Sprint(k.value) && got.value != listed(k.value) {
			t.Errorf("%s: the page's default is %s, want %s", place, got.value, want)
		}
		if len(strings.Fields(got.text)) < 4 {
			t.Errorf("%s: the page says %q of it", place, got.text)
		}
		wrong := refusal(t, k.section, k.name, k.value)
		if r := regexp.MustCompile(`must be (\S+) to (\S+)$`).FindStringSubmatch(wrong); r != nil {
			if !hasRange(got.text, r[1], r[2]) {
				t.Errorf("%s: it is %s to %s, and the page says %q", place, r[1], r[2], got.text)
			}
		} else if _, words, choice := strings.Cut(wrong, "is none of "); choice {
			for word := range strings.SplitSeq(strings.ReplaceAll(words, " and ", ", "), ", ") {
				if !strings.Contains(got.text, word) {
					t.Errorf("%s: the page lacks %s: %q", place, word, got.text)
				}
			}
		}
	}
	for place := range page {
		t.Errorf("%s is no key", place)
	}
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

// refusal is what the daemon says of a bad value of a key's type; "" where it has no bad one to give.
func refusal(t *testing.T, section, name string, value any) string {
	t.Helper()
	bad := ""
	switch v := value.(type) {
	case int64:
		bad = "-1"
	case string:
		bad = `"no-such-word"`
		if _, err := time.ParseDuration(v); err == nil {
			bad = `"-1h"`
		}
	case []any:
		bad = `["no-such-word"]`
	default:
		return ""
	}
	text := name + " = " + bad + "\n"
	if section != "" {
		text = "[" + section + "]\n" + text
	}
	_, err := config.Parse("x", []byte(text))
	if err == nil {
		return ""
	}
	return err.Error()
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

// same compares numbers and durations.
func same(a, b string) bool {
	x, errA := time.ParseDuration(a)
	y, errB := time.ParseDuration(b)
	return a == b || errA == nil && errB == nil && x == y
}

// listed writes a list of strings as TOML does.
func listed(value any) string {
	list, ok := value.([]any)
	if !ok {
		return ""
	}
	quoted := make([]string, len(list))
	for i, v := range list {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// What would be read as a request of roff, or is nothing that the maker of the page knows, is not passed on.
func TestConfigPageOf(t *testing.T) {
	page, err := configPage("# Title.\n\n# .lines and\n# 'these\n#\n# a\\b:\n#     make - b\n# one: a\n#      b\n# two: c\n# and d\nkey = 1\nother = \"-\"\n\n[s]\n# .\nk = []\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n.PP\nTitle.\n", "\\&.lines and\n\\&'these\n", ".IP\na\\eb:\n", ".nf\nmake \\- b\n.fi\n",
		".RS\n.TP\n.B one\na\nb\n.TP\n.B two\nc\n.RE\n.IP\nand d\n", ".TP\n\\fBkey\\fR = 1\n.TQ\n\\fBother\\fR = \"\\-\"\n", ".SS [s]\n",
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
