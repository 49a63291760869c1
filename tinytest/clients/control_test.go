package clients_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// command is a command as the probe takes it: number, class, level, index and role path; a subscription has the level
// and index 0.
type command struct {
	number, class, level, index, role string
}

func subscription(role string) command { return command{"0", "", "0", "0", role} }

// control asks about commands; an empty class is absent.
func (p *probe) control(api int, model, authorization string, commands ...command) answer {
	p.t.Helper()
	words := []string{"control", strconv.Itoa(api), model, authorization}
	for _, c := range commands {
		class := "-"
		if c.class != "" {
			class = value(c.class)
		}
		words = append(words, value(c.number), class, value(c.level), value(c.index), value(c.role))
	}
	return p.tell(words...)
}

const (
	ofControl       = 1
	ofConfiguration = 2
)

// The daemon's own parser reads from a question what was meant, and each command has the status that the reply has for
// it.
func TestCommands(t *testing.T) {
	spec.Rules(t, "CTL-80", "CTL-81", "CTL-82", "CTL-84")
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	commands := []command{
		{"2", "1.2.2.1", "1", "1", "root.a"}, {"3", "1.2.2.1.-132131.1", "4", "3", "root.b c"},
		{"4", "", "65535", "65535", "root"},
		{"4294967295", "1", "1", "2", "root.é"}, {"3", "1.3.3", "3", "3", "root.d"}, subscription("root.a"),
		subscription("root.b 403 x"),
	}
	packet := "control 1\nid=$ID\napi=control\nmodel=slot2B\nauthorization=Bearer x\ncommand=2 1.2.2.1 1m1 root.a\n" +
		"command=3 1.2.2.1.-132131.1 4m3 root.b c\ncommand=4 - 65535m65535 root\ncommand=4294967295 1 1m2 root.é\n" +
		"command=3 1.3.3 3m3 root.d\nsubscribe=root.a\nsubscribe=root.b 403 x\n"
	for i, c := range []struct{ reply, decision, statuses string }{
		{"allow 200\nid=$ID\nreason=ok\n", "allow", "200 200 200 200 200 200 200"},
		{"allow 200\nid=$ID\nreason=observe\nwould=403 path-not-granted\nwould=command 3 403 path-not-granted\n",
			"allow", "200 200 200 200 200 200 200"},
		{"deny 403\nid=$ID\nreason=x\ndenied=command 3 403 path-not-granted\ndenied=subscribe root.b 403 x 403 x\n",
			"deny", "200 401 200 200 401 200 401"},
		{"deny 403\nid=$ID\nreason=x\ndenied=command 4294967295 403 x\ndenied=subscribe root.a 403 x\n", "deny",
			"200 200 200 401 200 401 200"},
		{"deny 401\nid=$ID\nreason=no-token\ndenied=*\n", "deny", "401 401 401 401 401 401 401"},
		{"deny 403\nid=$ID\nreason=x\n", "deny", "401 401 401 401 401 401 401"},
		{"deny 503\nid=$ID\nreason=keys-pending\ndenied=*\nretry-after=1\n", "deny", "503 503 503 503 503 503 503"},
		{"error 400\nid=$ID\nreason=packet-value\n", "deny", "503 503 503 503 503 503 503"},
		// What is about none of them makes the whole answer one that cannot be trusted.
		{"deny 403\nid=$ID\nreason=x\ndenied=command 5 403 x\n", "deny", "503 503 503 503 503 503 503"},
		{"deny 403\nid=$ID\nreason=x\ndenied=command 3\n", "deny", "503 503 503 503 503 503 503"},
		{"deny 403\nid=$ID\nreason=x\ndenied=\n", "deny", "503 503 503 503 503 503 503"},
		{"deny 403\nid=$ID\nreason=x\ndenied=subscribe root.b 403 x\n", "deny", "503 503 503 503 503 503 503"},
		{"deny 403\nid=$ID\nreason=x\ndenied=command 3 403 x\ndenied=subscribe root.z 403 x\n", "deny",
			"503 503 503 503 503 503 503"},
		{"allow 200\nid=$ID\nreason=ok\ndenied=command 3 403 x\n", "deny", "503 503 503 503 503 503 503"},
		{"allow 200\nid=1000\nreason=ok\n", "deny", "503 503 503 503 503 503 503"},
	} {
		d.become(replying(c.reply))
		a := p.control(ofControl, value("slot2B"), value("Bearer x"), commands...)
		if a.decision != c.decision || a.text["statuses"] != c.statuses {
			t.Errorf("%q: got %+v; want %s and %s", c.reply, a, c.decision, c.statuses)
		}
		questions, _ := d.asked()
		got := questions[len(questions)-1]
		if want := strings.Replace(packet, "$ID", strconv.Itoa(i+1), 1); got != want {
			t.Errorf("sent %q; want %q", got, want)
		}
		var r wire.Request
		if fault := r.Parse([]byte(got), wire.DefaultPacketLimit); fault != wire.Undecided ||
			len(r.Commands) != len(commands) {
			t.Errorf("the daemon's parser says %v of %q", fault, got)
		}
	}
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
}

