package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// allowed is a record of a request that was served.
func allowed() Decision {
	return Decision{
		Time: 1_800_000_000_000_001, Clock: ClockSynchronised, UID: 1000, GID: 100, PID: 7, Question: wire.Decide,
		Reason: wire.OK, Method: []byte("GET"), Path: []byte("/x-nmos/connection/v1.1/single/senders"),
		Issuer: []byte("https://auth.example.com"), Subject: []byte("operator"), Client: []byte("controller-1"),
		JTI: []byte("17"), KeyID: []byte("key-1"), Cached: true,
	}
}

func deniedAt(path string) Decision {
	r := allowed()
	r.Reason, r.Path = wire.PathNotGranted, []byte(path)
	return r
}

// recorded returns the record of a decision.
func recorded(d Decision) *Record {
	r := new(Record)
	r.Set(0, &d)
	return r
}

// tape is a sink in memory that does as it is told.
type tape struct {
	name     string
	settings string
	most     int

	mu     sync.Mutex
	text   strings.Builder
	torn   int64
	err    error         // what Write returns
	short  int           // bytes that Write takes before it returns err
	stuck  chan struct{} // Write waits for it to be closed, whatever its context says
	ctx    context.Context
	opened int
	closed int
	wrote  chan struct{}
}

func newTape() *tape { return &tape{name: "tape", wrote: make(chan struct{}, 1)} }

func (t *tape) Name() string     { return t.name }
func (t *tape) Settings() string { return t.settings }
func (t *tape) MaxLine() int     { return t.most }

func (t *tape) Open(ctx context.Context) (Tail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened++
	t.ctx = ctx
	torn := t.torn
	if torn > 0 {
		torn++
	}
	return Tail{Resumed: torn == 0, Torn: torn}, nil
}

func (t *tape) Write(line []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stuck != nil {
		stuck := t.stuck
		t.mu.Unlock()
		<-stuck
		t.mu.Lock()
	}
	if t.err != nil {
		t.text.Write(line[:t.short])
		t.torn += int64(t.short)
		return t.err
	}
	if t.torn > 0 {
		t.text.WriteByte('\n')
		t.torn = 0
	}
	t.text.Write(line)
	signal(t.wrote)
	return nil
}

func (t *tape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed++
	return nil
}

func (t *tape) set(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

func (t *tape) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// lines parses the lines of a stream, each by encoding/json.
func lines(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, m)
	}
	return all
}

// sum adds up how many decisions the lines of a stream stand for, and how many they say were dropped.
func sum(t *testing.T, text string) (kept, dropped uint64) {
	t.Helper()
	for _, m := range lines(t, text) {
		n := uint64(1)
		if c, ok := m["count"].(float64); ok {
			n = uint64(c)
		}
		switch {
		case m["event"] == "dropped":
			dropped += n
		case m["event"] == nil:
			kept += n
		}
	}
	return kept, dropped
}

// exact fails unless the figures of every sink add up, at whatever moment they were taken.
func exact(t *testing.T, s Stats) {
	t.Helper()
	for _, f := range s.Sinks {
		if f.Kept+f.Dropped+f.Queued != f.Offered || f.Offered+s.Pending != s.Appended || f.Queued > f.Offered ||
			s.Pending > s.Appended {
			t.Errorf("%s: kept %d + dropped %d + queued %d, offered %d; pending %d, appended %d",
				f.Name, f.Kept, f.Dropped, f.Queued, f.Offered, s.Pending, s.Appended)
		}
	}
}

func options(sinks ...Sink) Options {
	return Options{Sinks: sinks, QueueBytes: 64 << 10, Repeat: 10 * time.Second, RingBytes: 64 << 10, Version: "test"}
}

func closeLog(l *Log) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l.Close(ctx)
}

