package clients_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
)

// replyProbe is a probe whose daemon's next reply the test chooses.
func replyProbe(t *testing.T) (*daemon, *probe) {
	d := startDaemon(t, socketPath(t), honest)
	return d, startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
}

// Whatever the daemon's own encoder writes, the client reads.
func TestRepliesOfTheDaemon(t *testing.T) {
	d, p := replyProbe(t)
	for r := range wire.Reason(wire.Reasons) {
		info := r.Info()
		d.become(func(c io.Writer, question string) bool {
			reply := wire.Reply{Verb: wire.Decide, Reason: r, ID: []byte(idOf(question)),
				ClientID: []byte("controller"), Subject: []byte("a=b é"), Issuer: []byte("https://auth.example.com"),
				ExpiresIn: 284, Path: []byte("/x-nmos/node/v1.3/self"), RetryAfter: 2, Realm: "node-1"}
			c.Write(reply.Append(nil))
			return true
		})
		a := p.decide("GET", "/x-nmos/node/v1.3/self")
		want := "deny"
		if r.Allowed() {
			want = "allow"
		}
		wantError := answered
		if strings.HasPrefix(info.Code, "packet-") {
			wantError = refused
		}
		if a.decision != want || a.status != info.Status || a.text["reason"] != info.Code || a.err != wantError {
			t.Errorf("%s: got %+v; want %s %d, error %d", r, a, want, info.Status, wantError)
		}
		if a.text["client-id"] != "controller" || a.text["subject"] != "a=b é" ||
			a.text["issuer"] != "https://auth.example.com" || a.text["path"] != "/x-nmos/node/v1.3/self" {
			t.Errorf("%s: got %+v", r, a)
		}
		if (a.expires == 284) != r.Allowed() || (a.retry == 2) != (info.Status == 503) {
			t.Errorf("%s: expires in %d, retry after %d", r, a.expires, a.retry)
		}
		if challenge := a.text["www-authenticate"]; (challenge != "") != (info.Status == 401 || info.Error != "") {
			t.Errorf("%s: challenge %q", r, challenge)
		}
	}
	if _, accepted := d.asked(); accepted != 1 {
		t.Errorf("%d connections; want all the answers over one", accepted)
	}
}

func TestReplyDetails(t *testing.T) {
	d, p := replyProbe(t)

	d.become(replying("allow 200\nid=$ID\nreason=observe\nwould=403 path-not-granted\n"))
	if a := p.decide("GET", "/"); a.decision != "allow" || a.text["would"] != "403 path-not-granted" {
		t.Errorf("observe mode: got %+v", a)
	}

	d.become(replying("deny 403\nid=$ID\ndenied=/a\nreason=path-not-granted\ndenied=/c=d\ndenied=\n"))
	a := p.tell("decide-all", "-", "-", "-", "-", value("/a"), value("/b"), value("/c=d"), value(""))
	if a.decision != "deny" || a.status != 403 || fmt.Sprintf("%q", a.denied) != `["/a" "/c=d" ""]` {
		t.Errorf("decide-all: got %+v", a)
	}

	// A later daemon may say more than this client knows, also twice.
	d.become(replying("allow 200\nnew=1\nid=$ID\nnew=2\nreasonable=yes\nidea=\n"))
	a = p.decide("GET", "/")
	p.wantAllowed(a)
	if a.text["reason"] != "" || a.text["path"] != "" || a.expires != -1 || a.retry != -1 {
		t.Errorf("what the daemon did not say reads %+v", a)
	}

	d.become(replying("allow 200\nid=$ID\nexpires-in=99999999999999999999999\n"))
	if a = p.decide("GET", "/"); a.decision != "allow" || a.expires != 1<<63-1 && a.expires != 1<<31-1 {
		t.Errorf("an end beyond a long: got %+v", a)
	}

	// The longest reply that fits, and one byte more.
	room := wire.DefaultPacketLimit + 1024 - len("deny 403\nid=5\ndenied=\n")
	d.become(replying("deny 403\nid=$ID\ndenied=" + strings.Repeat("d", room) + "\n"))
	if a = p.decide("GET", "/"); a.status != 403 || len(a.denied) != 1 || len(a.denied[0]) != room {
		t.Errorf("the longest reply: deny %d, error %d", a.status, a.err)
	}
	d.become(replying("deny 403\nid=$ID\ndenied=" + strings.Repeat("d", room+1) + "\n"))
	p.wantFailure(p.decide("GET", "/"), badReply, 503)
	// What fits of this one is a whole reply, and says allow.
	room = wire.DefaultPacketLimit + 1024 - len("allow 200\nid=7\nnew=\n")
	d.become(replying("allow 200\nid=$ID\nnew=" + strings.Repeat("n", room) + "\ndenied=/\n"))
	p.wantFailure(p.decide("GET", "/"), badReply, 503)
}

