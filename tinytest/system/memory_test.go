package system_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// memoryBudget is the memory that a device pays for, in KiB (agent/ARCHITECTURE.md). Resident memory is mostly the
// program itself; the budget is for arm64.
type memoryBudget struct{ private, resident int }

var (
	ordinary = memoryBudget{4_000_000 >> 10, 13_000_000 >> 10} // tokens that are remembered
	busy     = memoryBudget{5_600_000 >> 10, 14_500_000 >> 10} // and new ones, forged ones, and a web server that asks
)

// TestMemoryBudget: at default settings the daemon, built as it is shipped, is within its budget after 100,000
// decisions with as many tokens as are remembered, and within another one after 100,000 more that make it forget and
// refuse tokens and answer over http.sock.
func TestMemoryBudget(t *testing.T) {
	if raceDetector {
		t.Skip("skipped: the race detector takes memory of its own")
	}
	const decisions, remembered, tokens = 100_000, 64, 500
	for name, value := range map[string]string{
		"CGO_ENABLED": "0", // as the Makefile builds it
		"GOMAXPROCS":  "2", // each processor has memory of its own; the figures are for two
	} {
		t.Setenv(name, value)
	}
	shipped, err := daemon.Build(t.TempDir(), "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t, authserver.Options{})
	dir, config := newDir(t), trusting(t, server)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startCommand(t, exec.Command(shipped), dir)}
	asked := make([]question, tokens)
	for n := range asked {
		asked[n] = get(senders).bearing(server.Token(mint.Options{Client: fmt.Sprintf("controller-%02d",
			n%remembered)}).Sign())
	}
	b.await(asked[0], 200, "ok")
	ask := func(n int, q question, want string, overHTTP bool) {
		a, err := b.try(q, overHTTP)
		if got := a.String(); err != nil || got != want {
			t.Fatalf("decision %d: got %s, %v, want %s", n, got, err, want)
		}
	}
	b.checkMemory("idle", ordinary, func() {})
	b.checkMemory("100000 decisions with remembered tokens", ordinary, func() {
		for n := range decisions {
			ask(n, asked[n%remembered], "200 ok", false)
		}
	})
	forge := forger(server)
	mixed := func(n int) {
		switch q := asked[n/10%tokens]; n % 10 {
		case 0, 1:
			ask(n, q, "200 ok", false)
		case 2:
			ask(n, q, "200 ok", true)
		case 3:
			ask(n, get(senders), "401 no-token", false)
		case 4:
			ask(n, get(senders).bearing(forge("key-1")), "401 signature", false)
		default:
			ask(n, asked[n%remembered], "200 ok", false)
		}
	}
	b.checkMemory("100000 more with new and forged tokens, a tenth over http.sock", busy, func() {
		for n := range decisions {
			mixed(n)
		}
	})
}

// checkMemory compares what the daemon occupies after some work with a budget. Where a busy machine held up the garbage
// collector, it is after the same work once more what it should be; what grows is not.
func (b *box) checkMemory(after string, most memoryBudget, work func()) {
	b.t.Helper()
	if runtime.GOARCH == "amd64" {
		most.resident += 700_000 >> 10 // its program is so much larger
	}
	work()
	m := b.memory()
	for try := 0; try < 3 && (m.private > most.private || m.resident > most.resident); try++ {
		b.t.Logf("%s: private %d KiB of %d, resident %d KiB of %d: once more",
			after, m.private, most.private, m.resident, most.resident)
		time.Sleep(time.Second)
		work()
		m = b.memory()
	}
	b.t.Logf("FIGURES memory, %s: private %d KiB of %d, resident %d KiB of %d",
		after, m.private, most.private, m.resident, most.resident)
	if m.private > most.private || m.resident > most.resident {
		b.t.Errorf("%s: got %d KiB private and %d KiB resident, want at most %d and %d",
			after, m.private, m.resident, most.private, most.resident)
	}
}
