package system_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// The memory that a device pays for, in KiB (agent/ARCHITECTURE.md). Resident memory is mostly the program itself, and
// its budget is for arm64: on amd64 the program is 0.7 MB larger.
const (
	privateBudget  = 4_000_000 >> 10
	residentBudget = 13_000_000 >> 10
)

// TestMemoryBudget: after 100,000 decisions at default settings, with as many tokens as are remembered, the daemon is
// within its budget.
func TestMemoryBudget(t *testing.T) {
	if raceDetector {
		t.Skip("skipped: the race detector takes memory of its own")
	}
	const decisions, tokens = 100_000, 64
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	flags := []string{"-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w"} // as the Makefile has them
	shipped, err := daemon.Build(t.TempDir(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	config := trusting(t, server)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startCommand(t, exec.Command(shipped), dir)}
	packets := make([][]byte, tokens)
	for n := range packets {
		token := server.Token(mint.Options{Client: fmt.Sprintf("controller-%02d", n)}).Sign()
		b.await(get(senders).bearing(token), 200, "ok")
		packets[n] = []byte("decide 1\nmethod=GET\ntarget=" + senders + "\nauthorization=Bearer " + token + "\n")
	}
	for n := range decisions {
		r, err := b.packet.AskPacket(packets[n%tokens])
		if err != nil || !r.Allowed() {
			t.Fatalf("decision %d: got %v, %v, want it allowed", n, r, err)
		}
	}
	m := b.memory()
	t.Logf("FIGURES memory after %d decisions with %d tokens: private %d KiB of %d, resident %d KiB of %d",
		decisions, tokens, m.private, privateBudget, m.resident, residentBudget)
	if m.private > privateBudget || m.resident > residentBudget && runtime.GOARCH == "arm64" {
		t.Errorf("got %d KiB private and %d KiB resident, want at most %d and %d",
			m.private, m.resident, privateBudget, residentBudget)
	}
}
