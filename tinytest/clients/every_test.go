package clients_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	live "nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/ways"
)

// entry is a client. A further one is a further entry, and a program in testdata that does what probe.c does.
type entry struct {
	name string
	// the program, less the socket and the timeout in ms; skips if it cannot be made
	command func(*testing.T) []string
	// it asks at http.sock, where there are no tokens and no standing questions
	http bool
	// its buffer is too small for the longest reply to control 1: it says so before it asks
	small  bool
	body   bool                                      // its program prints the error body
	readme func(t *testing.T, lines string) []string // the program that is the README's lines in testdata/readme.*
}

var entries = []entry{
	{name: "c", small: true, command: func(t *testing.T) []string { return []string{probeProgram(t)} }},
	{name: "cpp", small: true, body: true, command: cppProbe, readme: cppReadme},
	{name: "python", body: true, command: pythonProbe, readme: pythonReadme},
	{name: "rust", body: true, command: rustProbe, readme: rustReadme},
	{name: "node", http: true, body: true, command: nodeProbe, readme: nodeReadme},
}

var clientsDir = func() string {
	dir, err := filepath.Abs("../../platform/clients")
	if err != nil {
		panic(err)
	}
	return dir
}()

// tool returns the path of a compiler or an interpreter, or skips the test and says why.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	fmt.Printf("%s skipped: no %s\n", t.Name(), strings.Join(names, " or "))
	t.Skipf("no %s", strings.Join(names, " or "))
	return ""
}

var cppWarnings = []string{"-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wold-style-cast", "-Wconversion",
	"-Wshadow", "-I" + clientDir, "-I" + clientsDir + "/cpp", "-pthread"}

// compileCpp compiles a program, once for all that want it.
func compileCpp(t *testing.T, source, program string) string {
	t.Helper()
	cxx, object := compiler(t, "CXX", "g++"), compile(t, "linked.o", "-c", clientDir+"/nmos_authz.c")
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(program); err != nil {
		output(t, cxx, join(cppWarnings, []string{"-o", program, source, object})...)
	}
	return program
}

func cppProbe(t *testing.T) []string {
	return []string{compileCpp(t, "testdata/probe.cpp", filepath.Join(buildDir, "probecpp"))}
}

func pythonProbe(t *testing.T) []string { return []string{tool(t, "python3"), "testdata/probe.py"} }

func nodeProbe(t *testing.T) []string {
	return []string{tool(t, "node", "nodejs"), "testdata/probe.cjs"}
}

func compileRust(t *testing.T, source, program string) string {
	t.Helper()
	rustc, crate := tool(t, "rustc"), filepath.Join(buildDir, "libnmos_authz.rlib")
	compiled.Lock()
	defer compiled.Unlock()
	flags := []string{"--edition=2021", "-D", "warnings", "-C", "opt-level=1"}
	if _, err := os.Stat(crate); err != nil {
		output(t, rustc, join(flags, []string{"--crate-type=rlib", "--crate-name=nmos_authz", "-o", crate,
			clientsDir + "/rust/nmos_authz.rs"})...)
	}
	if _, err := os.Stat(program); err != nil {
		output(t, rustc, join(flags, []string{"--extern", "nmos_authz=" + crate, "-o", program, source})...)
	}
	return program
}

