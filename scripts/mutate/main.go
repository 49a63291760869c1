// Command mutate changes one operator at a time in copies of the decision's packages and runs their tests on each: a
// change that no test notices is a test that is missing, or makes no difference. "make mutate" runs it; the report is
// build/mutations.txt.
//
// Changes that make no difference are listed in equivalent.txt beside this file, each with the reason below it.
//
// The exit status is 0 if every change was noticed or is listed, 1 if not, and 2 if the run is incomplete: it was
// interrupted, or the tests fail without any change.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// errAlive says that a mutation is noticed by no test.
var errAlive = errors.New("mutations are noticed by no test")

func main() {
	sample := flag.Int("sample", 0, "number of mutations, chosen at random; 0 for all")
	skip := flag.Int("skip", 0, "number of chosen mutations to skip, tried by an earlier run with the same seed")
	seed := flag.Uint64("seed", 1, "of the choice")
	match := flag.String("match", "",
		"only mutations whose name, as the report has it, matches this regular `expression`")
	out := flag.String("out", "build/mutations.txt", "report `file`")
	also := flag.String("also", "./agent", "`packages` whose tests run if a package's own notice nothing; may be empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args(), *match, *sample, *skip, *seed, *out, strings.Fields(*also)); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		if errors.Is(err, errAlive) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

func run(
	ctx context.Context, folders []string, match string, sample, skip int, seed uint64, out string, also []string,
) error {
	wanted, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	var all []mutation
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			found, err := mutationsOf(file, text)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
	}
	all = slices.DeleteFunc(all, func(m mutation) bool { return !wanted.MatchString(m.String()) })
	if len(all) == 0 {
		return fmt.Errorf("nothing to change in %q", folders)
	}
	if sample > 0 || skip > 0 {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[min(skip, len(all)):]
		if sample > 0 {
			all = all[:min(sample, len(all))]
		}
	}
	known, err := equivalent("scripts/mutate/equivalent.txt")
	if err != nil {
		return err
	}
	tried, err := try(ctx, all, also)
	if err != nil {
		return err
	}
	report, alive := reportOf(tried, known)
	fmt.Print(report)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, []byte(report), 0o644); err != nil {
		return err
	}
	if len(tried) < len(all) {
		return fmt.Errorf("incomplete: %d of %d mutations were not tried", len(all)-len(tried), len(all))
	}
	if alive > 0 {
		return fmt.Errorf("%d %w", alive, errAlive)
	}
	return nil
}

// reportOf lists the mutations that were not noticed, and counts all by package. alive are those that nothing explains.
func reportOf(tried map[mutation]result, known map[string]string) (report string, alive int) {
	type count struct{ all, caught, late, broken, equivalent, alive int }
	counts := map[string]*count{}
	var lines []string
	for m, r := range tried {
		folder := filepath.Dir(m.file)
		c := counts[folder]
		if c == nil {
			c = &count{}
			counts[folder] = c
		}
		c.all++
		reason := known[m.String()]
		if r != survived && reason != "" {
			lines = append(lines, fmt.Sprintf("%s\n\tlisted in equivalent.txt, but %s (line %d)\n", m, r, m.line))
		}
		switch {
		case r == failed:
			c.caught++
		case r == timedOut:
			c.late++
		case r == notCompiled:
			c.broken++
		case reason != "":
			c.equivalent++
			lines = append(lines, fmt.Sprintf("%s\n\t%s\n", m, reason))
		default:
			c.alive++
			alive++
			lines = append(lines, fmt.Sprintf("%s\n\tALIVE (line %d)\n", m, m.line))
		}
	}
	slices.Sort(lines)
	report = strings.Join(lines, "")
	folders := make([]string, 0, len(counts))
	for folder := range counts {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		c := counts[folder]
		report += fmt.Sprintf("%s: %d mutations: %d noticed, %d noticed by time-out, %d not compiled, "+
			"%d make no difference, %d alive\n", folder, c.all, c.caught, c.late, c.broken, c.equivalent, c.alive)
	}
	return report, alive
}

// equivalent reads which mutations make no difference, and why: the name of each, and the reason on indented lines
// below it.
func equivalent(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known := map[string]string{}
	name := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		reason, indented := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case indented && name != "":
			known[name] = strings.TrimSpace(known[name] + " " + reason)
		case indented:
			return nil, fmt.Errorf("%s: %q is the reason of nothing", file, reason)
		default:
			if _, again := known[line]; again {
				return nil, fmt.Errorf("%s: %q is listed twice", file, line)
			}
			name, known[line] = line, ""
		}
	}
	for name, reason := range known {
		if reason == "" {
			return nil, fmt.Errorf("%s: %q has no reason below it", file, name)
		}
	}
	return known, lines.Err()
}
