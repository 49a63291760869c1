package vectors_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"nmosauthd/tinytest/vectors"
)

// What scripts/peers/VECTORS.md says of other programs is about the vectors as they are, and only about those whose
// setting and clock the programs had: the Open Policy Agent, asked by a command, was asked all of them, and each
// library those whose part is the token.
func TestPageOfPeers(t *testing.T) {
	all, tokens := map[string]int{}, map[string]int{}
	var usual *vectors.Group
	for _, f := range allFiles(t) {
		for _, g := range f.Groups {
			if g.Name == "form" {
				usual = g
			}
		}
	}
	for _, f := range allFiles(t) {
		for _, g := range f.Groups {
			if g.Clock != nil || !reflect.DeepEqual(g.Device, usual.Device) {
				continue
			}
			for _, c := range g.Cases {
				all[c.Rule]++
				all["all"]++
				if c.Part == "token" {
					tokens[c.Rule]++
					tokens["all"]++
				}
			}
		}
	}
	text, err := os.ReadFile("../../scripts/peers/VECTORS.md")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 5 || strings.HasPrefix(cells[1], "-") {
			continue
		}
		if cells[1] == "rule" {
			columns = cells
			continue
		}
		rows++
		for i := 3; i < len(columns)-1; i++ {
			want := all
			if strings.HasPrefix(columns[i], "g") || columns[i] == "jwx" {
				want = tokens
			}
			passed, asked := 0, 0
			switch n, _ := fmt.Sscanf(cells[i], "%d/%d", &passed, &asked); n {
			case 1:
				asked = passed
			case 0:
				asked = 0
			}
			overHTTP := columns[i] == "Envoy" || columns[i] == "nginx" || columns[i] == "oauth2-proxy"
			if n := want[cells[1]]; asked > n || asked < n && !overHTTP { // HTTP cannot hold some
				t.Errorf("%s, %s: got %d cases asked, want %d: make peers PEERS=\"-vectors VECTORS.md\"",
					cells[1], columns[i], asked, n)
			}
		}
	}
	if rows < 50 {
		t.Errorf("got %d rows, want 50 or more", rows)
	}
}
