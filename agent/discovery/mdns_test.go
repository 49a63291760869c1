package discovery

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grandcat/zeroconf"
	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// insideNetwork is set in the process that runs in a network of its own.
const insideNetwork = "DISCOVERY_TEST_NETWORK"

// ownNetwork runs the calling test again in a network namespace with two interfaces that can multicast, so that no
// packet leaves the machine and none of its own is heard. It reports whether this is that inner run.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNetwork) != "" {
		return true
	}
	const setUp = `ip link set lo up && ip link add v0 type veth peer name v1 &&
		ip addr add 192.0.2.1/24 dev v0 && ip addr add 198.51.100.1/24 dev v1 && ip link set v0 up && ip link set v1 up`
	if out, err := exec.Command("unshare", "-n", "sh", "-c", setUp).CombinedOutput(); err != nil {
		t.Skipf("no network namespace of its own here: %v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "-n", "sh", "-c", setUp+` && exec "$0" "$@"`,
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), insideNetwork+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func advertise(t *testing.T, instance, host string, port int, text ...string) {
	t.Helper()
	s, err := zeroconf.RegisterProxy(instance, service, "local.", port, host, []string{"192.0.2.1"}, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
}

func TestBrowse(t *testing.T) {
	spec.Rules(t, "DIS-3")
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	advertise(t, "Studio Auth (main)", "auth-2", 8443, "api_proto=https", "api_ver=v1.0",
		"pri=20", "api_selector=realm")
	advertise(t, "auth-1", "auth-1", 443, "api_proto=https", "api_ver=v1.0,v1.1", "pri=10")
	advertise(t, "plain", "auth-3", 80, "api_proto=http", "api_ver=v1.0", "pri=0")
	advertise(t, "trial", "auth-4", 443, "api_proto=https", "api_ver=v1.0", "pri=100")

	before := runtime.NumGoroutine()
	started := time.Now()
	tries(t, 5, func(t testing.TB, _ int) { checkBrowsed(t) })
	t.Logf("took %v", time.Since(started))

	// However long it is to listen, it ends, and in development all count.
	one, err := net.InterfaceByName("v1")
	if err != nil {
		t.Fatal(err)
	}
	tries(t, 5, func(t testing.TB, _ int) {
		found, err := Browse(t.Context(),
			BrowseOptions{Development: true, Interfaces: []net.Interface{*one}, Window: time.Hour})
		if err != nil || len(found.Servers) != 4 || found.Servers[0].Scheme != "http" || found.Servers[3].Pri != 100 {
			t.Errorf("in development: got %+v, %v, want 4 servers, of http first and of pri 100 last", found, err)
		}
	})
	// So does one whose context is over, and without a question.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCollector()
	l, err := openLink(nil, c.take)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.gather(ctx, c, func(bool) (bool, error) { return false, nil }); err != nil {
		t.Errorf("cancelled: got %v, want nil", err)
	}
	l.close()
	// Sockets and goroutines of all are gone, or end immediately.
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before {
		buf := make([]byte, 1<<16)
		t.Errorf("got %d goroutines after, %d before\n%s", now, before, buf[:runtime.Stack(buf, true)])
	}
}

// checkBrowsed browses once and compares what is found with what TestBrowse advertises.
func checkBrowsed(t testing.TB) {
	started := time.Now()
	found, err := Browse(t.Context(), BrowseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took < defaultWindow {
		t.Errorf("browsed for %v, want %v at least", took, defaultWindow)
	}
	var urls []string
	for _, s := range found.Servers {
		urls = append(urls, s.MetadataURL())
		if len(s.Addresses) != 1 || s.Addresses[0].String() != "192.0.2.1" || s.TTL == 0 {
			t.Errorf("%s: addresses %v, TTL %v", s.Instance, s.Addresses, s.TTL)
		}
	}
	want := "https://auth-1.local:443/.well-known/oauth-authorization-server " +
		"https://auth-2.local:8443/.well-known/oauth-authorization-server/realm"
	if got := strings.Join(urls, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	skipped := map[string]string{}
	for _, s := range found.Skipped {
		skipped[s.Instance] = s.Reason.Error()
	}
	if len(skipped) != 2 || skipped["plain"] == "" || skipped["trial"] != "pri 100 is for development only" {
		t.Errorf("skipped %v", skipped)
	}
}

// From the name server that knows nothing to the keys of a server in .local, on a network.
func TestDiscoverByMDNS(t *testing.T) {
	spec.Rules(t, "DIS-2")
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "192.0.2.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "auth-1.local"), mux, func(s *httptest.Server) {
		s.Listener.Close()
		s.Listener = l
	})
	port := l.Addr().(*net.TCPAddr).Port
	issuer := fmt.Sprintf("https://auth-1.local:%d", port)
	publish(mux, issuer, "")
	advertise(t, "auth-1", "auth-1", port, "api_proto=https", "api_ver=v1.0", "pri=10")
	ns := startDNS(t, dnsserver.Options{})

	c := New(Options{Roots: ca.roots, DNSServers: []string{ns.Addr()}})
	var found Found
	tries(t, 5, func(t testing.TB, _ int) {
		found, err = c.Discover(t.Context(), DiscoverOptions{Domains: []string{"example.com"}}, nil)
		if err != nil || len(found.Servers) != 1 || found.Servers[0].IssuerURL() != issuer {
			t.Errorf("got %+v, %v, want %s", found, err, issuer)
		}
	})
	if t.Failed() {
		return
	}
	ns.Forget()
	doc, err := c.KeySet(t.Context(), issuer)
	if err != nil || string(doc.JWKS) != someKeys || len(ns.Questions()) != 0 {
		t.Errorf("got %+v, %v, after questions %q; want the keys, after none", doc, err, questions(ns))
	}
	if _, err := New(Options{Roots: newAuthority(t).roots}).ServerKeySet(t.Context(), found.Servers[0]); err == nil {
		t.Errorf("%s is believed without a certificate", s.URL)
	}
}

// A device whose network is not up yet is told so immediately.
func TestBrowseNoNetwork(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideNetwork) == "" {
		if out, err := exec.Command("unshare", "-n", "true").CombinedOutput(); err != nil {
			t.Skipf("no network namespace of its own here: %v %s", err, out)
		}
		cmd := exec.Command("unshare", "-n", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		cmd.Env = append(os.Environ(), insideNetwork+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	found, err := Browse(t.Context(), BrowseOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), "discovery: mDNS: ") {
		t.Errorf("got %+v, error %v", found, err)
	}
}

// responder answers questions of the link by hand, on interface v0: with each of the records of its name and kind in a
// packet of its own, and nothing beside it.
func responder(t *testing.T, records ...string) *net.UDPConn {
	t.Helper()
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	v0, err := net.InterfaceByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", v0, group)
	if err != nil {
		t.Fatal(err)
	}
	p := ipv4.NewPacketConn(conn)
	if err := p.SetMulticastLoopback(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 9000)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dns.Msg
			if m.Unpack(buf[:n]) != nil || m.Response {
				continue
			}
			for _, q := range m.Question {
				for _, text := range records {
					rr, err := dns.NewRR(text)
					if err != nil {
						t.Error(err)
						return
					}
					if strings.EqualFold(rr.Header().Name, q.Name) && rr.Header().Rrtype == q.Qtype {
						a := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Answer: []dns.RR{rr}}
						packet, err := a.Pack()
						if err != nil {
							t.Error(err)
							return
						}
						conn.WriteTo(packet, group)
					}
				}
			}
		}
	}()
	return conn
}

