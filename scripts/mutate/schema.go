package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A schema is a package that holds many mutations, of which an environment variable chooses one when it runs: it is
// compiled once, while each mutation of its own costs a compiler's and a linker's run. A condition becomes
//
//	(mutant__(7) && (a <= b) || mutant__(8) && (a >= b) || !mutant__(7, 8) && (a < b))
//
// and a statement an if statement likewise, with line directives by which the compiler's errors name the mutation. What
// is neither, such as a declaration, cannot be held.

// unit is a condition or a statement that a schema can have several forms of.
type unit struct {
	from, to  int // bytes of the file
	statement bool
}

// unitsOf returns the outermost units of a file, by their places.
func unitsOf(file string, text []byte) ([]unit, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		return nil, err
	}
	var units []unit
	fixed, conditions := map[ast.Node]bool{}, map[ast.Node]bool{} // statements that have to stay, conditions
	add := func(n ast.Node, statement bool) {
		units = append(units, unit{set.Position(n.Pos()).Offset, set.Position(n.End()).Offset, statement})
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if n == nil || fixed[n] {
			return false
		}
		if conditions[n] {
			add(n, false)
			return false
		}
		switch n := n.(type) {
		case *ast.IfStmt:
			fixed[n.Init], conditions[n.Cond] = n.Init != nil, true
		case *ast.ForStmt:
			fixed[n.Init], fixed[n.Post], conditions[n.Cond] = n.Init != nil, n.Post != nil, n.Cond != nil
		case *ast.SwitchStmt:
			fixed[n.Init] = n.Init != nil
			for _, clause := range n.Body.List {
				for _, condition := range clause.(*ast.CaseClause).List {
					conditions[condition] = n.Tag == nil
				}
			}
		case *ast.TypeSwitchStmt:
			fixed[n.Init], fixed[n.Assign] = n.Init != nil, true
		case *ast.CommClause:
			fixed[n.Comm] = n.Comm != nil
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE { // in a block its variables would be gone
				return true
			}
			add(n, true)
			return false
		case *ast.ReturnStmt, *ast.ExprStmt, *ast.IncDecStmt, *ast.BranchStmt:
			add(n, true)
			return false
		}
		return true
	})
	return units, nil
}

// schemaOf returns a file's text with those mutations in it that it can hold. number gives each the number by which it
// is chosen.
func schemaOf(
	file string, text []byte, mutations []mutation, number map[mutation]int,
) (schema []byte, in []mutation, err error) {
	units, err := unitsOf(file, text)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(units, func(a, b unit) int { return b.from - a.from })
	schema = text
	for _, u := range units {
		whole, forms, numbers := string(text[u.from:u.to]), "", []string(nil)
		for _, m := range mutations {
			if m.file != file || m.from < u.from || m.to > u.to {
				continue
			}
			in = append(in, m)
			numbers = append(numbers, fmt.Sprint(number[m]))
			form := string(text[u.from:m.from]) + m.new + string(text[m.to:u.to])
			if u.statement {
				forms += fmt.Sprintf("if mutant__(%d) {\n/*line MUTANT%[1]d:1:1*/%s\n/*line MUTANT:1:1*/} else ",
					number[m], form)
			} else {
				forms += fmt.Sprintf("mutant__(%d) && (/*line MUTANT%[1]d:1:1*/%s/*line MUTANT:1:1*/) || ",
					number[m], form)
			}
		}
		if len(numbers) == 0 {
			continue
		}
		if u.statement {
			forms += "{\n" + whole + "\n}"
		} else {
			forms = "(" + forms + "!mutant__(" + strings.Join(numbers, ", ") + ") && (" + whole + "))"
		}
		schema = slices.Concat(schema[:u.from], []byte(forms), schema[u.to:])
	}
	return schema, in, nil
}

// chooser is the file of a schema that says which of its mutations is in force.
const chooser = `package %s

import (
	"os"
	"slices"
	"strconv"
)

var chosen__, _ = strconv.Atoi(os.Getenv("MUTANT"))

func mutant__(any ...int) bool { return slices.Contains(any, chosen__) }
`

// writeSchema makes the package in a folder of a copy of the repository a schema, and returns the mutations in it.
func writeSchema(dir, folder string, mutations []mutation, number map[mutation]int) (in []mutation, err error) {
	files, err := filepath.Glob(filepath.Join(dir, folder, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		schema, held, err := schemaOf(filepath.Join(folder, filepath.Base(path)), text, mutations, number)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, schema, 0o644); err != nil {
			return nil, err
		}
		in = append(in, held...)
	}
	text := fmt.Sprintf(chooser, filepath.Base(folder))
	return in, os.WriteFile(filepath.Join(dir, folder, "mutant__.go"), []byte(text), 0o644)
}
