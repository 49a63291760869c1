package webserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

const (
	flooders  = 300
	floodTime = time.Second // of a test
	soakTime  = time.Second // of "make soak", in each round
	rounds    = 3
)

// floods are what the flooders send: requests that are refused, and cost the daemon as much as they can.
var floods = []struct {
	name    string
	request func(r *rig) func() request
}{
	{"no-token", func(*rig) func() request { return func() request { return get(self) } }},
	{"forged", func(r *rig) func() request {
		good := r.good()
		at := strings.LastIndexByte(good, '.') + 1
		return func() request { // another signature each time
			return get(self).bearing(good[:at] + fmt.Sprintf("%016x", rand.Uint64()) + good[at+16:])
		}
	}},
}

// While 300 clients send nothing but requests that are refused, a client with a known good token gets its answers: no
// 503, and no client anything wrong. How long it takes is for "make soak" to show: a test of this would say how busy
// the machine is.
func TestFlood(t *testing.T) {
	spec.Rules(t, "ANS-5")
	for _, one := range fronts {
		for _, f := range floods {
			t.Run(one.name+"/"+f.name, func(t *testing.T) {
				r := newRigWith(t)
				b := r.flood(t, one.start(t, r).addr, r.good(), f.request(r), floodTime)
				t.Log(b)
				b.check(t)
			})
		}
	}
}

// The same for longer, beside the same web server with a bare responder in the daemon's place: a table.
func TestSoakFloods(t *testing.T) {
	if os.Getenv("NMOS_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	for _, one := range fronts {
		for _, f := range floods {
			t.Run(one.name+"/"+f.name, func(t *testing.T) {
				r := newRigWith(t)
				known := r.good()
				first := one.start(t, r)
				r.http = bareResponder(t, known)
				second := one.start(t, r)
				var ours, bare burst
				for range rounds { // in turns, since other things run on a machine, too
					ours.add(r.flood(t, first.addr, known, f.request(r), soakTime))
					bare.add(r.flood(t, second.addr, known, f.request(r), soakTime))
				}
				ours.check(t)
				t.Logf("FIGURES %-8s %-8s daemon: %v | bare responder: %v | ratio of medians %.1f (goal: at most 3)",
					one.name, f.name, ours, bare, float64(ours.median())/float64(bare.median()))
			})
		}
	}
}

// burst is what came of a flood.
type burst struct {
	times []time.Duration // of the client with the known token
	known map[int]int     // its answers by status; 0: none at all
	flood map[int]int     // those of the others
}

func (b *burst) add(more burst) {
	if b.known == nil {
		*b = burst{known: map[int]int{}, flood: map[int]int{}}
	}
	b.times = append(b.times, more.times...)
	for status, n := range more.known {
		b.known[status] += n
	}
	for status, n := range more.flood {
		b.flood[status] += n
	}
}

func (b burst) median() time.Duration {
	sorted := slices.Sorted(slices.Values(b.times))
	return sorted[len(sorted)/2]
}

func (b burst) String() string {
	total := 0
	for _, n := range b.flood {
		total += n
	}
	return fmt.Sprintf("known token %v, median %v, worst %v; flood %d answers", b.known,
		b.median().Round(100*time.Microsecond), slices.Max(b.times).Round(100*time.Microsecond), total)
}

// check asserts counts, never times.
func (b burst) check(t *testing.T) {
	t.Helper()
	if len(b.known) != 1 || b.known[http.StatusOK] == 0 {
		t.Errorf("the known token got %v, want 200 alone", b.known)
	}
	for _, status := range slices.Sorted(maps.Keys(b.flood)) {
		if status != http.StatusUnauthorized {
			t.Errorf("the flood got %d times %d, want 401 alone", b.flood[status], status)
		}
	}
}

// flood has 300 clients send such requests for a while, each over a connection that it keeps, and another one ask with
// a token that is known, over a new connection each time.
func (r *rig) flood(t *testing.T, addr, token string, request func() request, lasts time.Duration) burst {
	t.Helper()
	known := get(self).bearing(token)
	if a := r.send(addr, known, t); a.status != http.StatusOK {
		t.Fatalf("before the flood: %s", a.shown())
	}
	b := burst{known: map[int]int{}, flood: map[int]int{}}
	var mu sync.Mutex
	var clients sync.WaitGroup
	end := time.Now().Add(lasts)
	for range flooders {
		clients.Go(func() {
			mine := map[int]int{}
			for client := (keeper{addr: addr}); time.Now().Before(end); {
				mine[client.send(request())]++
			}
			mu.Lock()
			defer mu.Unlock()
			for status, n := range mine {
				b.flood[status] += n
			}
		})
	}
	time.Sleep(lasts / 10) // for the flood to rise
	for len(b.times) == 0 || time.Now().Before(end) {
		begin := time.Now()
		a, err := exchange(addr, known)
		if err != nil {
			a.status = 0
		}
		b.known[a.status]++
		b.times = append(b.times, time.Since(begin))
		time.Sleep(10 * time.Millisecond)
	}
	clients.Wait()
	r.take()
	return b
}

// keeper is a client that keeps its connection.
type keeper struct {
	addr string
	conn net.Conn
	from *bufio.Reader
}

// send returns the status of the answer; 0 is none at all.
func (k *keeper) send(q request) int {
	for range 2 { // a web server ends a connection that was used often enough
		kept := k.conn != nil
		status, err := k.try(q)
		if err == nil {
			return status
		}
		if k.conn != nil {
			k.conn.Close()
			k.conn = nil
		}
		if timeout := net.Error(nil); !kept || errors.As(err, &timeout) && timeout.Timeout() {
			return 0
		}
	}
	return 0
}

func (k *keeper) try(q request) (status int, err error) {
	if k.conn == nil {
		if k.conn, err = net.Dial("tcp", k.addr); err != nil {
			return 0, err
		}
		k.from = bufio.NewReader(k.conn)
	}
	k.conn.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(k.conn, strings.Replace(q.bytes(), "Connection: close\r\n", "", 1)); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(k.from, &http.Request{Method: q.method})
	if err != nil {
		return 0, err
	}
	if _, err = io.Copy(io.Discard, answer.Body); err != nil {
		return 0, err
	}
	if answer.Close {
		k.conn.Close()
		k.conn = nil
	}
	return answer.StatusCode, nil
}

// bareResponder starts a process that answers in the daemon's place, and returns its socket.
func bareResponder(t *testing.T, known string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nmos-") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // a web server's workers may have a user of their own
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "bare.sock")
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), bareSocket+"="+socket, bareToken+"="+known)
	command.SysProcAttr = &ofItsOwn
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	eventually(t, "the bare responder", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return socket
}

// What tells a test's program that it is the bare responder.
const (
	bareSocket = "NMOS_BARE_SOCKET"
	bareToken  = "NMOS_BARE_TOKEN"
)

// respondBare answers without looking at more than whether the token is the known one.
func respondBare(socket, known string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h := w.Header()
		if q.Header.Get("Authorization") == "Bearer "+known {
			h.Set("X-Auth-Reason", "ok")
			h.Set("X-Auth-Path", self)
			return
		}
		h.Set("X-Auth-Reason", "no-token")
		h.Set("X-Auth-Error", "the request carries no token")
		h.Set("WWW-Authenticate", `Bearer realm="node-1.example.com"`)
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"code":401,"error":"the request carries no token","debug":"no-token"}`+"\n")
	}))
}