// The README and Cargo.toml promise a Rust as old as Debian 12 has it. Its compiler is not the one in PATH if that is
// newer.
func TestRustOldest(t *testing.T) {
	rustc := compiler(t, "RUSTC_OLDEST", "/usr/bin/rustc")
	cargo, err := os.ReadFile(clientsDir + "/rust/Cargo.toml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(clientsDir + "/rust/README.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := regexp.MustCompile(`rust-version = "([0-9.]+)"`).FindSubmatch(cargo)
	if promised == nil || !strings.Contains(string(readme), "Rust "+string(promised[1])+" or later") {
		t.Errorf("Cargo.toml promises %q; want what the README does", promised)
	}
	t.Log(output(t, rustc, "--version"))
	dir := t.TempDir()
	flags := []string{"--edition=2021", "-D", "warnings", "--emit=metadata", "--out-dir", dir}
	output(t, rustc, join(flags, []string{"--crate-type=rlib", "--crate-name=nmos_authz",
		clientsDir + "/rust/nmos_authz.rs"})...)
	output(t, rustc, join(flags, []string{"--extern", "nmos_authz=" + dir + "/libnmos_authz.rmeta",
		"testdata/probe.rs"})...)
}

func rustProbe(t *testing.T) []string {
	return []string{compileRust(t, "testdata/probe.rs", filepath.Join(buildDir, "proberust"))}
}

// socket is where a client asks.
func (e *entry) socket(dir live.Dir) string {
	if e.http {
		return dir.HTTP()
	}
	return dir.Authz()
}

// Every client gives the daemon's answers, and denies whenever there is none, whatever becomes of the daemon: see
// ways.Run. 10,000 questions from 16 threads, with a restart in between, have their answers, by a connection of before
// or a new one.
func TestEveryClient_ANS1_ANS2_ANS3_ANS4_ANS5_ANS6_ANS8_ANS9_PATH5_PATH9_CTL80_CTL84(t *testing.T) {
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
					p.tell("timeout", fmt.Sprint(
						map[bool]time.Duration{true: patience, false: plenty}[yes].Milliseconds()))
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
	wrong := strings.HasPrefix(row.First, "error ") || strings.ContainsFunc(strings.ReplaceAll(row.Packet, "\n", ""),
		isControl)
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
	known := map[string][]string{"decide": {"method", "target", "authorization", "upgrade"},
		"resource": {"access", "kind", "name", "authorization"},
		"control":  {"api", "model", "authorization"}}[verb]
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

// What breaks the protocol denies, whoever reads it; and a value with a control character is never sent.
func TestEveryClientDistrusts(t *testing.T) {
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			program := e.command(t)
			d := startDaemonFor(t, &e, honest)
			p := startCommand(t, program, d.at, plenty)
			for c := range 256 {
				if c >= 0x20 && c != 0x7f {
					continue
				}
				text := value("/a" + string(rune(c)) + "b")
				for place := range 4 {
					values := []string{value("GET"), value("/"), value("Bearer x"), value("websocket")}
					values[place] = text
					p.wantFailure(p.tell(append([]string{"decide"}, values...)...), badValue, 400)
				}
				p.wantFailure(p.tell("verify", text), badValue, 400)
				p.wantFailure(p.tell("decide-all", "-", "-", "-", "-", value("/a"), text), badValue, 400)
				p.wantFailure(p.tell("resource", "1", text, value("a"), "-"), badValue, 400)
				p.wantFailure(p.control(ofControl, "-", "-", subscription("/a"+string(rune(c))+"b")), badValue, 400)
				p.wantFailure(p.control(ofControl, "-", "-", command{"1", "1", "1", "1", string(rune(c))}), badValue,
					400)
				p.wantFailure(p.control(ofControl, text, "-", command{"1", "1", "1", "1", "root"}), badValue, 400)
			}
			if n := d.count(); n != 0 {
				t.Errorf("the daemon was asked %d times; want never", n)
			}
			for name, packet := range malformed {
				d.become(replying(packet))
				if a := p.decide("GET", "/"); a.decision != "deny" || a.status != 503 || a.err != badReply {
					t.Errorf("%s: got %+v; want deny 503, error %d", name, a, badReply)
				}
				d.become(honest)
				p.wantAllowed(p.decide("GET", "/"))
			}
			d.become(hangup)
			p.wantFailure(p.decide("GET", "/"), connectionLost, 503)
			d.become(silent)
			p.tell("timeout", fmt.Sprint(patience.Milliseconds()))
			p.wantFailure(p.decide("GET", "/"), timedOut, 503)
			p.tell("timeout", fmt.Sprint(plenty.Milliseconds()))
			checkControl(t, d, p)
			if !e.http {
				checkOwnToken(t, d, p)
				checkWatch(t, d, p)
			}
		})
	}
}

