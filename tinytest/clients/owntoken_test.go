package clients_test

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/authserver"
	live "nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

const (
	ownToken = "ZZZZZZZZZZZZZZZZZZZ.ZZZZZZZZZZ.ZZZZZZZZZZZZZZ"
	ownID    = "0123456789abcdef0123456789abcdef"
)

// given is a good reply to a token question.
func given(tok, scope, id string) string {
	return "allow 200\nid=$ID\nreason=own-token\nexpires-in=284\nscope=" + scope + "\ntoken-id=" + id +
		"\naccess-token=" + tok + "\n"
}

// The question is one packet in the words of the protocol, and the daemon's own parser reads what was meant.
func TestTokenQuestions(t *testing.T) {
	spec.Rules(t, "CLI-69")
	d := startDaemon(t, socketPath(t), replying(given(ownToken, "registration", ownID)))
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	for _, row := range []struct {
		words  []string
		packet string
	}{
		{[]string{"token", value("registration"), "-"}, "token 1\nid=1\nscope=registration\n"},
		{[]string{"token", value("registration events"), value(ownID)},
			"token 1\nid=2\nscope=registration events\nrefused=" + ownID + "\n"},
	} {
		a := p.tell(row.words...)
		p.wantAllowed(a)
		if a.text["access-token"] != ownToken || a.text["token-scope"] != "registration" ||
			a.text["token-id"] != ownID || a.expires != 284 {
			t.Errorf("got %+v, want the token, its scope and name, and 284 s", a)
		}
		if a.text["token-wiped"] != "yes" || a.text["left"] != "0" {
			t.Errorf("%s: the token is wiped: %s, of it the handle holds %s bytes; want yes, 0", row.packet,
				a.text["token-wiped"], a.text["left"])
		}
		questions, _ := d.asked()
		if got := questions[len(questions)-1]; got != row.packet {
			t.Errorf("sent %q, want %q", got, row.packet)
		}
		var got wire.Request
		if reason := got.Parse([]byte(row.packet), wire.DefaultPacketLimit); reason != wire.Undecided ||
			got.Verb != wire.Token {
			t.Errorf("%q: the daemon's parser says %s", row.packet, reason)
		}
	}
	for name, row := range map[string]struct {
		words       []string
		err, status int
	}{
		"without a scope":     {[]string{"token", "-", "-"}, badCall, 500},
		"with nowhere to put": {[]string{"token-nowhere", value("registration"), "-"}, badCall, 500},
		"an all-zero handle":  {[]string{"token-zero", value("registration"), "-"}, badCall, 500},
		"a line in the scope": {[]string{"token", value("a\nrefused=b"), "-"}, badValue, 400},
		"a line in the name":  {[]string{"token", value("a"), value("b\nscope=c")}, badValue, 400},
	} {
		before, _ := d.asked()
		a := p.tell(row.words...)
		p.wantFailure(a, row.err, row.status)
		if a.text["access-token"] != "" || a.text["token-id"] != "" || a.text["token-scope"] != "" {
			t.Errorf("%s: got %+v, want no token", name, a)
		}
		if after, _ := d.asked(); len(after) != len(before) {
			t.Errorf("%s: asked %q, want nothing asked", name, after[len(before):])
		}
	}
}

// What the daemon's own encoder writes is read, up to the longest token; an answer without a token says why.
func TestTokenReplies(t *testing.T) {
	spec.Rules(t, "CLI-69")
	d, p := replyProbe(t)
	encode := func(r wire.Reply) {
		d.become(func(c io.Writer, question string) bool {
			r.ID = []byte(idOf(question))
			c.Write(r.Append(nil))
			return true
		})
	}
	for _, size := range []int{1, 16 << 10} {
		r := wire.Reply{
			Verb: wire.Token, Reason: wire.OwnToken, ExpiresIn: 3, Scope: []byte(strings.Repeat("s", wire.MaxScope)),
			TokenID:     []byte(ownID),
			AccessToken: strings.Repeat("Z", size),
		}
		encode(r)
		a := p.tell("token", value("registration"), "-")
		if a.text["access-token"] != r.AccessToken || a.text["token-scope"] != string(r.Scope) ||
			a.text["left"] != "0" {
			t.Errorf("a token of %d bytes: got one of %d, of which the handle holds %s, and error %d", size,
				len(a.text["access-token"]), a.text["left"], a.err)
		}
	}
	encode(wire.Reply{Verb: wire.Token, Reason: wire.OwnTokenPending, ExpiresIn: -1, RetryAfter: 7,
		Detail: []byte(strings.Repeat("d", 512))})
	a := p.tell("token", value("registration"), "-")
	if a.decision != "deny" || a.status != 503 || a.err != answered || a.retry != 7 ||
		a.text["reason"] != "own-token-pending" ||
		a.text["detail"] != strings.Repeat("d", 512) || a.text["access-token"] != "" {
		t.Errorf("got %+v, want 503 own-token-pending with its detail and 7 s", a)
	}
	encode(wire.Reply{Verb: wire.Token, Reason: wire.OwnTokenCaller, ExpiresIn: -1})
	if a := p.tell("token", value("registration"), "-"); a.status != 403 || a.text["reason"] != "own-token-caller" ||
		a.text["detail"] != "" {
		t.Errorf("got %+v, want 403 own-token-caller", a)
	}
	d.become(replying("error 400\nid=$ID\nreason=packet-verb\n")) // a daemon from before
	if a := p.tell("token", value("registration"), "-"); a.err != refused || a.decision != "deny" || a.status != 400 {
		t.Errorf("a daemon that does not know the question: got %+v, want deny 400", a)
	}
}