// notCommands are refused before anything is sent, by every client.
var notCommands = map[string]command{
	"a token in a role path":      {"1", "1", "1", "1", "root\nauthorization=Bearer y"},
	"a token in a subscription":   subscription("root\nauthorization=Bearer y"),
	"a token in a class":          {"1", "1\nauthorization=Bearer y", "1", "1", "root"},
	"a role path in a class":      {"1", "1 1m1 root.a", "1", "2", "root"},
	"a NUL in a role path":        {"1", "1", "1", "1", "root\x00a"},
	"an escape in a subscription": subscription("root.\x1b[2J"),
	"a delete in a role path":     {"1", "1", "1", "1", "root.\x7f"},
	"an empty role path":          {"1", "1", "1", "1", ""},
	"an empty subscription":       subscription(""),
	"a long role path":            {"1", "1", "1", "1", strings.Repeat("r", 1025)},
	"a long subscription":         subscription(strings.Repeat("r", 1025)),
	"a long class":                {"1", strings.Repeat("1.", 64) + "1", "1", "1", "root"},
	"a method without an index":   {"1", "1", "1", "0", "root"},
	"a method without a level":    {"1", "1", "0", "1", "root"},
	"a level too high":            {"1", "1", "65536", "1", "root"},
	"an index too high":           {"1", "1", "1", "65536", "root"},
}

// What is not a command never leaves the client: nothing in it can be another line, or another part of its own.
func TestCommandsThatAreNone(t *testing.T) {
	spec.Rules(t, "CTL-81", "CTL-85")
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	good := command{"1", "1.2.0.1", "3", "1", "root.a"}
	for name, c := range notCommands {
		a := p.control(ofControl, "-", value("Bearer x"), good, c)
		p.wantFailure(a, badValue, 400)
		if a.text["statuses"] != "503 503" {
			t.Errorf("%s: got %s; want 503 for both", name, a.text["statuses"])
		}
	}
	p.wantFailure(p.control(ofControl, value("a\nb"), value("Bearer x"), good), badValue, 400)
	p.wantFailure(p.control(ofControl, "-", value("Bearer x\nsubscribe=root"), good), badValue, 400)
	p.wantFailure(p.control(0, "-", value("Bearer x"), good), badCall, 500)
	p.wantFailure(p.control(3, "-", value("Bearer x"), good), badCall, 500)
	p.wantFailure(p.control(ofControl, "-", value("Bearer x")), badCall, 500)
	zero := p.tell("control-zero", "1", "-", "-", value("1"), "-", value("1"), value("1"), value("root"))
	p.wantFailure(zero, badCall, 500)
	if zero.text["statuses"] != "503" {
		t.Errorf("a handle that was never initialised: got %s; want 503", zero.text["statuses"])
	}
	if questions, accepted := d.asked(); len(questions) != 0 || accepted != 0 {
		t.Errorf("the daemon was asked %q over %d connections; want nothing", questions, accepted)
	}
}

// 250 commands fit beside the longest token; what does not fit, or whose longest answer would not, is not sent.
func TestManyCommands(t *testing.T) {
	spec.Rules(t, "CTL-85")
	d := startDaemon(t, socketPath(t), replying("allow 200\nid=$ID\nreason=ok\n"))
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	var commands []command
	for i := range 250 {
		commands = append(commands, command{strconv.Itoa(i), "1.2.2.1", "4", "1", "root.receiver-monitors.monitor-01"})
	}
	p.wantAllowed(p.control(ofControl, "-", value("Bearer "+strings.Repeat("t", 16<<10-7)), commands...))
	p.wantFailure(p.control(ofControl, "-", value(strings.Repeat("t", 32<<10)), commands...), tooLong, 400)
	p.wantFailure(p.control(ofControl, "-", "-", slices.Repeat([]command{subscription("root")}, 1025)...), tooLong, 400)
	p.wantFailure(p.control(ofControl, "-", "-",
		slices.Repeat([]command{subscription(strings.Repeat("r", 1000))}, 30)...), tooLong, 400)
}

// The same against the real daemon, with a token that may read all monitors and reset one.
func TestCommandsLive(t *testing.T) {
	spec.Rules(t, "CTL-84", "CTL-88")
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	tok := value("Bearer " + server.Token(mint.Options{Device: "node-1.example.com", Life: time.Hour,
		Permissions: map[string]mint.Permission{
			"control": {Read: []string{"root.monitors.*"}, Write: []string{"root.monitors.m-1"}},
		}}).Sign())
	for mode, want := range map[string]string{"enforce": "200 401 200 401", "observe": "200 200 200 200"} {
		t.Run(mode, func(t *testing.T) {
			l := newLiveDaemon(t, mode, server)
			l.start()
			p := startProbe(t, probeProgram(t), l.socket, plenty)
			ask := func() answer {
				return p.control(ofControl, "-", tok, command{"1", "1.2.2.1", "4", "3", "root.monitors.m-1"},
					command{"2", "1.2.2.1", "4", "3", "root.monitors.m-2"},
					command{"3", "1.2.2.1", "4", "1", "root.monitors.m-2"}, subscription("root.tx 3.gain"))
			}
			a := ask()
			for deadline := time.Now().Add(time.Minute); strings.Contains(a.text["statuses"]+a.text["would"], "503") &&
				time.Now().Before(deadline); a = ask() {
				time.Sleep(20 * time.Millisecond) // its keys are being fetched
			}
			if a.text["statuses"] != want || a.err != answered || a.text["client-id"] == "" {
				t.Errorf("got %+v; want %s", a, want)
			}
		})
	}
}
