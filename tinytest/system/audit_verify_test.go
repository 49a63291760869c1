package system_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// verifyFiles has "audit verify" read what was written, and what was done to it.
func verifyFiles(t *testing.T, file string, files []string, head string) {
	t.Helper()
	slices.Reverse(files) // in any order
	verify := func(args ...string) result {
		return command(t, "", append([]string{"audit", "verify"}, args...)...)
	}
	if r := verify(append([]string{"--head", head}, files...)...); r.status != 0 || r.errors != "" ||
		!strings.Contains(r.out, "intact\n") || !strings.Contains(r.out, "end        closed\n") {
		t.Errorf("exit status %d: %s%s", r.status, r.errors, r.out)
	}
	copied := filepath.Join(t.TempDir(), "a")
	good, err := os.ReadFile(file + ".1")
	if err == nil {
		err = os.WriteFile(copied, good, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(good))
	if len(lines) < 100 {
		t.Fatalf("%d lines", len(lines))
	}
	var last tally
	last.add(t, lines[len(lines)-1])
	join := func(parts ...[][]byte) []byte { return bytes.Join(slices.Concat(parts...), nil) }
	with := func(n int, change func([]byte) []byte) []byte {
		return join(lines[:n], [][]byte{change(slices.Clone(lines[n]))}, lines[n+1:])
	}
	type change struct {
		name   string
		text   []byte
		args   []string
		status int
		says   string
	}
	changes := []change{
		{"nothing", good, []string{"--head", last.head}, 0, "intact\n"},
		{"a line is gone", join(lines[:40], lines[41:]), nil, 1, copied + ":41 "},
		{"two are swapped", join(lines[:40], lines[41:42], lines[40:41], lines[42:]), nil, 1, copied + ":41 "},
		{"one is doubled", join(lines[:41], lines[40:]), nil, 1, copied + ":42 "},
		{"the first is gone", join(lines[1:]), nil, 1, copied + ":1 "},
		{"a line is put in", join(lines[:7], [][]byte{[]byte("{\"audit\":1}\n")}, lines[7:]), nil, 1, copied + ":8: "},
		{"cut off in a line", good[:len(good)-len(lines[len(lines)-1])-10], nil, 0,
			"end        cut off in the middle of a line\n"},
		{"cut off in a line, which shows by the head",
			good[:len(good)-10], []string{"--head", last.head}, 1, "NOT COMPLETE: "},
		{"cut off behind a line", join(lines[:50]), nil, 0, "end        open"},
		{"cut off behind a line, which shows by the head",
			join(lines[:50]), []string{"--head", last.head}, 1, "NOT COMPLETE: "},
	}
	for _, n := range []int{0, 1, 2, 33, 77, len(lines) - 2, len(lines) - 1} {
		for _, at := range []int{2, len(lines[n]) / 2, len(lines[n]) - 50, len(lines[n]) - 20, len(lines[n]) - 3} {
			text := with(n, func(line []byte) []byte {
				line[at] ^= 1
				return line
			})
			changes = append(changes,
				change{fmt.Sprintf("byte %d of line %d", at, n+1), text, nil, 1, fmt.Sprintf("%s:%d", copied, n+1)})
		}
	}
	for _, c := range changes {
		if err := os.WriteFile(copied, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := verify(append(c.args, copied)...); r.status != c.status || r.errors != "" ||
			!strings.Contains(r.out, c.says) {
			t.Errorf("%s: exit status %d, %s%s\nwant %d, %q", c.name, r.status, r.errors, r.out, c.status, c.says)
		}
	}
}

// "audit verify" says what it cannot read, and finds the records among the lines of the daemon's log.
func TestAuditVerifyCommand(t *testing.T) {
	t.Parallel()
	empty := file(t, "empty", "")
	for _, c := range []struct {
		args      string
		complaint string
	}{
		{"audit", "usage: nmos-authd audit verify"},
		{"audit check", "usage: nmos-authd audit verify"},
		{"audit verify", "too few or too many arguments"},
		{"audit verify /no/such/file", "/no/such/file: no such file"},
		{"audit verify " + filepath.Dir(empty), "is a directory"},
		{"audit verify " + empty, "no records found"},
		{"audit verify --log " + empty, "no records found"},
		{"audit verify --no-such-flag " + empty, "flag provided but not defined"},
	} {
		command(t, "", strings.Fields(c.args)...).check(t, 2, "", c.complaint)
	}
	b := start(t, trusting(t)) // its records go to standard error
	for range 3 {
		b.want(get("/x-nmos"), 200, "public")
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	log := file(t, "log", b.Log())
	command(t, "", "audit", "verify", "--log", log).check(t, 0,
		"decisions  3, seq 1 to 3\ndropped    0, by the daemon's own account\n", "")
	command(t, "", "audit", "verify", log).check(t, 1, "ALTERED\n", "")
	command(t, b.Log(), "audit", "verify", "--log", "/dev/stdin").check(t, 0,
		"intact\nlines      4, number 1 to 4\n", "")
	changed := strings.Replace(b.Log(), `"decision":"allow"`, `"decision":"deny"`, 1)
	command(t, changed, "audit", "verify", "--log", "/dev/stdin").check(t, 1, " altered: this line", "")
}
