package agent_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/token"
	"nmosauthd/tinytest/mint"
)

// budgets is the one table of allocation figures: how many times each kind of answer may allocate, from the packet
// received to the reply packet. The one of a cold answer is bigmod's: what comes out of the signature.
var budgets = []struct {
	name string
	want string // the first line and the reason expected, so that the figure is that of the path meant
	most float64
	cold bool
	ask  func(d *device, n int) string // the n-th packet to ask
}{
	{"warm allow", "allow 200 ok", 0, false, func(d *device, n int) string { return get(senders, distinct(0)) }},
	{"warm deny, path", "deny 403 path-not-granted", 0, false, func(d *device, n int) string {
		return get(senders+"/x", distinct(0))
	}},
	{"warm deny, forged", "deny 401 signature", 0, false, func(d *device, n int) string {
		return get(senders, forged(distinct(0)))
	}},
	{"warm 503, key awaited", "deny 503 keys-pending", 0, false, func(*device, int) string {
		return get(senders, awaited())
	}},
	{"no token", "deny 401 no-token", 0, false, func(*device, int) string {
		return "decide 1\nmethod=GET\ntarget=" +
			senders + "\n"
	}},
	{"public", "allow 200 public", 0, false, func(*device, int) string {
		return "decide 1\nmethod=GET\ntarget=/x-nmos/\n"
	}},
	{"ambiguous path", "deny 400 path-ambiguous", 0, false, func(*device, int) string {
		return "decide 1\nmethod=GET\ntarget=/a//b\n"
	}},
	{"verify", "allow 200 ok", 0, false, func(d *device, n int) string {
		return "verify 1\nauthorization=Bearer " +
			distinct(0) + "\n"
	}},
	{"WebSocket, token in query", "allow 200 ok", 0, false, func(d *device, n int) string {
		return "decide 1\nmethod=GET\nupgrade=websocket\ntarget=" + senders + "?access_token=" +
			strings.ReplaceAll(distinct(0), ".", "%2E") + "\n"
	}},
	{"decide-all, 20 sources", "deny 403 path-not-granted", 0, false, func(d *device, n int) string {
		return "decide-all 1\nauthorization=Bearer " + distinct(0) + "\n" + strings.Repeat("target="+senders+"/x\n", 20)
	}},
	{"watch-token", "allow 200 ok", 0, false, func(d *device, n int) string {
		return "watch-token 1\nauthorization=Bearer " + distinct(0) + "\ntarget=" + senders + "\n"
	}},
	{"IS-14, encoded, of several models", "deny 403 api-not-granted", 0, false, func(d *device, n int) string {
		return get("/x-nmos/configuration/v1.0/slot2B/rolePaths/root.a%20b/bulkProperties?a=b&recurse=false",
			distinct(0))
	}},
	{"IS-14, subtree", "deny 403 subtree-not-granted", 0, false, func(d *device, n int) string {
		return get(rolePaths+"/root.a%20b/bulkProperties", objectToken())
	}},
	{"named by its id", "deny 403 path-not-granted", 0, false, func(d *device, n int) string {
		return get(senders+"/"+namedID+"/active", distinct(0))
	}},
	{"resource of the model", "deny 403 api-not-granted", 0, false, func(*device, int) string {
		return "resource 1\nkind=sender\nname=out-2\naccess=write\nauthorization=Bearer " + distinct(0) + "\n"
	}},
	{"command, named", "deny 403 api-not-granted", 0, false, func(*device, int) string {
		return "control 1\napi=control\ncommand=1 1 1m1 root.tx-2\nauthorization=Bearer " + distinct(0) + "\n"
	}},
	{"resource, warm allow", "allow 200 ok", 0, false, func(*device, int) string {
		return "resource 1\nkind=sender\nname=out-16383\naccess=read\nauthorization=Bearer " + distinct(0) + "\n"
	}},
	{"resource, warm deny", "deny 403 path-not-granted", 0, false, func(*device, int) string {
		return "resource 1\nkind=sender\nname=out-0\naccess=write\nauthorization=Bearer " + distinct(0) + "\n"
	}},
	{"resource unknown", "deny 403 resource-unknown", 0, false, func(*device, int) string {
		return "resource 1\nkind=sender\nname=out-16384\naccess=read\nauthorization=Bearer " + distinct(0) + "\n"
	}},
	{"resource, no token", "deny 401 no-token", 0, false, func(*device, int) string {
		return "resource 1\nkind=sender\nname=out-7\naccess=read\n"
	}},
	{"control, warm allow", "allow 200 ok", 0, false, func(*device, int) string { return commands(1, 0, "read") }},
	{"control, 250 commands, half denied", "deny 403 path-not-granted", 0, false, func(*device, int) string {
		return commands(250, 9, "some")
	}},
	{"control, no token", "deny 401 no-token", 0, false, func(*device, int) string {
		return "control 1\napi=control\nsubscribe=root\n"
	}},
	{"bad packet", "error 400 packet-name", 0, false, func(*device, int) string { return "decide 1\ncolour=red\n" }},
	{"cold allow", "allow 200 ok", 1, true, func(d *device, n int) string { return get(senders, distinct(n)) }},
	{"resource, cold allow", "allow 200 ok", 1, true, func(_ *device, n int) string {
		return "resource 1\nkind=sender\nname=out-8000\naccess=read\nauthorization=Bearer " + distinct(n) + "\n"
	}},
	{"cold deny, forged", "deny 401 signature", 1, true, func(d *device, n int) string {
		return get(senders, forged(distinct(n)))
	}},
}

