// Package webserver_test puts real web servers, with the configurations that this project ships, in front of the
// pretend device, and compares: whatever a client sends, the web server must answer what the device answers that asks
// the daemon itself, and hand over to the device what was judged and nothing else. The daemon is the real one.
//
// What HTTP or a web server makes different stands in the table of that web server, each row with its reason. Any other
// difference fails, and so does a row that no request meets.
package webserver_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
)

// program is the daemon, built by TestMain in buildDir.
var program, buildDir string

func TestMain(m *testing.M) {
	if socket := os.Getenv(bareSocket); socket != "" { // a process that a test has started
		fmt.Fprintln(os.Stderr, respondBare(socket, os.Getenv(bareToken)))
		os.Exit(1)
	}
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		buildDir = dir
		program, err = daemon.Build(dir)
		return err
	}))
}

// patience is how long anything is waited for that should come.
const patience = time.Minute

// askPatience is how long a web server waits for the daemon here. What is shipped has 0.5 to 2 s, and machines that
// test are slow at times.
const askPatience = "8s"

// eventually waits until done is true. What it waits for is named for the failure.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	daemon.Eventually(t, patience, what, done)
}

// startDaemon runs a daemon by the configuration that lies in dir.
func startDaemon(t *testing.T, dir daemon.Dir) *daemon.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := daemon.StartCommand(ctx, exec.Command(program), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	return d
}
