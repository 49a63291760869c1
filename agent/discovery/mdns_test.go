package discovery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/grandcat/zeroconf"

	"nmosauthd/tinytest/dnsserver"
)

// insideNetwork is set in the process that runs in a network of its own.
const insideNetwork = "DISCOVERY_TEST_NETWORK"

// ownNetwork runs the calling test again in a network namespace with two interfaces that can multicast, so that no packet
// leaves the machine and none of its own is heard. It reports whether this is that inner run.
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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

func TestBrowse_DIS3(t *testing.T) {
	t.Parallel() // the outer run only waits
	if !ownNetwork(t) {
		return
	}
	advertise(t, "Studio Auth (main)", "auth-2", 8443, "api_proto=https", "api_ver=v1.0", "pri=20", "api_selector=realm")
	advertise(t, "auth-1", "auth-1", 443, "api_proto=https", "api_ver=v1.0,v1.1", "pri=10")
	advertise(t, "plain", "auth-3", 80, "api_proto=http", "api_ver=v1.0", "pri=0")
	advertise(t, "trial", "auth-4", 443, "api_proto=https", "api_ver=v1.0", "pri=100")

	before := runtime.NumGoroutine()
	started := time.Now()
	found, err := Browse(t.Context(), BrowseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took < defaultWindow || took > defaultWindow+2*time.Second {
		t.Errorf("took %v", took)
	}
	var urls []string
	for _, s := range found.Servers {
		urls = append(urls, s.MetadataURL())
		if len(s.Addresses) != 1 || s.Addresses[0].String() != "192.0.2.1" || s.TTL == 0 {
			t.Errorf("%s: addresses %v, TTL %v", s.Instance, s.Addresses, s.TTL)
		}
	}
	want := "https://auth-1.local:443/.well-known/oauth-authorization-server https://auth-2.local:8443/.well-known/oauth-authorization-server/realm"
	if got := strings.Join(urls, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	skipped := map[string]string{}
	for _, s := range found.Skipped {
		skipped[s.Instance] = s.Reason.Error()
	}
	if len(skipped) != 2 || skipped["plain"] == "" || skipped["trial"] != "its pri 100 is for development only" {
		t.Errorf("skipped %v", skipped)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	one, err := net.InterfaceByName("v1")
	if err != nil {
		t.Fatal(err)
	}
	found, err = Browse(ctx, BrowseOptions{Development: true, Interfaces: []net.Interface{*one}, Window: time.Hour})
	if err != nil || len(found.Servers) != 4 || found.Servers[0].Scheme != "http" || found.Servers[3].Pri != 100 {
		t.Errorf("in development: %+v, %v", found, err)
	}
	if took := time.Since(started); took > 9*time.Second {
		t.Errorf("the context did not end it: %v", took)
	}
	// Sockets and goroutines of both are gone, or go at once.
	deadline := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after\n%s", before, now, buf[:runtime.Stack(buf, true)])
	}
}

// From the name server that knows nothing to the keys of a server in .local, on a network.
func TestDiscoverByMDNS_DIS2(t *testing.T) {
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
	found, err := c.Discover(t.Context(), DiscoverOptions{Domains: []string{"example.com"}}, nil)
	if err != nil || len(found.Servers) != 1 || found.Servers[0].IssuerURL() != issuer {
		t.Fatalf("%+v, %v", found, err)
	}
	ns.Forget()
	doc, err := c.KeySet(t.Context(), issuer)
	if err != nil || string(doc.JWKS) != someKeys || len(ns.Questions()) != 0 {
		t.Errorf("%+v, %v, after questions %q", doc, err, questions(ns))
	}
	if _, err := New(Options{Roots: newAuthority(t).roots}).ServerKeySet(t.Context(), found.Servers[0]); err == nil {
		t.Errorf("%s is believed without a certificate", s.URL)
	}
}

// A device whose network is not up yet is told so, at once.
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
		t.Errorf("%+v, %v", found, err)
	}
}

// Whoever floods the network with advertisements fills no memory.
func TestCollectorBounded(t *testing.T) {
	c := collector{records: make(map[string]Record)}
	for i := range 1000 {
		e := zeroconf.NewServiceEntry(fmt.Sprint("a", i), service, "local.")
		e.HostName, e.Port, e.Text = "a.local.", i+1, txt()
		e.AddrIPv4 = []net.IP{net.IPv4(192, 0, 2, byte(i))}
		e.AddrIPv6 = []net.IP{net.ParseIP("fe80::1"), net.ParseIP("2001:db8::1")}
		c.add(e)
		e.Instance = "a0"
		c.add(e)
	}
	f := c.found(false)
	if len(f.Servers) != maxAdvertised {
		t.Errorf("%d servers", len(f.Servers))
	}
	for _, s := range f.Servers {
		if s.Instance == "a0" && len(s.Addresses) != maxAddresses {
			t.Errorf("%d addresses", len(s.Addresses))
		}
		for _, a := range s.Addresses {
			if a.IsLinkLocalUnicast() {
				t.Errorf("address %v", a)
			}
		}
	}
}
