//go:build linux

// Package load asks servers as fast as they answer, and shows them side by side: in one run, in short rounds that take
// turns, so that what else the machine does hits all of them alike.
//
// The clients are threads that block in the kernel as those of a program in C do, each with a connection of its own:
// Go's scheduler takes no part in what they measure. What a server takes of the processor is read from the kernel's
// clock of its process.
//
//	func main() {
//		load.EchoIfAsked() // this program is also the echo
//		echo, err := load.StartEcho("unixpacket", path, 200)
//		defer echo.Stop()
//		results, err := load.Compare(load.Options{Clients: 4}, echo.Target(question), other)
//		load.Print(os.Stdout, "two cores, 4 clients", results)
//	}
//
// Limits: Linux, and one Compare at a time, which takes over the runtime's number of processors and its garbage
// collection while it lasts.
package load

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Target is a server, and what it is asked.
type Target struct {
	Name      string
	Network   string   // unixpacket, unix or tcp
	Address   string   // a path, or host and port
	HTTP      bool     // an answer is an HTTP response that is read to its end; else what one read returns
	Questions []string // asked in turn; clients begin with different ones
	Want      string   // what each answer begins with: another one ends the run
	Holds     string   // and what it has somewhere
	Processes []int    // whose processor time counts
}

// Options say how long Compare takes: the product of all, for each target.
type Options struct {
	Clients int           // of each target, 0 means 1
	Rounds  int           // 0 means 15
	Each    time.Duration // round, 0 means 100 ms
}

// Figures are those of one round, or medians of several.
type Figures struct {
	Median, P99 float64 // time to an answer, µs
	PerSecond   float64 // answers
	CPU         float64 // of the server for an answer, µs; NaN if it is not known
	Reads       float64 // calls of the kernel to read, of the server for an answer; NaN if they are not known
	Writes      float64 // and to write
}

// Result is what a target came to.
type Result struct {
	Name    string
	Answers int // all that came
	Figures     // each the median of the rounds
	// Times is each figure divided by that of the first target in the same round, the median of the rounds.
	Times Figures
}

// Compare asks all targets in turn, and compares them with the first. An answer that is not the one wanted is an error.
func Compare(o Options, targets ...Target) ([]Result, error) {
	o.Clients, o.Rounds, o.Each = cmp.Or(o.Clients, 1), cmp.Or(o.Rounds, 15), cmp.Or(o.Each, 100*time.Millisecond)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would wait for the threads that block
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Clients + 4))
	results := make([]Result, len(targets))
	rounds := make([][]Figures, len(targets))
	crowds := make([]crowd, len(targets))
	for i, t := range targets {
		results[i].Name = t.Name
		var err error
		if crowds[i], err = newCrowd(t, o.Clients); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		defer crowds[i].close()
	}
	for round := -1; round < o.Rounds; round++ { // the first warms up
		for i := range targets {
			f, n, err := crowds[i].round(o.Each)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", targets[i].Name, err)
			}
			if round >= 0 {
				rounds[i] = append(rounds[i], f)
				results[i].Answers += n
			}
		}
	}
	for i := range results {
		results[i].Figures = medians(rounds[i], nil)
		results[i].Times = medians(rounds[i], rounds[0])
	}
	return results, nil
}

// medians returns the median of each figure, divided by that of the same round in by if there is one.
func medians(rounds, by []Figures) (f Figures) {
	for _, field := range []func(*Figures) *float64{
		func(f *Figures) *float64 { return &f.Median }, func(f *Figures) *float64 { return &f.P99 },
		func(f *Figures) *float64 { return &f.PerSecond }, func(f *Figures) *float64 { return &f.CPU },
		func(f *Figures) *float64 { return &f.Reads }, func(f *Figures) *float64 { return &f.Writes },
	} {
		values := make([]float64, len(rounds))
		for i := range rounds {
			if values[i] = *field(&rounds[i]); by != nil {
				values[i] /= *field(&by[i])
			}
		}
		*field(&f) = median(values)
	}
	return f
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// crowd are the clients of one target.
type crowd struct {
	target  Target
	clients []*client
	took    []time.Duration // of all, in one round
}

func newCrowd(t Target, n int) (c crowd, err error) {
	c.target = t
	for i := range n {
		one, err := connect(t)
		if err != nil {
			c.close()
			return c, err
		}
		one.next = i * len(t.Questions) / n
		c.clients = append(c.clients, one)
	}
	return c, nil
}

func (c *crowd) close() {
	for _, one := range c.clients {
		one.close()
	}
}

// round lets all clients ask for a time.
func (c *crowd) round(each time.Duration) (f Figures, n int, err error) {
	errs := make([]error, len(c.clients))
	before := processorTime(c.target.Processes)
	calls, known := CallsOf(c.target.Processes...)
	began := time.Now()
	var done sync.WaitGroup
	for i, one := range c.clients {
		done.Go(func() { errs[i] = one.askUntil(began.Add(each)) })
	}
	done.Wait()
	passed := time.Since(began)
	used := processorTime(c.target.Processes) - before
	called, _ := CallsOf(c.target.Processes...)
	c.took = c.took[:0]
	for _, one := range c.clients {
		c.took = append(c.took, one.took...)
	}
	if err = errors.Join(errs...); err != nil {
		return f, 0, err
	}
	slices.Sort(c.took)
	n = len(c.took)
	micro := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	f = Figures{
		Median: micro(c.took[n/2]), P99: micro(c.took[n*99/100]),
		PerSecond: float64(n) / passed.Seconds(), CPU: micro(used) / float64(n),
	}
	f.Reads, f.Writes = float64(called.Reads-calls.Reads)/float64(n), float64(called.Writes-calls.Writes)/float64(n)
	if used <= 0 {
		f.CPU = math.NaN()
	}
	if !known {
		f.Reads, f.Writes = math.NaN(), math.NaN()
	}
	return f, n, nil
}

// ratio writes a ratio in at most four characters, up to 9999.
func ratio(x float64) string {
	return strconv.FormatFloat(x, 'f', min(2, max(0, 3-len(strconv.Itoa(int(x))))), 64)
}

// Print writes the results as a table of 80 columns.
func Print(w io.Writer, title string, results []Result) {
	fmt.Fprintf(w, "\n%-22s %8s %8s %8s %8s   %s\n", title, "p50", "p99", "answers", "CPU", "beside the first")
	fmt.Fprintf(w, "%22s %8s %8s %8s %8s %5s%5s%5s%6s\n", "", "µs", "µs", "per s", "µs each", "p50", "p99", "/s", "CPU")
	for i, r := range results {
		line := fmt.Sprintf("%-22s %8.1f %8.1f %8.0f %8.1f", r.Name, r.Median, r.P99, r.PerSecond, r.CPU)
		if i > 0 {
			line += fmt.Sprintf(" %5s%5s%5s%6s", ratio(r.Times.Median), ratio(r.Times.P99),
				ratio(r.Times.PerSecond), ratio(r.Times.CPU))
		}
		fmt.Fprintln(w, strings.ReplaceAll(line, "NaN", "  –"))
	}
	fmt.Fprint(w, "reads, writes each:")
	column := 19
	for i, r := range results {
		text := strings.ReplaceAll(fmt.Sprintf(" %.2f, %.2f", r.Reads, r.Writes), "NaN", "–")
		if i > 0 {
			text = ";" + text
		}
		if column += len(text); column >= 80 {
			text, column = strings.Replace(text, " ", "\n ", 1), len(text)
		}
		fmt.Fprint(w, text)
	}
	fmt.Fprintln(w)
}