// A responder that sends nothing but what it is asked for, and writes names in another case than it is asked (RFC 6763
// §12, RFC 6762 §16).
func TestBrowseSplit(t *testing.T) {
	spec.Rules(t, "DIS-2")
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	responder(t,
		"_NMOS-Auth._tcp.Local. 120 IN PTR Auth._nmos-auth._tcp.local.",
		"Auth._NMOS-AUTH._tcp.local. 100 IN SRV 3 4 8443 Auth-1.local.",
		`Auth._nmos-auth._tcp.LOCAL. 110 IN TXT "api_proto=https" "api_ver=v1.0" "pri=10"`,
		"AUTH-1.local. 90 IN AAAA fe80::1",
		"AUTH-1.local. 90 IN A 192.0.2.7")
	want := Server{Instance: "Auth", Scheme: "https", Host: "auth-1.local", Port: 8443, Pri: 10, Priority: 3, Weight: 4,
		TTL: 90 * time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Domain: "local"}
	tries(t, 5, func(t testing.TB, _ int) {
		found, err := Browse(t.Context(), BrowseOptions{})
		if err != nil || len(found.Servers) != 1 {
			t.Fatalf("got %+v, %v, want one server", found, err)
		}
		expect(t, "server", fmt.Sprintf("%+v", found.Servers[0]), fmt.Sprintf("%+v", want))
	})
}

