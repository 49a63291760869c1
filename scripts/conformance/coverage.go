package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// coverage says which tests check which rule.
type coverage struct {
	rules   []rule
	by      map[string][]*group // by rule
	skipped map[string]int      // tests that name the rule and were skipped
	unknown []string            // complaints about tests that name rules which do not exist
}

// group is one test function, with how many of its subtests passed and name the rule.
type group struct {
	name   string // folder: function
	leaves int
	whole  bool // the function itself, not subtests of it
}

func newCoverage(rules []rule, tests []test) *coverage {
	c := &coverage{rules: rules, by: map[string][]*group{}, skipped: map[string]int{}}
	for _, t := range tests {
		function, _, sub := strings.Cut(t.name, "/")
		_, folder, _ := strings.Cut(t.pkg, "/")
		name := folder + ": " + function
		for _, id := range t.rules {
			if !slices.ContainsFunc(rules, func(r rule) bool { return r.id == id }) {
				c.unknown = append(c.unknown, fmt.Sprintf("%s names %s, which is not a rule", folder+": "+t.name, id))
			}
			switch t.outcome {
			case "skip":
				c.skipped[id]++
			case "pass":
				groups := c.by[id]
				i := slices.IndexFunc(groups, func(g *group) bool { return g.name == name })
				if i < 0 {
					i = len(groups)
					groups = append(groups, &group{name: name, whole: !sub})
				}
				groups[i].leaves++
				c.by[id] = groups
			}
		}
	}
	return c
}

// print writes the table: a rule, and the test functions that check it, one a line.
func (c *coverage) print(out io.Writer) {
	widest := 0
	for _, r := range c.rules {
		widest = max(widest, len(r.summary))
	}
	fmt.Fprintln(out)
	for _, r := range c.rules {
		id, summary := r.id, r.summary
		for _, g := range c.by[r.id] {
			count := ""
			if !g.whole {
				count = fmt.Sprintf(" (%d)", g.leaves)
			}
			fmt.Fprintf(out, "%-8s %-*s  %s%s\n", id, widest, summary, g.name, count)
			id, summary = "", ""
		}
		if len(c.by[r.id]) == 0 {
			state := "NO TEST"
			if !r.required {
				state = "(later)"
			}
			fmt.Fprintf(out, "%-8s %-*s  %s\n", id, widest, summary, state)
		}
	}
	fmt.Fprintln(out)
}

// complain writes a line for each required rule without a passing test, and for each test of a rule that does not
// exist. It returns whether there was one.
func (c *coverage) complain(out io.Writer) bool {
	found := false
	for _, r := range c.rules {
		if !r.required || len(c.by[r.id]) > 0 {
			continue
		}
		found = true
		why := ""
		if n := c.skipped[r.id]; n > 0 {
			why = fmt.Sprintf("; %d skipped", n)
		}
		fmt.Fprintf(out, "FAIL  %s has no passing test that names it%s (%s)\n", r.id, why, r.summary)
	}
	for _, u := range c.unknown {
		found = true
		fmt.Fprintf(out, "FAIL  %s\n", u)
	}
	return found
}
