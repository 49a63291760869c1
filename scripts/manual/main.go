// Manual writes what people read of the configuration and of the reasons from where they are said once: the page
// configs/man/nmos-authd.toml.5 from configs/nmos-authd.toml and the rows of agent/config, the table of
// agent/wire/PROTOCOL.md from agent/wire, and that of configs/OPERATING.md from agent/wire and agent/explain. Run it
// from the root of the repository after a change to one of them:
//
//	go run ./scripts/manual
//
// The test in this package fails if that was forgotten.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// document is one file and what makes its text.
type document struct {
	path string // from the root of the repository
	make func(root string) ([]byte, error)
}

var documents = []document{
	{"configs/man/nmos-authd.toml.5", func(root string) ([]byte, error) {
		example, err := os.ReadFile(filepath.Join(root, "configs/nmos-authd.toml"))
		if err != nil {
			return nil, err
		}
		return configPage(string(example))
	}},
	withTable("agent/wire/PROTOCOL.md", codeTable),
	withTable("configs/OPERATING.md", adviceTable),
}

func main() {
	for _, d := range documents {
		if err := write(d); err != nil {
			fmt.Fprintf(os.Stderr, "manual: %s: %v\n", d.path, err)
			os.Exit(1)
		}
	}
}

func write(d document) error {
	text, err := d.make(".")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(d.path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	fmt.Println(d.path)
	return os.WriteFile(d.path, text, 0o644)
}