// The host of a server in .local is found by its name alone: after SIGHUP, after a restart, in the configuration.
func TestLookupByMDNS(t *testing.T) {
	spec.Rules(t, "DIS-2")
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	responder(t, "Auth-1.local. 90 IN A 192.0.2.7")
	tries(t, 5, func(t testing.TB, _ int) {
		started := time.Now()
		addrs, err := New(Options{}).lookup(t.Context(), "auth-1.local")
		expect(t, "addresses", fmt.Sprint(addrs, err), "[192.0.2.7] <nil>")
		if took, all := time.Since(started), maxAsked*askEvery; took > all-askEvery/2 {
			t.Errorf("answered after %v, want the answer to end the %v in which it is asked", took, all)
		}
	})
	_, err := New(Options{}).lookup(t.Context(), "auth-2.local")
	expect(t, "unknown", err, "looking up auth-2.local: no host of this link answers to auth-2.local (mDNS)")
}

// A flood of advertisements costs little memory, and the server is found all the same.
func TestBrowseFlood(t *testing.T) {
	spec.Rules(t, "DIS-2")
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	advertise(t, "auth-1", "auth-1", 443, "api_proto=https", "api_ver=v1.0", "pri=10")
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	conn := responder(t)
	filler := make([]string, 20)
	for i := range filler {
		filler[i] = strings.Repeat("x", 240)
	}
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	for _, text := range []string{
		"_nmos-auth._tcp.local. 4500 IN PTR flood-00000000._nmos-auth._tcp.local.",
		"flood-00000000._nmos-auth._tcp.local. 4500 IN SRV 0 0 443 host.local.",
		`flood-00000000._nmos-auth._tcp.local. 4500 IN TXT "api_proto=https" "api_ver=v1.0" "pri=0" "` +
			strings.Join(filler, `" "`) + `"`, "host.local. 4500 IN A 192.0.2.9",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(packet, []byte("00000000"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Memory is measured while nothing is sent, so that it is what is held, whatever garbage the flood makes: the
	// responders of this process make the most of it.
	var sent, measured, most atomic.Int64
	before := heap()
	go func() {
		for ctx.Err() == nil {
			copy(packet[at:], fmt.Sprintf("%08d", sent.Add(1)))
			conn.WriteTo(packet, group)
			if sent.Load()%5000 == 0 {
				most.Store(max(most.Load(), heap()))
				measured.Add(1)
			}
		}
	}()
	tries(t, 10, func(t testing.TB, _ int) {
		found, err := Browse(ctx, BrowseOptions{})
		if err != nil || !slices.ContainsFunc(found.Servers, func(s Server) bool { return s.Host == "auth-1.local" }) {
			t.Errorf("got %d servers, %v, want auth-1.local among them", len(found.Servers), err)
		}
		if measured.Load() == 0 {
			t.Error("the memory was not measured meanwhile")
		}
	})
	cancel()
	t.Logf("%d packets sent, heap %d kB before, %d kB at most in %d measurements",
		sent.Load(), before>>10, most.Load()>>10, measured.Load())
	if most.Load()-before > 8<<20 {
		t.Errorf("got %d kB of heap in a flood, %d kB before; want 8 MB more at most", most.Load()>>10, before>>10)
	}
}
