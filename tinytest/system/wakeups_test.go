package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
)

// A daemon that is asked nothing lets the device sleep: less than once a second it has something to do, an inventory's
// file and standing questions included.
func TestIdleWakeUps(t *testing.T) {
	t.Parallel()
	const seconds, settle = 20, 5
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	dir := newDir(t)
	inventory := dir.File("inventory.json")
	config.More = fmt.Sprintf("[inventory]\nfile = %q\n", inventory)
	if err := os.WriteFile(inventory, []byte(`{"resources": []}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	for range 20 {
		b.stand(everything(server).Sign(), "allow 200\n")
	}
	b.packet.Close()
	time.Sleep(settle * time.Second) // until the file is old enough to be looked at seldom, and the records are written

	// A wake-up lets several threads run, one after another, within moments: those count as one. On a busy machine they
	// run later, and one wake-up may look like two: what counts is the quietest of some times.
	const moment = 250 * time.Millisecond
	least := seconds
	for try := 0; try < 5 && least >= seconds; try++ {
		wakeUps, before := 0, b.switches()
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(moment) {
			now := b.switches()
			if now != before {
				wakeUps++
			}
			before = now
		}
		t.Logf("FIGURES idle: %d wake-ups in %d s", wakeUps, seconds)
		least = min(least, wakeUps)
	}
	if least >= seconds {
		t.Errorf("got %d wake-ups in %d s or more, want less than one a second", least, seconds)
	}
}

// switches is how often the daemon's threads have gone to sleep so far.
func (b *box) switches() (n int) {
	b.t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", b.PID()))
	if err != nil || len(all) == 0 {
		b.t.Skipf("no threads to be seen: %v", err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if value, is := strings.CutPrefix(line, "voluntary_ctxt_switches:"); is {
				switched, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					b.t.Fatal(err)
				}
				n += switched
			}
		}
	}
	return n
}
