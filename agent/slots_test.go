package agent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/tinytest/spec"
)

// hall is a Server in virtual time. A question is one byte, and so is its answer. A connection's handler has a slot.
type hall struct {
	agent.Server
	t      *testing.T
	door   chan net.Conn
	served chan error
	hold   atomic.Pointer[chan struct{}] // a question that is 'h' is answered when it is closed
	peers  sync.Map                      // of net.Conn

	mu       sync.Mutex
	reported []string
}

// Accept, Close and Addr make a hall a listener.
func (h *hall) Accept() (net.Conn, error) {
	conn, ok := <-h.door
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (h *hall) Close() error   { return nil }
func (h *hall) Addr() net.Addr { return nil }

func openHall(t *testing.T, limit int) *hall {
	h := &hall{t: t, door: make(chan net.Conn), served: make(chan error, 1)}
	hold := make(chan struct{})
	h.hold.Store(&hold)
	h.Limit = limit
	h.PeerOf = func(conn net.Conn) (agent.Peer, error) {
		pid, _ := h.peers.Load(conn)
		return agent.Peer{UID: 1000, PID: pid.(int32)}, nil
	}
	h.Report = func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.reported = append(h.reported, err.Error())
	}
	h.Handle = func(conn *agent.Conn) error {
		var question [1]byte
		for {
			if _, err := conn.Read(question[:]); err != nil {
				return nil
			}
			conn.Asked()
			switch question[0] {
			case 'h':
				<-*h.hold.Load()
			case 's':
				time.Sleep(time.Millisecond)
			}
			if _, err := conn.Write(question[:]); err != nil {
				return nil
			}
			conn.Answered()
		}
	}
	go func() { h.served <- h.Serve(h) }()
	return h
}

// shut ends it all.
func (h *hall) shut() {
	h.t.Helper()
	close(h.door)
	if err := <-h.served; err != nil {
		h.t.Errorf("Serve returned %v, want nil", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h.Shutdown(ctx)
	synctest.Wait() // for the reports
}

// connect connects a process.
func (h *hall) connect(pid int32) net.Conn {
	mine, its := net.Pipe()
	h.peers.Store(its, pid)
	h.door <- its
	return mine
}

// ask asks, and reports whether the answer comes within the time.
func ask(conn net.Conn, question byte, within time.Duration) bool {
	conn.SetDeadline(time.Now().Add(within))
	if _, err := conn.Write([]byte{question}); err != nil {
		return false
	}
	var answer [1]byte
	_, err := conn.Read(answer[:])
	return err == nil && answer[0] == question
}

// hog asks a question whose answer is held back, so that its connection keeps its slot.
func (h *hall) hog(pid int32) net.Conn {
	conn := h.connect(pid)
	go ask(conn, 'h', time.Hour)
	synctest.Wait()
	return conn
}

func (h *hall) open(served, waiting int) {
	h.t.Helper()
	synctest.Wait()
	if s, w, _ := h.Count(); s != served || w != waiting {
		h.t.Errorf("%d connections have slots and %d wait, want %d and %d", s, w, served, waiting)
	}
}

// Many more clients than there are slots, over connections that a web server opens for each question: all are answered.
func TestConnectionsWait(t *testing.T) {
	spec.Rules(t, "ANS-5")
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		var answered atomic.Int32
		var clients sync.WaitGroup
		for range 300 {
			clients.Go(func() {
				conn := h.connect(1)
				defer conn.Close()
				if ask(conn, 'x', time.Second) {
					answered.Add(1)
				}
			})
		}
		clients.Wait()
		if n := answered.Load(); n != 300 {
			t.Errorf("%d of 300 questions were answered", n)
		}
		h.open(0, 0)
		h.shut()
		if len(h.reported) > 0 {
			t.Errorf("reported %q, want nothing", h.reported)
		}
	})
}

// The same over connections that are kept: each gives way once it was answered, and is not closed with a question in
// it.
func TestAnsweredConnectionsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		for range 300 {
			if conn := h.connect(1); !ask(conn, 'x', time.Second) {
				t.Fatal("a question was not answered while the others asked nothing")
			}
		}
		h.shut()
	})
}