// A packet that could not be read has no id to echo; that is an answer still, but the connection ends.
func TestRefusedPacket(t *testing.T) {
	d, p := replyProbe(t)
	d.become(replying("error 400\nreason=packet-text\n"))
	a := p.decide("GET", "/\xff")
	if a.decision != "deny" || a.status != 400 || a.err != refused || a.text["reason"] != "packet-text" {
		t.Errorf("got %+v; want deny 400", a)
	}
	if a := p.tell("ping"); a.err != refused {
		t.Errorf("ping: error %d; want %d", a.err, refused)
	}
	d.become(honest)
	p.wantAllowed(p.decide("GET", "/"))
	if _, accepted := d.asked(); accepted != 3 {
		t.Errorf("%d connections; want a new one after each refusal", accepted)
	}
}

var malformed = map[string]string{
	"empty line only":           "\n",
	"garbage":                   "\x16\x03\x01\x02",
	"text":                      "HTTP/1.1 200 OK\r\n\r\n",
	"no newline":                "allow 200",
	"cut off in a name":         "allow 200\nid=$ID\nreas",
	"cut off in a value":        "allow 200\nid=$ID\nreason=o",
	"cut off in the id":         "allow 200\nid=$ID",
	"no id":                     "allow 200\nreason=ok\n",
	"id of the question before": "allow 200\nid=0\n",
	"id with more":              "allow 200\nid=$ID0\n",
	"id empty":                  "allow 200\nid=\n",
	"id twice":                  "allow 200\nid=$ID\nid=$ID\n",
	"error with another id":     "error 400\nid=x\n",
	"allow 403":                 "allow 403\nid=$ID\n",
	"allow 204":                 "allow 204\nid=$ID\n",
	"allow with a denied line":  "allow 200\nid=$ID\ndenied=/a\n",
	"allow without status":      "allow \nid=$ID\n",
	"allow alone":               "allow\nid=$ID\n",
	"allow four digits":         "allow 2000\nid=$ID\n",
	"allow two digits":          "allow 20\nid=$ID\n",
	"allow sign":                "allow +20\nid=$ID\n",
	"allow space":               "allow  200\nid=$ID\n",
	"allow space after":         "allow 200 \nid=$ID\n",
	"upper case":                "ALLOW 200\nid=$ID\n",
	"deny 200":                  "deny 200\nid=$ID\n",
	"deny 302":                  "deny 302\nid=$ID\n",
	"deny 600":                  "deny 600\nid=$ID\n",
	"deny letters":              "deny 4o3\nid=$ID\n",
	"error 200":                 "error 200\nid=$ID\n",
	"pong":                      "pong 1\nid=$ID\n",
	"reason twice":              "allow 200\nid=$ID\nreason=ok\nreason=ok\n",
	"path twice":                "allow 200\nid=$ID\npath=/a\npath=/b\n",
	"expires-in twice":          "allow 200\nid=$ID\nexpires-in=1\nexpires-in=1\n",
	"expires-in negative":       "allow 200\nid=$ID\nexpires-in=-5\n",
	"expires-in empty":          "allow 200\nid=$ID\nexpires-in=\n",
	"expires-in fraction":       "allow 200\nid=$ID\nexpires-in=1.5\n",
	"retry-after twice":         "deny 503\nid=$ID\nretry-after=1\nretry-after=2\n",
	"retry-after letters":       "deny 503\nid=$ID\nretry-after=soon\n",
	"no equals sign":            "allow 200\nid=$ID\nreason\n",
	"no name":                   "allow 200\nid=$ID\n=ok\n",
	"empty line":                "allow 200\n\nid=$ID\n",
	"NUL":                       "allow 200\nid=$ID\nreason=o\x00k\n",
	"NUL in the first line":     "allow 200\x00\nid=$ID\n",
	"carriage return":           "allow 200\nid=$ID\nwww-authenticate=Bearer\r\n",
	"huge":                      "allow 200\nid=$ID\n" + strings.Repeat("more=and more\n", 5000),
}

