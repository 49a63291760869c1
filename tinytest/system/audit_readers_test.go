package system_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tally is what the lines of one stream of records account for.
type tally struct {
	kept, dropped uint64
	decided       map[string]uint64 // kept, by decision
	lines         int
	head          string // of the last line
}

// add takes one line.
func (a *tally) add(t *testing.T, line []byte) {
	t.Helper()
	var r struct {
		Audit           int
		Event, Decision string
		Count           uint64
		Chain           string
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Audit != 1 {
		t.Errorf("%v: %s", err, line)
	}
	a.lines++
	a.head = r.Chain
	switch r.Event {
	case "":
		a.kept += max(r.Count, 1)
		if a.decided == nil {
			a.decided = map[string]uint64{}
		}
		a.decided[r.Decision] += max(r.Count, 1)
	case "dropped", "missed":
		a.dropped += r.Count
	}
}

// syslogServer takes messages over TCP, or accepts connections and never reads, as it is told.
type syslogServer struct {
	net.Listener
	t     *testing.T
	mu    sync.Mutex
	moved *sync.Cond
	stuck bool
	open  int // connections
	got   strings.Builder
	all   tally
}

// startSyslog starts a syslog server.
func startSyslog(t *testing.T) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &syslogServer{Listener: l, t: t}
	s.moved = sync.NewCond(&s.mu)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open++
			s.mu.Unlock()
			go s.read(conn)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		s.stick(false)
	})
	return s
}

// read reads the messages of a connection (RFC 6587 §3.4.1). One that is cut off at its end was not taken, by the
// daemon's own account, and comes again over the next.
func (s *syslogServer) read(conn net.Conn) {
	defer conn.Close()
	chunk := make([]byte, 64<<10)
	var rest []byte
	for {
		s.mu.Lock()
		for s.stuck {
			s.moved.Wait()
		}
		s.mu.Unlock()
		n, err := conn.Read(chunk)
		s.mu.Lock()
		s.got.Write(chunk[:n])
		rest = append(rest, chunk[:n]...)
		for {
			length, after, found := bytes.Cut(rest, []byte(" "))
			size, wrong := strconv.Atoi(string(length))
			if found && wrong != nil {
				s.t.Errorf("not a length: %.100q", rest)
				err = wrong
			}
			if !found || err != nil || size > len(after) {
				break
			}
			rest = after[size:]
			if _, record, found := bytes.Cut(after[:size], []byte(" - {")); found {
				s.all.add(s.t, append([]byte("{"), record...))
			} else {
				s.t.Errorf("no record in %q", after[:size])
			}
		}
		if err != nil {
			s.open--
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

func (s *syslogServer) stick(stuck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
	s.moved.Broadcast()
}

// text is all that was received.
func (s *syslogServer) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// tally is what the messages so far account for, and whether more may come.
func (s *syslogServer) tally() (all tally, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.open > 0
}

// watcher reads GET /watch.
type watcher struct {
	mu    sync.Mutex
	all   tally
	text  strings.Builder
	ended chan struct{}
}

func (b *box) watch(query string) *watcher {
	b.t.Helper()
	conn, err := net.Dial("unix", b.Admin())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /watch?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		b.t.Fatalf("%+v, %v", r, err)
	}
	w := &watcher{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for in := bufio.NewReader(r.Body); ; {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			w.mu.Lock()
			w.text.Write(line)
			w.all.add(b.t, line)
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *watcher) printed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watcher) tally() tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}
