package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/mint"
)

// After each eight answers of a connection others have the processor, unless they have just kept it.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil, mint.CachedKey(mint.DefaultKID, 2048).JWK())
		h := openHall(t, 8)
		yields, takes := 0, 500*time.Microsecond
		h.Handle, h.Yield = d.servePackets, func() {
			yields++
			time.Sleep(takes)
		}
		conn := h.connect(1)
		asks := func(questions, want int) {
			t.Helper()
			yields = 0
			reply := make([]byte, 64)
			for range questions {
				if _, err := conn.Write([]byte("ping 1\n")); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.Read(reply); err != nil || string(reply[:n]) != "pong 1\n" {
					t.Fatalf("got %q, %v", reply[:n], err)
				}
			}
			synctest.Wait() // it reads again, or has yielded
			if yields != want {
				t.Errorf("%d questions: yielded %d times, want %d", questions, yields, want)
			}
		}
		asks(7, 0)
		asks(1, 1)
		asks(80, 10)
		takes = 2 * time.Millisecond
		asks(80, 1) // and then rests
		time.Sleep(time.Second)
		asks(8, 1)
		asks(800, 0)
		other := h.connect(2) // as all connections do
		conn, other = other, conn
		asks(80, 0)
		takes = 0
		time.Sleep(time.Second)
		asks(80, 10)
		conn.Close()
		other.Close()
		h.shut()
	})
}
