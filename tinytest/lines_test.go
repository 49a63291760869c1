package tinytest

import (
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// columns is how wide a line of Go may be, a tab counted as tabWidth.
const columns, tabWidth = 120, 4

// No line of Go is wider than 120 columns, but where a literal goes past them: a text is not cut to please a test.
func TestLines(t *testing.T) {
	for _, s := range readSources(t) {
		data, err := os.ReadFile(filepath.Join(root, s.path))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		literal := literals(text)
		for i, line := range strings.Split(text, "\n") {
			if wide := width(line); wide > columns && !literal[i+1] {
				t.Errorf("%s:%d: %d columns, want %d at most", s.path, i+1, wide, columns)
			}
		}
	}
}

func width(s string) int { return utf8.RuneCountInString(s) + (tabWidth-1)*strings.Count(s, "\t") }

// literals returns the lines, counted from 1, on which a string goes past the last column, with what closes it.
func literals(text string) map[int]bool {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, []byte(text), nil, 0)
	found := map[int]bool{}
	for {
		at, what, literal := s.Scan()
		switch what {
		case token.EOF:
			return found
		case token.STRING:
			first := file.Line(at)
			for i, part := range strings.Split(literal, "\n") {
				before := ""
				if i == 0 {
					before = text[file.Offset(file.LineStart(first)):file.Offset(at)]
				}
				found[first+i] = found[first+i] || width(before+part)+len(`") `) > columns
			}
		}
	}
}
