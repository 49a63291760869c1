package system_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// beats is how often the service manager was told that all is well.
func (b *box) beats() (n int) {
	for _, told := range b.Told() {
		if told == "WATCHDOG=1" {
			n++
		}
	}
	return n
}

// The service manager hears that all is well while decisions are answered, even where the daemon's own user may not
// ask, and its connection takes no place from others. It hears nothing from a daemon that stands still.
func TestWatchdogOfTheDaemon(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	config.Sockets = "allow_uids = [4294967294]"
	config.More = "[limits]\nconnections = 1"
	dir := newDir(t)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), "WATCHDOG_USEC=1000000")
	b := &box{t: t, config: config}
	b.Daemon = startCommand(t, command, dir)
	more := func(n int) {
		t.Helper()
		now := b.beats()
		eventually(t, fmt.Sprintf("%d more times that all is well", n), func() bool { return b.beats() >= now+n })
	}
	more(5)
	if strings.Contains(b.Log(), "may not ask") {
		t.Errorf("its own connection is turned away:\n%s", b.Log())
	}

	config.Sockets = ""
	b.reload(config)
	dialPacket(t, dir.Authz()) // the one place there is
	more(5)

	if err := b.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	still := b.beats()
	eventually(t, "the service manager to hear nothing", func() bool {
		time.Sleep(2 * time.Second)
		before := still
		still = b.beats()
		return still == before
	})
	if err := b.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	more(5)
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	// Standing still may have cost it an answer, or a busy machine; stopping is no reason to say so.
	_, stopping, found := strings.Cut(b.Log(), `"message":"stopping"`)
	if !found || strings.Contains(stopping, "the service manager is not notified") {
		t.Errorf("the stop is taken for a stall, or not logged:\n%s", b.Log())
	}
}
