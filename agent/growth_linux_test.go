package agent_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/tinytest/growth"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// axis is something that a device may have few or many of, and what one answer costs then, in instructions. Neither
// the machine nor what else it does takes part in that.
type axis struct {
	name   string
	linear bool  // the cost grows in proportion, else not at all
	points []int // counted by make growth
	short  []int // counted by the test; none if it would take too long to step over
	// prepare returns what is counted: it makes a mark before and after.
	prepare func(t *testing.T, n int) func(mark func())
}

// The axes. make growth counts all points as ARM processors do, and draws them.
var axes = []axis{
	{"resources", false, []int{1, 10, 100, 1000, 10000}, []int{1, 100, 10000}, growResources},
	{"keys, known token", false, powers(64), []int{1, 64}, growKeysWarm},
	{"keys, new token", false, powers(64), nil, growKeysCold},
	{"keys, new token without kid", true, powers(64), nil, growKeysUnnamed},
	{"specifiers", true, []int{1, 25, 50, 100, 150, 200}, []int{1, 100, 200}, growSpecifiers},
	{"KiB of the worst specifiers", true, []int{2, 4, 8, 12, 16}, nil, growWorst},
	{"cached tokens, known token", false, powers(1024), []int{1, 1024}, growTokensWarm},
	{"cached tokens, new token", false, powers(1024), nil, growTokensCold},
	{"names, forged token", false, []int{1, 16, 64, 256}, []int{1, 256}, growNamesForged},
	{"connections", false, []int{1, 10, 100, 1000}, []int{1, 200}, growConnections},
}

func powers(most int) (all []int) {
	for n := 1; n <= most; n *= 2 {
		all = append(all, n)
	}
	return all
}

// What an answer with a known token may take of instructions on amd64, within a process and from one read of its
// connection to the next (agent/ARCHITECTURE.md, "Budgets"). How many it takes varies a little with the place where a
// hash leads, and with the version of Go.
var instructionBudgets = map[string]int{"keys, known token": 9000, "connections": 10700}

// What an answer costs does not depend on how much the device has, or other callers do; it is linear in a token's
// specifiers (PATH-16). A token that is forged costs the check of its signature, whatever is in it (TOK-6).
func TestGrowth(t *testing.T) {
	spec.Rules(t, "PATH-16", "TOK-6")
	if os.Getenv(counter) == "all" { // make growth, which counts
		answerGrowth(t, func(a *axis) []int { return a.points })
		return
	}
	short := func(a *axis) []int { return a.short }
	total := 0
	for i := range axes {
		total += len(short(&axes[i]))
	}
	counts := stepped(t, total, func(t *testing.T) { answerGrowth(t, short) })
	if counts == nil {
		return // one of the processes that it needs
	}
	for i := range axes {
		a, points := &axes[i], axes[i].short
		if len(points) == 0 {
			continue
		}
		c := growth.Curve{Name: a.name, Linear: a.linear, Points: points, Counts: counts[:len(points)]}
		t.Logf("%-28s %v: %v instructions, %s", a.name, points, c.Counts, c.Shape())
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		if most, has := instructionBudgets[a.name]; has && slices.Max(c.Counts) > most {
			t.Errorf("%s: got %d instructions, want at most %d", a.name, slices.Max(c.Counts), most)
		}
		counts = counts[len(points):]
	}
}

// counter is the environment variable that says what a process of a test that counts is for.
const counter = "NMOS_AUTHD_COUNTED"

// mark is the number of no system call: who is counted makes it before and after each answer.
const mark = 0x7e57

