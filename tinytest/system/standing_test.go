package system_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// stand leaves a question about the senders standing on a connection of its own.
func (b *box) stand(token, want string) net.Conn {
	b.t.Helper()
	conn := dialPacket(b.t, b.Authz())
	reply, err := exchange(conn, "watch-token 1\ntarget="+senders+"\nauthorization=Bearer "+token+"\n")
	if err != nil || !strings.HasPrefix(reply, want) {
		b.t.Fatalf("got %q, %v; want %q", reply, err, want)
	}
	return conn
}

// turned waits for the second reply, behind which the connection ends.
func turned(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
		t.Errorf("got %q, %v; want %q", buf[:n], err, want)
	}
	if n, err = conn.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("behind it: got %d bytes, %v; want the end", n, err)
	}
}

// A question that stands is answered again when the token, its key, its issuer or the mode turns the answer, and not
// when anything else happens; a daemon that ends says nothing (ANS-8).
func TestStandingQuestion(t *testing.T) {
	spec.Rules(t, "ANS-8", "KEY-1", "OPS-3")
	t.Parallel()
	server, other := newServer(t, authserver.Options{}), newServer(t, authserver.Options{})
	config := trusting(t, server, other)
	config.More = "refresh = \"5s\""
	b := start(t, config)
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")
	stays := b.stand(good, "allow 200\n")

	first := 0 // answers that it has ended already: a machine may be busy
	for life := 3 * time.Second; ; life *= 3 {
		conn := dialPacket(t, b.Authz())
		short := server.Token(mint.Options{Life: life}).Sign()
		reply, err := exchange(conn, "watch-token 1\ntarget="+senders+"\nauthorization=Bearer "+short+"\n")
		if err == nil && strings.HasPrefix(reply, "allow 200\n") {
			conn.SetDeadline(time.Now().Add(life + patience))
			turned(t, conn, "deny 401\nreason=token-expired\n")
			break
		}
		if first++; err != nil || !strings.HasPrefix(reply, "deny 401\nreason=token-expired\n") || life > time.Minute {
			t.Fatalf("got %q, %v; want it allowed first", reply, err)
		}
	}

	config.Mode = "observe"
	b.reload(config)
	forged := b.stand(unsigned(everything(server)), "allow 200\nreason=observe\nwould=")
	config.Mode = "enforce"
	b.reload(config)
	turned(t, forged, "deny ")

	withdrawn := server.Signer()
	server.AddKey(mint.CachedKey("key-2", 2048))
	fresh := everything(server)
	fresh.Key = mint.CachedKey("key-2", 2048)
	fresh.Header.Set("kid", "key-2")
	b.await(get(senders).bearing(fresh.Sign()), 200, "ok")
	second := b.stand(fresh.Sign(), "allow 200\n")
	server.RemoveKey(withdrawn.KID)
	turned(t, stays, "deny 401\nreason=key-unknown\n")

	config.Servers = []string{other.Issuer()}
	b.reload(config)
	turned(t, second, "deny 401\nreason=issuer-untrusted\n")

	b.await(get(senders).bearing(everything(other).Sign()), 200, "ok")
	last := b.stand(everything(other).Sign(), "allow 200\n")
	if err := b.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if n, err := last.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
		t.Errorf("the daemon has ended: got %d bytes, %v; want the end", n, err)
	}
	b.waitEnd()
	// five first answers, four of which turned
	if got := strings.Count(b.Log(), `"question":"watch-token"`); got != 9+first {
		t.Errorf("got %d records of standing questions, want %d", got, 9+first)
	}
}

// Standing questions leave room for those that are asked: a process gets 24 of 64 connections for them.
func TestStandingQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	b := start(t, trusting(t))
	packet := "watch-token 1\ntarget=/x-nmos\n"
	for i := range 26 {
		conn, want := dialPacket(t, b.Authz()), "allow 200\n"
		if i >= 24 {
			want = "deny 503\nreason=watch-limit\nerror=as many questions stand as may\nretry-after="
		}
		if reply, err := exchange(conn, packet); err != nil || !strings.HasPrefix(reply, want) {
			t.Fatalf("question %d: got %q, %v; want %q", i+1, reply, err, want)
		}
	}
	for range 60 { // more than there are slots
		dialPacket(t, b.Authz())
	}
}

// What stands because nothing is denied for some time is denied once that time is over, or ended before (ANS-8, OPS-3).
func TestStandingQuestionAndTimer(t *testing.T) {
	spec.Rules(t, "ANS-8", "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	for _, c := range []struct {
		how string
		end func()
	}{{"1h", func() { b.admin("DELETE", "/observe/mode", "") }}, {"2s", func() {}}} {
		if code, text := b.admin("POST", "/observe/mode?for="+c.how, ""); code != 200 {
			t.Fatalf("got %d %s", code, text)
		}
		conn := dialPacket(t, b.Authz())
		reply, err := exchange(conn, "watch-token 1\ntarget="+senders+"\n")
		if c.how == "2s" && strings.HasPrefix(reply, "deny 401\n") { // a machine may be busy
			continue
		}
		if err != nil || !strings.HasPrefix(reply, "allow 200\nreason=observe\nwould=401 no-token\n") {
			t.Fatalf("for %s: got %q, %v; want it observed", c.how, reply, err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		c.end()
		turned(t, conn, "deny 401\nreason=no-token\n")
	}
}
