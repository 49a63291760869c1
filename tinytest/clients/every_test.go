package clients_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
	"nmosauthd/tinytest/ways"
)

// Every client gives the daemon's answers, and denies whenever there is none, whatever becomes of the daemon: see
// ways.Run. 10,000 questions from 16 threads, with a restart in between, have their answers, by a connection of before
// or a new one.
func TestEveryClient(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-2", "ANS-3", "ANS-4", "ANS-5", "ANS-6", "ANS-8", "ANS-9", "PATH-5", "PATH-9",
		"CTL-80", "CTL-84")
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			command := e.command(t)
			program, err := buildDaemon()
			if err != nil {
				t.Fatal(err)
			}
			r := ways.NewRig(t, program)
			p := startCommand(t, command, e.socket(r.Dir), plenty)
			good, _ := r.Pair()
			token := value(good.Packet[strings.LastIndex(good.Packet, "Bearer ") : len(good.Packet)-1])
			asker := &asker{e: &e, r: r, p: p}
			ways.Run(t, r, ways.Way{
				Ask:     asker.ask,
				Least:   len(rows.All(r.Sign)) * 8 / 10,
				Own:     asker.own,
				Threads: asker.threads,
				Unanswered: func(t *testing.T, why ways.Why) {
					wrong := map[ways.Why]int{ways.Stopped: unreachable, ways.Killed: unreachable,
						ways.Hung: timedOut}[why]
					p.wantFailure(p.decide("OPTIONS", "/"), wrong, 503)
				},
				Impatient: func(yes bool) {
					p.tell("timeout",
						fmt.Sprint(map[bool]time.Duration{true: patience, false: plenty}[yes].Milliseconds()))
				},
				Rest: func(t *testing.T) {
					if a := p.tell("ping"); a.err != answered {
						t.Errorf("ping: got error %d; want %d", a.err, answered)
					}
					if asker.bodies < 40 && e.body {
						t.Errorf("compared %d error bodies with those of http.sock; want most", asker.bodies)
					}
					checkMany(t, p, token)
				},
			})
			if e.name == "cpp" {
				if n := p.tell("allocations").text["allocations"]; n != "0" {
					t.Errorf("got %s allocations in calls; want 0", n)
				}
			}
		})
	}
}

// asker asks rows through a client.
type asker struct {
	e      *entry
	r      *ways.Rig
	p      *probe
	last   answer
	bodies int // that were compared with those of http.sock
}

func (c *asker) ask(t *testing.T, row rows.Question) (ways.Answer, bool) {
	t.Helper()
	words, commands, ok := words(row.Packet)
	if !ok {
		return ways.Answer{}, false // no client has a way to say it
	}
	a := c.p.tell(words...)
	c.last = a
	checkStatuses(t, row, commands, a)
	if c.e.body && a.err == answered && a.decision != "allow" {
		if want := httpBody(t, c.r.Dir.HTTP(), row.Packet); want != "" {
			c.bodies++
			if !sameJSON(a.text["body"], want) {
				t.Errorf("%s: got the body %s; that of http.sock is %s", row.Name, a.text["body"], want)
			}
		}
	}
	path, challenge := a.text["path"], a.text["www-authenticate"]
	return ways.Answer{Allowed: a.decision == "allow", Status: a.status, Reason: a.text["reason"], Path: &path,
		Challenge: &challenge, Retry: int(max(a.retry, 0)), More: fmt.Sprint("error ", a.err)}, true
}

// own reports whether the client may have seen itself what is wrong with a row.
func (c *asker) own(row rows.Question, a ways.Answer) bool {
	err := c.last.err
	local := err == badValue || err == badCall || err == tooLong
	wrong := strings.HasPrefix(row.First, "error ") ||
		strings.ContainsFunc(strings.ReplaceAll(row.Packet, "\n", ""), isControl)
	return wrong && (local || err == refused && a.Reason == row.Reason) || c.e.small && err == tooLong
}

func (c *asker) threads(t *testing.T, good, bad rows.Question, restart func()) {
	const threads, times = 16, 626
	allowed, _, _ := words(good.Packet) // decide METHOD TARGET AUTHORIZATION UPGRADE
	denied, _, _ := words(bad.Packet)
	c.p.tell("threads", fmt.Sprint(threads), fmt.Sprint(times), allowed[1], allowed[2], denied[2], allowed[3])
	restart()
	a := c.p.tell("on")
	if a.text["wrong"] != "0" || a.text["answered"] != fmt.Sprint(threads*times) ||
		a.text["allowed"] != fmt.Sprint(threads*times/2) {
		t.Errorf("got %v; want %d answers, half of them allow, none of them wrong", a.text, threads*times)
	}
}

