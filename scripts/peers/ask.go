package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// asker asks over one connection, a question at a time.
type asker struct {
	s    *server
	conn net.Conn
	buf  []byte
	head []byte
}

func (s *server) dial() (*asker, error) {
	conn, err := net.Dial(s.network, s.address)
	return &asker{s: s, conn: conn, buf: make([]byte, 64<<10)}, err
}

// ask returns the answer, which is valid until the next question.
func (a *asker) ask(question []byte) ([]byte, error) {
	a.conn.SetDeadline(time.Now().Add(patience))
	if _, err := a.conn.Write(question); err != nil {
		return nil, err
	}
	n := 0
	for want := 0; ; {
		more, err := a.conn.Read(a.buf[n:])
		if err != nil {
			return a.buf[:n], err
		}
		n += more
		if a.s.network == "unixpacket" {
			return a.buf[:n], nil
		}
		if want == 0 {
			if want, err = length(a.buf[:n]); err != nil {
				return a.buf[:n], err
			}
		}
		if want > 0 && n >= want {
			return a.buf[:n], nil
		}
	}
}

// length returns how long an HTTP answer is, or 0 if its head is not whole.
func length(b []byte) (int, error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return 0, nil
	}
	for line := range bytes.SplitSeq(b[:head], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return head + 4 + n, err
		case bytes.EqualFold(name, []byte("Transfer-Encoding")): // in one piece, as short bodies come
			if bytes.HasSuffix(b, []byte("\r\n0\r\n\r\n")) || bytes.HasSuffix(b, []byte("\r\n\r\n0\r\n\r\n")) {
				return len(b), nil
			}
			return 0, nil
		}
	}
	return head + 4, nil
}

// askOnce asks over a connection of its own.
func askOnce(s *server, q question) ([]byte, error) {
	a, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer a.conn.Close()
	return a.ask(s.ask(q))
}

// figures are what was measured of a server, over all rounds.
type figures struct {
	latencies []time.Duration // one caller
	asked     int             // four callers
	took, cpu time.Duration
	resident  int64
}

// callers is how many ask concurrently for the throughput.
const callers = 4

// round asks for a span with one caller, and for another with several.
func (w *world) round(s *server, span time.Duration, f *figures) error {
	questions := w.questions(s)
	latencies, err := s.load(questions, span, 0)
	if err != nil {
		return err
	}
	f.latencies = append(f.latencies, latencies...)
	before, began := cpuOf(s.pids()), time.Now()
	var all sync.WaitGroup
	var counts [callers]int
	var errs [callers]error
	for i := range callers {
		all.Go(func() {
			latencies, err := s.load(questions, span, i*len(questions)/callers)
			counts[i], errs[i] = len(latencies), err
		})
	}
	all.Wait()
	f.took += time.Since(began)
	f.cpu += cpuOf(s.pids()) - before
	for i := range callers {
		f.asked += counts[i]
		if errs[i] != nil {
			return errs[i]
		}
	}
	return nil
}

// senders is what all ask for.
const senders = "/x-nmos/connection/v1.1/single/senders/6f3a0000-0000-4000-8000-000000000001/active"

func (w *world) questions(s *server) (all [][]byte) {
	tokens := w.tokens
	if s.fresh {
		tokens = w.fresh
	}
	for _, token := range tokens {
		all = append(all, s.ask(question{"GET", senders, token}))
	}
	return all
}

// load asks one question after the other for a span, and returns how long each took. An answer that denies is an error.
func (s *server) load(questions [][]byte, span time.Duration, from int) (latencies []time.Duration, err error) {
	a, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer a.conn.Close()
	for began, n := time.Now(), from; ; n++ {
		asked := time.Now()
		if asked.Sub(began) >= span {
			return latencies, nil
		}
		reply, err := a.ask(questions[n%len(questions)])
		if err != nil {
			return nil, fmt.Errorf("%s: %w after %q", s.name, err, reply)
		}
		if !s.allows(reply) {
			return nil, fmt.Errorf("%s: a good token got %q", s.name, reply)
		}
		latencies = append(latencies, time.Since(asked))
	}
}

// quantile returns a quantile of sorted durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (f *figures) quantiles() (p50, p99 time.Duration) {
	slices.Sort(f.latencies)
	return quantile(f.latencies, 0.5), quantile(f.latencies, 0.99)
}

func (f *figures) perSecond() float64 { return float64(f.asked) / f.took.Seconds() }

func (f *figures) each() time.Duration { return f.cpu / time.Duration(max(1, f.asked)) }

// cpuOf returns the processor time that processes have used.
func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(after)
		for _, i := range []int{11, 12} { // utime and stime, in hundredths of a second
			if i < len(fields) {
				n, _ := strconv.Atoi(fields[i])
				sum += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	return sum
}

// residentOf returns the resident memory of processes, in bytes. What they share counts once for each.
func residentOf(pids []int) (sum int64) {
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, _ := strings.Cut(string(text), "\nVmRSS:")
		if fields := strings.Fields(after); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			sum += n << 10
		}
	}
	return sum
}

func children(pid int) (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(field)
		pids = append(pids, n)
	}
	return pids
}

// quoted is a JSON string.
func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
