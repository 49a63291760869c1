package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of "go test -json"; see "go doc test2json" and "go help buildjson".
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// result is what became of one test or subtest.
type result struct {
	outcome string // pass, fail or skip; "" while it runs
	output  strings.Builder
}

// run is one package under test.
type run struct {
	name    string
	tests   map[string]*result
	order   []string // of tests, as they started
	output  strings.Builder
	outcome string
}

// collector follows the events, prints what a reader wants to see while they come, and counts.
type collector struct {
	out     io.Writer
	runs    map[string]*run
	builds  map[string]*strings.Builder // what the compiler said, by package
	tests   []test                      // the leaves: tests without subtests
	passed  int
	failed  int
	skipped int
}

// test is one leaf, the rules that it or a test around it names, and what became of it.
type test struct {
	pkg, name, outcome string
	rules              []string
}

func newCollector(out io.Writer) *collector {
	return &collector{out: out, runs: map[string]*run{}, builds: map[string]*strings.Builder{}}
}

// read follows events to their end. A malformed line, a package that does not end and an empty stream are failures: the
// count must not look good because something went wrong before it.
func (c *collector) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				c.fail("not an event of go test -json: %s", strings.TrimSpace(string(line)))
			} else {
				c.handle(e)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if len(c.runs) == 0 {
		c.fail("no package was tested")
	}
	for _, r := range c.runs {
		if r.outcome == "" {
			c.fail("%s did not end", r.name)
		}
	}
	return nil
}

// fail reports a failure outside all tests.
func (c *collector) fail(format string, args ...any) {
	c.failed++
	fmt.Fprintf(c.out, "FAIL  "+format+"\n", args...)
}

func (c *collector) handle(e event) {
	switch e.Action {
	case "build-output":
		b := c.builds[e.ImportPath]
		if b == nil {
			b = new(strings.Builder)
			c.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail":
		return // the package's own failure follows
	}
	r := c.runs[e.Package]
	if r == nil {
		r = &run{name: e.Package, tests: map[string]*result{}}
		c.runs[e.Package] = r
	}
	if e.Test != "" {
		r.handle(e)
		return
	}
	switch e.Action {
	case "output":
		r.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		r.outcome = e.Action
		c.finish(r, e)
	}
}

// handle takes an event of one test.
func (r *run) handle(e event) {
	t := r.tests[e.Test]
	if t == nil {
		t = &result{}
		r.tests[e.Test] = t
		r.order = append(r.order, e.Test)
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		t.outcome = e.Action
	}
}

// finish prints and counts a package that has ended.
func (c *collector) finish(r *run, end event) {
	parents := r.parents()
	failed := 0
	for _, name := range r.order {
		t := r.tests[name]
		if t.outcome == "" { // the process ended under it
			t.outcome = "fail"
		}
		if !parents[name] {
			c.tests = append(c.tests, test{r.name, name, t.outcome, r.rules(name)})
		}
		switch {
		case t.outcome == "fail" && !r.hasFailedChild(name):
			failed++
		case parents[name]: // its subtests are counted
		case t.outcome == "pass":
			c.passed++
		case t.outcome == "skip":
			c.skipped++
		}
	}
	if r.outcome == "fail" {
		failed = max(failed, 1) // it did not build, or ended badly beside its tests
	}
	c.failed += failed
	c.print(r, end)
}

// rules returns the rules that a test names, each once: in what it and the tests around it logged, and in a subtest's
// name.
func (r *run) rules(name string) []string {
	text := name
	for end, c := range name + "/" {
		if t := r.tests[name[:end]]; c == '/' && t != nil {
			for line := range strings.Lines(t.output.String()) {
				if ids, ok := checks(line); ok {
					text += " " + ids
				}
			}
		}
	}
	return named(text)
}

// checks returns the rules in a line that package spec of tinytest logged.
func checks(line string) (ids string, ok bool) {
	_, text, _ := strings.Cut(line, ".go:")
	_, text, _ = strings.Cut(text, ": ")
	return strings.CutPrefix(text, "checks ")
}

// parents returns the tests that have subtests.
func (r *run) parents() map[string]bool {
	parents := map[string]bool{}
	for name := range r.tests {
		for i, c := range name {
			if c == '/' {
				parents[name[:i]] = true
			}
		}
	}
	return parents
}

func (r *run) hasFailedChild(parent string) bool {
	return slices.ContainsFunc(r.order, func(name string) bool {
		outcome := r.tests[name].outcome
		return strings.HasPrefix(name, parent+"/") && (outcome == "fail" || outcome == "")
	})
}

// print writes a package's line, all of what its failed tests printed, and why its skipped ones were.
func (c *collector) print(r *run, end event) {
	switch {
	case r.outcome == "skip":
		fmt.Fprintf(c.out, "-     %s (no tests)\n", r.name)
	case r.outcome == "fail":
		fmt.Fprintf(c.out, "FAIL  %s %.1fs\n", r.name, end.Elapsed)
	case strings.Contains(r.output.String(), "(cached)"):
		fmt.Fprintf(c.out, "ok    %s (cached)\n", r.name)
	default:
		fmt.Fprintf(c.out, "ok    %s %.1fs\n", r.name, end.Elapsed)
	}
	for _, name := range r.order {
		switch t := r.tests[name]; t.outcome {
		case "fail":
			fmt.Fprintf(c.out, "  FAIL  %s\n%s", name, indent(t.output.String()))
		case "skip":
			fmt.Fprintf(c.out, "  skip  %s: %s\n", name, reason(t.output.String()))
		}
	}
	if r.outcome == "fail" {
		if b := c.builds[end.FailedBuild]; b != nil {
			fmt.Fprint(c.out, indent(b.String()))
		}
		fmt.Fprint(c.out, indent(r.output.String()))
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("        " + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

// reason returns what a skipped test said, without the name and place that the testing package puts around it.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if _, ok := checks(line); ok || line == "" || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				line = text
			}
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
