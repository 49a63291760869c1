package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The table of reasons in PROTOCOL.md is that of the code, row by row: firmware is written from it.
func TestProtocolListsEveryReason_ANS8(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "| code | status | rule | source | meaning |\n|---|---|---|---|---|\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	rows := strings.Split(table, "\n")
	if !found || len(rows) != Reasons {
		t.Fatalf("the table has %d rows, the code %d reasons", len(rows), Reasons)
	}
	for i, row := range rows {
		info := Reason(i).Info()
		want := fmt.Sprintf("| `%s` | %d | %s | %s | %s |", info.Code, info.Status, info.Rule, info.Source, info.Text)
		if row != want {
			t.Errorf("row %d is\n%s\nnot\n%s", i+1, row, want)
		}
	}
}
