//go:build linux

package load

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// Work is something that is measured within this process.
type Work struct {
	Name string
	Do   func()
}

// Cost is what a Work came to: the median of the rounds.
type Cost struct {
	Name   string
	Nanos  float64 // each, of the processor
	Allocs float64 // each
	Times  float64 // time divided by that of the first in the same round
}

// Measure lets all work take turns in rounds, as Compare does with servers. What counts is the processor's time on this
// thread: what others do meanwhile, and what the work leaves to other threads, takes no part.
func Measure(rounds int, each time.Duration, work ...Work) []Cost {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	costs := make([]Cost, len(work))
	nanos, allocs := make([][]float64, len(work)), make([][]float64, len(work))
	batch := make([]int, len(work))
	for i, w := range work { // and how many make up a round
		began := time.Now()
		for time.Since(began) < each {
			w.Do()
			batch[i]++
		}
	}
	for range rounds {
		for i, w := range work {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := threadTime()
			for range batch[i] {
				w.Do()
			}
			passed := threadTime() - began
			runtime.ReadMemStats(&after)
			n := float64(batch[i])
			nanos[i] = append(nanos[i], float64(passed)/n)
			allocs[i] = append(allocs[i], float64(after.Mallocs-before.Mallocs)/n)
		}
	}
	for i, w := range work {
		times := make([]float64, rounds)
		for r := range times {
			times[r] = nanos[i][r] / nanos[0][r]
		}
		costs[i].Times = median(times)
		costs[i].Name = w.Name
	}
	for i := range work {
		costs[i].Nanos, costs[i].Allocs = median(nanos[i]), median(allocs[i])
	}
	return costs
}

// PrintCosts writes costs as a table of 80 columns.
func PrintCosts(w io.Writer, title string, costs []Cost) {
	fmt.Fprintf(w, "\n%-40s %10s %12s %14s\n", title, "ns", "allocations", "× the first")
	for _, c := range costs {
		fmt.Fprintf(w, "%-40s %10.0f %12.1f %14.2f\n", c.Name, c.Nanos, c.Allocs, c.Times)
	}
}
