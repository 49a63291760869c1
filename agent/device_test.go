package agent_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
)

// device is an agent with its key store, fed by a function in place of an authorization server, for tests within the
// process.
type device struct {
	*agent.Agent
	store   *keys.Store
	config  *config.Config
	clock   atomic.Pointer[time.Time] // nil: the real time, trusted
	jwks    atomic.Pointer[[]byte]
	fetches atomic.Int64
}

// newDevice starts a device that trusts mint.DefaultIssuer, whose set holds these keys, and waits until they are held.
func newDevice(tb testing.TB, change func(*config.Config), published ...mint.JWK) *device {
	tb.Helper()
	d := &device{config: config.Default()}
	d.publish(published...)
	d.config.Device.Names = []string{mint.DefaultDevice}
	d.config.Authorization.Servers = []string{mint.DefaultIssuer}
	d.config.Authorization.Retry = time.Millisecond
	if change != nil {
		change(d.config)
	}
	d.store = keys.NewStore(func(context.Context, string) ([]byte, error) {
		d.fetches.Add(1)
		return *d.jwks.Load(), nil
	}, func(keys.Event) {})
	d.Agent = agent.New(d.config, d.config.Device.Names, d.store, func() agent.Time {
		if t := d.clock.Load(); t != nil {
			return agent.Time{Now: *t, Trusted: t.Year() >= 2000}
		}
		return agent.Time{Now: time.Now(), Trusted: true}
	})
	d.store.Configure(agent.KeyPolicy(d.config))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		d.store.Run(ctx)
		close(done)
	}()
	tb.Cleanup(func() { cancel(); <-done })
	d.waitForKeys(tb, 0)
	return d
}

func (d *device) publish(published ...mint.JWK) {
	document := mint.JWKSOf(published...)
	d.jwks.Store(&document)
}

// waitForKeys waits for a set newer than generation.
func (d *device) waitForKeys(tb testing.TB, generation uint64) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); d.store.Set().Generation <= generation; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("no new key set within a minute")
		}
	}
}

// answer is a reply as the caller of the socket reads it.
type answer struct {
	first string // "allow 200"
	lines map[string]string
	many  []string // denied targets and commands; in observe mode, those that would be
}

func (a answer) reason() string { return a.lines["reason"] }

func (a answer) String() string { return fmt.Sprintf("%s %v %v", a.first, a.lines, a.many) }

// parseAnswer takes a reply apart, strictly.
func parseAnswer(tb testing.TB, reply []byte) answer {
	tb.Helper()
	text, ended := strings.CutSuffix(string(reply), "\n")
	if !ended {
		tb.Fatalf("the reply %q does not end its last line", reply)
	}
	lines := strings.Split(text, "\n")
	a := answer{first: lines[0], lines: map[string]string{}}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, "=")
		_, twice := a.lines[name]
		if name == "denied" || name == "would" && twice {
			a.many = append(a.many, value)
			continue
		}
		if !ok || twice {
			tb.Fatalf("the reply %q has the line %q", reply, line)
		}
		a.lines[name] = value
	}
	return a
}

// ask puts one packet to the device.
func (d *device) ask(tb testing.TB, packet string) answer {
	tb.Helper()
	return parseAnswer(tb, d.NewSession().Packet(nil, []byte(packet), 32<<10))
}

// get is the packet that asks for a GET with a token.
func get(target, tok string) string {
	return "decide 1\nmethod=GET\ntarget=" + target + "\nauthorization=Bearer " + tok + "\n"
}

const senders = rows.Senders

// servePackets serves a connection by a Session of its own.
func (d *device) servePackets(conn *agent.Conn) error { return d.NewSession().ServePackets(conn) }
