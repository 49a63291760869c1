package main

import "testing"

// Every kind of change is found, each where it stands, and nothing else.
func TestMutationsOf(t *testing.T) {
	const text = "package a\n\nfunc f(a, b int, c bool) bool {\n\tfor a < b {\n\t\tif !c {\n\t\t\tcontinue\n\t\t}\n\t\tbreak\n\t}\n\treturn a+7 == b || true\n}\n"
	got, err := mutationsOf("a.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"< -> <=", "< -> >=", "! -> ", "continue -> break", "break -> continue", "|| -> &&", "== -> !=", "+ -> -", "7 -> 8",
		"true -> false"}
	if len(got) != len(want) {
		t.Fatalf("got %d mutations %v, want %d", len(got), got, len(want))
	}
	for i, m := range got {
		if m.String() != "a.go f: "+want[i] || text[m.from:m.to] != m.old {
			t.Errorf("got %v at %q, want %s", m, text[m.from:m.to], want[i])
		}
	}
}
