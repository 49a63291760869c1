package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// However far the clock has been set since the start, Run goes by the time that has passed: the Date of an issuer's
// server runs on with it.
func TestRunIsMonotonic(t *testing.T) {
	spec.Rules(t, "OPS-1")
	before := started
	defer func() { started = before }()
	// The clock showed an hour less at the start: the seconds of package time are 30 bits up in its first word, and
	// beside them the monotonic reading stays.
	*(*uint64)(unsafe.Pointer(&started)) -= 3600 << 30
	if d := before.Round(0).Sub(started.Round(0)); d != time.Hour || before.Sub(started) != 0 {
		t.Fatalf("the clock is set by %v, the time by %v, want 1h0m0s and 0s", d, before.Sub(started))
	}
	k := newClock()
	least := time.Since(before)
	now := k.now()
	if most := time.Since(before); now.Run < least || now.Run > most {
		t.Errorf("the clock was set ahead by an hour: got Run %v, want %v to %v", now.Run, least, most)
	}
	if now.Now.Location() != time.UTC {
		t.Errorf("got a time in %v, want UTC", now.Now.Location())
	}
}

// What each state of the clock answers, by the configuration.
func TestClockTrusts(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for _, c := range []struct {
		config config.ClockAnswer
		trusts string // of unset, unsynchronised, synchronised
	}{
		{config.Default().Clock.Unsynchronised, "[false true true]"},
		{config.ClockJudge, "[false true true]"},
		{config.ClockDeny, "[false false true]"},
		{"", "[false false true]"},
	} {
		k := newClock()
		k.configure(config.Clock{Unsynchronised: c.config})
		got := fmt.Sprint([]bool{
			k.trusts(platform.ClockUnset), k.trusts(platform.ClockUnsynchronised), k.trusts(platform.ClockSynchronised),
		})
		if got != c.trusts {
			t.Errorf("%q: %s, want %s", c.config, got, c.trusts)
		}
		now := k.now()
		if _, state := k.Now(); now.Trusted != k.trusts(state) || now.State.String() != state.String() ||
			time.Since(now.Now).Abs() > time.Minute {
			t.Errorf("%q: %v in state %v", c.config, now, state)
		}
	}
}

// The record calls each state of the clock what the log calls it.
func TestClockOfTheRecord(t *testing.T) {
	spec.Rules(t, "OPS-2")
	for _, s := range []platform.ClockState{platform.ClockUnset, platform.ClockUnsynchronised,
		platform.ClockSynchronised} {
		if got := audit.Clock(s).String(); got != s.String() {
			t.Errorf("%v is recorded as %q", s, got)
		}
	}
}

