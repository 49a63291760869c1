// Package ways asks the table of questions (tinytest/rows) by every way that there is to ask the daemon: a client in
// some language, or a web server in front of the device. It is the one runner for all of them. A further client is an
// entry in tinytest/clients, a further web server one in tinytest/webserver.
//
// Limits: for tests only, on Linux.
package ways

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/rows"
)

// Way is a client or a web server.
type Way struct {
	// Ask asks a row's question, and returns what came of it; ok is false if the way has no words for it.
	Ask func(t *testing.T, row rows.Question) (a Answer, ok bool)
	// Least is how many rows it must have words for.
	Least int
	// Own reports whether the way may deny this row by itself, as it did, without the daemon or in other words.
	Own func(row rows.Question, a Answer) bool
	// Fails is the status if the daemon cannot be asked, for a way that cannot say 503 with Retry-After; 0: it can.
	Fails int
	// Threads asks a good question and a bad one by 16 threads, many times, and calls restart when half of that is
	// done.
	Threads func(t *testing.T, good, bad rows.Question, restart func())
	// Unanswered, if not nil, checks what else there is to be seen while the daemon cannot be asked for this reason.
	Unanswered func(t *testing.T, why Why)
	// Impatient, if not nil, has the way wait less for an answer, or as long as before.
	Impatient func(yes bool)
	// Rest, if not nil, is what else is to be checked while the daemon runs.
	Rest func(t *testing.T)
}

// Why is why the daemon cannot be asked.
type Why string

// The reasons.
const (
	Stopped Why = "stopped" // its socket is gone
	Killed  Why = "killed"  // nobody listens at its socket
	Hung    Why = "hung"    // nobody answers at its socket
)

// Answer is what came of a question.
type Answer struct {
	Allowed   bool
	Status    int
	Reason    string  // "": the way denied by itself
	Path      *string // that was judged; nil: the way does not say
	Challenge *string // WWW-Authenticate; nil: the way does not say
	Retry     int     // Retry-After in seconds; 0: none
	More      string  // what else there was, for people
}

func (a Answer) String() string {
	text := fmt.Sprintf("allowed %v, %d %s", a.Allowed, a.Status, a.Reason)
	for name, value := range map[string]*string{"path": a.Path, "challenge": a.Challenge} {
		if value != nil {
			text += fmt.Sprintf(", %s %q", name, *value)
		}
	}
	return text + fmt.Sprintf(", retry %d %s", a.Retry, a.More)
}

// Run asks all rows by a way, and what is allowed by a good token in every state of the daemon: before it runs, with
// and without keys, hung, over its limits, stopped, killed, and restarted in between.
func Run(t *testing.T, r *Rig, w Way) {
	good, bad := r.Pair()
	ask := func(row rows.Question) Answer {
		t.Helper()
		a, ok := w.Ask(t, row)
		if !ok {
			t.Fatalf("there are no words for %s", row.Name)
		}
		return a
	}
	settle := func() {
		t.Helper()
		var a Answer
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if a = ask(good); a.Allowed {
				return
			}
			if a.Status != 503 || a.Retry < 1 {
				t.Fatalf("before there are keys: got %v; want 503 with Retry-After", a)
			}
		}
		t.Fatalf("no keys within %v: %v\n%s", patience, a, r.Running.Log())
	}
	unanswered := func(why Why) {
		t.Helper()
		for _, row := range []rows.Question{good, bad} {
			status, retry := 503, 1
			if w.Fails != 0 {
				status, retry = w.Fails, 0
			}
			if a := ask(row); a.Allowed || a.Status != status || a.Reason != "" || a.Retry != retry {
				t.Errorf("with the daemon %s: %s: got %v; want %d, retry %d", why, row.Name, a, status, retry)
			}
			if why == Hung {
				break // which takes as long as the way waits
			}
		}
		if w.Unanswered != nil {
			w.Unanswered(t, why)
		}
	}
	right := func(when string) {
		t.Helper()
		for _, row := range []rows.Question{good, bad} {
			if a := ask(row); !agree(row, a) {
				t.Errorf("%s: %s: got %v; want %s %s", when, row.Name, a, row.First, row.Reason)
			}
		}
	}

	unanswered(Stopped)
	r.Start()
	settle()
	checkRows(t, r, w)
	if w.Rest != nil {
		w.Rest(t)
	}

	if w.Impatient != nil {
		w.Impatient(true)
	}
	r.hang()
	unanswered(Hung)
	r.signal(syscall.SIGCONT)
	if w.Impatient != nil {
		w.Impatient(false)
	}
	right("once it goes on")

	release := r.occupy()
	for range 5 {
		right("over its limits")
	}
	release()
	right("under them again")

	r.Stop()
	unanswered(Stopped)
	r.Start()
	settle()
	r.Running.Kill()
	r.Start()
	settle() // by a connection that was lost
	right("restarted")
	w.Threads(t, good, bad, func() {
		r.Stop()
		r.Start()
		r.ready(good)
	})
	r.Running.Kill()
	unanswered(Killed)
}

