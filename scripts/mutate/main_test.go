package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every kind of change is found, each where it stands, and nothing else.
func TestMutationsOf(t *testing.T) {
	const text = "package a\n\nfunc f(a, b int, c bool) bool {\n\tfor a < b {\n\t\tif !c {\n\t\t\tcontinue\n\t\t}\n" +
		"\t\tbreak\n\t}\n\treturn a+7 == b || true\n}\n"
	got, err := mutationsOf("a.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"for a < b {: < -> <=", "for a < b {: < -> >=", "if !c {: ! -> ", "continue: continue -> break",
		"break: break -> continue",
		"return a+7 == b || true: || -> &&", "return a+7 == b || true: == -> !=", "return a+7 == b || true: + -> -",
		"return a+7 == b || true: 7 -> 8", "return a+7 == b || true: true -> false",
	}
	if len(got) != len(want) {
		t.Fatalf("got %d mutations %v, want %d", len(got), got, len(want))
	}
	for i, m := range got {
		if m.String() != "a.go f: "+want[i] || text[m.from:m.to] != m.old {
			t.Errorf("got %v at %q, want %s", m, text[m.from:m.to], want[i])
		}
	}
}

// No two mutations have one name, so that an entry of equivalent.txt hides no other.
func TestNamesDiffer(t *testing.T) {
	const text = "package a\n\ntype T struct{}\n\nfunc f(a, b bool) bool {\n\tif a && b && a {\n\t\treturn true\n" +
		"\t}\n\treturn true\n}\n\nfunc (t *T) f() bool {\n\treturn true\n}\n"
	got, err := mutationsOf("a.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a.go f: if a && b && a {: && -> ||", "a.go f: if a && b && a {: && -> || #2",
		"a.go f: return true: true -> false", "a.go f: return true: true -> false #2",
		"a.go T.f: return true: true -> false",
	}
	if len(got) != len(want) {
		t.Fatalf("got %d mutations %v, want %d", len(got), got, len(want))
	}
	for i, m := range got {
		if m.String() != want[i] {
			t.Errorf("got %q, want %q", m, want[i])
		}
	}
}

// equivalent.txt names each mutation once, with its reason.
func TestEquivalent(t *testing.T) {
	for _, c := range []struct{ text, want, wrong string }{
		{"# why\n\na.go f: x: < -> <=\n\tbecause it\n\tis so\n", "because it is so", ""},
		{"a.go f: x: < -> <=\n", "", "no reason"},
		{"\tbecause\n", "", "reason of nothing"},
		{"a.go f: x: < -> <=\n\tb\na.go f: x: < -> <=\n\tb\n", "", "twice"},
	} {
		file := filepath.Join(t.TempDir(), "equivalent.txt")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		known, err := equivalent(file)
		switch {
		case c.wrong == "" && (err != nil || known["a.go f: x: < -> <="] != c.want):
			t.Errorf("%q: got %q, %v; want %q", c.text, known, err, c.want)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%q: got error %v, want one with %q", c.text, err, c.wrong)
		}
	}
}

// The list beside this file can be read, and every entry names a mutation that there is.
func TestEquivalentsExist(t *testing.T) {
	known, err := equivalent("equivalent.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name := range known {
		file, _, _ := strings.Cut(name, " ")
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		all, err := mutationsOf(file, text)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, m := range all {
			found = found || m.String() == name
		}
		if !found {
			t.Errorf("%s: no such mutation", name)
		}
	}
}

// The report counts by package, and names what is alive and what is listed without need.
func TestReport(t *testing.T) {
	m := func(line int) mutation {
		return mutation{file: "a/b/c.go", function: "f", text: "x", line: line, nth: line, old: "<", new: "<="}
	}
	report, alive := reportOf(
		map[mutation]result{m(1): survived, m(2): failed, m(3): timedOut, m(4): notCompiled, m(5): survived},
		map[string]string{m(5).String(): "why", m(2).String(): "why not"})
	want := "a/b/c.go f: x: < -> <=\n\tALIVE (line 1)\n" +
		"a/b/c.go f: x: < -> <= #2\n\tlisted in equivalent.txt, but a test notices it (line 2)\n" +
		"a/b/c.go f: x: < -> <= #5\n\twhy\n" +
		"a/b: 5 mutations: 1 noticed, 1 noticed by time-out, 1 not compiled, 1 make no difference, 1 alive\n"
	if report != want || alive != 1 {
		t.Errorf("got %d alive and\n%s\nwant 1 and\n%s", alive, report, want)
	}
}
