package evidence

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

var (
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	cited    = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	linked   = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)\s]*)?\)`)
	gap      = regexp.MustCompile(`(?i)\bgap\b`)
	rule     = regexp.MustCompile(`^\|[-:| ]+\|$`)
)

// unproved returns what is wrong with the rows of a page's tables: a row must name a test or a file, which must exist,
// or say that there is a gap. It also returns how many rows there are. exists reports whether a file is there, by its
// path relative to the page.
func unproved(page string, tests map[string]bool, exists func(string) bool) (faults []string, rows int) {
	lines := strings.Split(page, "\n")
	for i, line := range lines {
		heads := i+1 < len(lines) && rule.MatchString(lines[i+1])
		if !strings.HasPrefix(line, "|") || rule.MatchString(line) || heads {
			continue
		}
		rows++
		shown := gap.MatchString(line)
		for _, name := range cited.FindAllStringSubmatch(line, -1) {
			shown = true
			if !tests[name[1]] {
				faults = append(faults, fmt.Sprintf("line %d: there is no test %s", i+1, name[1]))
			}
		}
		for _, file := range linked.FindAllStringSubmatch(line, -1) {
			shown = true
			if !exists(file[1]) {
				faults = append(faults, fmt.Sprintf("line %d: there is no file %s", i+1, file[1]))
			}
		}
		if !shown {
			faults = append(faults, fmt.Sprintf("line %d: no test, no file, and no word of a gap: %s", i+1, line))
		}
	}
	return faults, rows
}

// declaredTests returns the names of all tests and fuzz targets below dir.
func declaredTests(t *testing.T, dir string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"build", "modules", ".git"}, d.Name()):
			return fs.SkipDir
		case !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(name)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// TestPagesNameTheirEvidence: the pages that map threats and schemes to tests name only what is there.
func TestPagesNameTheirEvidence(t *testing.T) {
	tests := declaredTests(t, root)
	for name, least := range map[string]int{
		"agent/THREATS.md": 50, "scripts/evidence/CRA.md": 30, "scripts/evidence/EN303645.md": 65,
		"scripts/evidence/R143.md": 25,
	} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		faults, rows := unproved(string(text), tests, func(file string) bool {
			_, err := os.Stat(filepath.Join(root, filepath.Dir(name), file))
			return err == nil
		})
		for _, fault := range faults {
			t.Errorf("%s: %s", name, fault)
		}
		if rows < least {
			t.Errorf("%s: found %d rows, want %d or more: rows were lost, or not recognised", name, rows, least)
		}
	}
}

// The checker must see each kind of fault, or the test above says nothing.
func TestPagesAreChecked(t *testing.T) {
	const head = "| a | b |\n|---|---|\n"
	exists := func(file string) bool { return file == "there.md" }
	for _, k := range []struct {
		row  string
		want string // in the one fault; "" for none
	}{
		{"| a | `TestThere` |", ""},
		{"| a | [words](there.md#part) |", ""},
		{"| a | gap, maker |", ""},
		{"| a | Gap |", ""},
		{"| a | `TestGone` |", "no test TestGone"},
		{"| a | gap: `FuzzGone` |", "no test FuzzGone"},
		{"| a | `TestThere`, [words](gone.md) |", "no file gone.md"},
		{"| a | we do that |", "no test, no file"},
		{"| a | stopgaps, TestThere |", "no test, no file"},
	} {
		faults, rows := unproved(head+k.row+"\n", map[string]bool{"TestThere": true}, exists)
		if got := strings.Join(faults, "; "); rows != 1 || (got == "") != (k.want == "") ||
			!strings.Contains(got, k.want) || len(faults) > 1 {
			t.Errorf("%s: got %d rows and %q, want 1 and %q", k.row, rows, got, k.want)
		}
	}
}