// checkControl checks that a command is carried out only if it was asked about and allowed.
func checkControl(t *testing.T, d *anyDaemon, p *probe) {
	commands := []command{{"7", "1.2", "1", "1", "root.a"}, {"8", "", "4", "3", "root.b"},
		subscription("root.tx 3.gain")}
	for reply, want := range map[string]string{
		"allow 200\nid=$ID\nreason=ok\n": "200 200 200",
		"allow 200\nid=$ID\nreason=observe\nwould=403 path-not-granted\nwould=command 7 403 path-not-granted\n":          "200 200 200",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 8 403 path-not-granted\n":                             "200 401 200",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=subscribe root.tx 3.gain 403 path-not-granted\n":              "200 200 401",
		"deny 401\nid=$ID\nreason=token-expired\ndenied=*\n":                                                             "401 401 401",
		"deny 503\nid=$ID\nreason=keys-pending\ndenied=*\nretry-after=1\n":                                               "503 503 503",
		"deny 403\nid=$ID\nreason=later\n":                                                                               "401 401 401",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 9 403 path-not-granted\n":                             "503 503 503",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=subscribe root.tx 3 403 path-not-granted\n":                   "503 503 503",
		"allow 200\nid=$ID\nreason=ok\ndenied=command 8 403 path-not-granted\n":                                          "503 503 503",
		"error 400\nid=$ID\nreason=packet-value\n":                                                                       "503 503 503",
		"allow 200\nid=x\nreason=ok\n":                                                                                   "503 503 503",
		"allow 200\nid=$ID\nreason=observe\nwould=401 no-token\nwould=*\n":                                               "200 200 200",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 8 403 path-not-granted\ndenied=command 7 403 other\n": "401 401 200",
	} {
		d.become(replying(reply))
		if a := p.control(ofControl, "-", value("Bearer x"), commands...); a.text["statuses"] != want ||
			(a.decision == "allow") != (want == "200 200 200") {
			t.Errorf("%q: got %+v; want statuses %s", reply, a, want)
		}
	}
	d.become(honest)
	for name, c := range notCommands {
		before := d.count()
		a := p.control(ofControl, "-", value("Bearer x"), commands[0], c)
		if p.wantFailure(a, badValue, 400); a.text["statuses"] != "503 503" || d.count() != before {
			t.Errorf("%s: got %s, asked %d times; want 503 for both, asked nothing", name, a.text["statuses"],
				d.count()-before)
		}
	}
	p.wantFailure(p.control(0, "-", value("Bearer x"), commands[0]), badCall, 500)
	p.wantFailure(p.control(ofControl, "-", value("Bearer x")), badCall, 500)
}

// checkOwnToken checks that a token comes with an allow, whole, and only so.
func checkOwnToken(t *testing.T, d *anyDaemon, p *probe) {
	d.become(replying(given(ownToken, "registration", ownID)))
	a := p.tell("token", value("registration"), "-")
	if p.wantAllowed(a); a.text["access-token"] != ownToken || a.text["token-scope"] != "registration" ||
		a.text["token-id"] != ownID || a.expires != 284 {
		t.Errorf("got %+v; want the token, its scope and name, and 284 s", a)
	}
	d.become(replying("deny 503\nid=$ID\nreason=own-token-pending\nretry-after=9\ndetail=the server does not answer\n"))
	a = p.tell("token", value("registration"), value(ownID))
	if a.status != 503 || a.retry != 9 || a.text["detail"] != "the server does not answer" ||
		a.text["access-token"] != "" {
		t.Errorf("got %+v; want deny 503, 9 s, and why", a)
	}
	for _, reply := range []string{"allow 200\nid=$ID\nreason=own-token\nscope=a\ntoken-id=" + ownID + "\n",
		"allow 200\nid=$ID\nreason=own-token\nscope=a\naccess-token=" + ownToken + "\n"} {
		d.become(replying(reply))
		p.wantFailure(p.tell("token", value("a"), "-"), badReply, 503)
	}
	d.become(replying("deny 403\nid=$ID\nreason=own-token-scope\naccess-token=" + ownToken + "\n"))
	if a := p.tell("token", value("a"), "-"); a.decision != "deny" || a.text["access-token"] != "" {
		t.Errorf("got %+v; want no token", a)
	}
}