// answerGrowth is the process that is counted: it says what it will answer, and which thread does, and answers once it
// is told to.
func answerGrowth(t *testing.T, points func(*axis) []int) {
	runtime.LockOSThread()
	var steps []func(func())
	for i := range axes {
		a := &axes[i]
		for _, n := range points(a) {
			step := a.prepare(t, n)
			for range 2 { // buffers grow to what they will hold
				step(func() {})
			}
			steps = append(steps, step)
			if os.Getenv(counter) == "all" {
				fmt.Printf("point %d %v %s\n", n, a.linear, a.name)
			}
		}
	}
	runtime.GC()
	debug.SetGCPercent(-1)
	for _, step := range steps { // what was pooled is made again
		step(func() {})
	}
	fmt.Println(syscall.Gettid())
	os.Stdin.Read(make([]byte, 1))
	for _, step := range steps {
		step(func() { syscall.RawSyscall(mark, 0, 0, 0) })
	}
}

// grown is a device for an axis, with a clock that stands still.
func grown(t *testing.T, change func(*config.Config), keys ...mint.JWK) *device {
	if keys == nil {
		keys = []mint.JWK{mint.CachedKey(mint.DefaultKID, 2048).JWK()}
	}
	d := newDevice(t, change, keys...)
	now := growthTime
	d.clock.Store(&now)
	return d
}

// growthTime is the present of all that is counted: tokens are kept for several processes.
var growthTime = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// keptToken returns the token of a template, or one that another process has kept: under an emulator one takes long to
// sign.
func keptToken(o mint.Options, change func(*mint.Token)) string {
	o.Now = growthTime
	m := mint.New(o)
	if change != nil {
		change(m)
	}
	dir := os.Getenv("NMOS_MINT_KEYS")
	if dir == "" {
		return m.Sign()
	}
	sum := sha256.Sum256(slices.Concat([]byte(m.Key.KID), m.Header.Bytes(), m.Claims.Bytes()))
	path := filepath.Join(dir, fmt.Sprintf("%x.jwt", sum[:8]))
	if text, err := os.ReadFile(path); err == nil {
		return string(text)
	}
	tok := m.Sign()
	os.WriteFile(path, []byte(tok), 0o600) // or it is signed again
	return tok
}

// growthToken is the n-th of many.
func growthToken(n int) string {
	read := []string{"single/senders/*", "single/receivers/*"}
	return keptToken(mint.Options{
		Client: fmt.Sprintf("controller-%05d", n), Permissions: map[string]mint.Permission{"connection": {Read: read}},
	}, nil)
}

// asks returns a step that asks packets, in turn, and wants them allowed.
func (d *device) asks(t *testing.T, packets ...string) func(mark func()) {
	return d.answers(t, "allow 200\n", packets...)
}

// answers is asks for an answer that begins with want.
func (d *device) answers(t *testing.T, want string, packets ...string) func(mark func()) {
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 1000})
	var all [][]byte
	for _, p := range packets {
		all = append(all, []byte(p))
	}
	var reply []byte
	n := 0
	return func(mark func()) {
		packet := all[n%len(all)]
		n++
		mark()
		reply = s.Packet(reply[:0], packet, 32<<10)
		mark()
		if !strings.HasPrefix(string(reply), want) {
			t.Fatalf("answered %q, want %q", reply, want)
		}
	}
}

const growthSender = "/x-nmos/connection/v1.1/single/senders/%08x-0000-4000-8000-000000000001/active"

// growResources asks about the last of n resources by its name, and finds its name by its id, as a record does.
func growResources(t *testing.T, n int) func(mark func()) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",\n"+`{"kind":"sender","name":"out-%d","id":"%08x-0000-4000-8000-000000000001"}`, i, i)
	}
	document := []byte(`{"resources": [` + b.String()[1:] + `]}`)
	table, err := inventory.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	d := grown(t, nil)
	d.SetInventory(table)
	name := fmt.Sprintf("out-%d", n-1)
	ask := d.asks(t, "resource 1\nkind=sender\nname="+name+"\naccess=read\nauthorization=Bearer "+growthToken(0)+"\n")
	path := fmt.Appendf(nil, growthSender, n-1)
	return func(mark func()) {
		second := func() { // the name is looked up before the mark at the end
			if _, got, _ := table.NameOf(path); got != name {
				t.Fatalf("%s is named %q, want %q", path, got, name)
			}
			mark()
		}
		marks := []func(){mark, second}
		ask(func() { marks[0](); marks = marks[1:] })
	}
}

