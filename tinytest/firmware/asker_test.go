package firmware

import (
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func newAsker(t *testing.T, socket string, timeout time.Duration) *Asker {
	a := NewAsker(socket, timeout)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestParseReply(t *testing.T) {
	packet := "allow 200\nid=17\nreason=ok\nclient-id=c=1\nsubject=operator, Jörg\nissuer=https://a\nexpires-in=284\n" +
		"path=/x-nmos/node/v1.3/\nwould=403 path-not-granted\nsomething-new=7\n"
	got, err := ParseReply([]byte(packet))
	want := Reply{
		Verdict: Allow, Status: 200, ID: "17", Reason: "ok", ClientID: "c=1", Subject: "operator, Jörg",
		Issuer: "https://a", ExpiresIn: 284 * time.Second, Expires: true, Path: "/x-nmos/node/v1.3/",
		Would: "403 path-not-granted", Text: packet,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	if !got.Allowed() || (Reply{}).Allowed() {
		t.Error("Allowed")
	}

	got, err = ParseReply([]byte("deny 403\nreason=path-not-granted\ndenied=/a\ndenied=/b\n" +
		"www-authenticate=Bearer realm=\"x\"\n"))
	if err != nil || got.Allowed() || strings.Join(got.Denied, " ") != "/a /b" ||
		got.WWWAuthenticate != `Bearer realm="x"` {
		t.Errorf("%v %+v", err, got)
	}
	got, err = ParseReply([]byte("deny 503\nreason=keys-pending\nretry-after=2\n"))
	if err != nil || got.RetryAfter != 2 {
		t.Errorf("%v %+v", err, got)
	}
	got, err = ParseReply([]byte("pong 1\nid=a\n"))
	if err != nil || got.Verdict != Pong || got.ID != "a" || got.Allowed() {
		t.Errorf("%v %+v", err, got)
	}
	got, err = ParseReply([]byte("allow 200\nreason=ok\nexpires-in=9223372036854775807\n"))
	if err != nil || got.ExpiresIn <= 0 {
		t.Errorf("%v %+v", err, got)
	}
}

func TestParseReplyIsStrict(t *testing.T) {
	for _, packet := range []string{
		"", "\n", "allow 200", "allow\nreason=ok\n", "allow 0200\nreason=ok\n", "allow +200\nreason=ok\n",
		"allow 201\nreason=ok\n", "Allow 200\nreason=ok\n", "allow  200\nreason=ok\n", "allow 200 \nreason=ok\n",
		"deny 200\nreason=ok\n", "deny 404\nreason=x\n", "error 401\nreason=x\nwww-authenticate=Bearer a\n", "pong 2\n",
		"ok\nallow 200\nreason=ok\n", "allow 200\n", "allow 200\nreason=\n", "allow 200\nreason=OK\n",
		"allow 200\nreason=ok\nreason=ok\n", "allow 200\nreason=ok\nnew=1\nnew=1\n", "allow 200\nreason=ok\nnoequals\n",
		"allow 200\nreason=ok\n=x\n", "allow 200\nreason=ok\n\n", "allow 200\nreason=ok\r\n",
		"allow 200\nreason=ok\nsubject=a\x00b\n", "allow 200\nreason=ok\nsubject=\xff\n",
		"allow 200\nreason=ok\nexpires-in=-1\n", "allow 200\nreason=ok\nexpires-in=1.5\n",
		"allow 200\nreason=ok\nexpires-in=\n", "allow 200\nreason=ok\nexpires-in=99999999999999999999\n",
		"allow 200\nreason=ok\npath=x-nmos\n", "deny 401\nreason=no-token\n", "deny 403\nreason=x\n",
		"deny 401\nreason=no-token\n" +
			"www-authenticate=Basic realm=a\n", "deny 503\nreason=x\n",
		"deny 503\nreason=x\nretry-after=0\n", "deny 400\nreason=x\nretry-after=1\n",
		"deny 405\nreason=method\nexpires-in=1\n",
	} {
		if r, err := ParseReply([]byte(packet)); !errors.Is(err, ErrReply) || r.Allowed() {
			t.Errorf("%q: %+v, %v", packet, r, err)
		}
	}
}

func TestAskKeepsItsConnection(t *testing.T) {
	d := startDaemon(t, "", allow)
	a := newAsker(t, d.socket, 0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if r, err := a.Ask("decide 1", "method=GET", "target=/a?b", "id=x"); err != nil ||
				!r.Allowed() || r.Path != "/a" {
				t.Errorf("got %+v, error %v", r, err)
			}
		})
	}
	all.Wait()
	d.mu.Lock()
	if len(d.conns) != 1 || d.packets[0] != "decide 1\nmethod=GET\ntarget=/a?b\nid=x\n" {
		t.Errorf("%d connections, %q", len(d.conns), d.packets[0])
	}
	d.mu.Unlock()
	for _, bad := range []string{"target=/a\nauthorization=x", "target=\x00"} {
		if _, err := a.Ask("decide 1", bad); err == nil {
			t.Errorf("sent %q", bad)
		}
	}
	if d.asked() != 8 {
		t.Errorf("%d packets", d.asked())
	}
}

func TestAskAfterARestart(t *testing.T) {
	first := startDaemon(t, "", allow)
	a := newAsker(t, first.socket, 0)
	if _, err := a.Ask("ping 1"); err != nil {
		t.Fatal(err)
	}
	first.stop() // removes the socket as well
	if _, err := a.Ask("ping 1"); err == nil {
		t.Error("an answer from nobody")
	}
	second := startDaemon(t, first.socket, allow)
	if _, err := a.Ask("ping 1"); err != nil {
		t.Error(err)
	}
	second.stop()
	startDaemon(t, first.socket, allow)
	if _, err := a.Ask("ping 1"); err != nil { // notices only now that the connection is dead
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Ask("ping 1"); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestAskGivesUp(t *testing.T) {
	d := startDaemon(t, "", func(string) string { return "" })
	a := newAsker(t, d.socket, 50*time.Millisecond)
	var timeout net.Error
	if _, err := a.Ask("ping 1"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
	d.say(allow) // over a new connection: a late answer on the old one is nobody's
	asks := 2
	r, err := a.Ask("decide 1", "target=/a", "id=2")
	for ; errors.As(err, &timeout) && timeout.Timeout() && asks < 1000; asks++ { // a busy machine
		r, err = a.Ask("decide 1", "target=/a", "id=2")
	}
	if err != nil || r.ID != "2" {
		t.Errorf("got %+v, error %v", r, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.conns) < 2 || len(d.conns) > asks {
		t.Errorf("got %d connections for %d questions, want one each", len(d.conns), asks)
	}
}

func TestAskRefusesStrangeReplies(t *testing.T) {
	d := startDaemon(t, "", allow)
	a := newAsker(t, d.socket, 0)
	for _, reply := range []string{
		"allow 200\nid=other\nreason=ok\n", "allow 200\nreason=ok\n", "allow 200\nid=1\nreason=ok",
		strings.Repeat("x", replyLimit+1),
	} {
		d.say(func(string) string { return reply })
		if r, err := a.Ask("decide 1", "id=1"); !errors.Is(err, ErrReply) || r.Allowed() {
			t.Errorf("%.60q: %+v, %v", reply, r, err)
		}
	}
	d.say(func(string) string { return "error 400\nreason=packet-id\n" })
	if r, err := a.Ask("decide 1", "id=1"); err != nil || r.Verdict != Errors || r.Allowed() {
		t.Errorf("got %+v, error %v", r, err)
	}
	if r, err := a.AskPacket([]byte("nonsense")); err != nil || r.Verdict != Errors {
		t.Errorf("got %+v, error %v", r, err)
	}
}

func TestAskWithoutDaemon(t *testing.T) {
	a := newAsker(t, filepath.Join(t.TempDir(), "nobody.sock"), 0)
	if r, err := a.Ask("ping 1"); err == nil || r.Allowed() {
		t.Errorf("got %+v", r)
	}
}
