package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/spec"
)

// burst asks so many questions over four connections, and returns how often each answer came and how long each took.
func (b *box) burst(token string, questions int) (answers map[string]uint64, took []time.Duration) {
	b.t.Helper()
	const callers = 4
	answers = map[string]uint64{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for caller := range callers {
		asked.Go(func() {
			asker := firmware.NewAsker(b.Authz(), patience)
			defer asker.Close()
			for n := range questions / callers {
				q := get(senders).bearing(token)
				switch n % 5 {
				case 0: // denials that are equal
					q = get(senders)
				case 1: // and some that are not
					q = get(fmt.Sprintf("%s/%d-%d", senders, caller, n))
				}
				start := time.Now()
				r, err := asker.Ask(q.lines()...)
				spent := time.Since(start)
				mu.Lock()
				if err != nil {
					b.t.Error(err)
					mu.Unlock()
					return
				}
				answers[string(r.Verdict)]++
				took = append(took, spent)
				mu.Unlock()
			}
		})
	}
	asked.Wait()
	slices.Sort(took)
	return answers, took
}

// With a syslog server that accepts and never reads, decisions keep their speed, and for every sink those kept and
// those dropped are those that were made, exactly. What was written holds, and whatever is done to it shows.
func TestAuditUnderLoad(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	syslog := startSyslog(t)
	dir := newDir(t)
	config := trusting(t, server)
	config.Admin = true
	file := dir.File("audit.jsonl")
	config.More = fmt.Sprintf("[audit]\nsinks = [\"file\", \"syslog\"]\nfile = %q\nfile_bytes = 1048576\nfiles = 40\n"+
		"syslog = \"tcp://%s\"\nrepeat = \"500ms\"\ndeny_rate = 0\nallow_rate = 0\n", file, syslog.Addr())
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	token := everything(server).Sign()
	watched := b.watch("last=0")

	const before, load = 6000, 20_000
	free, freely := b.burst(token, before)
	syslog.stick(true)
	stuck, stuckly := b.burst(token, load)
	const decisions = before + load
	for _, verdict := range []string{"allow", "deny"} {
		if n := free[verdict] + stuck[verdict]; n < decisions/5 {
			t.Errorf("%d answers were %s", n, verdict)
		}
	}
	median := func(took []time.Duration) time.Duration { return took[len(took)/2] }
	t.Logf("median of a decision: %v, with a stuck syslog server %v; the slowest %v and %v",
		median(freely), median(stuckly), freely[len(freely)-1], stuckly[len(stuckly)-1])
	// The sink waits for the server for longer. Whoever waited for the sink would wait again and again; a busy machine
	// may hold up each of the callers occasionally.
	if n := len(stuckly) / 100; stuckly[len(stuckly)-1-n] > 3*time.Second {
		t.Errorf("got 1 decision of 100 that waited %v or more, want none that waits for the server",
			stuckly[len(stuckly)-1-n])
	}
	b.statusAccounts(decisions)

	// All is told once the server reads again.
	syslog.stick(false)
	eventually(t, "the watcher is told of every decision", func() bool {
		all := watched.tally()
		return all.kept+all.dropped >= decisions
	})
	eventually(t, "the syslog server is told of every decision", func() bool {
		all, _ := syslog.tally()
		return all.kept+all.dropped >= decisions
	})
	eventually(t, "nothing waits for a sink", func() bool {
		status := b.auditStatus()
		return status.Pending+status.Sinks[0].Queued+status.Sinks[1].Queued == 0
	})
	head := b.statusAccounts(decisions)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	<-watched.ended
	eventually(t, "the syslog server has read all", func() bool {
		_, open := syslog.tally()
		return !open
	})
	files, err := filepath.Glob(file + "*")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	var filed tally
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			filed.add(t, line)
		}
	}
	logged, _ := syslog.tally()
	for name, all := range map[string]tally{"file": filed, "syslog": logged, "watch": watched.tally()} {
		t.Logf("%s: %d decisions in %d lines, %d dropped", name, all.kept, all.lines, all.dropped)
		if all.kept+all.dropped != decisions {
			t.Errorf("%s: kept %d and dropped %d of %d decisions", name, all.kept, all.dropped, decisions)
		}
		for _, verdict := range []string{"allow", "deny"} {
			if made := free[verdict] + stuck[verdict]; all.decided[verdict] > made ||
				all.dropped == 0 && all.decided[verdict] != made {
				t.Errorf("%s: %d of %d are %s", name, all.decided[verdict], made, verdict)
			}
		}
		if name == "syslog" && all.dropped == 0 {
			t.Errorf("the server was not stuck")
		}
	}
	verifyFiles(t, file, files, head)
}

