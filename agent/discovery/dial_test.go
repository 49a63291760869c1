package discovery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// nameServer answers on loopback by the function; a nil answer is silence. It returns its address and counts questions.
func nameServer(t *testing.T, answer func(q dns.Question, m *dns.Msg) *dns.Msg) (address string, asked *atomic.Int32) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		if m := answer(r.Question[0], new(dns.Msg).SetReply(r)); m != nil {
			w.WriteMsg(m)
		}
	})}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return conn.LocalAddr().String(), asked
}

// loopback answers that every name is 127.0.0.1.
func loopback(q dns.Question, m *dns.Msg) *dns.Msg {
	if q.Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A: net.IPv4(127, 0, 0, 1)}}
	}
	return m
}

func TestKeySetNameServers(t *testing.T) {
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "auth.nmos.test"), mux)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	issuer := "https://auth.nmos.test:" + port
	publish(mux, issuer, "")

	good, _ := nameServer(t, loopback)
	onlyA, _ := nameServer(t, func(q dns.Question, m *dns.Msg) *dns.Msg {
		if q.Qtype != dns.TypeA {
			return nil
		}
		return loopback(q, m)
	})
	deadThenLive, _ := nameServer(t, func(q dns.Question, m *dns.Msg) *dns.Msg {
		if q.Qtype == dns.TypeA { // nobody serves at the first address
			m.Answer = append(loopback(q, m.Copy()).Answer, loopback(q, m.Copy()).Answer...)
			m.Answer[0].(*dns.A).A = net.IPv4(127, 0, 0, 2)
		}
		return m
	})
	failing, _ := nameServer(t, func(_ dns.Question, m *dns.Msg) *dns.Msg {
		m.Rcode = dns.RcodeServerFailure
		return m
	})
	unknown, _ := nameServer(t, func(_ dns.Question, m *dns.Msg) *dns.Msg {
		m.Rcode = dns.RcodeNameError
		return m
	})
	silent, silentAsked := nameServer(t, func(dns.Question, *dns.Msg) *dns.Msg { return nil })

	for _, c := range []struct {
		name    string
		servers []string
		want    string // "" if it works
	}{
		{"one", []string{good}, ""},
		{"one that leaves AAAA unanswered", []string{onlyA}, ""},
		{"one address of two serves", []string{deadThenLive}, ""},
		{"the first fails", []string{failing, good}, ""},
		{"the first is silent", []string{silent, good}, ""},
		{"the first knows that there is none", []string{unknown, good},
			"looking up auth.nmos.test: no such name (NXDOMAIN)"},
		{"all fail", []string{failing}, "looking up auth.nmos.test: A auth.nmos.test: name server " + failing +
			": SERVFAIL: the server could not find out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, err := New(Options{Roots: ca.roots, DNSServers: c.servers}).KeySet(t.Context(), issuer)
			if c.want == "" {
				if err != nil || string(doc.JWKS) != someKeys {
					t.Errorf("got %+v, error %v", doc, err)
				}
			} else if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) {
				t.Errorf("got  %v\nwant …: %s", err, c.want)
			}
		})
	}
	t.Cleanup(func() {
		if silentAsked.Load() == 0 {
			t.Error("the silent server was not asked")
		}
	})
}