// commands is a packet that asks about n commands by a token with ten specifiers, of which the one at a place, or none,
// grants them: to read all, or some of them.
func commands(n, at int, grant string) string {
	specifiers := make([]string, 10)
	for i := range specifiers {
		specifiers[i] = fmt.Sprintf("root.block-%d.*", i)
	}
	specifiers[at] = "root.receiver-monitors.*"
	key := strconv.Itoa(at)
	if controlTokens[key] == "" {
		controlTokens[key] = tokenOf(map[string]claim{"control": {specifiers, specifiers[:9], ""}}, "")
	}
	var b strings.Builder
	b.WriteString("control 1\napi=control\nauthorization=Bearer " + controlTokens[key] + "\n")
	for i := 1; i <= n; i++ {
		role := "receiver-monitors"
		if grant == "some" && i%2 == 0 {
			role = "sender-monitors"
		}
		fmt.Fprintf(&b, "command=%d 1.2.2.1 4m1 root.%s.monitor-%02d\n", i, role, i%32)
	}
	return b.String()
}

var controlTokens = map[string]string{}

// httpBudget is how many times the whole way of a remembered token's question over http.sock may allocate: all of it by
// net/http and for the answer's headers.
const httpBudget = 40

// objectToken returns a token for one object of IS-14's API.
var objectToken = sync.OnceValue(func() string { return configurationToken("root.a b", "").Sign() })

// awaited returns a token under a key that is not held.
var awaited = sync.OnceValue(func() string {
	tok := mint.New(mint.Options{})
	tok.Key = mint.CachedKey("other", 2048)
	tok.Header.Set("kid", "not-held")
	return tok.Sign()
})

// cycle is how many different tokens a cold row asks with, in turn: more than any memory for tokens has places, so that
// each is forgotten before it comes again.
const cycle = 3 * 128

var minted [cycle]string

// distinct returns the n-th of a number of good tokens, all of the same length.
func distinct(n int) string {
	n %= cycle
	if minted[n] == "" {
		minted[n] = mint.New(mint.Options{
			Client: fmt.Sprintf("controller-%04d", n),
			Permissions: map[string]mint.Permission{
				"connection": {Read: []string{"single/senders", "single/receivers/*"}}},
		}).Sign()
	}
	return minted[n]
}

// forged returns tok with another signature of the same length: one bit of its number is changed.
func forged(tok string) string {
	dot := strings.LastIndexByte(tok, '.')
	sig, _ := base64.RawURLEncoding.DecodeString(tok[dot+1:])
	sig[len(sig)-1] ^= 1
	return tok[:dot+1] + base64.RawURLEncoding.EncodeToString(sig)
}

