package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
)

// A table of reasons stands between these lines of a document.
const (
	tableBegin = "<!-- The table is made by: go run ./scripts/manual -->\n"
	tableEnd   = "<!-- End of the table. -->\n"
)

// withTable is a document that people write but for its table of reasons.
func withTable(path string, table func() string) document {
	return document{path, func(root string) ([]byte, error) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, err
		}
		return replaceTable(text, table())
	}}
}

// replaceTable returns the document with this table.
func replaceTable(document []byte, table string) ([]byte, error) {
	before, rest, begins := bytes.Cut(document, []byte(tableBegin))
	_, after, ends := bytes.Cut(rest, []byte(tableEnd))
	if !begins || !ends {
		return nil, errors.New("it lacks the lines between which the table of reasons stands")
	}
	return bytes.Join([][]byte{before, []byte(tableBegin), []byte(table), []byte(tableEnd), after}, nil), nil
}

// codeTable is what a program needs to know of every reason.
func codeTable() string {
	var b strings.Builder
	b.WriteString("\n| code | status | rule | source | meaning |\n|---|---|---|---|---|\n")
	for r := range wire.Reason(wire.Reasons) {
		info := r.Info()
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", info.Code, info.Status, info.Rule, info.Source, info.Text)
	}
	b.WriteString("\n")
	return b.String()
}

// adviceTable is what an operator needs to know of every reason.
func adviceTable() string {
	var b strings.Builder
	b.WriteString("\n| code | status | rule | what it means | what to do |\n|---|---|---|---|---|\n")
	for r := range wire.Reason(wire.Reasons) {
		info, advice := r.Info(), explain.AdviceOn(r)
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", info.Code, info.Status, info.Rule, cell(advice.Means),
			cell(advice.Do))
	}
	b.WriteString("\n")
	return b.String()
}

// cell writes a text as it must stand in a table of Markdown.
func cell(text string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`").Replace(text)
}