// checkWatch leaves a question standing, on a connection that says when the answer has turned, and ends.
func checkWatch(t *testing.T, d *anyDaemon, p *probe) {
	ask := []string{"watch", "-", "-", value("Bearer x"), value("websocket"), value("/a"), value("/b")}
	for second, want := range map[string]int{"deny 401\nid=$ID\nreason=token-expired\n": answered, "": connectionLost,
		"allow 200\nid=$ID\nreason=ok\n": badReply, "garbage": badReply} {
		d.become(func(c io.Writer, question string) bool {
			if !strings.HasPrefix(question, "watch-token 1\n") {
				return honest(c, question)
			}
			replying("allow 200\nid=$ID\nreason=ok\n")(c, question)
			if second != "" {
				replying(second)(c, question)
			}
			return false
		})
		p.wantAllowed(p.tell(ask...))
		p.wantAllowed(p.decide("GET", "/"))
		a := p.tell("turned", fmt.Sprint(plenty.Milliseconds()))
		if a.decision != "deny" || a.err != want || a.err == answered && a.text["reason"] != "token-expired" {
			t.Errorf("%q: got %+v; want a denial, error %d", second, a, want)
		}
	}
	d.become(replying("deny 403\nid=$ID\nreason=path-not-granted\ndenied=/b\n"))
	if a := p.tell(ask...); a.decision != "deny" || a.status != 403 || fmt.Sprint(a.denied) != "[/b]" {
		t.Errorf("got %+v; want deny 403", a)
	}
}

// anyDaemon is a pretended daemon on either kind of socket.
type anyDaemon struct {
	at     string
	become func(behaviour)
	count  func() int // questions so far
}

func startDaemonFor(t *testing.T, e *entry, behave behaviour) *anyDaemon {
	t.Helper()
	if e.http {
		return startHTTPDaemon(t, behave)
	}
	d := startDaemon(t, socketPath(t), behave)
	return &anyDaemon{d.ln.Addr().String(), d.become, func() int { questions, _ := d.asked(); return len(questions) }}
}

// What a README tells people to write is run as it stands, with the stack that it speaks of around it: one request is
// served, the other refused.
func TestEveryReadme(t *testing.T) {
	block := regexp.MustCompile("(?s)```\\w+\n(.*?)```")
	for _, e := range entries {
		if e.readme == nil {
			continue // TestReadmeCompiles
		}
		t.Run(e.name, func(t *testing.T) {
			readme, err := os.ReadFile(filepath.Join(clientsDir, e.name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			lines := block.FindSubmatch(readme)
			if lines == nil {
				t.Fatal("the README has no block of code")
			}
			if n := strings.Count(string(lines[1]), "\n"); n > 14 {
				t.Errorf("the README's first block has %d lines; want about ten", n)
			}
			l := newLiveDaemon(t, "enforce", nil)
			l.start()
			at := regexp.MustCompile(`/run/nmos-authd/\w+\.sock`).ReplaceAllLiteral(lines[1], []byte(e.socket(l.dir)))
			if string(at) == string(lines[1]) {
				t.Error("the README's first block names no socket")
			}
			program, got := e.readme(t, string(at)), ""
			// it waits for 200 ms, which is not much here
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				got = output(t, "env", append([]string{"CLIENTS=" + clientsDir}, program...)...)
				if !strings.Contains(got, ": 503 ") {
					break
				}
			}
			const want = "/x-nmos/: served\n/x-nmos/node/v1.3/self: 401 no-token, Bearer realm=\"node-1.example.com\"\n"
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// around returns a file of the README's lines within what stands around them in testdata, in place of its line README.
func around(t *testing.T, name, lines string) string {
	t.Helper()
	stack, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(stack), "README\n")
	if !found {
		t.Fatalf("%s has no place for the README", name)
	}
	before = before[:strings.LastIndexByte(before, '\n')+1] // the comment sign
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(before+lines+after), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func cppReadme(t *testing.T, lines string) []string {
	file := around(t, "readme.cpp", lines)
	return []string{compileCpp(t, file, file+".run")} // its own: the lines have this test's socket
}

func rustReadme(t *testing.T, lines string) []string {
	file := around(t, "readme.rs", lines)
	return []string{compileRust(t, file, file+".run")}
}

func nodeReadme(t *testing.T, lines string) []string {
	return []string{tool(t, "node", "nodejs"), around(t, "readme.cjs", lines)}
}

func pythonReadme(t *testing.T, lines string) []string {
	return []string{tool(t, "python3"), around(t, "readme.py", lines)}
}
