package fire_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// A flood comes from several processes over several connections each.
const (
	flooders    = 3
	connections = 8
)

// memoryMax is MemoryMax= of the service file as shipped, in KiB.
const memoryMax = 96 << 10

// retryInterval is the configuration's default: tokens cause one fetch in each at most (KEY-6).
const retryInterval = 30 * time.Second

// attack is a kind of flood.
type attack struct {
	name    string
	http    bool
	keys    int    // of 4096 bits that are published beside the signer's
	unnamed bool   // the forged tokens have no kid
	answers string // that the forged tokens may get
}

var attacks = []attack{
	{name: "authz.sock, 1 key", answers: "401 signature"},
	{name: "authz.sock, no kid, 64 keys", keys: 63, unnamed: true, answers: "401 signature|503 keys-pending"},
	{name: "http.sock, 1 key", http: true, answers: "401 signature"},
	{name: "http.sock, no kid, 64 keys", http: true, keys: 63, unnamed: true,
		answers: "401 signature|503 keys-pending"},
}

// Several callers send forged tokens as fast as they can. A controller with a known token gets nothing but its answer,
// the forged tokens nothing but theirs, a new good token is let in, the server is asked no more than KEY-6 allows, and
// memory stays under its limit. "make soak" prints how long the controller waits, beside a bare echo under the same
// load, on one processor and on all.
func TestFlood(t *testing.T) {
	spec.Rules(t, "ANS-5", "KEY-6")
	places := []string{""}
	rounds, lasts := 1, 300*time.Millisecond
	if soaking() {
		places = []string{firstCPU(t), ""}
		rounds, lasts = 3, time.Second
	}
	t.Logf("FIGURES %-28s %4s %6s %6s %6s %6s | %-6s %6s", "known token under a flood", "CPUs",
		"quiet", "flood", "p50", "p99", "echo: p50", "p99")
	peak, asked := 0, 0
	for _, cpus := range places {
		for _, a := range attacks {
			processors := 1
			if cpus == "" {
				processors = runtime.NumCPU()
			}
			t.Run(fmt.Sprintf("on %d/%s", processors, a.name), func(t *testing.T) {
				ours, bare, most, fetches := a.run(t, cpus, rounds, lasts)
				peak, asked = max(peak, most), max(asked, fetches)
				t.Logf("FIGURES %-28s %4d %4dus %4dus %5.1fx %5.1fx | %8.1fx %5.1fx", a.name, processors,
					quantile(ours.quiet, .5).Microseconds(), quantile(ours.loud, .5).Microseconds(),
					ours.times(.5), ours.times(.99), bare.times(.5), bare.times(.99))
			})
		}
	}
	t.Logf("FIGURES the daemon's memory: %d kB at most (MemoryMax=: %d)", peak, memoryMax)
	t.Logf("FIGURES its server was asked for keys %d times at most", asked)
}

// firstCPU is a processor that this process may run on.
func firstCPU(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "Cpus_allowed_list:")
	list, _, _ = strings.Cut(strings.TrimSpace(list), "\n")
	return list[:strings.IndexAny(list+",", ",-")]
}

// waits is how long a controller waited.
type waits struct{ quiet, loud []time.Duration }

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[int(q*float64(len(sorted)-1))]
}

// times is how many times as long a quantile was under the flood.
func (w waits) times(q float64) float64 {
	return float64(quantile(w.loud, q)) / float64(quantile(w.quiet, q))
}