// A reply that allows without a token, or with something wrong about it, is not an answer; no byte of a token stays in
// the handle whatever comes.
func TestBrokenTokenReplies(t *testing.T) {
	spec.Rules(t, "CLI-69")
	d, p := replyProbe(t)
	good := given(ownToken, "registration", ownID)
	for name, packet := range map[string]string{
		"no token":          strings.Replace(good, "access-token="+ownToken+"\n", "", 1),
		"an empty token":    given("", "registration", ownID),
		"no scope":          strings.Replace(good, "scope=registration\n", "", 1),
		"no name":           strings.Replace(good, "token-id="+ownID+"\n", "", 1),
		"two tokens":        good + "access-token=" + ownToken + "\n",
		"two scopes":        good + "scope=events\n",
		"a token too long":  given(strings.Repeat("Z", 16<<10+1), "registration", ownID),
		"a scope too long":  given(ownToken, strings.Repeat("s", 257), ownID),
		"a name too long":   given(ownToken, "registration", ownID+"0"),
		"a control":         given(ownToken+"\x01", "registration", ownID),
		"another question":  strings.Replace(good, "$ID", "9999", 1),
		"cut off":           good[:len(good)-3],
		"denied":            strings.Replace(good, "allow 200", "allow 403", 1),
		"longer than a lot": given(strings.Repeat("Z", 40<<10), "registration", ownID),
	} {
		d.become(replying(packet))
		a := p.tell("token", value("registration"), "-")
		p.wantFailure(a, badReply, 503)
		if a.text["access-token"] != "" || a.text["token-id"] != "" || a.text["left"] != "0" {
			t.Errorf("%s: got %+v, want nothing of the token", name, a)
		}
		d.become(replying(good))
		p.wantAllowed(p.tell("token", value("registration"), "-"))
	}
	d.become(replying(strings.Replace(good, "allow 200", "deny 403", 1))) // nothing of it is used
	if a := p.tell("token", value("registration"), "-"); a.decision != "deny" || a.text["access-token"] != "" ||
		a.text["left"] != "0" {
		t.Errorf("a denial with a token: got %+v, want deny and nothing of the token", a)
	}
	d.become(replying(good)) // to a question about something else
	if a := p.decide("GET", "/"); a.decision != "allow" || a.err != answered {
		t.Errorf("got %+v, want allow: names that a question does not have are skipped", a)
	}
	p.tell("close")

	random := rand.New(rand.NewPCG(3, 4))
	d.become(func(c io.Writer, question string) bool {
		c.Write([]byte(mutate(random, strings.ReplaceAll(good, "$ID", idOf(question)))))
		return true
	})
	outcomes := map[string]int{}
	for range 2000 {
		a := p.tell("token", value("registration"), "-")
		if a.text["left"] != "0" {
			t.Fatalf("got %+v: %s bytes of the token stay in the handle", a, a.text["left"])
		}
		if (a.decision == "allow") != (a.text["access-token"] != "") {
			t.Fatalf("got %+v, want a token with allow, and only then", a)
		}
		outcomes[a.decision]++
	}
	if outcomes["allow"] == 0 || outcomes["deny"] == 0 {
		t.Errorf("outcomes %v, want both", outcomes)
	}
}

// The real daemon gives the client a token of the device's own, which its authorization server signed.
func TestLiveOwnToken(t *testing.T) {
	spec.Rules(t, "CLI-69")
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	l := newLiveDaemon(t, "enforce", nil)
	if err := l.dir.Write(live.Config{
		Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(), State: t.TempDir(),
		More: "[client]\nscopes = [\"registration\"]\n",
	}); err != nil {
		t.Fatal(err)
	}
	l.start()
	p := startProbe(t, probeProgram(t), l.socket, plenty)
	var a answer
	for deadline := time.Now().Add(2 * time.Minute); a.decision != "allow"; time.Sleep(50 * time.Millisecond) {
		a = p.tell("token", value("registration"), "-")
		if a.decision != "allow" && (a.status != 503 || a.text["reason"] != "own-token-pending" ||
			time.Now().After(deadline)) {
			t.Fatalf("got %d %s %s, want a token within two minutes", a.status, a.text["reason"], a.text["detail"])
		}
	}
	if got := p.tell("verify",
		value("Bearer "+a.text["access-token"])); got.text["client-id"] != server.Registered()[0].ID {
		t.Errorf("got %+v, want a token of client %s", got, server.Registered()[0].ID)
	}
	if got := p.tell("token", value("events"), "-"); got.status != 403 || got.text["reason"] != "own-token-scope" {
		t.Errorf("got %d %s, want 403 own-token-scope", got.status, got.text["reason"])
	}
}
