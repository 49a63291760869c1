//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"nmosauthd/tinytest/load"
	"nmosauthd/tinytest/mint"
)

// verdict is a kind of request that must be allowed or denied.
type verdict struct {
	word  string // as in server.checks; "" for what all must allow
	title string
	make  func(w *world) question
}

var verdicts = []verdict{
	{"", "good", func(w *world) question { return question{"GET", senders, w.tokens[0]} }},
	{"forged", "forged", func(w *world) question {
		t := w.tokens[0]
		at := len(t) - 100
		other := byte('A')
		if t[at] == other {
			other = 'B'
		}
		return question{"GET", senders, t[:at] + string(other) + t[at+1:]}
	}},
	{"expired", "expired", func(w *world) question {
		return question{"GET", senders, w.token(mint.Options{Now: time.Now().Add(-time.Hour), Life: time.Minute})}
	}},
	{"audience", "audience", func(w *world) question {
		t := w.auth.Token(mint.Options{Device: "node-2.example.com"})
		return question{"GET", senders, t.Sign()}
	}},
	{"path", "path", func(w *world) question {
		return question{"GET", "/x-nmos/connection/v1.1/bulk/senders", w.tokens[0]}
	}},
	{"access", "write", func(w *world) question { return question{"PATCH", senders, w.tokens[0]} }},
}

// check asks each kind of request once, and returns a line of what was answered. An error is a good token denied, or a
// bad one let through by who was told to look for it.
func (w *world) check(s *server) (line string, err error) {
	line = fmt.Sprintf("%-26s", s.name)
	for _, v := range verdicts {
		q := v.make(w)
		reply, err2 := askOnce(s, q)
		if err2 != nil {
			return line, fmt.Errorf("%s, %s: %w", s.name, v.title, err2)
		}
		allowed, said := s.allows(reply), "deny"
		if allowed {
			said = "allow"
		}
		line += fmt.Sprintf(" %8s", said)
		told := v.word != "" && strings.Contains(s.checks, v.word)
		if v.word == "" && !allowed || told && allowed {
			err = errors.Join(err, fmt.Errorf("%s, %s: %s: %q", s.name, v.title, said, reply))
		}
	}
	return line, err
}

// startAll starts what can be started here, and says what cannot.
func (w *world) startAll(starters []starter) (servers []*server, err error) {
	for _, s := range starters {
		started, err := s.start(w)
		var not unavailable
		if errors.As(err, &not) {
			first, _, _ := strings.Cut(err.Error(), "\n")
			fmt.Printf("%s: skipped: %s\n", s.name, first)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for _, one := range started {
			one.peer = s.peer
		}
		servers = append(servers, started...)
	}
	return servers, nil
}

// compare asks all servers and prints the tables.
func (w *world) compare(servers []*server, rounds int, each time.Duration) error {
	fmt.Printf("\nWhat each was configured to check, and answers:\n\n%-26s", "")
	for _, v := range verdicts {
		fmt.Printf(" %8s", v.title)
	}
	fmt.Println()
	var wrong error
	for _, s := range servers[1:] {
		line, err := w.check(s)
		fmt.Println(line)
		wrong = errors.Join(wrong, err)
	}
	if wrong != nil {
		return wrong
	}

	var targets []load.Target
	for _, s := range servers {
		targets = append(targets, w.target(s))
	}
	one, err1 := load.Compare(load.Options{Clients: 1, Rounds: rounds, Each: each}, targets...)
	many, err2 := load.Compare(load.Options{Clients: callers, Rounds: rounds, Each: each}, targets...)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	report(servers, one, many)
	return nil
}

// callers is how many ask concurrently for the throughput.
const callers = 4

// report prints the table and the goals. Nothing follows from it: the machine may be busy.
func report(servers []*server, one, many []load.Result) {
	fmt.Printf("\np50 and p99 with 1 caller; answers, and CPU for each, with %d. The lead is how many\n", callers)
	fmt.Println("times sooner, and how many times more, the echo and nmos-authd answer.")
	fmt.Printf("\n%-26s%6s%6s%6s%8s%5s%11s%11s\n", "", "p50", "p99", "CPU", "answers", "MB", "lead of", "lead of")
	fmt.Printf("%-26s%6s%6s%6s%8s%5s%11s%11s\n", "", "µs", "µs", "µs", "a second", "", "the echo", "ours")
	lead := func(of, i int) string {
		return fmt.Sprintf("%.1f %5.1f",
			one[i].Times.Median/one[of].Times.Median, many[of].Times.PerSecond/many[i].Times.PerSecond)
	}
	ours, smallest := int64(0), int64(0)
	for i, s := range servers {
		memory := residentOf(s.pids())
		leads := ""
		switch {
		case s.peer:
			leads = fmt.Sprintf("%11s%11s", lead(0, i), lead(1, i))
			if smallest == 0 || memory < smallest {
				smallest = memory
			}
		case i == 1:
			ours = memory
		}
		fmt.Printf("%-26s%6.0f%6.0f%6.0f%8.0f%5.0f%s\n", s.name, one[i].Median, one[i].P99, many[i].CPU,
			many[i].PerSecond, float64(memory)/1e6, leads)
	}
	fmt.Printf("\nGoal: a lead within 1.15 of the echo's over each: %.2f at the median, %.2f in answers\n",
		one[1].Times.Median, 1/many[1].Times.PerSecond)
	if smallest > 0 {
		fmt.Printf("Goal: a third of the resident memory of the smallest: %.2f of it\n",
			float64(ours)/float64(smallest))
	}
}
