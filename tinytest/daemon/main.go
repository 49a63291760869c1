package daemon

import (
	"cmp"
	"fmt"
	"os"
	"time"
)

// Main runs the tests of a package after prepare, which gets a folder for what they share; it is removed at the end. It
// returns the status for os.Exit. Other users may read what is in the folder.
func Main(tests interface{ Run() int }, prepare func(dir string) error) (status int) {
	dir, err := os.MkdirTemp("", "nmos-")
	if err == nil {
		err = cmp.Or(os.Chmod(dir, 0o755), prepare(dir))
		if err == nil {
			status = tests.Run()
		}
		err = cmp.Or(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// Eventually waits until done is true, and fails the test if that takes longer than patience. What it waits for is
// named for the failure.
func Eventually(t interface {
	Helper()
	Fatalf(format string, values ...any)
}, patience time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up after %v: %s", patience, what)
		}
	}
}
