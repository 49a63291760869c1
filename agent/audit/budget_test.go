package audit

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// budgeted are the options of a Log with the default budget, and the records that Observe was shown.
func budgeted(sink Sink) (o Options, seen map[string]uint64) {
	o, seen = options(sink), map[string]uint64{}
	o.Rates = Rates{Denials: 2, Allows: 20}
	o.Observe = func(r *Record) { seen[string(r.Text(Client))+" "+string(r.Text(Path))] += r.Count }
	return o, seen
}

// ask appends what f makes of each of n numbers, so many a second, by the clock of the bubble.
func ask(l *Log, n, perSecond int, f func(i int) Decision) {
	for i := range n {
		r := f(i)
		r.Time = time.Now().UnixMicro()
		l.Append(&r)
		time.Sleep(time.Second / time.Duration(perSecond))
	}
}

// strangerAt is a denial without a token.
func strangerAt(path string) Decision {
	r := deniedAt(path)
	r.Reason, r.Issuer, r.Subject, r.Client, r.JTI, r.KeyID, r.Cached = wire.NoToken, nil, nil, nil, nil, nil, false
	return r
}

// readAt is a client's permitted GET of a path.
func readAt(client, path string) Decision {
	r := allowed()
	r.Client, r.Path, r.Reads = []byte(client), []byte(path), true
	return r
}

// Distinct denials without end take bounded room in the stream, each is accounted for by its reason, and every change
// of the device has a line of its own among them (OPS-2; issue 10, B.9).
func TestDenialsBeyondTheBudgetAreJoined(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, seen := budgeted(out)
		l := New(o)
		const n, perSecond = 50_000, 1000
		changes := 0
		ask(l, n, perSecond, func(i int) Decision {
			switch {
			case i%100 == 50: // what a verified token may write
				changes++
				r := allowed()
				r.Method, r.Path = []byte("PATCH"),
					fmt.Appendf(nil, "/x-nmos/connection/v1.1/single/receivers/%d/staged", i%7)
				return r
			case i%5 == 1:
				r := strangerAt("")
				r.Question, r.Method, r.Reason = wire.NoVerb, nil, wire.PacketVerb
				return r
			case i%5 == 2:
				r := strangerAt(fmt.Sprintf("/x-nmos/%d", i)) // OPTIONS, public paths
				r.Reason, r.Reads = wire.Public, true
				return r
			}
			r := strangerAt(fmt.Sprintf("/x-nmos/%d/%s", i, strings.Repeat("a", 700)))
			r.PID = int32(i)
			return r
		})
		exact(t, l.Stats())
		// Equal denials are shown with their record: each ten seconds, and then records may wait for others, a few
		// times over.
		if s, most := l.Stats(), perSecond/5*(joinEvery+4*gather)/time.Second; s.Unseen > uint64(most) {
			t.Errorf("%d decisions that Observe was not shown, want at most %d, the equal ones of ten seconds",
				s.Unseen, most)
		}
		closeLog(l)
		exact(t, l.Stats())
		text := out.String()
		byReason, own := map[string]uint64{}, map[string]int{}
		for _, m := range lines(t, text) {
			reason, _ := m["reason"].(string)
			if m["event"] != nil {
				continue
			}
			count := uint64(1)
			if c, ok := m["count"].(float64); ok {
				count = uint64(c)
			}
			byReason[reason] += count
			if m["joined"] == nil {
				own[reason]++
				continue
			}
			if m["joined"] != "reason" || m["uid"] != 1000.0 || m["path"] != nil || m["pid"] != nil ||
				m["gid"] != nil || m["question"] != nil ||
				m["decision"] == nil || m["status"] == nil || count > 1 && (m["first"] == nil || m["since"] == nil) {
				t.Errorf("a joined record: %v", m)
			}
		}
		want := map[string]uint64{"ok": uint64(changes), "packet-verb": n / 5, "public": n / 5,
			"no-token": n - uint64(changes) - 2*n/5}
		if !maps.Equal(byReason, want) {
			t.Errorf("decisions by reason: got %v, want %v", byReason, want)
		}
		if own["ok"] != changes {
			t.Errorf("%d of %d changes of the device have a line of their own", own["ok"], changes)
		}
		const seconds = n / perSecond
		if most := 2*seconds + 2*savedSeconds; own["no-token"] > most || own["no-token"] < savedSeconds {
			t.Errorf("%d denials have lines of their own in %d s, want 2 each second and 20 that were saved up",
				own["no-token"], seconds)
		}
		if most := changes*400 + 2*(seconds+savedSeconds)*1300 + seconds*200; len(text) > most {
			t.Errorf("%d bytes in %d s, want at most %d", len(text), seconds, most)
		}
		var total uint64
		for _, c := range seen {
			total += c
		}
		if l.Stats().Lost != 0 || total != n || l.Stats().Unseen != 0 {
			t.Errorf("Observe was shown %d of %d decisions: %+v", total, n, l.Stats())
		}
		v, err := Verify(strings.NewReader(text))
		if err != nil || !v.Good() || v.Decisions != n || v.FirstSeq != 1 || v.LastSeq != n {
			t.Errorf("the stream: %+v, %v", v, err)
		}
	})
}