// strangers are n-1 keys of nobody, and that of the mint last. Their moduli are larger than any signature: crypto/rsa
// would refuse a larger one before it computes.
func strangers(n int) (keys []mint.JWK) {
	for i := range n - 1 {
		modulus := new(big.Int).Lsh(big.NewInt(1), 2048)
		modulus.Sub(modulus, big.NewInt(int64(2*i+1)))
		keys = append(keys, mint.RSAJWK(fmt.Sprintf("stranger-%02d", i), modulus, 65537))
	}
	return append(keys, mint.CachedKey(mint.DefaultKID, 2048).JWK())
}

func growKeysWarm(t *testing.T, n int) func(mark func()) {
	return grown(t, nil, strangers(n)...).asks(t, get(fmt.Sprintf(growthSender, 1), growthToken(0)))
}

// coldly are questions with tokens that are not remembered, one of which is.
func coldly(t *testing.T, d *device, tok func(int) string) func(mark func()) {
	packets := make([]string, 4)
	for i := range packets {
		packets[i] = get(fmt.Sprintf(growthSender, 1), tok(i))
	}
	return d.asks(t, packets...)
}

func growKeysCold(t *testing.T, n int) func(mark func()) {
	return coldly(t, grown(t, oneRemembered, strangers(n)...), growthToken)
}

func oneRemembered(c *config.Config) { c.Limits.CachedTokens = 1 }

// growKeysUnnamed asks with tokens that do not say which key has signed them: all are tried (KEY-4), that key last.
func growKeysUnnamed(t *testing.T, n int) func(mark func()) {
	return coldly(t, grown(t, oneRemembered, strangers(n)...), func(i int) string {
		return keptToken(mint.Options{Client: fmt.Sprintf("unnamed-%d", i)},
			func(m *mint.Token) { m.Header.Delete("kid") })
	})
}

// growNamesForged asks a device of n names with tokens whose signatures are forged, and which name several audiences:
// until its signature holds, nothing of a token is matched (TOK-6).
func growNamesForged(t *testing.T, n int) func(mark func()) {
	d := grown(t, func(c *config.Config) {
		c.Device.Names = make([]string, n)
		for i := range n {
			c.Device.Names[i] = fmt.Sprintf("%s%03d.example.com", strings.Repeat("b", 60), i)
		}
	})
	good := keptToken(mint.Options{}, func(m *mint.Token) {
		m.Claims.Set("aud", slices.Repeat([]string{"*.example.org"}, 8))
	})
	forged := make([]string, 4)
	for i := range forged {
		forged[i] = get(fmt.Sprintf(growthSender, 1), fmt.Sprintf("%s%cAA", good[:len(good)-3], 'A'+i))
	}
	return d.answers(t, "deny 401\nreason=signature\n", forged...)
}

// growSpecifiers asks by a token of n specifiers, the last of which grants it.
func growSpecifiers(t *testing.T, n int) func(mark func()) {
	specifiers := make([]string, n)
	for i := range specifiers {
		specifiers[i] = fmt.Sprintf("single/senders/%08x-*", 1000+i)
	}
	specifiers[n-1] = fmt.Sprintf("single/senders/%08x-*", 1)
	permissions := map[string]mint.Permission{"connection": {Read: specifiers}}
	return grown(t, nil).asks(t,
		get(fmt.Sprintf(growthSender, 1), keptToken(mint.Options{Permissions: permissions}, nil)))
}

