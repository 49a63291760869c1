package explain_test

import (
	"os"
	"strings"
	"testing"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
)

// Every reason has its advice, in whole sentences of printable ASCII, and nothing that denies is left without something
// to do.
func TestAdviceOnEveryReason(t *testing.T) {
	seen := map[string]wire.Reason{}
	for r := range wire.Reason(wire.Reasons) {
		a := explain.AdviceOn(r)
		if other, twice := seen[a.Means]; twice && a.Means != "" {
			t.Errorf("%v and %v mean the same: %q", r, other, a.Means)
		}
		seen[a.Means] = r
		for _, text := range []string{a.Means, a.Do} {
			if text == "" {
				continue
			}
			if !strings.HasSuffix(text, ".") || strings.Contains(text, "  ") || strings.TrimSpace(text) != text {
				t.Errorf("%v: no sentence: %q", r, text)
			}
			for _, c := range text {
				if c < ' ' || c > '~' {
					t.Errorf("%v: %q in %q", r, c, text)
				}
			}
		}
		if a.Means == "" || a.Do == "" && !r.Allowed() {
			t.Errorf("%v lacks its advice in agent/explain/advice.go: %+v", r, a)
		}
	}
	if explain.AdviceOn(wire.Reason(wire.Reasons)) != explain.AdviceOn(wire.Undecided) {
		t.Error("a value outside the list has other advice than Undecided")
	}
}

// A key of the configuration that the advice names is one.
func TestAdviceNamesRealKeys(t *testing.T) {
	example, err := os.ReadFile("../../configs/nmos-authd.toml")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for r := range wire.Reason(wire.Reasons) {
		a := explain.AdviceOn(r)
		for _, part := range strings.Split(a.Means+" "+a.Do, "[")[1:] {
			section, rest, _ := strings.Cut(part, "] ")
			_, in, found := strings.Cut(string(example), "\n["+section+"]\n")
			in, _, _ = strings.Cut(in, "\n[")
			key := strings.TrimRight(strings.Fields(rest)[0], ".,;:)")
			if section == "clock" || section == "paths" && key == "of" { // the section as a whole
				key = "#"
			}
			if named++; !found || !strings.Contains("\n"+in, "\n"+key) {
				t.Errorf("%v speaks of [%s] %s, which the example of a configuration does not have", r, section, key)
			}
		}
	}
	if named < 5 {
		t.Errorf("the advice names %d keys", named)
	}
}
