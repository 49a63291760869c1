package audit_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

func syslogOptions(network, address string) audit.SyslogOptions {
	return audit.SyslogOptions{
		Network: network, Address: address, Host: "monitor 1", App: "nmos-authd", PID: 42, Dial: dialer.DialContext,
	}
}

// fill appends one of each kind, and one with texts of all sorts.
func fill(l *audit.Log) {
	l.Append(record("/allowed"))
	denied := record("/denied\n<14>1 - - - - - - forged")
	denied.Reason = wire.PathNotGranted
	l.Append(denied)
	unready := record("/503")
	unready.Reason, unready.Clock, unready.Time = wire.KeysPending, audit.ClockUnset, 0
	l.Append(unready)
	none := record("")
	none.Reason, none.Question = wire.PacketForm, wire.NoVerb
	l.Append(none)
	l.Append(record("/" + strings.Repeat("é\x1b", 2000)))
}

func checkMessages(t *testing.T, r *receiver) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	want := []struct {
		priority int
		id       string
	}{{110, "open"}, {110, "allow"}, {109, "deny"}, {108, "deny"}, {108, "error"}, {110, "allow"}, {110, "close"}}
	if len(r.messages) != len(want) {
		t.Fatalf("%d messages: %+v", len(r.messages), r.messages)
	}
	for i, m := range r.messages {
		if m.priority != want[i].priority || m.id != want[i].id || m.host != "monitor_1" || m.app != "nmos-authd" ||
			m.proc != "42" || !strings.HasPrefix(m.text, `{"audit":1,`) ||
			i > 0 && i < 6 && (m.time == "-") != (i == 3) {
			t.Errorf("message %d: %+v", i, m)
		}
	}
}

func checkStream(t *testing.T, r *receiver, decisions uint64) {
	t.Helper()
	v, err := audit.Verify(strings.NewReader(r.stream()))
	if err != nil || !v.Good() || v.Decisions != decisions || !v.Closed {
		t.Errorf("got %v, %+v, want a good stream of %d decisions that is closed", err, v, decisions)
	}
}

func TestSyslogUDP(t *testing.T) {
	r, at := listenUDP(t, "127.0.0.1:0")
	l := open(nil, audit.NewSyslog(syslogOptions("udp", at)))
	fill(l)
	shut(l)
	eventually(t, "all messages", func() bool { return r.count() >= 7 })
	checkMessages(t, r)
	checkStream(t, r, 5)
	if !strings.Contains(r.stream(), `"cut":["path"]`) {
		t.Error("the long one is not marked as cut")
	}
}

func TestSyslogTCP(t *testing.T) {
	r, at := listenTCP(t, nil, true)
	l := open(nil, audit.NewSyslog(syslogOptions("tcp", at)))
	fill(l)
	shut(l)
	eventually(t, "all messages", func() bool { return r.count() >= 7 })
	checkMessages(t, r)
	checkStream(t, r, 5)
}

// The server is gone for a while: what comes meanwhile is held, and sent when it is back. What it had before and what
// comes after are one stream.
func TestSyslogServerRestarts(t *testing.T) {
	r, at := listenTCP(t, nil, true)
	var told troubles
	o := syslogOptions("tcp", at)
	var now atomic.Value // the address that it has now: its old one may have been given to another
	now.Store(at)
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, now.Load().(string))
	}
	l := open(told.add, audit.NewSyslog(o))
	l.Append(record("/1"))
	eventually(t, "the first", func() bool { return r.count() == 2 })
	r.close()
	eventually(t, "an error", func() bool {
		l.Append(record("/more"))
		return l.Stats().Sinks[0].Err != nil
	})
	again, moved := listenTCP(t, nil, true)
	now.Store(moved)
	eventually(t, "all sent", func() bool {
		s := l.Stats()
		return s.Sinks[0].Kept == s.Appended &&
			s.Sinks[0].Err == nil
	})
	shut(l)
	n := l.Stats().Appended
	eventually(t, "the closing line", func() bool { return strings.Contains(again.stream(), `"event":"close"`) })
	v, err := audit.Verify(strings.NewReader(r.stream() + again.stream()))
	// What was given to the connection as it died may be missing, which the chain then says, and nothing else is wrong.
	for _, f := range v.Faults {
		if f.Kind != audit.Missing {
			t.Errorf("got the fault %v, want none but missing records", f)
		}
	}
	if err != nil || !v.Closed || v.Decisions+4 < n || v.Last != n+2 {
		t.Errorf("%v, %d decisions: %+v", err, n, v)
	}
	if !strings.Contains(told.text(), at) {
		t.Errorf("reported %s", told.text())
	}
}

// A server that hangs up on a connection without work loses nothing: that is noticed before the next record is given to
// it.
func TestSyslogServerHangsUpWhenIdle(t *testing.T) {
	for try := range 6 { // how soon it can be noticed is up to the machine
		r, at := listenTCP(t, nil, true)
		l := open(nil, audit.NewSyslog(syslogOptions("tcp", at)))
		l.Append(record("/1"))
		eventually(t, "the first", func() bool { return r.count() == 2 })
		r.hangUp()
		time.Sleep(100 * time.Millisecond << try)
		l.Append(record("/2"))
		shut(l)
		eventually(t, "the closing line", func() bool { return strings.Contains(r.stream(), `"event":"close"`) })
		if v, _ := audit.Verify(strings.NewReader(r.stream())); v.Good() && v.Decisions == 2 {
			return
		}
	}
	t.Error("each time a record was given to a connection that the server had closed")
}

