//go:build linux

package load

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMain(m *testing.M) {
	EchoIfAsked()
	os.Exit(m.Run())
}

// The echo is asked over each kind of socket, each client gets its answers, and a table has 80 columns.
func TestCompare(t *testing.T) {
	for _, network := range []string{"unixpacket", "unix"} {
		echo, err := StartEcho(network, filepath.Join(t.TempDir(), "s"), 200)
		if err != nil {
			t.Fatal(err)
		}
		defer echo.Stop()
		question := "decide 1\n"
		if network == "unix" {
			question = "GET / HTTP/1.1\r\nHost: echo\r\n\r\n"
		}
		floor := echo.Target(question)
		o := Options{Clients: 3, Rounds: 2, Each: time.Millisecond}
		results, err := Compare(o, floor, floor)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			ok := r.Answers >= o.Clients*o.Rounds && r.Median > 0 && r.P99 >= r.Median && r.PerSecond > 0
			if r.Reads < 1 || r.Writes < 1 {
				t.Errorf("%s: got %g reads and %g writes each, want at least one of either", network, r.Reads, r.Writes)
			}
			if !ok || r.CPU <= 0 || math.IsNaN(r.CPU) {
				t.Errorf("%s: got %+v, want figures of %d answers or more", network, r, o.Clients*o.Rounds)
			}
		}
		if first := results[0].Times; first != (Figures{1, 1, 1, 1, 1, 1}) {
			t.Errorf("%s: the first is %v times itself, want 1 of each", network, first)
		}
		var table strings.Builder
		Print(&table, "two cores, 16 clients", results)
		for line := range strings.Lines(table.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("a line of %d columns, want 80 at most: %q", n, line)
			}
		}
		floor.Want = "something else"
		if _, err = Compare(o, floor); err == nil || !strings.Contains(err.Error(), `want "something else"`) {
			t.Errorf("%s: a wrong answer: got %v, want an error that says so", network, err)
		}
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		response string
		whole    bool
	}{
		{"HTTP/1.1 204 No Content\r\n\r\n", true},
		{"HTTP/1.1 204 No Content\r\nDate: now\r\n", false},
		{"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false},
		{"HTTP/1.1 200 OK\r\nContent-Length:0\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
	} {
		if got := complete([]byte(c.response)); got != c.whole {
			t.Errorf("%q: got %t, want %t", c.response, got, c.whole)
		}
	}
}

// What allocates is counted, and the first is compared with itself.
func TestMeasure(t *testing.T) {
	var kept []byte
	costs := Measure(3, time.Millisecond,
		Work{"nothing", func() {}}, Work{"an allocation", func() { kept = make([]byte, 1<<10) }})
	if costs[0].Times != 1 || costs[1].Nanos <= 0 || costs[1].Allocs < 0.99 || len(kept) == 0 {
		t.Errorf("got %+v, want the second to allocate once", costs)
	}
}

func TestRatio(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 0.996: "1.00", 7.058: "7.06", 82.02: "82.0",
		582.02: "582", 1234: "1234"} {
		if got := ratio(x); got != want {
			t.Errorf("%g: got %q, want %q", x, got, want)
		}
	}
}