// What Observe is shown of joined decisions is what they were, so that its report holds all controllers and paths.
func TestObserveIsShownWhatWasJoined(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, seen := budgeted(out)
		l := New(o)
		ask(l, 1000, 100, func(i int) Decision {
			r := deniedAt(fmt.Sprint("/", i))
			r.Client = fmt.Appendf(nil, "c%d", i%10)
			r.Reason, r.Enforced, r.Reads = wire.Observed, wire.PathNotGranted, true
			return r
		})
		closeLog(l)
		if len(seen) != 1000 || seen["c7 /777"] != 1 {
			t.Errorf("%d different ones, want 1000: %v", len(seen), seen["c7 /777"])
		}
		joined := false
		for _, m := range lines(t, out.String()) {
			if m["joined"] == "reason" {
				joined = m["would"] == "path-not-granted" && m["reason"] == "observe" && m["decision"] == "allow"
			}
		}
		if !joined {
			t.Errorf("no joined record of what observe mode let pass:\n%s", out)
		}
		// A queue that has no room takes the numbers all the same.
		o, seen = budgeted(newTape())
		o.QueueBytes = 1
		l = New(o)
		for i := range 1000 {
			r := strangerAt(fmt.Sprint("/", i))
			l.Append(&r)
		}
		synctest.Wait()
		if s := l.Stats(); s.Appended != 1000 || s.Unseen == 0 {
			t.Errorf("got %+v, want 1000 appended, and some unseen", s)
		}
		closeLog(l)
		var total uint64
		for _, c := range seen {
			total += c
		}
		if s := l.Stats(); total+s.Lost != 1000 || s.Unseen != 0 {
			t.Errorf("shown %d, lost %d of 1000: %+v", total, s.Lost, s)
		}
	})
}

// What tokens permit to read has lines of its own within the budget, and beyond it a count for each client, method and
// path.
func TestReadsBeyondTheBudgetAreJoined(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, seen := budgeted(out)
		l := New(o)
		ask(l, 60*15, 15, func(i int) Decision { return readAt("c", fmt.Sprint("/", i%5)) })
		time.Sleep(time.Minute)
		if got := len(lines(t, out.String())) - 1; got != 60*15 {
			t.Errorf("%d lines of %d within the budget", got, 60*15)
		}
		before := len(out.String())
		const n, perSecond = 20_000, 1000
		ask(l, n, perSecond, func(i int) Decision {
			r := readAt(fmt.Sprint("c", i%2), fmt.Sprint("/", i%10))
			r.PID, r.JTI, r.Subject = int32(i), fmt.Append(nil, i), fmt.Append(nil, "s", i%3)
			return r
		})
		closeLog(l)
		exact(t, l.Stats())
		text := out.String()[before:]
		counts := map[string]uint64{}
		joined := 0
		for _, m := range lines(t, text) {
			if m["event"] != nil {
				continue
			}
			count := uint64(1)
			if c, ok := m["count"].(float64); ok {
				count = uint64(c)
			}
			counts[fmt.Sprint(m["client"], " ", m["method"], " ", m["path"])] += count
			if m["joined"] != nil {
				joined++
				if m["joined"] != "path" || m["issuer"] == nil || m["jti"] != nil || m["pid"] != nil ||
					m["subject"] != nil || m["kid"] != nil {
					t.Errorf("a joined record: %v", m)
				}
			}
		}
		for i := range 10 {
			if who := fmt.Sprintf("c%d GET /%d", i%2, i); counts[who] != n/10 ||
				seen[fmt.Sprintf("c%d /%d", i%2, i)] != n/10 {
				t.Errorf("%s: %d decisions of %d, %d shown",
					who, counts[who], n/10, seen[fmt.Sprintf("c%d /%d", i%2, i)])
			}
		}
		if joined == 0 || joined > 10*(n/perSecond/10+1) {
			t.Errorf("%d joined records", joined)
		}
	})
}