// Pair is a row that is allowed and one that is not, of the same token: it may read one, and not the other.
func (r *Rig) Pair() (good, bad rows.Question) {
	lines := "\nauthorization=Bearer " + r.Sign(rows.PathsToken) + "\n"
	good = rows.Question{Name: "what the token grants", First: "allow 200", Reason: "ok",
		Packet: "decide 1\nmethod=GET\ntarget=/x-nmos/connection/v1.1/single" + lines}
	bad = rows.Question{Name: "what it does not grant", First: "deny 403", Reason: "path-not-granted",
		Packet: "decide 1\nmethod=GET\ntarget=/x-nmos/events/v1.0/sources/7" + lines}
	return good, bad
}

// checkRows asks all rows.
func checkRows(t *testing.T, r *Rig, w Way) {
	asked, all := 0, rows.All(r.Sign)
	for _, row := range all {
		a, ok := w.Ask(t, row)
		if !ok {
			continue
		}
		asked++
		if !agree(row, a) && (a.Allowed || !w.Own(row, a)) {
			t.Errorf("%s: got %v; want %s %s", row.Name, a, row.First, row.Reason)
		}
	}
	t.Logf("asked %d of %d rows", asked, len(all))
	if asked < w.Least {
		t.Errorf("asked %d of %d rows; want at least %d", asked, len(all), w.Least)
	}
}

// agree reports whether an answer is what a row says.
func agree(row rows.Question, a Answer) bool {
	_, status, _ := strings.Cut(row.First, " ")
	challenge := ""
	if row.WWW != nil && *row.WWW != "-" {
		challenge = `Bearer realm="node-1.example.com"` + *row.WWW
	}
	return a.Allowed == (row.First == "allow 200") && fmt.Sprint(a.Status) == status && a.Reason == row.Reason &&
		(row.Path == nil || a.Path == nil || *a.Path == *row.Path) &&
		(row.WWW == nil || a.Challenge == nil || *a.Challenge == challenge)
}

// InThreads is Threads for a way that any number of goroutines may ask: each does so this many times.
func InThreads(ask func(*testing.T, rows.Question) (Answer, bool),
	times int) func(*testing.T, rows.Question, rows.Question, func()) {
	return func(t *testing.T, good, bad rows.Question, restart func()) {
		half := func() {
			var threads sync.WaitGroup
			for i := range 16 {
				threads.Go(func() {
					for k := range times / 2 {
						row := []rows.Question{good, bad}[(i+k)%2]
						if a, _ := ask(t, row); !agree(row, a) {
							t.Errorf("thread %d, time %d: %s: got %v; want %s %s",
								i, k, row.Name, a, row.First, row.Reason)
						}
					}
				})
			}
			threads.Wait()
		}
		half()
		restart()
		half()
	}
}