// allocations is the least of some measurements: what runs beside the function, and a collection that empties the pools
// of package http, are not its own.
func allocations(runs int, f func()) float64 {
	least := testing.AllocsPerRun(runs, f)
	for range 2 {
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}

func TestAllocationBudgets(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	// Forged tokens have keys fetched, which allocates beside what is measured: once, before that.
	seldom := func(c *config.Config) { c.Authorization.Retry = time.Hour }
	d := newDevice(t, seldom, mint.New(mint.Options{}).Key.JWK())
	generation := d.store.Set().Generation
	d.ask(t, get(senders, forged(distinct(1))))
	d.waitForKeys(t, generation)
	d.setInventory(t, manySenders())
	log := audit.New(audit.Options{
		QueueBytes: 64 << 10, Repeat: time.Minute, RingBytes: 64 << 10, Rates: audit.Rates{Denials: 2, Allows: 20},
	})
	defer log.Close(t.Context())
	d.Audit(log)
	for _, b := range budgets {
		t.Run(b.name, func(t *testing.T) {
			s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 1000}) // recorded, as those of callers are
			packets := make([][]byte, cycle)
			for n := range packets {
				packets[n] = []byte(b.ask(d, n))
			}
			var reply []byte
			n := 0
			step := func() {
				reply = s.Packet(reply[:0], packets[n%cycle], 32<<10)
				n++
			}
			for range 2 * cycle { // buffers grow to what they will hold
				step()
			}
			a := parseAnswer(t, reply)
			if got := a.first + " " + a.reason(); got != b.want {
				t.Fatalf("answered %q, so the path meant was not taken", got)
			}
			// Of a whole cycle, since a few of its tokens may still be remembered by chance.
			all := allocations(1, func() {
				for range cycle {
					step()
				}
			})
			if got := allocations(cycle, step); got > b.most {
				t.Errorf("%s: got %v allocations, want at most %v", b.name, got, b.most)
			} else if b.cold && all < cycle/2 {
				t.Errorf("got %v allocations for %d answers: they were remembered, not worked out", all, cycle)
			} else {
				t.Logf("%-28s %3.0f allocations, budget %3.0f", b.name, got, b.most)
			}
		})
	}
}

// The same through a real socket: the runtime's reads and writes of a packet allocate nothing either.
func TestAllocationBudgetOfASocket(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	l, err := net.Listen("unixpacket", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			d.NewSession().ServePackets(conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("unixpacket", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	packet, reply := []byte(get(senders, distinct(0))), make([]byte, 4096)
	n := 0
	step := func() {
		if _, err = conn.Write(packet); err == nil {
			n, err = conn.Read(reply)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	step()
	if a := parseAnswer(t, reply[:n]); a.first != "allow 200" || a.reason() != "ok" {
		t.Fatalf("answered %v", a)
	}
	if got := allocations(1000, step); got > 0 {
		t.Errorf("%v allocations for a warm question and its answer over a socket", got)
	}
}

// A warm answer about the longest token allocates no more than one about a short one.
func TestAllocationBudgetOfLongTokens(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	long := mint.New(mint.Options{})
	long.Claims.Set("x-nmos-connection", mint.Permission{
		Read: []string{strings.Repeat("a", token.MaxBytes*3/4-1200), "single/senders"}})
	packet := []byte(get(senders, long.Sign()))
	s := d.NewSession()
	var reply []byte
	step := func() { reply = s.Packet(reply[:0], packet, 32<<10) }
	step()
	if a := parseAnswer(t, reply); a.first != "allow 200" {
		t.Fatalf("answered %v", a)
	}
	if got := allocations(100, step); got > 0 {
		t.Errorf("%v allocations for a warm answer about a token of %d bytes", got, len(packet))
	}
}

func TestHTTPAllocationBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	web := askHTTP(t, newDevice(t, nil, mint.New(mint.Options{}).Key.JWK()))
	text, _ := asHTTP(get(senders, distinct(0)))
	question, buf := []byte(text), make([]byte, 4096)
	for range 100 { // buffers grow to what they will hold
		if got := web.raw(t, question, buf); !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) {
			t.Fatalf("answered %q, so the path meant was not taken", got)
		}
	}
	got := allocations(200, func() { web.raw(t, question, buf) })
	t.Logf("%-28s %3.0f allocations, budget %3d", "http.sock, warm allow", got, httpBudget)
	if got > httpBudget {
		t.Errorf("got %v allocations for a question over http.sock, budgeted are %d", got, httpBudget)
	}
}

// raw asks by HTTP and reads an answer without a body, neither of which allocates.
func (w *webServer) raw(tb testing.TB, question, buf []byte) []byte {
	if _, err := w.conn.Write(question); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
		more, err := w.conn.Read(buf[n:])
		if err != nil {
			tb.Fatal(err)
		}
		n += more
	}
	return buf[:n]
}