// A process that fills its slots with questions that take long leaves room for another one, which is served
// immediately; and whatever it has waiting, the other one has its turn first.
func TestNobodyHoldsAllSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		for range 100 {
			h.hog(1)
		}
		h.open(6, 94)
		for range 2 {
			if conn := h.connect(2); !ask(conn, 'x', time.Millisecond) {
				t.Error("another process was not answered immediately")
			} else {
				conn.Close()
			}
			synctest.Wait()
		}
		h.hog(2)
		h.hog(2)
		h.hog(2)
		h.open(8, 95)
		before := *h.hold.Load()
		after := make(chan struct{})
		h.hold.Store(&after) // questions answered from now on are held back again
		close(before)
		synctest.Wait()
		third := h.connect(3)
		if !ask(third, 'x', time.Millisecond) {
			t.Error("a third process has no turn while two others fill all slots")
		}
		close(after)
		h.shut()
	})
}

// Connections that never ask anything keep nobody waiting for more than a second, though they be of many processes.
func TestQuietConnectionsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		for pid := range int32(20) {
			h.connect(100 + pid)
		}
		h.open(8, 12)
		begin := time.Now()
		if !ask(h.connect(1), 'x', time.Minute) {
			t.Error("not answered")
		}
		if took := time.Since(begin); took > 2500*time.Millisecond {
			t.Errorf("answered after %v, want within two turns of a second", took)
		}
		h.shut()
	})
}

// Connections that have not asked anything have no slot, and so stand before nobody, whoever's they are; they stay
// open.
func TestSilentConnectionsHaveNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 4)
		var asks sync.Map // channels of net.Conn
		h.Await = func(conn net.Conn) {
			first, _ := asks.LoadOrStore(conn, make(chan struct{}))
			<-first.(chan struct{})
		}
		connect := func() (mine net.Conn, speak func()) {
			mine, its := net.Pipe()
			h.peers.Store(its, int32(1))
			first := make(chan struct{})
			asks.Store(its, first)
			h.door <- its
			return mine, sync.OnceFunc(func() { close(first) })
		}
		patient, speak := connect()
		var speakers []func()
		for range 300 {
			_, speak := connect()
			speakers = append(speakers, speak)
		}
		h.open(0, 0)
		for range 20 {
			mine, speak := connect()
			speak()
			if !ask(mine, 'x', time.Millisecond) {
				t.Error("not answered immediately")
			}
		}
		time.Sleep(time.Hour)
		speak()
		if !ask(patient, 'x', time.Millisecond) {
			t.Error("a connection that was silent for an hour is not answered immediately")
		}
		for range 2000 {
			_, speak := connect()
			speakers = append(speakers, speak)
		}
		synctest.Wait()
		if _, _, silent := h.Count(); silent != 1024 {
			t.Errorf("%d silent connections are open, want 1024", silent)
		}
		if !ask(patient, 'x', time.Millisecond) {
			t.Error("lost its slot to silent connections")
		}
		for _, speak := range speakers {
			speak()
		}
		h.shut()
	})
}

// A process whose connection has been quiet for a moment only keeps it while another one, which holds more, wants still
// more.
func TestShortPausesKeepTheirSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		conn := h.connect(2)
		if !ask(conn, 'x', time.Second) {
			t.Fatal("not answered")
		}
		for range 100 {
			h.hog(1)
		}
		h.open(7, 94)
		for i := range 20 {
			time.Sleep(100 * time.Millisecond)
			if !ask(conn, 'x', time.Millisecond) {
				t.Fatalf("question %d was not answered", i)
			}
		}
		close(*h.hold.Load())
		h.shut()
	})
}

// Callers who ask all the time over a connection that they keep, each a process of its own, are more than there are
// slots: all have their turns, and so has one who comes later.
func TestManyProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 8)
		var answered [100]int
		end := time.Now().Add(2 * time.Second)
		var flood sync.WaitGroup
		for n := range answered {
			flood.Go(func() {
				for time.Now().Before(end) {
					conn := h.connect(100 + int32(n))
					for time.Now().Before(end) && ask(conn, 's', time.Second) {
						answered[n]++
					}
					conn.Close()
				}
			})
		}
		time.Sleep(time.Second)
		for range 10 {
			conn := h.connect(1)
			begin := time.Now()
			if !ask(conn, 's', time.Second) {
				t.Fatal("not answered")
			}
			if took := time.Since(begin); took > 50*time.Millisecond {
				t.Errorf("answered after %v beside 100 questions of a millisecond, 8 at a time", took)
			}
			conn.Close()
		}
		flood.Wait()
		if least, most := slices.Min(answered[:]), slices.Max(answered[:]); least < 50 || most > 500 {
			t.Errorf("one process had %d answers and another %d, want about 160 each", least, most)
		}
		h.shut()
	})
}