// A client that reads ever new paths takes bounded room, too: then the paths are left out. Changes are never joined.
func TestReadsOfEverNewPaths(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, seen := budgeted(out)
		l := New(o)
		const n, perSecond = 60_000, 2000
		ask(l, n, perSecond, func(i int) Decision {
			r := readAt("c", fmt.Sprint("/", i))
			if i%1000 == 0 {
				r.Reads = false // a GET, but of a control socket
			}
			return r
		})
		closeLog(l)
		exact(t, l.Stats())
		kinds := map[any]uint64{}
		all := lines(t, out.String())
		for _, m := range all {
			count := uint64(1)
			if c, ok := m["count"].(float64); ok {
				count = uint64(c)
			}
			if m["event"] == nil {
				kinds[m["joined"]] += count
			}
			if m["joined"] == "client" && (m["client"] != "c" || m["method"] != "GET" || m["path"] != nil) {
				t.Errorf("a joined record: %v", m)
			}
		}
		if kinds[nil]+kinds["path"]+kinds["client"] != n || kinds["client"] == 0 ||
			kinds["path"] == 0 || kinds[nil] < n/1000 {
			t.Errorf("decisions by how they were joined: %v", kinds)
		}
		const seconds = n / perSecond
		if most := n/1000 + 20*(seconds+savedSeconds) + (seconds/10+1)*(allPaths+2) + 2; len(all) > most {
			t.Errorf("%d lines in %d s, want at most %d", len(all), seconds, most)
		}
		if len(seen) != n {
			t.Errorf("Observe was shown %d different decisions of %d", len(seen), n)
		}
	})
}

// One who floods takes nothing from the budget of others, whether they are another user's, or known clients of the same
// web server; and of users there may be any number.
func TestBudgetsAreApart(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, _ := budgeted(out)
		l := New(o)
		ask(l, 20_000, 1000, func(i int) Decision {
			r := strangerAt(fmt.Sprint("/", i))
			switch {
			case i%1000 == 1: // another user
				r.UID = 2000
			case i%1000 == 2: // a client known by its token, through the one who floods
				r = deniedAt(fmt.Sprint("/known/", i))
			case i%1000 == 3:
				r = readAt("c", fmt.Sprint("/read/", i))
			}
			return r
		})
		time.Sleep(time.Minute)
		own := map[string]int{}
		for _, m := range lines(t, out.String()) {
			if m["joined"] == nil && m["event"] == nil {
				own[fmt.Sprint(m["uid"], " ", m["client"])]++
			}
		}
		if own["2000 <nil>"] != 20 || own["1000 controller-1"] != 20 || own["1000 c"] != 20 {
			t.Errorf("records of their own, want 20 of each of the others: %v", own)
		}
		before := len(lines(t, out.String()))
		ask(l, 10_000, 1000, func(i int) Decision {
			r := strangerAt(fmt.Sprint("/", i))
			r.UID = int64(i % 5000)
			if i%2 == 0 {
				r.UID = -1
			}
			return r
		})
		closeLog(l)
		exact(t, l.Stats())
		all := lines(t, out.String())
		// Ten seconds of nine budgets, what they had saved up, and a joined record of each every ten seconds.
		if n := len(all) - before; n > (callerPlaces+1)*(2*10+2*savedSeconds+2)+2 {
			t.Errorf("%d lines about 5,000 users in 10 s", n)
		}
		if kept, _ := sum(t, out.String()); kept != 30_000 {
			t.Errorf("%d decisions of 30000", kept)
		}
	})
}