// A configured server's host is looked up as DNS-SD is, by configured name servers and by those of resolv.conf: EDNS0
// is no must, CNAMEs are followed, one family is enough.
func TestLookupHost(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	const zone = `
		auth.nmos.test.      A     127.0.0.1
		six.nmos.test.       AAAA  2001:db8::6
		alias.nmos.test.     CNAME auth.nmos.test.
		none.nmos.test.      TXT   "x"
		unusable.nmos.test.  A     0.0.0.0
		unusable.nmos.test.  AAAA  fe80::1
		www.studio.nmos.test. A    127.0.0.3`
	for _, c := range []struct {
		name, host, resolvConf string
		fault                  dnsserver.Fault
		kind                   string // of the questions that it spoils; "": all
		want                   string // addresses, or the error
	}{
		{"plain", "auth.nmos.test", "", "", "", "[127.0.0.1]"},
		{"FORMERR to EDNS0", "auth.nmos.test", "", dnsserver.NoEDNS, "", "[127.0.0.1]"},
		{"NOTIMP to EDNS0", "auth.nmos.test", "", dnsserver.EDNSNotImp, "", "[127.0.0.1]"},
		{"EDNS0 is dropped", "auth.nmos.test", "", dnsserver.EDNSSilent, "", "[127.0.0.1]"},
		{"AAAA alone", "six.nmos.test", "", "", "", "[2001:db8::6]"},
		{"CNAME", "alias.nmos.test", "", "", "", "[127.0.0.1]"},
		{"no AAAA: NXDOMAIN", "auth.nmos.test", "", dnsserver.NXDomain, "AAAA", "[127.0.0.1]"},
		{"no AAAA: SERVFAIL", "auth.nmos.test", "", dnsserver.ServFail, "AAAA", "[127.0.0.1]"},
		{"no AAAA: silence", "auth.nmos.test", "", dnsserver.Silent, "AAAA", "[127.0.0.1]"},
		{"no A: SERVFAIL", "six.nmos.test", "", dnsserver.ServFail, "A", "[2001:db8::6]"},
		{"truncated", "auth.nmos.test", "", dnsserver.Truncated, "", "[127.0.0.1]"},
		{"other case", "AUTH.nmos.Test", "", "", "", "[127.0.0.1]"},
		{"a dot at its end", "auth.nmos.test.", "search x.test", "", "", "[127.0.0.1]"},
		{"search list", "www", "search x.test studio.nmos.test", "", "", "[127.0.0.3]"},
		{"search list after the name itself", "www.studio", "search nmos.test", "", "", "[127.0.0.3]"},
		{"ndots", "www.studio", "search nmos.test\noptions ndots:2", "", "", "[127.0.0.3]"},
		{"no such name", "www.nmos.test", "search x.test", "", "", "looking up www.nmos.test: no such name (NXDOMAIN)"},
		{"no address", "none.nmos.test", "", "", "", "looking up none.nmos.test: no record of this type"},
		{"no usable address", "unusable.nmos.test", "", "", "",
			"looking up unusable.nmos.test: answered, but with no usable address"},
		{"an address", "192.0.2.1", "", dnsserver.Silent, "", "[192.0.2.1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				s := startDNS(t, dnsserver.Options{Zone: zone})
				s.Misbehave("", c.kind, c.fault)
				client := impatient(s)
				client.options.ResolvConf = resolvConf(c.resolvConf)
				addrs, err := client.lookup(t.Context(), c.host)
				got := fmt.Sprint(addrs)
				if err != nil {
					got = err.Error()
				}
				expect(t, c.host, got, c.want)
			})
		})
	}
}

// The name servers of resolv.conf are read at every look-up.
func TestLookupResolvConf(t *testing.T) {
	spec.Rules(t, "DIS-1")
	conf, reads := "nameserver 127.0.0.254\nsearch a.test", 0
	c := New(Options{ResolvConf: func() ([]byte, error) {
		reads++
		return []byte(conf), nil
	}})
	c.patience = shortPatience
	for range 2 {
		if _, err := c.lookup(t.Context(), "auth"); err == nil ||
			!strings.Contains(err.Error(), "name server 127.0.0.254:53: ") {
			t.Errorf("got %v, want an error that names the name server of resolv.conf", err)
		}
	}
	expect(t, "resolv.conf read", reads, 2)
}

// Names in .local are asked of the link, and of no name server, however the daemon comes to them (RFC 6762
// §3).
func TestLookupLocal(t *testing.T) {
	spec.Rules(t, "DIS-2")
	s := startDNS(t, dnsserver.Options{Zone: "alias.nmos.test. CNAME auth.local.\nauth.local. TXT x"})
	c := dnsClient(s)
	var asked []string
	c.askLink = func(_ context.Context, name string) (resolved, error) {
		asked = append(asked, name)
		got := resolved{outcome: Silent}
		if name == "auth.local." {
			got.records = []*resource{{addr: netip.MustParseAddr("127.0.0.7")}}
		}
		return got, nil
	}
	for _, host := range []string{"auth.local", "AUTH.Local", "auth.local."} {
		addrs, err := c.lookup(t.Context(), host)
		expect(t, host, fmt.Sprint(addrs, err), "[127.0.0.7] <nil>")
	}
	_, err := c.lookup(t.Context(), "other.local")
	expect(t, "unknown", err, "looking up other.local: no host of this link answers to other.local (mDNS)")
	expect(t, "asked of the link", asked, "[auth.local. auth.local. auth.local. other.local.]")
	expect(t, "asked of the name server", questions(s), "[]")

	_, err = c.lookup(t.Context(), "alias.nmos.test")
	if err == nil || !strings.Contains(err.Error(), errLocal.Error()) {
		t.Errorf("CNAME into .local: got %v, want %v", err, errLocal)
	}
	c.options.ResolvConf = resolvConf("search x.local local") // such domains complete no name
	if addrs, err := c.lookup(t.Context(), "auth"); err == nil {
		t.Errorf("search list: got %v, want an error", addrs)
	}
	for _, q := range questions(s) {
		if strings.Contains(q, "local.") {
			t.Errorf("asked of the name server: %s", q)
		}
	}
}

func TestKeySetAddressNeedsNoNameServer(t *testing.T) {
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	publish(mux, s.URL, "")
	ns, asked := nameServer(t, loopback)
	if _, err := New(Options{Roots: ca.roots, DNSServers: []string{ns}}).KeySet(t.Context(), s.URL); err != nil ||
		asked.Load() != 0 {
		t.Errorf("%v after %d questions", err, asked.Load())
	}
}

// An IPv4 address is tried once, however /etc/hosts and package net give it.
func TestAddressesAreDistinct(t *testing.T) {
	got := distinct([]netip.Addr{
		netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("fd00::2"),
	})
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