// Whoever does not take an answer loses the slot while others wait, and no sooner.
func TestAnswerNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 1)
		deaf := h.connect(1)
		deaf.Write([]byte("x"))
		time.Sleep(time.Hour)
		h.open(1, 0)
		if !ask(h.connect(2), 'x', 100*time.Millisecond) {
			t.Error("not answered behind an answer that nobody takes")
		}
		h.shut()
		if len(h.reported) != 1 || !strings.Contains(h.reported[0], "was not taken") {
			t.Errorf("reported %q", h.reported)
		}
	})
}

// So many wait and no more, each only for a while; those over it are refused at the cost of whoever has most of them
// waiting.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 4)
		for range 3 {
			h.hog(1)
		}
		h.hog(2)
		patient := h.connect(2)
		for range 3000 {
			h.connect(1)
		}
		h.open(4, 1024)
		patient.SetDeadline(time.Now().Add(time.Millisecond))
		if _, err := patient.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			t.Error("refused at the cost of a process that had one connection waiting")
		}
		time.Sleep(4 * time.Second)
		h.open(4, 0)
		patient.SetDeadline(time.Now().Add(time.Millisecond))
		if _, err := patient.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("still waiting after 4 s (%v)", err)
		}
		close(*h.hold.Load())
		h.shut()
		if n := len(h.reported); n != 3001 {
			t.Errorf("%d refused connections were reported, want 3001", n)
		}
	})
}

// Who may ask is asked again when that changes: connections that are open, and those that wait.
func TestReadmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 4)
		var dropped atomic.Int32
		h.Admit = func(p agent.Peer) error {
			if p.PID == dropped.Load() {
				return errors.New("no longer")
			}
			return nil
		}
		stays, goes := h.connect(1), h.connect(2)
		if !ask(stays, 'x', time.Second) || !ask(goes, 'x', time.Second) {
			t.Fatal("not answered")
		}
		var more []net.Conn
		for range 5 {
			more = append(more, h.hog(2))
		}
		dropped.Store(2)
		h.Readmit()
		synctest.Wait()
		if ask(goes, 'x', time.Second) {
			t.Error("answered after the process was dropped")
		}
		if !ask(stays, 'x', time.Second) {
			t.Error("the other process lost its connection")
		}
		close(*h.hold.Load())
		synctest.Wait()
		for i, conn := range more {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("connection %d of the dropped process: %v, want its end", i, err)
			}
		}
		h.open(1, 0)
		h.shut()
	})
}

// The daemon's own connections are served whatever the limit is, and not counted.
func TestOwnConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHall(t, 1)
		h.Own = func(p agent.Peer) bool { return p.PID == 42 }
		h.hog(1)
		for range 3 {
			if !ask(h.connect(42), 'x', time.Millisecond) {
				t.Error("not answered")
			}
		}
		h.open(1, 0)
		close(*h.hold.Load())
		h.shut()
	})
}

// failing is a listener that is out of file descriptors at first.
type failing struct {
	net.Listener
	fails int
}

type outOfFiles struct{ error }

func (outOfFiles) Temporary() bool { return true }

func (f *failing) Accept() (net.Conn, error) {
	if f.fails > 0 {
		f.fails--
		return nil, outOfFiles{errors.New("out of files")}
	}
	return nil, net.ErrClosed
}

// Running out of file descriptors is survived, without a loop that does nothing else.
func TestOutOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := 0
		s := agent.Server{Report: func(error) { reports++ }}
		begin := time.Now()
		if err := s.Serve(&failing{fails: 20}); err != nil {
			t.Errorf("Serve returned %v", err)
		}
		synctest.Wait()
		if took := time.Since(begin); took != 2*time.Second || reports != 20 {
			t.Errorf("20 failures took %v and %d were reported, want 2s and 20", took, reports)
		}
	})
}
