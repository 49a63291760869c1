package agent_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nmosauthd/agent"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// A flood of forged tokens over as many connections as there are slots: a new good token is verified within 20
// verifications, be it of another process or of the same, and whether the forged ones name a key or not.
func TestNewTokenBehindAFlood(t *testing.T) {
	spec.Rules(t, "ANS-5")
	const most, tokens = 20, 21
	for _, c := range []struct {
		name     string
		pid      int32 // of the good token's process; the flood's is 1
		kidOfThe string
	}{
		{"of another process", 2, mint.DefaultKID},
		{"of the same process on a new connection", 1, mint.DefaultKID},
		{"of the same process, forged ones without kid", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := mint.New(mint.Options{})
			d := newDevice(t, nil, base.Key.JWK())
			forged := mint.New(mint.Options{Key: mint.CachedKey("forger", 2048)})
			if forged.Header.Set("kid", c.kidOfThe); c.kidOfThe == "" {
				forged.Header.Delete("kid")
			}
			header, rest, _ := strings.Cut(forged.Sign(), ".")
			payload, signature, _ := strings.Cut(rest, ".")
			var refused atomic.Int64
			stop := make(chan struct{})
			var flood sync.WaitGroup
			for n := range 63 {
				s := d.NewSessionOf(agent.Peer{UID: 0, PID: 1})
				flood.Go(func() {
					var reply []byte
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						tail := fmt.Sprintf("%04d%08d", n, i) // another signature each time
						tok := header + "." + payload + "." + tail + signature[len(tail):]
						reply = s.Packet(reply[:0], []byte(get(senders, tok)), 32<<10)
						if strings.HasPrefix(string(reply), "allow") {
							t.Errorf("a forged token: %s", reply)
							return
						}
						refused.Add(1)
					}
				})
			}
			for refused.Load() < 200 {
				runtime.Gosched()
			}
			var before []int64
			for i := range tokens {
				good := mint.New(mint.Options{Subject: fmt.Sprint("user-", i)}).Sign()
				s := d.NewSessionOf(agent.Peer{UID: 0, PID: c.pid})
				start := refused.Load()
				reply := string(s.Packet(nil, []byte(get(senders, good)), 32<<10))
				before = append(before, refused.Load()-start)
				if !strings.HasPrefix(reply, "allow 200\nreason=ok\n") {
					t.Errorf("token %d: %s", i, reply)
				}
			}
			close(stop)
			flood.Wait()
			slices.Sort(before)
			t.Logf("forged tokens that were judged first: median %d, at most %d", before[tokens/2], before[tokens-1])
			if before[tokens/2] > most {
				t.Errorf("%d forged tokens were judged first, want at most %d", before[tokens/2], most)
			}
		})
	}
}
