package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

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
	line = fmt.Sprintf("%-27s", s.name)
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
func (w *world) startAll() (servers []*server, err error) {
	for i, s := range starters {
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
			one.peer = i >= firstPeer
		}
		servers = append(servers, started...)
	}
	return servers, nil
}

// compare asks all servers and prints the tables.
func (w *world) compare(servers []*server, rounds int, span time.Duration) error {
	fmt.Printf("\nWhat each was configured to check, and answers:\n\n%-27s", "")
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

	measured := make([]figures, len(servers))
	for n := range rounds + 1 {
		for i, s := range servers {
			f := &measured[i]
			if n == 0 {
				f = new(figures) // the first round warms up
			}
			if err := w.round(s, span, f); err != nil {
				return err
			}
			if w.ctx.Err() != nil {
				return w.ctx.Err()
			}
		}
	}
	for i, s := range servers {
		measured[i].resident = residentOf(s.pids())
	}
	report(servers, measured, rounds, span)
	return nil
}

// report prints the table and the goals. Nothing follows from it: the machine may be busy.
func report(servers []*server, measured []figures, rounds int, span time.Duration) {
	fmt.Printf("\n%d rounds of %v each; p50 and p99 with 1 caller, the rest with %d.\n", rounds, span, callers)
	fmt.Println("lead: how many times the bare echo, and nmos-authd, answer sooner, and more.")
	fmt.Printf("\n%-27s%7s%7s%8s%6s%7s%9s%9s\n", "", "p50", "p99", "each", "CPU", "memory", "lead of", "lead of")
	fmt.Printf("%-27s%7s%7s%8s%6s%7s%9s%9s\n", "", "µs", "µs", "second", "µs", "MB", "echo", "ours")
	echo, ours := &measured[0], &measured[1]
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	smallest := int64(0)
	for i, s := range servers {
		f := &measured[i]
		p50, p99 := f.quantiles()
		lead := func(of *figures) string {
			first, _ := of.quantiles()
			return fmt.Sprintf("%.1f/%.1f", float64(p50)/float64(first), of.perSecond()/f.perSecond())
		}
		leads := fmt.Sprintf("%9s%9s", lead(echo), lead(ours))
		if !s.peer {
			leads = ""
		}
		fmt.Printf("%-27s%7.0f%7.0f%8.0f%6.0f%7.1f%s\n", s.name, us(p50), us(p99), f.perSecond(), us(f.each()),
			float64(f.resident)/1e6, leads)
		if s.peer && (smallest == 0 || f.resident < smallest) {
			smallest = f.resident
		}
	}
	e50, _ := echo.quantiles()
	o50, _ := ours.quantiles()
	fmt.Printf("\nwithin 1.15 of the lead that the echo has over each: %.2f at the median, %.2f in throughput\n",
		float64(o50)/float64(e50), echo.perSecond()/ours.perSecond())
	if smallest > 0 {
		fmt.Printf("a third of the resident memory of the smallest:      %.2f of it\n",
			float64(ours.resident)/float64(smallest))
	}
}
