package tinytest

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The places that hold what others cite.
const (
	protocolFile = "agent/wire/PROTOCOL.md"
	rulesFile    = "scripts/conformance/rules.txt"
)

var (
	heading      = regexp.MustCompile(`(?m)^##+ (.+)$`)
	protocolCite = regexp.MustCompile(`(?i)(?:the )?\bprotocol(?:\.md)?,?\s+(?://\s*)?§ ?(\d+)`)
	ruleCite     = regexp.MustCompile(`\b(?:TOK|CLM|PATH|ANS|KEY|DIS|OPS|CLI|CTL|CERT)-[0-9]+\b`)
	ruleLine     = regexp.MustCompile(`(?m)^[A-Z]+-[0-9]+`)
	documentCite = regexp.MustCompile(`\b[A-Z]{3,}\.md\b`)
	link         = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced       = regexp.MustCompile("(?ms)^```.*?^```$")
)

// TestCitations: sections of the protocol, rules of the specifications, documents and links exist that code comments
// and documents name.
func TestCitations(t *testing.T) {
	texts := trackedTexts(t)
	c := citations{documents: map[string]bool{}, rules: map[string]bool{}, sections: map[string]bool{}}
	for name := range texts {
		if path.Ext(name) == ".md" {
			c.documents[path.Base(name)] = true
		}
	}
	for _, rule := range ruleLine.FindAllString(texts[rulesFile], -1) {
		c.rules[rule] = true
	}
	for _, h := range heading.FindAllStringSubmatch(texts[protocolFile], -1) {
		number, _, _ := strings.Cut(h[1], ". ")
		c.sections[number] = true
	}
	cited := 0
	for name, text := range texts {
		faults, n := c.check(name, text, func(p string) (string, bool) {
			if text, ok := texts[p]; ok {
				return text, true
			}
			_, err := os.Stat(filepath.Join(root, p)) // a folder
			return "", err == nil
		})
		for _, fault := range faults {
			t.Errorf("%s: %s", name, fault)
		}
		cited += n
	}
	if cited < 500 {
		t.Errorf("found %d citations, want 500 or more: not looked in the right place", cited)
	}
}

// The checker must see each kind of citation, or the test above says nothing.
func TestCitationsAreChecked(t *testing.T) {
	c := citations{
		documents: map[string]bool{"HTTP.md": true},
		rules:     map[string]bool{"TOK-1": true},
		sections:  map[string]bool{"1": true},
	}
	files := map[string]string{"a/HTTP.md": "# Title\n\n## 2. What `it` must-not do\n"}
	for _, k := range []struct {
		name, text string
		want       string // in the one fault; "" for none
	}{
		{"a.go", "// protocol §1, TOK-1, HTTP.md, RFC 7515 §9", ""},
		{"a.go", "// the protocol, §7", "§7"},
		{"a.go", "// PROTOCOL.md §7", "PROTOCOL.md"},
		{"a.go", "// of protocol\n// §3.", "§3"},
		{"a.go", "// TOK-2", "TOK-2"},
		{"a.go", "// NONE.md", "NONE.md"},
		{"b.md", "[x](a/HTTP.md) [y](a) [z](https://example.com/none)", ""},
		{"b.md", "[x](a/HTTP.md#2-what-it-must-not-do)", ""},
		{"b.md", "[x](a/HTTP.md#what)", "a/HTTP.md#what"},
		{"b.md", "[x](#none)", "#none"},
		{"a/b.md", "[x](HTTP.md) [y](../a/HTTP.md)", ""},
		{"a/b.md", "[x](a/HTTP.md)", "a/HTTP.md"},
		{"b.md", "```\n[x](none)\n```\n", ""},
	} {
		faults, _ := c.check(k.name, k.text, func(p string) (string, bool) {
			text, ok := files[p]
			return text, ok || p == "a"
		})
		got := strings.Join(faults, "; ")
		if k.want == "" && got != "" || !strings.Contains(got, k.want) {
			t.Errorf("%s with %q: got the faults %q, want %q", k.name, k.text, got, k.want)
		}
	}
}

// TestRooms: the tables of rooms in agent/ARCHITECTURE.md have every folder of shipped Go code and every room of
// tinytest, and none that is not there.
func TestRooms(t *testing.T) {
	const file = "agent/ARCHITECTURE.md"
	_, table, _ := strings.Cut(trackedTexts(t)[file], "\n## Rooms\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rooms := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(table, -1) {
		for room := range strings.SplitSeq(row[1], ", ") {
			room = strings.Trim(room, "`")
			if info, err := os.Stat(filepath.Join(root, room)); err != nil || !info.IsDir() {
				t.Errorf("%s has the room %s, want a folder: %v", file, room, err)
			}
			rooms[room] = true
		}
	}
	need := map[string]bool{}
	for _, s := range readSources(t) {
		folder := s.folder()
		need[folder] = matches([]string{"agent/...", "platform/...", "hal/..."}, folder)
	}
	for name := range trackedTexts(t) {
		if parts := strings.Split(name, "/"); parts[0] == "tinytest" && len(parts) > 2 {
			need["tinytest/"+parts[1]] = true
		}
	}
	for folder, needed := range need {
		if needed && !rooms[folder] {
			t.Errorf("%s lacks the room %s", file, folder)
		}
	}
}

// citations is what there is to cite.
type citations struct{ documents, rules, sections map[string]bool }

// check returns a sentence for each citation of a text that does not exist, and how many it found. read returns a file
// by its path from the root.
func (c citations) check(name, text string, read func(string) (string, bool)) (faults []string, found int) {
	for _, m := range protocolCite.FindAllStringSubmatch(text, -1) {
		if found++; !c.sections[m[1]] {
			faults = append(faults, protocolFile+" has no §"+m[1])
		}
	}
	for _, rule := range ruleCite.FindAllString(text, -1) {
		if found++; !c.rules[rule] {
			faults = append(faults, rulesFile+" has no rule "+rule)
		}
	}
	for _, document := range documentCite.FindAllString(text, -1) {
		if found++; !c.documents[document] {
			faults = append(faults, "there is no document "+document)
		}
	}
	if path.Ext(name) != ".md" {
		return faults, found
	}
	for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if strings.Contains(m[1], ":") {
			continue // elsewhere
		}
		found++
		target, anchor, anchored := strings.Cut(m[1], "#")
		there, ok := text, true
		if target != "" {
			there, ok = read(path.Join(path.Dir(name), target))
		}
		if !ok || anchored && !anchors(there)[anchor] {
			faults = append(faults, "the link "+m[1]+" leads nowhere")
		}
	}
	return faults, found
}

// anchors returns the headings of a document as links name them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || r > 127:
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		all[anchor] = true
	}
	return all
}

// trackedTexts returns the text files of the repository by their path from the root, but for this file, which cites
// what is not there, and for tests' data: what git knows of, or in an unpacked archive what is there.
func trackedTexts(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range trackedFiles(t) {
		if strings.Contains(name, "testdata/") || name == "tinytest/citations_test.go" ||
			name == "scripts/conformance/conformance_test.go" { // which reads names of rules that do not exist
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and git has not been told
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.ContainsRune(text, 0) {
			texts[name] = string(text)
		}
	}
	return texts
}

// trackedFiles returns the paths of all files of the repository, from its root.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	command := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	command.Dir = root
	if out, err := command.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var names []string
	err := filepath.WalkDir(root, func(file string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != root && (name == "build" || name == "modules" || name == ".git") {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(root, file)
		names = append(names, filepath.ToSlash(relative))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