// A clock that is set forward or back gives nobody a budget beyond what can be saved up, and takes nothing for long.
func TestBudgetWhenTheClockIsSet(t *testing.T) {
	spec.Rules(t, "OPS-1")
	var c callers
	c.rates = Rates{Denials: 2}
	r := strangerAt("/")
	granted := func(seconds int64, asks int) (n int) {
		r.Time = seconds * one
		for range asks {
			p := c.of(recorded(r))
			if c.within(p, stranger, r.Time) {
				p.spend(stranger)
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		at   int64
		want int
	}{{1000, 20}, {1001, 2}, {1_800_000_000, 20}, {1_800_000_000, 0}, {5, 0}, {6, 2}, {-5, 0}, {-4, 2}, {1 << 40, 20}} {
		if got := granted(step.at, 50); got != step.want {
			t.Errorf("at %d: %d records, want %d", step.at, got, step.want)
		}
	}
}

// With full = "wait" nothing is lost beyond the budget either, and nothing that is joined waits.
func TestJoinedNeverWait(t *testing.T) {
	spec.Rules(t, "OPS-2")
	stuck := newTape()
	stuck.stuck = make(chan struct{})
	o, _ := budgeted(stuck)
	// the twenty that the budget lets through have room, with what is shown to Observe
	o.Wait, o.QueueBytes = true, 16<<10
	l := New(o)
	for i := range 20_000 {
		r := strangerAt(fmt.Sprint("/", i))
		l.Append(&r)
	}
	close(stuck.stuck)
	closeLog(l)
	s := l.Stats()
	exact(t, s)
	if s.Sinks[0].Kept != 20_000 || s.Sinks[0].Dropped != 0 {
		t.Errorf("got %+v, want 20000 kept and none dropped", s)
	}
}

// Deciding beyond the budget allocates nothing once it has been gone beyond.
func TestBudgetAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	o, _ := budgeted(newTape())
	o.Sinks, o.Observe = nil, func(*Record) {}
	l := New(o)
	defer closeLog(l)
	paths := make([][]byte, 4096)
	for i := range paths {
		paths[i] = fmt.Appendf(nil, "/x-nmos/connection/v1.1/single/receivers/%06d", i)
	}
	denied, read := strangerAt(""), readAt("c", "")
	n := 0
	var draft Draft
	step := func() {
		denied.Path, read.Path = paths[n%len(paths)], paths[n%len(paths)]
		denied.Time += 1000
		read.Time = denied.Time
		l.AppendBy(&draft, &denied)
		l.AppendBy(&draft, &read)
		n++
	}
	for range 20_000 {
		step()
	}
	if got := testing.AllocsPerRun(2000, step); got > 0.05 { // the Log's goroutine makes its timers meanwhile
		t.Errorf("%v allocations", got)
	}
}

// The claimed issuer of a token that was not verified has a member of its own, escaped and bounded.
func TestUnverifiedIssuer(t *testing.T) {
	spec.Rules(t, "OPS-2")
	r := strangerAt("/a")
	r.Reason, r.Claimed = wire.IssuerUntrusted, []byte("https://evil.example/\x1b[2J\"\n"+strings.Repeat("e", 400))
	line := appendRecord(nil, recorded(r), MaxPath)
	if !bytes.Contains(line, []byte(`,"unverified_issuer":"https://evil.example/\u001b[2J\"\u000aeee`)) ||
		bytes.Contains(line, []byte(`"issuer"`)) ||
		!bytes.Contains(line, []byte(`"cut":["unverified_issuer"]`)) || len(line) > 700 {
		t.Errorf("got %s, want a bounded unverified_issuer that is said to be cut, and no issuer", line)
	}
	if got := field(line, "issuer"); got != "" {
		t.Errorf("the issuer is read as %q", got)
	}
}
