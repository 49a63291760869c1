package tinytest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// DO NOT CHANGE TO MAKE A BUILD PASS. These lines are the design: which way knowledge flows, and who may touch the
// operating system and the network. A package that wants to break one is in the wrong folder, or wants something handed
// in.
//
// A line reads: folders "never" imports. The folders are those of this module, "/..." means with all below, "!" takes
// away. Imports of this module are written as its folders, all others as Go has them; "all of" forbids only all of them
// together, the package itself counted in. The lines hold for the code that is shipped or that makes it, not for
// _test.go files.
const importRules = `
agent/ascii agent/wire agent/token agent/decide agent/wildcard never  net net/... os fmt log reflect
agent/... !agent/cmd/... !agent/daemon                  never  os os/... syscall unsafe golang.org/x/sys/...
agent/... !agent/discovery !agent/oauth !agent/certs !agent/httpauth !agent/admin !agent/cmd/... !agent/daemon never  net/http net/http/...
agent/... !agent/cmd/... !agent/daemon                  never  platform platform/... hal hal/...
agent/... !agent/cmd/...                                never  agent/daemon
platform/... hal/...                                    never  agent agent/...
hal/...                                                 never  platform platform/...
agent/... platform/... hal/...                          never  encoding/json
agent/... !agent/cmd/... !agent/daemon platform/... hal/... never  go.uber.org/zap go.uber.org/zap/...
... !tinytest/...                                       never  tinytest tinytest/...
... !agent/cmd/... !agent/daemon !tinytest/...          never  all of agent/... platform/... hal/...
`

// The root of the repository holds this and files whose name starts with a dot, so that a newcomer finds the way.
const rootFolder = `agent platform hal configs scripts tinytest go.mod go.sum Makefile README.md LICENSE`

// These folders hold no Go file.
const noGo = `platform/cclient platform/clients configs`

const (
	root   = ".."
	module = "nmosauthd"
)

// source is one Go file: its path from the root, and what it imports, folders of this module without the module's name.
type source struct {
	path    string
	imports []string
}

func (s source) folder() string { return path.Dir(s.path) }

func TestImportRules(t *testing.T) {
	sources := readSources(t)
	if len(sources) < 30 {
		t.Fatalf("found %d Go files: not looked in the right place", len(sources))
	}
	for _, fault := range breaches(t, importRules, sources) {
		t.Error(fault)
	}
	for _, s := range sources {
		if slices.Contains(strings.Fields(noGo), s.folder()) {
			t.Errorf("%s: no Go file belongs in this folder", s.path)
		}
	}
}

func TestRootFolder(t *testing.T) {
	for _, name := range rootEntries(t) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(strings.Fields(rootFolder), name) {
			t.Errorf("%s does not belong into the root of the repository, which holds %s", name, rootFolder)
		}
	}
}

// The checker must see a breach of every line, or the test above says nothing.
func TestImportRulesAreChecked(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		faults        int
	}{
		{"agent/wire/a.go", "strconv bytes unicode/utf8", 0},
		{"agent/wire/a.go", "fmt", 1},
		{"agent/token/a.go", "net", 1},
		{"agent/token/a.go", "net/url", 1},
		{"agent/decide/a.go", "reflect log", 2},
		{"agent/wildcard/a.go", "os", 2},
		{"agent/ascii/a.go", "fmt", 1},
		{"agent/keys/a.go", "fmt net/url internal/os", 0},
		{"agent/a.go", "os", 1},
		{"agent/keys/a.go", "os/signal syscall unsafe golang.org/x/sys/unix", 4},
		{"agent/a.go", "net/http", 1},
		{"agent/keys/a.go", "net/http/httptrace", 1},
		{"agent/discovery/a.go", "net/http", 0},
		{"agent/discovery/mdns/a.go", "net/http", 1},
		{"agent/oauth/a.go", "net/http", 0},
		{"agent/oauth/a.go", "os platform", 2},
		{"agent/certs/a.go", "net net/http", 0},
		{"agent/certs/a.go", "os platform", 2},
		{"agent/httpauth/a.go", "net/http", 0},
		{"agent/admin/a.go", "net/http", 0},
		{"agent/admin/a.go", "os", 1},
		{"agent/inventory/a.go", "net/http", 1},
		{"agent/httpauth/a.go", "os", 1},
		{"agent/cmd/nmos-authd/a.go", "os net/http syscall agent platform hal", 0},
		{"agent/cmd/nmos-authd/a.go", "tinytest/mint", 1},
		{"agent/a.go", "platform", 1},
		{"hal/models/a.go", "encoding/json", 1},
		{"agent/keys/a.go", "go.uber.org/zap go.uber.org/zap/zapcore", 2},
		{"agent/cmd/nmos-authd/a.go", "go.uber.org/zap go.uber.org/zap/zapcore", 0},
		{"scripts/a/a.go", "encoding/json", 0},
		{"agent/a.go", "hal", 1},
		{"agent/a.go", "agent/daemon", 1},
		{"agent/daemon/a.go", "os net/http syscall agent platform hal go.uber.org/zap", 0},
		{"agent/daemon/a.go", "tinytest/mint", 1},
		{"agent/daemon/a/a.go", "os", 1},
		{"platform/a.go", "agent/wire", 1},
		{"platform/a.go", "hal os", 0},
		{"hal/models/generic/a.go", "agent", 1},
		{"hal/a.go", "platform", 1},
		{"scripts/a/a.go", "agent/wire platform", 0},
		{"scripts/a/a.go", "agent/wire platform hal/models", 1},
		{"scripts/a/a.go", "tinytest/mint", 1},
		{"tinytest/node/a.go", "tinytest/mint agent/wire platform hal", 0},
		{"agents/a.go", "os net/http", 0},
	} {
		got := breaches(t, importRules, []source{{c.file, strings.Fields(c.imports)}})
		if len(got) != c.faults {
			t.Errorf("%s with %s: %d faults, want %d: %q", c.file, c.imports, len(got), c.faults, got)
		}
	}
}

