package system_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// The floods that "make soak" repeats, beside those of tinytest/webserver. Each asserts what is answered, never how
// fast: the figures are for people, in lines that begin with FIGURES.

func soaking(t *testing.T) {
	t.Helper()
	if os.Getenv("NMOS_SOAK") == "" {
		t.Skip("make soak runs it")
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(100 * time.Microsecond)
}

// Forged tokens without kid, each of which 64 keys are tried for, 63 of them the largest that there are: a known token
// is answered, and new good ones get their turn.
func TestSoakVerifications(t *testing.T) {
	soaking(t)
	const connections, lasts = 40, 8 * time.Second
	server := newServer(t, authserver.Options{})
	published := []mint.JWK{server.Signer().JWK()}
	for i := range 63 {
		published = append(published, mint.FakeJWK(fmt.Sprint("large-", i), 8192))
	}
	server.SetJWKS(mint.JWKSOf(published...))
	b := start(t, trusting(t, server))
	good := get(senders).bearing(everything(server).Sign())
	b.await(good, 200, "ok")

	var forged atomic.Int64
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range connections {
		asker := firmware.NewAsker(b.Authz(), patience)
		flood.Go(func() {
			defer asker.Close()
			for !closed(stop) {
				tok := another(server)
				tok.Header.Delete("kid")
				r, err := asker.Ask(get(senders).bearing(withSignature(tok, 1024)).lines()...)
				if err != nil || r.Allowed() {
					t.Errorf("a forged token: %v, %v", r, err)
					return
				}
				forged.Add(1)
			}
		})
	}
	eventually(t, "the flood to rise", func() bool { return forged.Load() > 0 })
	var known, waits []time.Duration
	var before []int64
	for end := time.Now().Add(lasts); time.Now().Before(end) || len(waits) == 0; time.Sleep(50 * time.Millisecond) {
		began := time.Now()
		if a, err := b.caller.try(good, false); err != nil || a.String() != "200 ok" {
			t.Errorf("the known token: %v, %v", a, err)
		}
		known = append(known, time.Since(began))
		fresh := get(senders).bearing(another(server).Sign())
		began, n := time.Now(), forged.Load()
		if a, err := b.caller.try(fresh, false); err != nil || a.String() != "200 ok" {
			t.Errorf("a new token: %v, %v", a, err)
		}
		waits, before = append(waits, time.Since(began)), append(before, forged.Load()-n)
	}
	rate := float64(forged.Load()) / lasts.Seconds()
	close(stop)
	flood.Wait()
	slices.Sort(before)
	t.Logf("FIGURES verifications: %.0f forged tokens a second; known token: median %v; %d new tokens: median %v, "+
		"worst %v, behind %d verifications, at most %d (goal: 20)", rate, median(known), len(waits), median(waits),
		slices.Max(waits).Round(time.Millisecond), before[len(before)/2], before[len(before)-1])
}

// withSignature ends a token with so many bytes that no key has made.
func withSignature(t *mint.Token, size int) string {
	signature := make([]byte, size)
	for i := range signature[1:] { // the first stays 0: less than any modulus, so that the check is made to its end
		signature[i+1] = byte(rand.Uint32())
	}
	segment := base64.RawURLEncoding.EncodeToString
	return segment(t.Header.Bytes()) + "." + segment(t.Claims.Bytes()) + "." + segment(signature)
}

// One connection has distinct requests denied as fast as it can, another one has some allowed: what is written, and
// what is left of the latter.
func TestSoakRecords(t *testing.T) {
	soaking(t)
	const lasts = 5 * time.Second
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	dir := t.TempDir()
	config.More = fmt.Sprintf("[audit]\nsinks = [\"file\"]\nfile = %q\n", filepath.Join(dir, "audit.log"))
	b := start(t, config)
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")
	flooder := firmware.NewAsker(b.Authz(), patience)
	defer flooder.Close()
	written := b.written()
	allowed, denied := 0, 0
	began := time.Now()
	for time.Since(began) < lasts {
		for range 200 {
			r, err := flooder.Ask(get(fmt.Sprintf("%s/%d", senders, denied)).lines()...)
			if err != nil || r.Status != 401 {
				t.Fatalf("a request without a token: %+v, %v", r, err)
			}
			denied++
		}
		b.want(get(fmt.Sprintf("/x-nmos/connection/v1.1/single/receivers/%d", allowed)).bearing(good), 200, "ok")
		allowed++
	}
	took := time.Since(began).Seconds()
	written = b.written() - written
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	kept, size := 0, 0
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		kept += bytes.Count(text, []byte(`/single/receivers/`))
		size += len(text)
	}
	t.Logf("FIGURES records: %.0f denials a second, %.2f MB/s written; %d of %d allowed requests are in the files "+
		"(%d, %d kB)", float64(denied)/took, float64(written)/took/1e6, kept, allowed, len(files), size/1000)
}

