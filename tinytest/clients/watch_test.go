package clients_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// A standing question is decide-all's in other words, on a connection of its own, which is readable once the answer has
// turned; whatever comes there then denies.
func TestWatch(t *testing.T) {
	const good = "allow 200\nid=$ID\nreason=ok\nexpires-in=60\n"
	for name, c := range map[string]struct {
		first, second string // "" closes the connection in its place, "-" leaves it silent
		stands        bool
		decision      string // of the first
		err, status   int    // of the second
		reason        string
	}{
		"expired": {good, "deny 401\nid=$ID\nreason=token-expired\nwww-authenticate=Bearer realm=\"a\"\n", true,
			"allow", answered, 401, "token-expired"},
		"gone":          {good, "", true, "allow", connectionLost, 503, ""},
		"silent":        {good, "-", true, "allow", timedOut, 503, ""},
		"allowed again": {good, good, true, "allow", badReply, 503, ""},
		"nonsense":      {good, "deny\n", true, "allow", badReply, 503, ""},
		"no id":         {good, "error 400\nreason=packet-form\n", true, "allow", refused, 400, "packet-form"},
		"denied":        {"deny 403\nid=$ID\nreason=path-not-granted\ndenied=/b\n", "-", false, "deny", 0, 0, ""},
		"full":          {"deny 503\nid=$ID\nreason=watch-limit\nretry-after=30\n", "-", false, "deny", 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, socketPath(t), func(w io.Writer, question string) bool {
				if !strings.HasPrefix(question, "watch-token 1\n") {
					return honest(w, question)
				}
				replying(c.first)(w, question)
				switch c.second {
				case "":
					return false
				case "-":
					return true
				}
				return replying(c.second)(w, question)
			})
			p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
			p.wantAllowed(p.decide("GET", "/"))
			a := p.tell("watch", value("GET"), "-", value("Bearer x"), value("websocket"), value("/a"), value("/b"))
			if stands := a.text["stands"] == "yes"; a.decision != c.decision ||
				stands != c.stands || a.err != answered {
				t.Errorf("got %+v, want %s, standing %v", a, c.decision, c.stands)
			}
			questions, accepted := d.asked()
			got := questions[len(questions)-1]
			want := "watch-token 1\nid=2\nmethod=GET\nauthorization=Bearer x\nupgrade=websocket\ntarget=/a\ntarget=/b\n"
			if got != want || accepted != 2 {
				t.Errorf("sent %q over connection %d; want %q over connection 2", got, accepted, want)
			}
			var request wire.Request
			if fault := request.Parse([]byte(got), wire.DefaultPacketLimit); fault != wire.Undecided {
				t.Errorf("the daemon's parser says %s", fault)
			}
			p.wantAllowed(p.decide("GET", "/"))
			if c.stands {
				wait := plenty
				if c.err == timedOut {
					wait = time.Second
				}
				p.tell("timeout", fmt.Sprint(wait.Milliseconds()))
				a = p.tell("turned", fmt.Sprint(wait.Milliseconds()))
				if a.decision != "deny" || a.err != c.err || a.status != c.status || a.text["reason"] != c.reason {
					t.Errorf("turned: got %+v, want deny %d, error %d, %s", a, c.status, c.err, c.reason)
				}
				p.tell("timeout", fmt.Sprint(plenty.Milliseconds()))
			}
			p.wantAllowed(p.decide("GET", "/"))
			if _, accepted := d.asked(); accepted > 3 { // one for the id that was missing
				t.Errorf("%d connections, want the usual questions on one", accepted)
			}
		})
	}
}

// What cannot be asked does not stand.
func TestWatchUnasked(t *testing.T) {
	p := startProbe(t, probeProgram(t), socketPath(t), time.Second)
	for name, c := range map[string]struct {
		command     []string
		err, status int
	}{
		"no daemon":         {[]string{"watch", "-", "-", "-", "-", value("/")}, unreachable, 503},
		"no target":         {[]string{"watch", "-", "-", "-", "-"}, badCall, 500},
		"a target too many": {[]string{"watch", "-", value("/"), "-", "-", value("/")}, badCall, 500},
		"no handle":         {[]string{"watch-zero", "-", "-", "-", "-", value("/")}, badCall, 500},
	} {
		a := p.tell(c.command...)
		if a.text["stands"] != "no" {
			t.Errorf("%s: it stands", name)
		}
		p.wantFailure(a, c.err, c.status)
	}
}

// IS-14's errors have a body of their own, whoever is at fault (CTL-67).
func TestErrorBodyOfIS14(t *testing.T) {
	spec.Rules(t, "CTL-67")
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	for name, c := range map[string]struct{ target, reply, want string }{
		"403": {"/x-nmos/configuration/v1.0/rolePaths/root", "deny 403\nid=$ID\nreason=path-not-granted\n",
			`{"status":401,"errorMessage":"path-not-granted"}`},
		"401": {"/x-nmos/configuration", "deny 401\nid=$ID\nreason=no-token\n",
			`{"status":401,"errorMessage":"no-token"}`},
		"503": {"/x-nmos/configuration/v1.0?a", "deny 503\nid=$ID\nreason=keys-pending\nretry-after=2\n",
			`{"status":503,"errorMessage":"keys-pending"}`},
		"ambiguous": {"/x-nmos/configuration/v1.0//a", "deny 400\nid=$ID\nreason=path-ambiguous\n",
			`{"status":400,"errorMessage":"path-ambiguous"}`},
		"encoded": {"/x-nmos/%63onfiguration/v1.0",
			"deny 401\nid=$ID\nreason=no-token\npath=/x-nmos/configuration/v1.0\n",
			`{"status":401,"errorMessage":"no-token"}`},
		"nonsense": {"/x-nmos/configuration?b", "nonsense",
			`{"status":503,"errorMessage":"the daemon's answer breaks the protocol"}`},
		"another": {"/x-nmos/configurations/v1.0", "deny 403\nid=$ID\nreason=path-not-granted\n",
			`{"code":403,"error":"Forbidden","debug":"path-not-granted"}`},
	} {
		d.become(replying(c.reply))
		p.decide("GET", c.target)
		if got := p.tell("body", "256").text["text"]; got != c.want {
			t.Errorf("%s: got the body %s, want %s", name, got, c.want)
		}
	}
}
