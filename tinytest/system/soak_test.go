package system_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// expectation is a question and the answers that it may get, each as "200 ok".
type expectation struct {
	q       question
	allowed string
}

func (e expectation) met(a answer) bool {
	return strings.Contains("|"+e.allowed+"|", "|"+a.String()+"|")
}

// What a bad day brings, all together: many callers, forged tokens, keys that come and go, a server that fails in
// between, and a configuration that is reread all the time. Each answer is right, and in the end nothing is left of it.
func TestBadDay(t *testing.T) {
	spec.Rules(t, "KEY-6", "KEY-7")
	t.Parallel()
	const callers, questions = 8, 2500
	const sane = 64 << 10 // KiB of memory: a bound for this test, the budget is the product's own
	server := newServer(t, authserver.Options{})
	server.AddKey(mint.CachedKey("key-2", 2048))
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	mix := badDay(t, b, server)
	before, idle := b.descriptors(), b.memory()

	stop := make(chan struct{})
	var others, asking sync.WaitGroup
	var forged, wrong atomic.Int64
	for range 2 {
		flooder, forge := newCaller(t, b.Dir), forger(server)
		others.Go(func() {
			defer flooder.packet.Close()
			for n := 0; !closed(stop); n++ {
				r, err := flooder.packet.Ask(get(senders).bearing(forge(fmt.Sprint("k-", n))).lines()...)
				if err != nil || r.Allowed() {
					t.Errorf("a forged token: %v, %v", r, err)
					return
				}
				forged.Add(1)
			}
		})
	}
	others.Go(func() { turnKeys(t, b, server, stop) })
	begin := time.Now()
	for n := range callers {
		c := newCaller(t, b.Dir)
		asking.Go(func() {
			defer c.http.CloseIdleConnections()
			defer c.packet.Close()
			for i := range questions {
				e := mix[(i*7+n)%len(mix)]
				a, err := c.try(e.q, n%4 == 3)
				if err != nil {
					t.Errorf("question %d: %v", i, err)
					return
				}
				if !e.met(a) && wrong.Add(1) < 10 {
					t.Errorf("%s %s: %v, want %s", e.q.method, e.q.target, a, e.allowed)
				}
			}
		})
	}
	asking.Wait()
	took := time.Since(begin)
	close(stop)
	others.Wait()

	most := 3 + int(time.Since(begin)/time.Second)
	if n := server.Requests(authserver.PathMetadata); n > most {
		t.Errorf("%d fetches within %v", n, took)
	}
	eventually(t, "the connections of that day to be gone", func() bool { return b.descriptors() <= before })
	busy := b.memory()
	t.Logf("%d questions and %d forged tokens in %v; memory %d KiB before, %d after (at most %d), %d descriptors",
		callers*questions, forged.Load(), took.Round(time.Millisecond), idle.resident, busy.resident, busy.peak,
		b.descriptors())
	if busy.peak > sane && !raceDetector {
		t.Errorf("the daemon has grown to %d KiB", busy.peak)
	}
	b.await(get(senders).bearing(another(server).Sign()), 200, "ok")
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
}

