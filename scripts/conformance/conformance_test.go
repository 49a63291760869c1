package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestNamed(t *testing.T) {
	for _, c := range []struct{ test, want string }{
		{"TestX/KEY-1 PATH-1 PATH-2", "KEY-1 PATH-1 PATH-2"},
		{"TestEveryTokenOfTheMint/TOK-1/segments-1", "TOK-1"},
		{"TestX/KEY-12/a", "KEY-12"},
		{"TestX KEY-1 KEY-1", "KEY-1"},
		{"TestX/ANS-4,ANS-6", "ANS-4 ANS-6"},
		{"TestX/MONKEY-1", ""},
		{"TestX/KEY-1b", ""},
		{"TestX/1KEY-1", ""},
		{"TestX/KEY-", ""},
		{"TestX_KEY1", ""},
		{"TestX/RFC-7515", ""},
	} {
		if got := strings.Join(named(c.test), " "); got != c.want {
			t.Errorf("%s names %q, want %q", c.test, got, c.want)
		}
	}
}

// notYet are the rules that no test need name yet.
const notYet = ``

func TestRulesFile(t *testing.T) {
	rules, err := parseRules(rulesText)
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]int{}
	for _, r := range rules {
		family, _, _ := strings.Cut(r.id, "-")
		families[family]++
		if len(r.summary) > 72 {
			t.Errorf("%s: the summary is too long for the table", r.id)
		}
		later := slices.Contains(strings.Fields(notYet), r.id)
		if r.required == later {
			t.Errorf("%s: required is %v", r.id, r.required)
		}
	}
	for family, n := range map[string]int{
		"TOK": 6, "CLM": 11, "PATH": 16, "ANS": 9, "KEY": 8, "DIS": 6, "OPS": 3, "CLI": 43, "CTL": 46, "CERT": 41,
	} {
		if families[family] != n {
			t.Errorf("%d rules %s, want %d", families[family], family, n)
		}
	}
	for _, bad := range []string{"TOK-1 required", "TOK-x later a", "TOK-1 soon a", "a",
		"TOK-1 later a\nTOK-1 later a"} {
		if _, err := parseRules(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

const twoRules = "TOK-1 required the first\nKEY-2 later the second\n"

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name   string
		events string // one a line: action, package, test, text or failed build
		good   bool
		want   []string // lines of the report, in order
	}{
		{
			name: "all passed",
			events: `start a
				run a TestX
				output a TestX     x_test.go:3: checks TOK-1
				output a TestX a log of no interest
				pass a TestX
				pass a
				skip b`,
			good: true,
			want: []string{"ok    m/a 1.5s", "-     m/b (no tests)", "1 passed, 0 failed, 0 skipped"},
		},
		{
			name: "subtests are counted and not their parents",
			events: `run a TestX
				run a TestX/TOK-1/a
				run a TestX/TOK-1/b
				pass a TestX/TOK-1/a
				pass a TestX/TOK-1/b
				pass a TestX
				pass a`,
			good: true,
			want: []string{"2 passed, 0 failed, 0 skipped"},
		},
		{
			name: "a failed subtest",
			events: `run a TestX
				output a TestX     x_test.go:3: checks TOK-1
				run a TestX/a
				output a TestX/a got 1
				fail a TestX/a
				run a TestX/b
				pass a TestX/b
				fail a TestX
				fail a`,
			want: []string{"FAIL  m/a 1.5s", "  FAIL  TestX/a", "        got 1", "1 passed, 1 failed, 0 skipped"},
		},
		{
			name: "a test that fails beside its subtests",
			events: `run a TestX
				output a TestX     x_test.go:3: checks TOK-1
				pass a TestX/a
				fail a TestX
				fail a`,
			want: []string{"  FAIL  TestX", "1 passed, 1 failed, 0 skipped"},
		},
		{
			name: "a panic leaves a test without an end",
			events: `run a TestX
				output a TestX     x_test.go:3: checks TOK-1
				pass a TestX
				run a TestY
				output a TestY panic: oh
				fail a`,
			want: []string{"  FAIL  TestY", "        panic: oh", "1 passed, 1 failed, 0 skipped"},
		},
		{
			name: "skipped with a reason covers nothing",
			events: `run a TestX
				output a TestX     x_test.go:3: checks TOK-1
				output a TestX     x_test.go:7: no C compiler: none found
				skip a TestX
				pass a`,
			want: []string{
				"  skip  TestX: no C compiler: none found",
				"FAIL  TOK-1 has no passing test that names it; 1 skipped (the first)", "0 passed, 0 failed, 1 skipped",
			},
		},
		{
			name:   "a rule without a test",
			events: "run a TestX\noutput a TestX     x_test.go:3: checks KEY-2\npass a TestX\npass a",
			want: []string{"FAIL  TOK-1 has no passing test that names it (the first)",
				"1 passed, 0 failed, 0 skipped"},
		},
		{
			name:   "a test without a rule",
			events: "output a TestX     x_test.go:3: checks TOK-1\npass a TestX\npass a TestX/TOK-7\npass a",
			want:   []string{"FAIL  a: TestX/TOK-7 names TOK-7, which is not a rule"},
		},
		{
			name: "a build that fails",
			events: `output a TestX     x_test.go:3: checks TOK-1
				pass a TestX
				pass a
				build-output b x.go:1: undefined: y
				build-fail b
				fail b by b`,
			want: []string{"FAIL  m/b 1.5s", "        x.go:1: undefined: y", "1 passed, 1 failed, 0 skipped"},
		},
		{
			name:   "a package that does not end",
			events: "start a\noutput a TestX     x_test.go:3: checks TOK-1\npass a TestX",
			want:   []string{"FAIL  m/a did not end"},
		},
		{
			name: "no events",
			want: []string{"FAIL  no package was tested", "0 passed, 1 failed, 0 skipped"},
		},
		{
			name:   "something else",
			events: "output a TestX     x_test.go:3: checks TOK-1\npass a TestX\npass a\n!make: *** stop",
			want:   []string{"FAIL  not an event of go test -json: make: *** stop"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			good, err := report(strings.NewReader(stream(t, c.events)), &out, twoRules, false)
			if err != nil {
				t.Fatal(err)
			}
			if good != c.good {
				t.Errorf("good is %v", good)
			}
			rest := "\n" + out.String()
			for _, line := range c.want {
				_, after, found := strings.Cut(rest, "\n"+line+"\n")
				if !found {
					t.Fatalf("the line %q is missing, or not where it should be, in\n%s", line, out.String())
				}
				rest = "\n" + after
			}
		})
	}
}

