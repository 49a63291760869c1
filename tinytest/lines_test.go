package tinytest

import (
	"go/scanner"
	"go/token"
	"strings"
	"testing"
	"unicode/utf8"
)

// columns is how wide a line of Go may be, a tab counted as tabWidth.
const columns, tabWidth = 120, 4

// longest is how many lines a file of Go may have: a longer one is about two things, and each has a name.
const longest = 500

// mostMain is how many lines package main of the daemon may have: it is flags, and a short file a subcommand.
const mostMain = 1400

// No line of Go is wider than 120 columns, unless a raw string goes past them, which cannot be cut without changing it.
// No file of Go is longer than 500 lines, and the daemon's package main than 1,400.
func TestLines(t *testing.T) {
	main := 0
	for name, text := range trackedTexts(t) {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		raw := rawStrings(text)
		for i, line := range strings.Split(text, "\n") {
			if wide := width(line); wide > columns && !raw[i+1] {
				t.Errorf("%s:%d: got %d columns, want %d at most", name, i+1, wide, columns)
			}
		}
		if n := strings.Count(text, "\n"); n > longest {
			t.Errorf("%s: got %d lines, want %d at most: split it by concept", name, n, longest)
		} else if strings.HasPrefix(name, "agent/cmd/nmos-authd/") && !strings.HasSuffix(name, "_test.go") {
			main += n
		}
	}
	if main == 0 || main > mostMain {
		t.Errorf("package main: got %d lines, want %d at most", main, mostMain)
	}
}

func width(s string) int { return utf8.RuneCountInString(s) + (tabWidth-1)*strings.Count(s, "\t") }

// rawStrings returns the lines, counted from 1, on which a raw string goes past the last column, with what closes it.
func rawStrings(text string) map[int]bool {
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
			if literal[0] != '`' {
				continue
			}
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