// A server that takes connections and never reads: the records are held, then dropped and counted, and the end is not
// held up.
func TestSyslogServerIsStuck(t *testing.T) {
	_, at := listenTCP(t, nil, false)
	l := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewSyslog(syslogOptions("tcp", at))}, QueueBytes: 16 << 10})
	path := "/" + strings.Repeat("a", 1000)
	eventually(t, "something dropped", func() bool {
		for range 100 {
			l.Append(record(path))
		}
		return l.Stats().Sinks[0].Dropped > 0
	})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	l.Close(ctx)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the end took %v, want about 0.2 s", took)
	}
	s := l.Stats()
	if f := s.Sinks[0]; f.Kept+f.Dropped != s.Appended || f.Offered != s.Appended || f.Queued != 0 {
		t.Errorf("got %+v, want all %d kept or dropped", s, s.Appended)
	}
}

// A server that stops reading is an error after a while, so that the status says so and another connection is tried.
func TestSyslogWriteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := syslogOptions("tcp", "192.0.2.1:601")
		dialled := 0
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			conn, other := net.Pipe()
			t.Cleanup(func() { other.Close() })
			dialled++
			return conn, nil
		}
		l := open(nil, audit.NewSyslog(o))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if err := l.Stats().Sinks[0].Err; err == nil || !strings.Contains(err.Error(), "192.0.2.1:601: ") ||
			!errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want that 192.0.2.1:601 took nothing in time", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if dialled < 2 {
			t.Error("no other connection was tried")
		}
		shut(l)
	})
}

// Nobody listens: a datagram that the network refuses is tried again, and no decision is the worse for it.
func TestSyslogUDPNobodyThere(t *testing.T) {
	r, at := listenUDP(t, "127.0.0.1:0")
	r.close()
	l := open(nil, audit.NewSyslog(syslogOptions("udp", at)))
	for range 50 {
		l.Append(record("/1"))
	}
	shut(l)
	s := l.Stats()
	if f := s.Sinks[0]; f.Kept+f.Dropped != 50 {
		t.Errorf("got %+v, want 50 kept or dropped", s)
	}
}

// The certificate is judged by the time that the caller says it is, as those of authorization servers are.
func TestSyslogTime(t *testing.T) {
	spec.Rules(t, "OPS-1")
	cert, pool := certificate(t, "syslog.example.com")
	for _, c := range []struct {
		name string
		now  func() time.Time
		want bool
	}{
		{"the system's", nil, true},
		{"now", time.Now, true},
		{"1970", func() time.Time { return time.Unix(0, 0) }, false},
	} {
		_, at := listenTCP(t, &tls.Config{Certificates: []tls.Certificate{cert}}, true)
		o := syslogOptions("tls", "syslog.example.com:6514")
		o.Roots, o.Now = func() (*x509.CertPool, error) { return pool, nil }, c.now
		o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, at)
		}
		sink := audit.NewSyslog(o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := sink.Open(ctx); (err == nil) != c.want {
			t.Errorf("%s: got error %v, want success %v", c.name, err, c.want)
		}
		sink.Close()
		cancel()
	}
}

func TestSyslogTLS(t *testing.T) {
	cert, pool := certificate(t, "syslog.example.com")
	_, other := certificate(t, "syslog.example.com")
	for _, c := range []struct {
		name, host string
		config     *tls.Config
		roots      func() (*x509.CertPool, error)
		fails      string
	}{
		{"good", "syslog.example.com", &tls.Config{}, func() (*x509.CertPool, error) { return pool, nil }, ""},
		{"TLS 1.2", "syslog.example.com", &tls.Config{MaxVersion: tls.VersionTLS12}, func() (*x509.CertPool, error) {
			return pool, nil
		}, ""},
		{"TLS 1.1", "syslog.example.com", &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11},
			func() (*x509.CertPool, error) { return pool, nil }, "version"},
		{"another host", "other.example.com", &tls.Config{}, func() (*x509.CertPool, error) { return pool, nil },
			"not other.example.com"},
		{"another authority", "syslog.example.com", &tls.Config{},
			func() (*x509.CertPool, error) { return other, nil }, "certificate"},
		{"no roots", "syslog.example.com", &tls.Config{}, func() (*x509.CertPool, error) {
			return nil, errors.New("no file of roots")
		}, "no file of roots"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Certificates = []tls.Certificate{cert}
			r, at := listenTCP(t, c.config, true)
			o := syslogOptions("tls", net.JoinHostPort(c.host, "6514"))
			o.Roots = c.roots
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != c.host+":6514" || network != "tcp" {
					t.Errorf("dialled %s %s", network, address)
				}
				return dialer.DialContext(ctx, network, at)
			}
			l := open(nil, audit.NewSyslog(o))
			fill(l)
			if c.fails == "" {
				shut(l)
				eventually(t, "all messages", func() bool { return r.count() >= 7 })
				checkMessages(t, r)
				checkStream(t, r, 5)
				return
			}
			eventually(t, "an error", func() bool { return l.Stats().Sinks[0].Err != nil })
			if err := l.Stats().Sinks[0].Err; !strings.Contains(err.Error(), c.fails) ||
				!strings.Contains(err.Error(), c.host) {
				t.Errorf("got %v, want %q about %s", err, c.fails, c.host)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			l.Close(ctx)
			if s := l.Stats().Sinks[0]; s.Kept != 0 || s.Dropped != 5 || r.count() != 0 {
				t.Errorf("%+v, received %d", s, r.count())
			}
		})
	}
}
