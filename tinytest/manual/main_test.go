// Package manual_test keeps what people read true: the manual pages are compared with the real program's own help, and
// every command of the operator's guide is run, in the guide's order, against a real daemon.
package manual_test

import (
	"os"
	"path/filepath"
	"testing"

	"nmosauthd/tinytest/daemon"
)

const root = "../.."

// program is the daemon, built by TestMain.
var program string

func TestMain(m *testing.M) {
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		program, err = daemon.Build(dir)
		return err
	}))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