func TestClockLog(t *testing.T) {
	spec.Rules(t, "OPS-1")
	k := newClock()
	k.configure(config.Clock{Unsynchronised: config.ClockJudge})
	unset := platform.ClockStatus{State: platform.ClockUnset, Why: "it shows 1970"}
	good := platform.ClockStatus{State: platform.ClockSynchronised, Why: "the kernel says so"}
	for _, c := range []struct {
		event platform.ClockEvent
		want  string
	}{
		{platform.ClockEvent{ClockStatus: unset},
			"warn clock; tokens are answered 503 map[state:unset why:it shows 1970]"},
		{platform.ClockEvent{ClockStatus: good, Moved: 500000 * time.Hour},
			"info the clock was set map[before:unset moved:500000h0m0s state:synchronised why:the kernel says so]"},
		{platform.ClockEvent{ClockStatus: good, Before: good.State, Moved: -37*time.Second - 1234*time.Microsecond},
			"info the clock was set map[moved:-37.001s state:synchronised why:the kernel says so]"},
		{platform.ClockEvent{ClockStatus: unset, Before: good.State, Moved: -time.Hour},
			"warn the clock was set; tokens are answered 503 map[before:synchronised moved:-1h0m0s state:unset " +
				"why:it shows 1970]"},
		{platform.ClockEvent{ClockStatus: good, Before: good.State, Err: errors.New("not permitted")},
			"info the kernel does not report when the clock is set; the daemon notices within a minute " +
				"map[error:not permitted state:synchronised why:the kernel says so]"},
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		k.logEvent(zap.New(core), c.event)
		for _, l := range logs.All() {
			if got := fmt.Sprint(l.Level, " ", l.Message, " ", l.ContextMap()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		}
		if logs.Len() != 1 {
			t.Errorf("%+v: %d lines", c.event, logs.Len())
		}
	}
}

// However far a clock is set each time, it is one trouble that comes again: it pushes no other one out.
func TestClockIsOneTrouble(t *testing.T) {
	spec.Rules(t, "OPS-1")
	k := newClock()
	k.configure(config.Clock{Unsynchronised: config.ClockDeny})
	unset := platform.ClockStatus{State: platform.ClockUnset, Why: "it shows 1970"}
	var kept troubles
	core, _ := observer.New(zapcore.InfoLevel)
	log := kept.watch(zap.New(core))
	for n := range 3 {
		k.logEvent(log, platform.ClockEvent{
			ClockStatus: unset, Before: unset.State, Moved: time.Duration(n+1) * time.Minute,
		})
	}
	if got := kept.last(time.Now()); len(got) != 1 || got[0].Times != 3 {
		t.Errorf("kept are %+v, want one, of three times", got)
	}
}

// A clock that has become synchronised, or was set by more than a minute, has the daemon look for servers and fetch
// keys (OPS-1).
func TestClockEventRenews(t *testing.T) {
	spec.Rules(t, "OPS-1")
	doubtful := platform.ClockStatus{State: platform.ClockUnsynchronised}
	good := platform.ClockStatus{State: platform.ClockSynchronised}
	for _, c := range []struct {
		name  string
		event platform.ClockEvent
		want  int
	}{
		{"synchronised", platform.ClockEvent{ClockStatus: good, Before: doubtful.State}, 1},
		{"set", platform.ClockEvent{ClockStatus: doubtful, Before: doubtful.State, Moved: -61 * time.Second}, 1},
		{"set a little", platform.ClockEvent{ClockStatus: doubtful, Before: doubtful.State, Moved: time.Second}, 0},
		{"nothing new", platform.ClockEvent{ClockStatus: good, Before: good.State}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFacts(mint.DefaultIssuer)
			f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
			d := f.newDevice("", nil)
			d.run(t)
			pass(10 * time.Second)
			fetched, looked := f.count(), d.finder.Found().Looked
			pass(time.Second)
			d.clockEvent(c.event)
			synctest.Wait()
			if got := f.count() - fetched; got != c.want {
				t.Errorf("%s: got %d fetches, want %d", c.name, got, c.want)
			}
			if got := d.finder.Found().Looked.After(looked); got != (c.want > 0) {
				t.Errorf("%s: looked for servers: got %v, want %v", c.name, got, c.want > 0)
			}
		})
	}
}

// The log says once how far the clock differs from a server's, and again if that changes.
func TestClockDifferenceIsLoggedOnce(t *testing.T) {
	spec.Rules(t, "OPS-1")
	f := newFacts()
	d := f.newDevice("", nil)
	for i, c := range []struct {
		issuer string
		ahead  time.Duration
		want   int // lines so far
	}{
		{"a", 0, 0}, {"a", 37 * time.Second, 1}, {"a", 38 * time.Second, 1}, {"b", 37 * time.Second, 2},
		{"a", time.Minute, 3}, {"a", 0, 3}, {"a", 37 * time.Second, 4}, {"a", -37 * time.Second, 5},
	} {
		d.dated(c.issuer, time.Now().Add(-c.ahead))
		if w := d.warnings(); len(w) != c.want {
			t.Errorf("%d: got %q, want %d lines", i, w, c.want)
		}
	}
	if w := d.warnings(); !strings.Contains(w[0], "37s ahead; it probably runs on TAI") {
		t.Errorf("got %q, want TAI to be named", w[0])
	}
	for i := range 1000 {
		d.dated(fmt.Sprint(i), time.Now().Add(-time.Hour))
	}
	if n := len(d.clock.said); n > 64 {
		t.Errorf("got %d issuers remembered, want 64 at most", n)
	}
}
