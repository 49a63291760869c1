package agent_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Over a real socket a question that was sent is answered, also while its connection is told to give way: a caller
// learns from the failure to send the next one that this was not read.
func TestGivingWayLosesNoQuestion(t *testing.T) {
	spec.Rules(t, "ANS-5")
	// A machine may be so busy that an answer is not written within a second, and its connection cut: that shows
	// nothing.
	for range 5 {
		failures := giveWay(t)
		if !slices.ContainsFunc(failures, func(f string) bool {
			return strings.Contains(f, "its answer was not taken within")
		}) {
			for _, f := range failures {
				t.Error(f)
			}
			return
		}
		t.Logf("once more: %q", failures)
	}
	t.Error("connections were cut off 5 times of 5, want none: each answer is taken")
}

// giveWay has many callers ask over a few slots, and returns what went wrong.
func giveWay(t *testing.T) (failures []string) {
	const callers, questions = 24, 200
	var mu sync.Mutex
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		failures = append(failures, fmt.Sprintf(format, args...))
	}
	d := newDevice(t, nil, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	l := packetSocket(t)
	server := agent.Server{Handle: d.servePackets, Report: func(err error) { fail("reported: %v", err) }, Limit: 4}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	var again atomic.Int32
	var asking, connected sync.WaitGroup
	connected.Add(callers) // and has asked: more than there are slots, so that some give way
	for range callers {
		asking.Go(func() {
			has := sync.OnceFunc(connected.Done)
			defer has() // or the others would wait for one that failed
			var conn *net.UnixConn
			reply := make([]byte, 64)
			for i := range questions {
				for sent := false; !sent; {
					if conn == nil {
						var err error
						if conn, err = net.DialUnix("unixpacket", nil, l.Addr().(*net.UnixAddr)); err != nil {
							fail("dialling: %v", err)
							return
						}
						conn.SetDeadline(time.Now().Add(time.Minute))
					}
					_, err := conn.Write([]byte("ping 1\n"))
					if sent = err == nil; !sent && !errors.Is(err, syscall.EPIPE) {
						fail("question %d: %v, want to have sent it or EPIPE", i, err)
						return
					}
					if !sent {
						again.Add(1)
						conn.Close()
						conn = nil
					}
				}
				if i == 0 {
					has()
					connected.Wait()
				}
				if n, err := conn.Read(reply); err != nil || string(reply[:n]) != "pong 1\n" {
					fail("question %d: %q, %v", i, reply[:n], err)
					return
				}
			}
			conn.Close()
		})
	}
	asking.Wait()
	if again.Load() == 0 {
		fail("no connection gave way")
	}
	t.Logf("%d questions, %d connections gave way", callers*questions, again.Load())
	l.Close()
	server.Shutdown(t.Context())
	if err := <-served; err != nil {
		fail("Serve returned %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	return failures
}