// The reader must see every form of import, or the checker has nothing to check.
func TestImportsAreRead(t *testing.T) {
	const text = "//go:build never\n\npackage a\n\nimport f \"fmt\"\nimport (\n\t_ \"nmosauthd/agent\"\n\t. `os`\n)\n"
	got, err := imports("a.go", []byte(text))
	if want := []string{"fmt", "agent", "os"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
}

// breaches returns a sentence for each import that breaks a rule.
func breaches(t *testing.T, rules string, sources []source) []string {
	t.Helper()
	var faults []string
	for line := range strings.Lines(rules) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		folders, forbidden, ok := strings.Cut(line, " never ")
		if !ok {
			t.Fatalf("the rule %q has no \"never\"", line)
		}
		together, all := strings.CutPrefix(strings.TrimSpace(forbidden), "all of ")
		for _, s := range sources {
			if !matches(strings.Fields(folders), s.folder()) {
				continue
			}
			if !all {
				for _, i := range s.imports {
					if matches(strings.Fields(forbidden), i) {
						faults = append(faults, fmt.Sprintf("%s imports %s: %s", s.path, i, strings.TrimSpace(line)))
					}
				}
				continue
			}
			met := func(pattern string) bool {
				return slices.ContainsFunc(append(s.imports, s.folder()),
					func(i string) bool { return matches([]string{pattern}, i) })
			}
			if !slices.ContainsFunc(strings.Fields(together), func(pattern string) bool { return !met(pattern) }) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", s.path, together, strings.TrimSpace(line)))
			}
		}
	}
	return faults
}

// matches reports whether one of the patterns matches name and none with "!" does.
func matches(patterns []string, name string) bool {
	found := false
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		parent, below := strings.CutSuffix(p, "...")
		parent = strings.TrimSuffix(parent, "/")
		hit := name == parent || below && (parent == "" || strings.HasPrefix(name, parent+"/"))
		if hit && not {
			return false
		}
		found = found || hit
	}
	return found
}

// readSources reads every Go file that is not a test, whatever its build constraints, of this module.
func readSources(t *testing.T) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			another := err == nil && file != root // a module of its own
			if another || name == "testdata" || name == "build" || name == "modules" ||
				strings.HasPrefix(name, ".") && file != root {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(relative)}
		s.imports, err = imports(s.path, text)
		sources = append(sources, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func imports(name string, text []byte) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, i := range f.Imports {
		imported := strings.Trim(i.Path.Value, "\"`")
		all = append(all, strings.TrimPrefix(imported, module+"/"))
	}
	return all, nil
}

// rootEntries returns what the repository holds in its root: what git knows of, or in an unpacked archive what is
// there.
func rootEntries(t *testing.T) []string {
	t.Helper()
	command := exec.Command("git", "ls-files")
	command.Dir = root
	var names []string
	if out, err := command.Output(); err == nil && len(out) > 0 {
		for line := range strings.Lines(string(out)) {
			first, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "/")
			names = append(names, strings.Trim(first, `"`))
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "build" && e.Name() != "modules" {
			names = append(names, e.Name())
		}
	}
	return names
}
