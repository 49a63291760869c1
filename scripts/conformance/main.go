// Conformance reads what "go test -json" writes, shows it in a form for people, and checks that every required rule of
// rules.txt is named by a test that passed:
//
//	go test -json ./... | go run ./scripts/conformance [-table]
//
// It exits with 1 if a test or a build failed, or a rule is without a test. Its last line counts the tests.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	table := flag.Bool("table", false, "print which tests check which rule")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "conformance: it takes no arguments; events come on standard input")
		os.Exit(2)
	}
	good, err := report(os.Stdin, os.Stdout, rulesText, *table)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

// report reads the events in in and writes the report to out. It returns whether all is well.
func report(in io.Reader, out io.Writer, text string, table bool) (good bool, err error) {
	rules, err := parseRules(text)
	if err != nil {
		return false, err
	}
	c := newCollector(out)
	if err := c.read(in); err != nil {
		return false, err
	}
	cover := newCoverage(rules, c.tests)
	if table {
		cover.print(out)
	}
	missing := cover.complain(out)
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return c.failed == 0 && !missing, nil
}