// checkMany asks about several targets in one question.
func checkMany(t *testing.T, p *probe, token string) {
	const one, two, other = "/x-nmos/events/v1.0/sources/1", "/x-nmos/events/v1.0/sources/2",
		"/x-nmos/events/v1.0/sources/7"
	p.wantAllowed(p.tell("decide-all", "-", "-", token, "-", value(one), value(two)))
	a := p.tell("decide-all", "-", "-", token, "-", value(one), value(other), value(two))
	if a.decision != "deny" || a.status != 403 || fmt.Sprint(a.denied) != "["+other+"]" {
		t.Errorf("got %+v; want deny 403 and %s denied", a, other)
	}
	p.wantAllowed(p.tell("verify", token))
	if a := p.tell("verify", "-"); a.status != 401 || a.decision != "deny" {
		t.Errorf("without a token: got %+v; want deny 401", a)
	}
	if a := p.tell("decide-all", "-", "-", token, "-"); a.decision != "deny" || a.err != badCall {
		t.Errorf("about nothing: got %+v; want deny, error %d", a, badCall)
	}
}

// httpBody returns the body that http.sock has for a question of decide, "" if it allows or cannot be asked there.
func httpBody(t *testing.T, socket, packet string) string {
	t.Helper()
	ask, err := http.NewRequest(http.MethodGet, "http://daemon/authorize", nil)
	if err != nil {
		t.Fatal(err)
	}
	lines, is := strings.CutPrefix(packet, "decide 1\n")
	for line := range strings.Lines(lines) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		header := map[string]string{"method": "X-Original-Method", "target": "X-Original-URI",
			"authorization": "Authorization", "upgrade": "X-Original-Upgrade"}[name]
		is = is && header != "" && text != "" && text == strings.TrimSpace(text)
		ask.Header.Set(header, text)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	if !is {
		return ""
	}
	answer, err := client.Do(ask)
	if err != nil { // it holds what Go does not send
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// sameJSON reports whether two texts are the same JSON.
func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// checkStatuses checks what the commands of a row may do.
func checkStatuses(t *testing.T, row rows.Question, commands []string, a answer) {
	t.Helper()
	statuses := strings.Fields(a.text["statuses"])
	if len(statuses) != len(commands) {
		t.Errorf("%s: got %d statuses; want %d", row.Name, len(statuses), len(commands))
		return
	}
	for i, command := range commands {
		want := "200"
		switch {
		case a.err != answered:
			want = "503"
		case slices.ContainsFunc(row.Denied, func(d string) bool {
			return d == "*" || strings.HasPrefix(d, command+" ")
		}):
			want = "401"
		}
		if statuses[i] != want {
			t.Errorf("%s: got %s for %s; want %s", row.Name, statuses[i], command, want)
		}
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

var commandLine = regexp.MustCompile(`^(\d{1,9}) (\S+) (0|[1-9]\d{0,3})m(0|[1-9]\d{0,3}) (.+)$`)

// words turns a packet into a command for a probe; ok is false if a probe cannot say it. commands are those that are
// asked about, as a reply names them.
func words(packet string) (words, commands []string, ok bool) {
	verb, rest, _ := strings.Cut(packet, " 1\n")
	known := map[string][]string{
		"decide":   {"method", "target", "authorization", "upgrade"},
		"resource": {"access", "kind", "name", "authorization"},
		"control":  {"api", "model", "authorization"},
	}[verb]
	given := map[string]string{"access": "-", "api": "-"}
	for line := range strings.Lines(rest) {
		name, text, is := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case name == "command":
			m := commandLine.FindStringSubmatch(text)
			if m == nil {
				return nil, nil, false
			}
			class := "-"
			if m[2] != "-" {
				class = value(m[2])
			}
			words = append(words, value(m[1]), class, value(m[3]), value(m[4]), value(m[5]))
			commands = append(commands, "command "+m[1])
		case name == "subscribe":
			words = append(words, value("0"), "-", value("0"), value("0"), value(text))
			commands = append(commands, "subscribe "+text)
		case !is || !slices.Contains(known, name) || given[name] != "" && given[name] != "-":
			return nil, nil, false
		case name == "access" || name == "api":
			number := map[string]string{"read": "1", "write": "2", "control": "1", "configuration": "2"}[text]
			given[name] = number + strings.Repeat("0", 1-len(number))
		default:
			given[name] = value(text)
		}
	}
	head := []string{verb}
	for _, name := range known {
		word := given[name]
		if word == "" {
			word = "-"
		}
		head = append(head, word)
	}
	return append(head, words...), commands, true
}