// written is how many bytes the daemon has written to files and sockets.
func (b *box) written() int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", b.PID()))
	if err != nil {
		b.t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				b.t.Fatal(err)
			}
			return n
		}
	}
	b.t.Skip("the kernel does not count what a process writes")
	return 0
}

// insideNetwork is set in the process that runs in a network of its own.
const insideNetwork = "SYSTEM_TEST_NETWORK"

// A flood of mDNS advertisements, as fast as one sender can: the memory that it takes, and decisions meanwhile.
func TestSoakMDNS(t *testing.T) {
	soaking(t)
	if os.Getenv(insideNetwork) == "" {
		const setUp = `ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 &&
			ip link set v0 up && ip link set v1 up && ip route add 224.0.0.0/4 dev v0`
		if out, err := exec.Command("unshare", "-n", "sh", "-c", setUp).CombinedOutput(); err != nil {
			t.Skipf("no network namespace of its own here: %v %s", err, out)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		inner := exec.CommandContext(ctx, "unshare", "-n", "sh", "-c", setUp+` && exec "$0" "$@"`,
			os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
		inner.Env = append(os.Environ(), insideNetwork+"=1")
		out, err := inner.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if _, figures, ok := strings.Cut(string(out), "FIGURES "); ok {
			figures, _, _ = strings.Cut(figures, "\n")
			t.Log("FIGURES " + figures)
		}
		return
	}
	config := trusting(t)
	config.Discovery = "mode = \"mdns\""
	b := start(t, config)
	watch := func(lasts time.Duration) (most int) {
		for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			b.want(get("/x-nmos"), 200, "public")
			most = max(most, b.memory().resident)
		}
		return most
	}
	quiet := watch(4 * time.Second)
	var sent atomic.Int64
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() { advertiseMany(t, &sent, stop) })
	began := time.Now()
	loud := watch(15 * time.Second)
	rate := float64(sent.Load()) / time.Since(began).Seconds()
	close(stop)
	flood.Wait()
	t.Logf("FIGURES mDNS: %.0f packets a second; resident %d KiB quiet, at most %d KiB in the flood: %d more "+
		"(goal: 8192)", rate, quiet, loud, loud-quiet)
}

// advertiseMany sends advertisements of ever new servers until stop.
func advertiseMany(t *testing.T, sent *atomic.Int64, stop <-chan struct{}) {
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}, group)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	for _, text := range []string{
		"_nmos-auth._tcp.local. 4500 IN PTR flood-00000000._nmos-auth._tcp.local.",
		"flood-00000000._nmos-auth._tcp.local. 4500 IN SRV 0 0 443 host-00000000.local.",
		`flood-00000000._nmos-auth._tcp.local. 4500 IN TXT "api_proto=https" "api_ver=v1.0" "pri=0" "x=` +
			strings.Repeat("x", 200) + `"`,
		"host-00000000.local. 4500 IN A 192.0.2.9",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Error(err)
			return
		}
		m.Answer = append(m.Answer, rr)
	}
	packet, err := m.Pack()
	if err != nil {
		t.Error(err)
		return
	}
	const digits = "00000000"
	var places []int
	for at := 0; ; {
		i := bytes.Index(packet[at:], []byte(digits))
		if i < 0 {
			break
		}
		places = append(places, at+i)
		at += i + len(digits)
	}
	for !closed(stop) {
		for range 40 {
			name := fmt.Sprintf("%08d", sent.Add(1))
			for _, at := range places {
				copy(packet[at:], name)
			}
			conn.Write(packet)
		}
		time.Sleep(500 * time.Microsecond)
	}
}