// Every decision becomes a line that says what the issue asks for.
func TestRecord(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		l := New(options(out))
		r := allowed()
		if seq := l.Append(&r); seq != 1 {
			t.Errorf("the first record has number %d", seq)
		}
		d := deniedAt("/x-nmos/events/v1.0/sources/1/state")
		d.JTI, d.Digest, d.Question, d.Targets = nil, [16]byte{1, 2, 3}, wire.DecideAll, 3
		d.Answers = []wire.Answer{{Target: []byte("/a")}, {Target: []byte("/c=d"), Allowed: true},
			{Target: []byte("/b")}}
		d.UID, d.PID = -1, 0
		l.Append(&d)
		o := deniedAt("/x-nmos/query/v1.3/nodes")
		o.Reason, o.Enforced = wire.Observed, wire.APINotGranted
		l.Append(&o)
		closeLog(l)
		exact(t, l.Stats())
		got := lines(t, out.String())
		if len(got) != 5 || got[0]["event"] != "open" || got[4]["event"] != "close" {
			t.Fatalf("got %d lines, want 5 from open to close:\n%s", len(got), out)
		}
		for i, want := range []map[string]any{
			{"audit": 1, "seq": 1, "time": "2027-01-15T08:00:00.000001Z", "clock": "synchronised", "uid": 1000,
				"gid": 100, "pid": 7,
				"question": "decide", "method": "GET", "path": "/x-nmos/connection/v1.1/single/senders",
				"decision": "allow", "status": 200, "reason": "ok", "rule": "PATH-5",
				"issuer": "https://auth.example.com", "subject": "operator", "client": "controller-1", "jti": "17",
				"kid": "key-1", "cached": true, "line": 2},
			{"audit": 1, "seq": 2, "time": "2027-01-15T08:00:00.000001Z", "clock": "synchronised",
				"question": "decide-all", "method": "GET", "path": "/x-nmos/events/v1.0/sources/1/state", "targets": 3,
				"denied": []string{"/a", "/b"}, "permitted": []string{"/c=d"}, "decision": "deny", "status": 403,
				"reason": "path-not-granted", "rule": "PATH-5", "issuer": "https://auth.example.com",
				"subject": "operator", "client": "controller-1", "digest": "sha256:01020300000000000000000000000000",
				"kid": "key-1", "cached": true, "line": 3},
			{"audit": 1, "seq": 3, "time": "2027-01-15T08:00:00.000001Z", "clock": "synchronised", "uid": 1000,
				"gid": 100, "pid": 7,
				"question": "decide", "method": "GET", "path": "/x-nmos/query/v1.3/nodes", "decision": "allow",
				"status": 200, "reason": "observe", "rule": "OPS-3", "would": "api-not-granted", "would_status": 403,
				"issuer": "https://auth.example.com", "subject": "operator", "client": "controller-1",
				"jti": "17", "kid": "key-1", "cached": true, "line": 4},
		} {
			delete(got[i+1], "chain")
			if fmt.Sprint(got[i+1]) != fmt.Sprint(want) {
				t.Errorf("line %d is\n%v\nnot\n%v", i+1, got[i+1], want)
			}
		}
	})
}

// AppendBy allocates nothing, whether it queues, counts or drops.
func TestAppendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	for _, c := range []struct {
		name string
		of   func(i int) Decision
	}{
		{"allowed", func(int) Decision { return allowed() }},
		{"equal denials", func(int) Decision { return deniedAt("/a") }},
		{"different denials", func(i int) Decision { return deniedAt(fmt.Sprintf("/%08d", i)) }},
		{"long", func(i int) Decision { return deniedAt(fmt.Sprintf("/%08d", i) + strings.Repeat("a", 4096)) }},
	} {
		stuck := newTape()
		stuck.stuck = make(chan struct{})
		l := New(options(stuck))
		const runs = 4000
		records := make([]Decision, 3*runs)
		for i := range records {
			records[i] = c.of(i)
		}
		i := 0
		var draft Draft
		step := func() {
			l.AppendBy(&draft, &records[i%len(records)])
			i++
		}
		for range runs { // all places for repeats are taken, and all queues full
			step()
		}
		// The Log's own goroutines allocate occasionally, for timers; a decision that did would show as one or more a
		// run.
		if got := testing.AllocsPerRun(runs, step); got != 0 {
			t.Errorf("%s: %v allocations", c.name, got)
		}
		close(stuck.stuck)
		closeLog(l)
		s := l.Stats()
		exact(t, s)
		if s.Appended != uint64(i) || s.Sinks[0].Queued != 0 || s.Pending != 0 {
			t.Errorf("%s: %d appended: %+v", c.name, i, s)
		}
	}
}

var errTape = errors.New("the tape is torn")