// A reply that breaks the protocol denies, and costs the connection.
func TestMalformedReplies(t *testing.T) {
	d, p := replyProbe(t)
	for name, packet := range malformed {
		t.Run(name, func(t *testing.T) {
			p.t = t
			d.become(replying(packet))
			_, before := d.asked()
			p.wantFailure(p.decide("GET", "/"), badReply, 503)
			d.become(honest)
			p.wantAllowed(p.decide("GET", "/"))
			if _, after := d.asked(); after < before+1 {
				t.Error("the connection was used again")
			}
		})
	}
	p.t = t
	for _, packet := range []string{"allow 200\nid=$ID\n", "deny 503\nid=$ID\n", "pong 2\nid=$ID\n", "pong 1\n"} {
		d.become(replying(packet))
		if a := p.tell("ping"); a.err != badReply {
			t.Errorf("ping answered by %q: error %d; want %d", packet, a.err, badReply)
		}
	}
}

// Replies mutated at random: the client never reads past them, and allows only what a slow readable reader allows too.
func TestMutatedReplies(t *testing.T) {
	d, p := replyProbe(t)
	seeds := []string{
		"allow 200\nid=$ID\nreason=ok\nclient-id=c\nsubject=s\nissuer=i\nexpires-in=284\npath=/x-nmos/\n",
		"deny 403\nid=$ID\nreason=path-not-granted\ndenied=/a\ndenied=/b\nwww-authenticate=Bearer realm=\"n\"\n",
		"deny 503\nid=$ID\nreason=keys-pending\nretry-after=2\n",
		"error 400\nid=$ID\nreason=packet-form\n",
	}
	random := rand.New(rand.NewPCG(1, 2))
	type reply struct{ packet, id string }
	replies := make(chan reply, 1)
	d.become(func(c io.Writer, question string) bool {
		id := idOf(question)
		packet := mutate(random, strings.ReplaceAll(seeds[random.IntN(len(seeds))], "$ID", id))
		replies <- reply{packet, id}
		c.Write([]byte(packet))
		return true
	})
	outcomes := map[string]int{}
	for range 4000 {
		a := p.decide("GET", "/")
		sent := <-replies
		decision, status := slowRead(sent.packet, sent.id)
		if a.decision != decision || a.status != status {
			t.Fatalf("%q: got %s %d; want %s %d", sent.packet, a.decision, a.status, decision, status)
		}
		outcomes[fmt.Sprintf("%s %d, error %d", decision, status, a.err)]++
	}
	for _, needed := range []string{"allow 200, error 0", "deny 403, error 0", "deny 400, error 4",
		"deny 503, error 8"} {
		if outcomes[needed] == 0 {
			t.Errorf("no reply came to %q: %v", needed, outcomes)
		}
	}
}

// mutate changes a packet in up to three places; it stays at least one byte long.
func mutate(random *rand.Rand, packet string) string {
	const alphabet = "\n\n\n=\x00\r 0249allowdeny\xff"
	for range random.IntN(4) {
		at := random.IntN(len(packet))
		c := string(alphabet[random.IntN(len(alphabet))])
		switch lines := strings.SplitAfter(packet, "\n"); random.IntN(5) {
		case 0:
			packet = packet[:at] + c + packet[at:]
		case 1:
			packet = packet[:at] + c + packet[at+1:]
		case 2:
			packet = packet[:at] + packet[min(at+1+random.IntN(4), len(packet)):]
		case 3:
			packet += lines[random.IntN(len(lines))]
		case 4:
			packet = packet[:at]
		}
		if packet == "" {
			packet = c
		}
	}
	return packet
}

// slowRead says what a reply comes to.
func slowRead(packet, id string) (decision string, status int) {
	body, whole := strings.CutSuffix(packet, "\n")
	if !whole || strings.ContainsFunc(body, func(r rune) bool { return r != '\n' && r < 0x20 || r == 0x7f }) {
		return "deny", 503
	}
	lines := strings.Split(body, "\n")
	word, code, _ := strings.Cut(lines[0], " ")
	values := map[string][]string{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return "deny", 503
		}
		values[name] = append(values[name], value)
	}
	for name := range maps.Keys(values) {
		if len(values[name]) > 1 && strings.Contains(" id reason client-id subject issuer path www-authenticate would "+
			"expires-in retry-after ", " "+name+" ") {
			return "deny", 503
		}
	}
	for _, v := range append(values["expires-in"], values["retry-after"]...) {
		if v == "" || strings.Trim(v, "0123456789") != "" {
			return "deny", 503
		}
	}
	if ids := values["id"]; len(ids) == 1 && ids[0] != id || len(ids) == 0 && word != "error" {
		return "deny", 503
	}
	if len(code) != 3 || strings.Trim(code, "0123456789") != "" {
		return "deny", 503
	}
	fmt.Sscan(code, &status)
	switch {
	case word == "allow" && status == 200 && values["denied"] == nil:
		return "allow", 200
	case (word == "deny" || word == "error") && status >= 400 && status <= 599:
		return "deny", status
	}
	return "deny", 503
}
