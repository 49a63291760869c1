package wire

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// Every constant of reason.go has its row in the table and code that gives it, and a failure names the one that was
// forgotten.
func TestEveryReasonHasItsRow(t *testing.T) {
	spec.Rules(t, "ANS-8")
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		group, is := d.(*ast.GenDecl)
		if !is || group.Tok != token.CONST || group.Specs[0].(*ast.ValueSpec).Names[0].Name != "Undecided" {
			continue
		}
		for _, spec := range group.Specs {
			names = append(names, spec.(*ast.ValueSpec).Names[0].Name)
		}
	}
	if len(names) != Reasons+1 || names[Reasons] != "Reasons" {
		t.Fatalf("the constants are %v, want %d and Reasons behind them", names, Reasons)
	}
	given := givenReasons(t)
	for i, name := range names[:Reasons] {
		if infos[i] == (Info{}) {
			t.Errorf("%s has no row in infos (agent/wire/reason.go)", name)
		}
		if !given[name] && Reason(i) != Undecided {
			t.Errorf("%s is given by no code but what explains it", name)
		}
	}
}

// givenReasons returns the reasons that shipped code names outside of the list and of what explains it.
func givenReasons(t *testing.T) map[string]bool {
	t.Helper()
	name := regexp.MustCompile(`\bwire\.([A-Z]\w+)`)
	given := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			filepath.Base(path) == "reason.go" || filepath.Dir(path) == filepath.Join("..", "explain") {
			return err
		}
		text, err := os.ReadFile(path)
		named := name
		if filepath.Dir(path) == filepath.Join("..", "wire") {
			named = regexp.MustCompile(`\b(Packet[A-Z]\w+)`)
		}
		for _, m := range named.FindAllSubmatch(text, -1) {
			given[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return given
}
