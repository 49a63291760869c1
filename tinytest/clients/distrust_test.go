package clients_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

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
				p.wantFailure(p.control(ofControl, "-", "-", command{"1", "1", "1", "1", string(rune(c))}),
					badValue, 400)
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
	for _, c := range []struct{ want, reply string }{
		{"200 200 200", "allow 200\nid=$ID\nreason=ok\n"},
		{"200 200 200", "allow 200\nid=$ID\nreason=observe\nwould=403 path-not-granted\nwould=command 7 403 " +
			"path-not-granted\n"},
		{"200 401 200", "deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 8 403 path-not-granted\n"},
		{"200 200 401", "deny 403\nid=$ID\nreason=path-not-granted\n" +
			"denied=subscribe root.tx 3.gain 403 path-not-granted\n"},
		{"401 401 401", "deny 401\nid=$ID\nreason=token-expired\ndenied=*\n"},
		{"503 503 503", "deny 503\nid=$ID\nreason=keys-pending\ndenied=*\nretry-after=1\n"},
		{"401 401 401", "deny 403\nid=$ID\nreason=later\n"},
		{"503 503 503", "deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 9 403 path-not-granted\n"},
		{"503 503 503", "deny 403\nid=$ID\nreason=path-not-granted\ndenied=subscribe root.tx 3 403 path-not-granted\n"},
		{"503 503 503", "allow 200\nid=$ID\nreason=ok\ndenied=command 8 403 path-not-granted\n"},
		{"503 503 503", "error 400\nid=$ID\nreason=packet-value\n"},
		{"503 503 503", "allow 200\nid=x\nreason=ok\n"},
		{"200 200 200", "allow 200\nid=$ID\nreason=observe\nwould=401 no-token\nwould=*\n"},
		{"401 401 200", "deny 403\nid=$ID\nreason=path-not-granted\ndenied=command 8 403 path-not-granted\n" +
			"denied=command 7 403 other\n"},
	} {
		d.become(replying(c.reply))
		if a := p.control(ofControl, "-", value("Bearer x"), commands...); a.text["statuses"] != c.want ||
			(a.decision == "allow") != (c.want == "200 200 200") {
			t.Errorf("%q: got %+v; want statuses %s", c.reply, a, c.want)
		}
	}
	d.become(honest)
	for name, c := range notCommands {
		before := d.count()
		a := p.control(ofControl, "-", value("Bearer x"), commands[0], c)
		if p.wantFailure(a, badValue, 400); a.text["statuses"] != "503 503" || d.count() != before {
			t.Errorf("%s: got %s, asked %d times; want 503 for both, asked nothing",
				name, a.text["statuses"], d.count()-before)
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
