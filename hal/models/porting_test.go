package models

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func porting(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../PORTING.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What PORTING.md names must be there: files, functions, fields, and keys of the configuration.
func TestPortingNamesWhatIsThere(t *testing.T) {
	known := goNames(t)
	text := porting(t)
	var names, files, keys int
	for _, code := range regexp.MustCompile("`[^`\n]+`").FindAllString(text, -1) {
		code = strings.Trim(code, "`")
		if strings.HasSuffix(code, ".go") && !strings.Contains(code, "mybox") {
			files++
			_, inModels := os.Stat(code)
			if _, inHAL := os.Stat(filepath.Join("..", code)); inModels != nil && inHAL != nil {
				t.Errorf("there is no file %s", code)
			}
			continue
		}
		// Calls, literals, and words in Go's own spelling. Text within quotes is not Go.
		bare := regexp.MustCompile(`"[^"]*"|https?://\S*`).ReplaceAllString(code, `""`)
		for _, m := range regexp.MustCompile(
			`(?:^|[^\w./-])(?:(slices|filepath)\.)?([A-Za-z_]\w*)([({:]| =)`).FindAllStringSubmatch(bare, -1) {
			if m[1] == "" && m[2] != "hal" {
				names++
				if !known[m[2]] {
					t.Errorf("`%s`: nothing is called %s", code, m[2])
				}
			}
		}
		if regexp.MustCompile(`^([A-Z][a-z]+|[a-z]+[A-Z]\w*|uuid5)$`).MatchString(code) {
			names++
			if !known[code] {
				t.Errorf("nothing is called %s", code)
			}
		}
	}
	config, err := os.ReadFile("../../configs/nmos-authd.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`\\[([a-z]+)\\] ([a-z_]+)`").FindAllStringSubmatch(text, -1) {
		keys++
		_, section, ok := strings.Cut(string(config), "\n["+m[1]+"]\n")
		section, _, _ = strings.Cut(section, "\n[")
		if !ok || !strings.Contains(section, "\n"+m[2]+" = ") {
			t.Errorf("the configuration has no [%s] %s", m[1], m[2])
		}
	}
	if names < 20 || files < 5 || keys < 4 {
		t.Errorf("found %d names, %d files and %d keys: not looked in the right place", names, files, keys)
	}
	for _, m := range examples() {
		if !strings.Contains(text, strings.TrimPrefix(m.Name, "example-")+".go`") {
			t.Errorf("%s is not among the models to be copied", m.Name)
		}
	}
}

// goNames returns what is declared in hal and hal/models: types, fields, functions, constants, variables.
func goNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, dir := range []string{".", ".."} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					names[n.Name.Name] = true
				case *ast.TypeSpec:
					names[n.Name.Name] = true
				case *ast.ValueSpec:
					for _, id := range n.Names {
						names[id.Name] = true
					}
				case *ast.Field:
					for _, id := range n.Names {
						names[id.Name] = true
					}
				}
				return true
			})
		}
	}
	return names
}

// The script must make a root of this machine in which the generic model finds what it finds on the machine itself.
func TestPortingScript(t *testing.T) {
	_, script, ok := strings.Cut(porting(t), "```sh\n")
	script, _, closed := strings.Cut(script, "```")
	if !ok || !closed {
		t.Fatal("there is no script")
	}
	for _, tool := range []string{"sh", "tar", "gzip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	command := exec.Command("sh", "-eu", "-c", script)
	command.Env = append(os.Environ(), "TMPDIR="+dir)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "root.tar.gz")); err != nil || info.Size() == 0 {
		t.Errorf("no archive: %v", err)
	}
	root := filepath.Join(dir, "root")
	want, err := generic.Identify("/")
	if err != nil {
		t.Fatal(err)
	}
	got, err := generic.Identify(root)
	if err != nil || got.Maker != want.Maker || got.Product != want.Product || got.Firmware != want.Firmware {
		t.Errorf("the copy says %+v, %v; this machine %+v", got, err, want)
	}
	// A chip's number is not on the list: not every port reads it.
	if field("/", "sys/devices/soc0/serial_number") == "" && got.Serial != want.Serial {
		t.Errorf("the copy's serial number is %q, this machine's %q", got.Serial, want.Serial)
	}
	if text, err := os.ReadFile("/proc/cmdline"); err == nil {
		if copied, err := os.ReadFile(filepath.Join(root, "proc/cmdline")); err != nil ||
			string(copied) != string(text) {
			t.Errorf("/proc/cmdline is %q, copied %q, %v", text, copied, err)
		}
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			t.Errorf("%s is not a plain file", path)
		}
		return err
	})
	if err != nil || !slices.ContainsFunc(mustList(t, root), func(s string) bool { return s == "etc" }) {
		t.Errorf("%v; in it are %q", err, mustList(t, root))
	}
}

func mustList(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
