package system_test

import (
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/load"
)

// An answer by a remembered token, audit as shipped, takes one read and one write; another read finds that the next
// question is not there yet, and another write is of a record. Waking the record's writer may take one of either now
// and then. What the clock, a random number or a deadline would take shows in none of these: strace shows that there is
// none.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	const questions, most = 3000, 2.5
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	q := get(senders).bearing(everything(server).Sign())
	b.await(q, 200, "ok")
	before, ok := load.CallsOf(b.PID())
	if !ok {
		t.Skip("skipped: /proc does not show the calls of the daemon, which is not dumpable (root sees them)")
	}
	for range questions {
		if a, err := b.try(q, false); err != nil || a.String() != "200 ok" {
			t.Fatalf("got %s, %v, want 200 ok", a, err)
		}
	}
	after, _ := load.CallsOf(b.PID())
	reads, writes := float64(after.Reads-before.Reads)/questions, float64(after.Writes-before.Writes)/questions
	t.Logf("FIGURES calls an answer: %.2f reads, %.2f writes", reads, writes)
	if reads < 1 || reads > most || writes < 1 || writes > most {
		t.Errorf("got %.2f calls of read and %.2f of write an answer, want 1 to %g of each", reads, writes, most)
	}
}
