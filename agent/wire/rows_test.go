package wire

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// Every constant of reason.go has its row in the table, and a failure names the one that was forgotten.
func TestEveryReasonHasItsRow_ANS8(t *testing.T) {
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
	for i, name := range names[:Reasons] {
		if infos[i] == (Info{}) {
			t.Errorf("%s has no row in infos (agent/wire/reason.go)", name)
		}
	}
}