// stream makes the events that the lines speak of.
func stream(t *testing.T, lines string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "!"); ok {
			b.WriteString(text + "\n")
			continue
		}
		f := strings.SplitN(line, " ", 4)
		e := event{Action: f[0], Package: "m/" + f[1]}
		if strings.HasPrefix(e.Action, "build-") {
			e = event{Action: f[0], ImportPath: "m/" + f[1], Output: strings.Join(f[2:], " ") + "\n"}
		} else if len(f) == 4 && f[2] == "by" {
			e.FailedBuild = "m/" + f[3]
		} else if len(f) > 2 {
			e.Test = f[2]
			if len(f) > 3 {
				e.Output = f[3] + "\n"
			}
		}
		if e.Test == "" {
			e.Elapsed = 1.5
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	return b.String()
}

func TestTable(t *testing.T) {
	events := stream(t, `output a TestX     x_test.go:3: checks TOK-1
				pass a TestX
		pass a TestY/TOK-1/a
		pass a TestY/TOK-1/b
		pass a TestY/other
		pass a TestY
		pass a`)
	var out strings.Builder
	if good, err := report(strings.NewReader(events), &out, twoRules, true); !good || err != nil {
		t.Fatalf("got %v, %v; want a good report", good, err)
	}
	const want = `
TOK-1    the first   a: TestX
                     a: TestY (2)
KEY-2    the second  (later)

`
	if !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