// growWorst asks for the longest path by a token of n KiB, filled with the specifiers that are the slowest to match
// with it: short ones, whose piece is nearly at each place of the path.
func growWorst(t *testing.T, n int) func(mark func()) {
	path := "/x-nmos/connection/v1.1/"
	path += strings.Repeat("a", 2048-len(path))
	filled := func(room int) string {
		specifiers := slices.Repeat([]string{"*ab*"}, max(0, room/len(`"*ab*",`)))
		permissions := map[string]mint.Permission{"connection": {Read: append(specifiers, "*a")}}
		return keptToken(mint.Options{Permissions: permissions}, nil)
	}
	bare := len(filled(0))
	tok := filled((n<<10 - bare) * 3 / 4)
	if len(tok) > 16<<10 || len(tok) < n<<10-64 {
		t.Fatalf("got a token of %d bytes, want %d KiB", len(tok), n)
	}
	return grown(t, nil).asks(t, get(path, tok))
}

// growTokensWarm asks by one of n tokens that are all remembered.
func growTokensWarm(t *testing.T, n int) func(mark func()) {
	d := grown(t, func(c *config.Config) { c.Limits.CachedTokens = n })
	for i := range n {
		d.asks(t, get(fmt.Sprintf(growthSender, 1), growthToken(i)))(func() {})
	}
	if held, _, _, _ := d.Tokens(); held != n {
		t.Fatalf("got %d tokens remembered, want %d", held, n)
	}
	return d.asks(t, get(fmt.Sprintf(growthSender, 1), growthToken(n/2)))
}

// growTokensCold asks by tokens that each take the place of another, of n that are remembered.
func growTokensCold(t *testing.T, n int) func(mark func()) {
	d := grown(t, func(c *config.Config) { c.Limits.CachedTokens = n })
	for i := range n {
		d.asks(t, get(fmt.Sprintf(growthSender, 1), growthToken(i)))(func() {})
	}
	return coldly(t, d, func(i int) string { return growthToken(2000 + i) })
}

// growConnections answers a question over the last of n connections that are open, reading and writing included.
func growConnections(t *testing.T, n int) func(mark func()) {
	d := grown(t, nil)
	dir, err := os.MkdirTemp("", "nmos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unixpacket", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	served, end := make(chan *agent.Conn), make(chan struct{})
	server := agent.Server{
		Handle: func(c *agent.Conn) error { served <- c; <-end; return nil },
		Report: func(err error) { t.Error(err) },
		Limit:  4096,
		PeerOf: func(net.Conn) (agent.Peer, error) { return agent.Peer{UID: 1000, PID: 1000}, nil },
	}
	go server.Serve(l)
	t.Cleanup(func() {
		l.Close()
		close(end)
		server.Shutdown(context.Background())
	})
	var client net.Conn
	var conn *agent.Conn
	for i := range n {
		if client, err = net.Dial("unixpacket", l.Addr().String()); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { client.Close() })
		conn = <-served
	}
	packet := []byte(get(fmt.Sprintf(growthSender, 1), growthToken(0)))
	under := conn.Conn
	s := d.NewSessionOf(conn.Peer)
	reply := make([]byte, 4096)
	return func(mark func()) {
		// The first answer of ServePackets makes its buffers, the second is counted: from one read to the next.
		reads := 0
		conn.Conn = readMarker{under, func() error {
			switch reads++; reads {
			case 2:
				mark()
			case 3:
				mark()
				return io.EOF
			}
			return nil
		}}
		for range 2 {
			if _, err := client.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.ServePackets(conn); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for range 2 {
			if n, err := client.Read(reply); err != nil || !strings.HasPrefix(string(reply[:n]), "allow 200\n") {
				t.Fatalf("answered %q, %v", reply[:n], err)
			}
		}
	}
}

// readMarker calls a function before each read, which may end the connection.
type readMarker struct {
	net.Conn
	before func() error
}

func (r readMarker) Read(b []byte) (int, error) {
	if err := r.before(); err != nil {
		return 0, err
	}
	return r.Conn.Read(b)
}