// badDay are the questions that are asked.
func badDay(t *testing.T, b *box, server *authserver.Server) []expectation {
	t.Helper()
	good := get(senders).bearing(everything(server).Sign())
	b.await(good, 200, "ok")
	comes := everything(server)
	comes.Key = mint.CachedKey("key-3", 2048) // see turnKeys
	comes.Header.Set("kid", "key-3")
	goes := everything(server)
	goes.Key = mint.CachedKey("key-2", 2048)
	goes.Header.Set("kid", "key-2")
	mix := []expectation{
		{good, "200 ok"},
		{get("/x-nmos"), "200 public"},
		{get(senders), "401 no-token"},
		{question{method: "PATCH", target: receiver, authorization: good.authorization}, "200 ok"},
		{get(senders).bearing(comes.Sign()), "200 ok|503 keys-pending|401 key-unknown"},
		{get(senders).bearing(goes.Sign()), "200 ok|401 key-unknown|503 keys-pending"},
		{get(senders).bearing(server.Token(mint.Options{Device: "node-2.example.com"}).Sign()), "403 audience"},
		{get(senders).bearing(server.Token(mint.Options{Now: time.Now().Add(-2 * time.Hour)}).Sign()),
			"401 token-expired"},
		{get(senders).bearing(unsigned(everything(server))), "401 signature"},
		{get(senders).bearing("a.b.c"), "401 token-malformed"},
		{get(senders + "//x"), "400 path-ambiguous"},
		{get("/x-nmos/connection/v1.1/" + strings.Repeat("a", 2_000)).bearing(good.authorization[7:]), "200 ok"},
		{get("/x-nmos/connection/v1.1/" + strings.Repeat("a", 20_000)).bearing(good.authorization[7:]),
			"400 path-too-long"},
		{question{method: "BREW", target: "/"}, "405 method"},
	}
	for range 200 { // more than are remembered
		mix = append(mix, expectation{get(senders).bearing(another(server).Sign()), "200 ok"})
	}
	return mix
}

// turnKeys lets keys come and go, the server fail, and the configuration be reread, over and over.
func turnKeys(t *testing.T, b *box, server *authserver.Server, stop <-chan struct{}) {
	second, third := mint.CachedKey("key-2", 2048), mint.CachedKey("key-3", 2048)
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for n := 0; !closed(stop); n++ {
		select {
		case <-stop:
		case <-tick.C:
		}
		switch n % 6 {
		case 0:
			server.AddKey(third)
		case 1:
			server.Misbehave(authserver.PathJWKS, authserver.Half)
		case 2:
			server.RemoveKey(second.KID)
		case 3:
			server.Behave()
		case 4:
			server.RemoveKey(third.KID)
		case 5:
			server.AddKey(second)
		}
		if err := b.Signal(syscall.SIGHUP); err != nil {
			t.Error(err)
			return
		}
	}
	server.Behave()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// try asks one of the sockets.
func (c *caller) try(q question, overHTTP bool) (answer, error) {
	if overHTTP {
		return tryHTTP(c.http, q)
	}
	r, err := c.packet.Ask(q.lines()...)
	return packetAnswer(r), err
}

// descriptors is how many files and sockets the daemon has open. Timers and the like, which it may open any time after
// its start, are left out.
func (b *box) descriptors() int {
	b.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", b.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.t.Skip(err)
	}
	open := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			open++
		}
	}
	return open
}

// memory is what the daemon occupies, in KiB.
type memory struct{ private, resident, peak int }

func (b *box) memory() (m memory) {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.PID()))
	if err != nil {
		b.t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "RssAnon":
			m.private, err = strconv.Atoi(number)
		case "VmRSS":
			m.resident, err = strconv.Atoi(number)
		case "VmHWM":
			m.peak, err = strconv.Atoi(number)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return m
}

// A caller that connects and goes, over and over, in every way to go, leaves nothing behind.
func TestConnectionsLeaveNothing(t *testing.T) {
	t.Parallel()
	b := start(t, trusting(t))
	b.want(get("/x-nmos"), 200, "public")
	before := b.descriptors()
	for n := range 300 {
		conn := dialPacket(t, b.Authz())
		switch n % 3 {
		case 0: // with a question under way
			fmt.Fprint(conn, "decide 1\nmethod=GET\ntarget=/\n")
		case 1: // by an empty packet
			if _, err := sendEmpty(conn); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		asker := firmware.NewAsker(b.Authz(), patience)
		if r, err := asker.Ask("ping 1"); err != nil || r.Verdict != firmware.Pong {
			t.Fatalf("%v, %v", r, err)
		}
		asker.Close()
	}
	eventually(t, "the descriptors to be closed", func() bool { return b.descriptors() <= before })
}