func (a attack) run(t *testing.T, cpus string, rounds int, lasts time.Duration) (ours, bare waits, peak, asked int) {
	server := newServer(t, authserver.Options{})
	published := []mint.JWK{server.Signer().JWK()}
	for i := range a.keys {
		published = append(published, mint.FakeJWK(fmt.Sprint("large-", i), 4096))
	}
	server.SetJWKS(mint.JWKSOf(published...))
	dir := newDir(t)
	config := trusting(server)
	config.More = ""
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	d := start(t, dir, pinned(cpus, program))
	if !givesWay(t, d.PID()) {
		t.Error("got no thread of a lower priority for verifications, want one at least")
	}
	began := time.Now()
	good := part{Socket: dir.Authz(), Token: server.Token(mint.Options{}).Sign(), Lasts: lasts}
	eventually(t, "the keys", func() bool { return askOnce(t, good) == "200 ok" })

	forged := server.Token(mint.Options{Subject: "forger"})
	if a.unnamed {
		forged.Header.Delete("kid")
	}
	lies := part{Socket: dir.Authz(), Connections: connections}
	if lies.Token = forged.Sign(); a.keys > 0 {
		lies.Token = longer(lies.Token)
	}
	echoSocket := filepath.Join(dir.Path(), "echo.sock")
	if a.http {
		good.Socket, lies.Socket = dir.HTTP(), dir.HTTP()
		good.HTTP, lies.HTTP = true, true
	}
	act(t, cpus, "echo", part{Socket: echoSocket, HTTP: a.http})
	eventually(t, "the echo", func() bool { _, err := os.Stat(echoSocket); return err == nil })

	for range rounds {
		for _, socket := range []string{good.Socket, echoSocket} {
			good, lies := good, lies
			good.Socket, lies.Socket = socket, socket
			w := &ours
			if socket == echoSocket {
				w = &bare
			}
			w.quiet = append(w.quiet, a.known(t, act(t, cpus, "controller", good))...)
			var floods []*actor
			for range flooders {
				floods = append(floods, act(t, cpus, "flood", lies))
			}
			w.loud = append(w.loud, a.known(t, act(t, cpus, "controller", good))...)
			if socket == good.Socket && socket != echoSocket {
				fresh := good
				fresh.Token = server.Token(mint.Options{Subject: fmt.Sprint("user-", time.Now().UnixNano())}).Sign()
				if answer := askOnce(t, fresh); answer != "200 ok" {
					t.Errorf("a new good token: got %s, want 200 ok", answer)
				}
			}
			for _, f := range floods {
				var r report
				f.end(&r)
				for answer, n := range r.Answers {
					if socket != echoSocket && !strings.Contains("|"+a.answers+"|", "|"+answer+"|") {
						t.Errorf("the forged tokens: got %d times %s, want %s", n, answer, a.answers)
					}
				}
			}
		}
	}
	most := 2 + int(time.Since(began)/retryInterval)
	if asked = server.Requests(authserver.PathJWKS); asked > most {
		t.Errorf("the server was asked %d times for its keys, want at most %d (KEY-6)", asked, most)
	}
	if peak = memory(t, d.PID(), "VmHWM"); peak > memoryMax {
		t.Errorf("the daemon took %d KiB, want at most %d (MemoryMax=)", peak, memoryMax)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	return ours, bare, peak, asked
}

// givesWay reports whether some thread of a process is nicer than its first.
func givesWay(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	nice := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			return ""
		}
		_, rest, _ := strings.Cut(string(text), ") ") // proc_pid_stat(5): field 3 is the first of the rest
		return append(strings.Fields(rest), make([]string, 17)...)[16]
	}
	first := nice(fmt.Sprintf("/proc/%d/stat", pid))
	return slices.ContainsFunc(tasks, func(file string) bool { n := nice(file); return n != "" && n != first })
}

// known is what a controller reports, which must have been allowed each time.
func (a attack) known(t *testing.T, controller *actor) []time.Duration {
	t.Helper()
	var r report
	controller.end(&r)
	if len(r.Answers) != 1 || r.Answers["200 ok"] == 0 {
		t.Errorf("the known token: got %v, want 200 ok alone", r.Answers)
	}
	return r.Times
}

// longer is a token whose signature has the length of those of 4096 bits.
func longer(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	signature := token[at:]
	signature = signature[:340] // whole groups: 255 bytes
	return token[:at] + (signature + signature + "AAAA")[:682] + "A"
}

func askOnce(t *testing.T, p part) string {
	t.Helper()
	c, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	question, _ := p.question()
	answer, err := c.ask(question)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}