// auditStatus is what GET /status says of the audit.
type auditStatus struct {
	Recorded, Pending uint64
	Sinks             []struct {
		Name                  string
		Kept, Dropped, Queued uint64
		Head                  string
	}
}

func (b *box) auditStatus() auditStatus {
	b.t.Helper()
	code, text := b.admin("GET", "/status", "")
	var status struct{ Audit auditStatus }
	if err := json.Unmarshal([]byte(text), &status); err != nil || code != http.StatusOK {
		b.t.Fatalf("%d, %v: %s", code, err, text)
	}
	return status.Audit
}

// statusAccounts compares what GET /status says of each sink with the decisions made, and returns the head of the
// first.
func (b *box) statusAccounts(decisions uint64) (head string) {
	b.t.Helper()
	status := b.auditStatus()
	if status.Recorded != decisions || len(status.Sinks) != 2 {
		b.t.Errorf("%d recorded of %d: %+v", status.Recorded, decisions, status)
	}
	for _, s := range status.Sinks {
		if s.Kept+s.Dropped+s.Queued+status.Pending != decisions {
			b.t.Errorf("%d of %d: %+v", s.Kept+s.Dropped+s.Queued, decisions, status)
		}
	}
	return status.Sinks[0].Head
}

// One connection that is denied something else each time takes bounded room in flash and journal, and takes no record
// of what was allowed out of the files; each denial is accounted for (issue 10, B.9).
func TestFloodOfDenials(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	config := trusting(t, server)
	config.Admin = true
	path := dir.File("audit.jsonl")
	config.More = fmt.Sprintf("[audit]\nsinks = [\"log\", \"file\"]\nfile = %q\nfile_bytes = 65536\nfiles = 4\n"+
		"queue_bytes = 1048576\n", path)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	change := get("/x-nmos/connection/v1.1/single/receivers/1/staged").bearing(everything(server).Sign())
	change.method = "PATCH"
	began, before := time.Now(), len(b.Log())
	const denials, changes = 20_000, 100
	for i := range denials {
		b.want(get(fmt.Sprintf("/x-nmos/node/v1.3/%d", i)), 401, "no-token")
		if i%(denials/changes) == 0 {
			b.want(change, 200, "ok")
		}
	}
	seconds := int(time.Since(began).Seconds()) + 1
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"the journal": b.Log()[before:]}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts["the files"] += string(text)
	}
	for where, text := range texts {
		var all tally
		for line := range bytes.Lines([]byte(text)) {
			if bytes.HasPrefix(line, []byte(`{"audit":1,`)) {
				all.add(t, line)
			}
		}
		if all.decided["allow"] != changes || all.decided["deny"] != denials {
			t.Errorf("%s: got %d decisions that allow and %d that deny, want %d and %d",
				where, all.decided["allow"], all.decided["deny"], changes, denials)
		}
		// Each change has a line. Of the denials there are two a second, those of ten seconds that were saved up, and
		// the joined ones.
		if most := 1000*changes + 600*(2*seconds+20+seconds/10+2); len(text) > most {
			t.Errorf("%s: %d bytes in %d s, want at most %d", where, len(text), seconds, most)
		}
	}
}
