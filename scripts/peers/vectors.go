//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The vectors, and the group that has the usual setting, in which peers are asked.
const (
	vectors = "../../tinytest/vectors"
	usual   = "form"
)

// setting is what a server has to know for the usual setting.
type setting struct {
	Names  []string `json:"names"`
	Issuer string   `json:"issuer"`
	JWKS   string   `json:"jwks"`
}

// readSetting reads the usual setting.
func readSetting() (s setting, err error) {
	text, err := os.ReadFile(filepath.Join(vectors, usual+".json"))
	if err != nil {
		return s, err
	}
	var file struct {
		Groups []struct {
			Name   string
			Device setting
		}
	}
	if err = json.Unmarshal(text, &file); err != nil {
		return s, err
	}
	for _, g := range file.Groups {
		if g.Name == usual && len(g.Device.Names) == 1 {
			return g.Device, nil
		}
	}
	return s, fmt.Errorf("%s.json has no group of that name and a device of one name", usual)
}

// asked is a peer that the runner asks: over HTTP as a client does, or by this program as a command.
type asked struct {
	name, how string // column of the table, and what it is
	args      []string
}

// checkVariable is the environment variable that makes this program a command of the runner: the name of a library, or
// "opa" and a socket.
const checkVariable = "NMOS_PEERS_CHECK"

// checkVectors puts the vectors to all peers that are there and writes a page about what they answered.
func (w *world) checkVectors(servers []*server, out string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := func(what string, more ...string) []string {
		return append([]string{"--command", "env '" + checkVariable + "=" + what + "' " + self}, more...)
	}
	var peers []asked
	for _, s := range servers {
		switch {
		case !s.peer || strings.HasPrefix(s.name, " "): // with a cache it answers the same
		case s.holds != "":
			peers = append(peers, asked{"OPA", s.name, command("opa " + s.address)})
		default:
			name, _, _ := strings.Cut(s.name, ",")
			name = strings.TrimSuffix(name, " jwt_authn")
			peers = append(peers, asked{name, s.name, []string{"--http", "unix:" + s.address, "--form", "plain"}})
		}
	}
	for _, name := range []string{"go-jose", "golang-jwt", "jwx"} {
		peers = append(peers, asked{name, name, command(name, "--part", "token")})
	}
	var reports []outcome
	for i, p := range peers {
		file := w.file(fmt.Sprintf("report-%d.json", i))
		args := append([]string{filepath.Join(vectors, "run.py"), "--quiet", "--compare", "allowed", "--report", file},
			p.args...)
		out, err := exec.CommandContext(w.ctx, "python3", args...).CombinedOutput()
		text, err2 := os.ReadFile(file)
		var r outcome
		if err2 == nil {
			err2 = json.Unmarshal(text, &r)
		}
		if err2 != nil {
			return fmt.Errorf("%s: %w\n%s", p.name, errors.Join(err2, err), out)
		}
		reports = append(reports, r)
		fmt.Printf("%-14s %5d as expected, %4d otherwise, %4d not asked\n", p.name, r.Passed, r.Failed, r.Skipped)
	}
	if out == "" {
		return nil
	}
	return os.WriteFile(out, page(peers, reports), 0o644)
}

// outcome is what the runner writes.
type outcome struct {
	Passed, Failed, Skipped int
	Rules                   map[string]struct{ Passed, Failed, Skipped int }
	Levels                  map[string]string
}

// families is the order of the rules.
var families = []string{"TOK", "CLM", "PATH", "ANS", "KEY", "OPS", "CTL"}

