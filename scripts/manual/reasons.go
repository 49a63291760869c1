package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
)

// The table of reasons stands between these lines of the guide.
const (
	tableBegin = "<!-- The table is made by: go run ./scripts/manual -->\n"
	tableEnd   = "<!-- End of the table. -->\n"
)

// withReasons returns the guide with the table of reasons as the code has it.
func withReasons(guide []byte) ([]byte, error) {
	before, rest, begins := bytes.Cut(guide, []byte(tableBegin))
	_, after, ends := bytes.Cut(rest, []byte(tableEnd))
	if !begins || !ends {
		return nil, errors.New("it lacks the lines between which the table of reasons stands")
	}
	return bytes.Join([][]byte{before, []byte(tableBegin), []byte(reasonTable()), []byte(tableEnd), after}, nil), nil
}

// reasonTable is a row for every reason.
func reasonTable() string {
	var b strings.Builder
	b.WriteString("\n| code | status | rule | what it means | what to do |\n|---|---|---|---|---|\n")
	for r := range wire.Reason(wire.Reasons) {
		info, advice := r.Info(), explain.AdviceOn(r)
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", info.Code, info.Status, info.Rule, cell(advice.Means), cell(advice.Do))
	}
	b.WriteString("\n")
	return b.String()
}

// cell writes a text as it must stand in a table of Markdown.
func cell(text string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`").Replace(text)
}
