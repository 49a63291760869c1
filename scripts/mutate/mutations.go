package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// mutation is one change of one file.
type mutation struct {
	file     string // from the root of the repository
	function string // with its receiver's type
	text     string // of its line
	line     int
	nth      int // among those of the same name
	from, to int // bytes of the file
	old, new string
}

// String names the mutation as equivalent.txt does: by what it changes, not by the line's number, which moves.
func (m mutation) String() string {
	s := fmt.Sprintf("%s %s: %s: %s -> %s", m.file, m.function, m.text, m.old, m.new)
	if m.nth > 1 {
		s += fmt.Sprintf(" #%d", m.nth)
	}
	return s
}

// swaps are the operators that take each other's place.
var swaps = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.SHL: {token.SHR}, token.SHR: {token.SHL},
}

// mutationsOf returns the changes that a file allows: another operator, a number one more, true for false, no "!",
// break for continue.
func mutationsOf(file string, text []byte) ([]mutation, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	var found []mutation
	names := map[string]int{}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		add := func(pos token.Pos, old, new string) {
			p := set.Position(pos)
			m := mutation{file: file, function: nameOf(f), text: strings.TrimSpace(lines[p.Line-1]), line: p.Line,
				from: p.Offset, to: p.Offset + len(old), old: old, new: new}
			names[m.String()]++
			m.nth = names[m.String()]
			found = append(found, m)
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				for _, with := range swaps[n.Op] {
					add(n.OpPos, n.Op.String(), with.String())
				}
			case *ast.UnaryExpr:
				if n.Op == token.NOT {
					add(n.OpPos, "!", "")
				}
			case *ast.BasicLit:
				if v, err := strconv.ParseInt(n.Value, 0, 64); n.Kind == token.INT && err == nil {
					add(n.Pos(), n.Value, strconv.FormatInt(v+1, 10))
				}
			case *ast.Ident:
				switch n.Name {
				case "true":
					add(n.Pos(), "true", "false")
				case "false":
					add(n.Pos(), "false", "true")
				}
			case *ast.BranchStmt:
				switch {
				case n.Label != nil:
				case n.Tok == token.CONTINUE:
					add(n.Pos(), "continue", "break")
				case n.Tok == token.BREAK:
					add(n.Pos(), "break", "continue")
				}
			}
			return true
		})
	}
	return found, nil
}

// nameOf returns the name of a function, with its receiver's type if it is a method.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	kind := f.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if id, ok := kind.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}