// page is the report, for the documentation.
func page(peers []asked, reports []outcome) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	var rules []string
	levels := map[string]string{}
	for _, r := range reports {
		for rule := range r.Rules {
			if levels[rule] == "" {
				rules = append(rules, rule)
			}
			levels[rule] = r.Levels[rule]
		}
	}
	place := func(rule string) int {
		family, number, _ := strings.Cut(rule, "-")
		var n int
		fmt.Sscan(number, &n)
		return slices.Index(families, family)*1000 + n
	}
	slices.SortFunc(rules, func(a, b string) int { return place(a) - place(b) })
	b.WriteString("\n| rule | level |")
	for _, p := range peers {
		b.WriteString(" " + p.name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(peers)) + "\n")
	cell := func(passed, failed int) {
		switch {
		case passed+failed == 0:
			b.WriteString(" |")
		case failed == 0:
			fmt.Fprintf(&b, " %d |", passed)
		default:
			fmt.Fprintf(&b, " %d/%d |", passed, passed+failed)
		}
	}
	for _, rule := range rules {
		fmt.Fprintf(&b, "| %s | %s |", rule, levels[rule])
		for _, r := range reports {
			cell(r.Rules[rule].Passed, r.Rules[rule].Failed)
		}
		b.WriteString("\n")
	}
	b.WriteString("| all | |")
	for _, r := range reports {
		cell(r.Passed, r.Failed)
	}
	b.WriteString("\n")
	return b.Bytes()
}

const head = `# What the peers answer to the test vectors

    make peers PEERS="-vectors VECTORS.md"

put the [test vectors](../../tinytest/vectors/README.md) to each peer, in the
usual setting and by this machine's clock, and wrote this page. Only whether a
request is let through is compared, not the status or the challenge. A cell has
how many cases of a rule were answered as the vectors have it, of how many; one
number alone means all of them; nothing, that none was asked.

A peer answers by what it was told. [README.md](README.md) has the
configurations:

- the Open Policy Agent has a policy of a hundred lines for IS-10, which is given
  the method, the target and the token of the one Authorization header, and
  nginx a sidecar of 150 lines. They are as somebody would write them in an
  afternoon who had read IS-10 but not these vectors: what they miss could be
  written
- Envoy's jwt_authn and oauth2-proxy are generic. They were told of the issuer,
  the key, one audience and RS512, and of no claim that IS-10 adds; they have no
  notion of the paths that need no token, of ` + "`read`" + ` and ` + "`write`" + `, or of a token in
  a query
- the libraries check a token alone (the cases whose part is the token), with the
  options that they have for issuer, audience and times

Many cases are denials: whoever denies everything answers those as expected, and
whoever compares no path those that are allowed. The figures say which rules are
covered, not how good a program is.

The level is that of the rule: what IS-10 and the RFCs demand (must, should), or
a choice of ours, where another one is no fault.
`

// answerRunner answers the runner's questions until there are no more.
func answerRunner(what string) error {
	base, err := readSetting()
	if err != nil {
		return err
	}
	w := &world{issuer: base.Issuer, jwks: []byte(base.JWKS)}
	var allowed func(q runnerQuestion) (bool, error)
	if socket, is := strings.CutPrefix(what, "opa "); is {
		s := opaAt(socket)
		allowed = func(q runnerQuestion) (bool, error) {
			token := ""
			if len(q.Authorization) == 1 {
				token, _ = strings.CutPrefix(q.Authorization[0], "Bearer ")
			}
			reply, err := askOnce(s, question{q.Method, q.Target, token})
			if errors.Is(err, io.EOF) { // it ended the connection in place of an answer, so nothing is allowed
				return false, nil
			}
			return s.allows(reply), err
		}
	} else {
		checks, err := w.checks()
		if err != nil {
			return err
		}
		check := checks[what]
		if check == nil {
			return errors.New("unknown: " + what)
		}
		allowed = func(q runnerQuestion) (bool, error) { return check(q.Token) == nil, nil }
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var q runnerQuestion
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		another := q.Issuer != base.Issuer || q.JWKS != base.JWKS || !slices.Equal(q.Names, base.Names) ||
			q.Leeway != 0 || len(q.Paths) > 0 || !q.ClockKnown ||
			time.Since(time.Unix(q.Now, 0)).Abs() > time.Hour // peers have the clock of this machine
		if another {
			fmt.Println(`{"skip": "another setting"}`)
			continue
		}
		ok, err := allowed(q)
		if err != nil {
			return err
		}
		fmt.Printf(`{"allowed": %t}`+"\n", ok)
	}
	return lines.Err()
}

// runnerQuestion is a line of the runner's.
type runnerQuestion struct {
	setting
	Leeway         int
	Paths          map[string]any
	ClockKnown     bool `json:"clock_known"`
	Now            int64
	Token          string
	Method, Target string
	Authorization  []string
}
