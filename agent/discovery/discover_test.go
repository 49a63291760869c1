package discovery

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// resolvConf is a device's resolv.conf.
func resolvConf(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}

// server is a domain with one server, called after it.
func server(domain, more string) string {
	return strings.NewReplacer("DOMAIN", domain, "MORE", more).Replace(`
		_nmos-auth._tcp.DOMAIN.     PTR a._nmos-auth._tcp.DOMAIN.
		a._nmos-auth._tcp.DOMAIN.   SRV 0 0 443 auth.DOMAIN.
		a._nmos-auth._tcp.DOMAIN.   TXT "api_proto=https" "api_ver=v1.0" "pri=1" MORE
		auth.DOMAIN.                A 192.0.2.1
	`)
}

func TestDiscoverDomains(t *testing.T) {
	spec.Rules(t, "DIS-1")
	const named = "https://auth.a.test https://auth.b.test"
	zone := server("a.test", "") + server("b.test", `"pri=2"`) + server("c.test", "")
	zone = strings.Replace(zone, `"pri=1" "pri=2"`, `"pri=2"`, 1)
	for name, c := range map[string]struct {
		options DiscoverOptions
		zone    string
		issuers string
		asked   string // domains, in their order
	}{
		"configured": {DiscoverOptions{Domains: []string{"a.test", "b.test"}, ResolvConf: resolvConf("search c.test")},
			zone, named, "a.test b.test"},
		"configured with a dot": {DiscoverOptions{Domains: []string{"A.Test.", "a.test"}}, zone,
			"https://auth.a.test", "a.test"},
		"search list": {DiscoverOptions{ResolvConf: resolvConf("search a.test b.test")},
			zone, named, "a.test b.test"},
		"domain of resolv.conf": {DiscoverOptions{ResolvConf: resolvConf("domain a.test")}, zone,
			"https://auth.a.test", "a.test"},
		"host name": {DiscoverOptions{HostName: func() string { return "node-1.a.test" }}, zone,
			"https://auth.a.test", "a.test"},
		"search list and host": {DiscoverOptions{HostName: func() string { return "node-1.a.test." },
			ResolvConf: resolvConf("search b.test")}, zone, named, "b.test a.test"},
		"the same twice": {DiscoverOptions{HostName: func() string { return "node-1.A.test" },
			ResolvConf: resolvConf("search a.test. A.TEST")}, zone, "https://auth.a.test", "a.test"},
		"host without a domain": {DiscoverOptions{HostName: func() string { return "node-1" },
			ResolvConf: resolvConf("search a.test")}, zone, "https://auth.a.test", "a.test"},
		"local is that of mDNS": {DiscoverOptions{HostName: func() string { return "node-1.local" },
			ResolvConf: resolvConf("search local a.test")}, zone, "https://auth.a.test", "a.test"},
		"an address is not a domain": {DiscoverOptions{HostName: func() string { return "192.0.2.9" },
			ResolvConf: resolvConf("search a.test")}, zone, "https://auth.a.test", "a.test"},
		"named by the network, b": {DiscoverOptions{ResolvConf: resolvConf("search x.test")}, zone + `
			b._dns-sd._udp.x.test. PTR a.test.
			b._dns-sd._udp.x.test. PTR local.
			b._dns-sd._udp.x.test. PTR .
			b._dns-sd._udp.x.test. PTR x.test.`, "https://auth.a.test",
			"x.test b._dns-sd._udp.x.test lb._dns-sd._udp.x.test a.test"},
		"named by the network, lb": {DiscoverOptions{ResolvConf: resolvConf("search x.test")}, zone + `
			lb._dns-sd._udp.x.test. PTR b.test.`, "https://auth.b.test",
			"x.test b._dns-sd._udp.x.test lb._dns-sd._udp.x.test b.test"},
		"named by the network's address": {DiscoverOptions{Networks: func() []netip.Prefix {
			return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("fe80::1/64"),
				netip.MustParsePrefix("192.0.2.77/26")}
		}}, zone + `b._dns-sd._udp.64.2.0.192.in-addr.arpa. PTR a.test.`, "https://auth.a.test",
			"b._dns-sd._udp.64.2.0.192.in-addr.arpa lb._dns-sd._udp.64.2.0.192.in-addr.arpa a.test"},
		"not asked if the configuration names domains": {DiscoverOptions{Domains: []string{"x.test"}}, zone + `
			b._dns-sd._udp.x.test. PTR a.test.`, "", "x.test"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startDNS(t, dnsserver.Options{Zone: c.zone})
			if c.options.Networks == nil {
				c.options.Networks = func() []netip.Prefix { return nil }
			}
			r := discover(t, dnsClient(s), c.options)
			expect(t, "issuers", r.issuers(), c.issuers)
			var asked []string
			for _, q := range s.Questions() {
				asked = append(asked, undot(strings.TrimPrefix(q.Name, service+".")))
			}
			expect(t, "asked", strings.Join(asked, " "), c.asked)
		})
	}
}

// A device's network comes up later, or changes: each discovery goes by what is then.
func TestDiscoverResolvConfReread(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{Zone: server("a.test", "") + server("b.test", "")})
	text, failure := "", errors.New("resolv.conf: no such file")
	o := DiscoverOptions{
		ResolvConf: func() ([]byte, error) { return []byte(text), failure },
		Networks:   func() []netip.Prefix { return nil },
	}
	c := dnsClient(s)
	r := discover(t, c, o)
	if len(r.Servers) != 0 || r.err == nil || !strings.Contains(r.err.Error(), "no domain to browse") {
		t.Errorf("got %+v, error %v", r.Servers, r.err)
	}
	expect(t, "first step", r.steps[0].Text,
		"the device's resolver configuration cannot be read: resolv.conf: no such file")
	text, failure = "search a.test", nil
	r = discover(t, c, o)
	expect(t, "issuers", r.issuers(), "https://auth.a.test")
	text = "search b.test"
	r = discover(t, c, o)
	expect(t, "issuers", r.issuers(), "https://auth.b.test")
}

func TestDiscoverOrder(t *testing.T) {
	spec.Rules(t, "DIS-3")
	s := startDNS(t, dnsserver.Options{Zone: `
		$ORIGIN example.com.
		_nmos-auth._tcp      PTR a._nmos-auth._tcp
		_nmos-auth._tcp      PTR b._nmos-auth._tcp
		_nmos-auth._tcp      PTR c._nmos-auth._tcp
		_nmos-auth._tcp      PTR d._nmos-auth._tcp
		_nmos-auth._tcp      PTR e._nmos-auth._tcp
		_nmos-auth._tcp      PTR f._nmos-auth._tcp
		_nmos-auth._tcp      PTR g._nmos-auth._tcp
		a._nmos-auth._tcp    SRV 9 0 443 a
		a._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v1.0" "pri=10"
		b._nmos-auth._tcp    SRV 0 0 443 b
		b._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v1.0,v1.1" "pri=99"
		c._nmos-auth._tcp    SRV 1 0 443 c
		c._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v1.0" "pri=10"
		d._nmos-auth._tcp    SRV 0 0 443 d
		d._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v1.0" "pri=100"
		e._nmos-auth._tcp    SRV 0 0 80 e
		e._nmos-auth._tcp    TXT "api_proto=http" "api_ver=v1.0" "pri=0"
		f._nmos-auth._tcp    SRV 0 0 443 f
		f._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v2.0" "pri=0"
		g._nmos-auth._tcp    SRV 5 0 443 a
		g._nmos-auth._tcp    TXT "api_proto=https" "api_ver=v1.0" "pri=10"
		a A 192.0.2.1
		b A 192.0.2.2
		c A 192.0.2.3
		d A 192.0.2.4
		e A 192.0.2.5`})
	r := discover(t, dnsClient(s), example)
	expect(t, "issuers", r.issuers(), "https://c.example.com https://a.example.com https://b.example.com")
	expect(t, "left out", strings.Join(r.left(), "\n"), `a: the same server as g
d: pri 100 is for development only
e: api_proto is http, which counts in development only
f: api_ver "v2.0" lacks v1.0`)
	var found []string
	for _, step := range r.steps {
		if step.Kind == StepFound {
			found = append(found, step.Found.IssuerURL())
		}
	}
	expect(t, "told", strings.Join(found, " "), r.issuers())

	c := dnsClient(s)
	c.options.AllowHTTP = true
	r = discover(t, c, example)
	expect(t, "in development", r.issuers(),
		"http://e.example.com https://c.example.com https://a.example.com https://b.example.com https://d.example.com")
}

// mDNS only where unicast finds nothing, and only if the configuration allows it.
func TestDiscoverModes(t *testing.T) {
	spec.Rules(t, "DIS-2")
	t.Parallel()
	byMDNS := Server{Instance: "m", Scheme: "https", Host: "m.local", Port: 443, Domain: mdnsDomain}
	for _, c := range []struct {
		name    string
		mode    config.DiscoveryMode
		zone    string
		fault   dnsserver.Fault
		issuers string
		mdns    int  // how often it was used
		unicast bool // whether a name server was asked
	}{
		{"both, unicast finds one", config.DiscoveryBoth, server("example.com", ""), "",
			"https://auth.example.com", 0, true},
		{"both is the default", "", server("example.com", ""), "", "https://auth.example.com", 0, true},
		{"both, unicast finds none", config.DiscoveryBoth, "", "", "https://m.local", 1, true},
		{"both, what unicast finds may not be used", config.DiscoveryBoth,
			strings.ReplaceAll(server("example.com", ""), "pri=1", "pri=100"), "", "https://m.local", 1, true},
		{"both, unicast is silent", config.DiscoveryBoth, "", dnsserver.Silent, "", 0, true},
		{"both, unicast fails", config.DiscoveryBoth, "", dnsserver.ServFail, "", 0, true},
		{"unicast, and there is one", config.DiscoveryUnicast, server("example.com", ""), "",
			"https://auth.example.com", 0, true},
		{"unicast, and there is none", config.DiscoveryUnicast, "", "", "", 0, true},
		{"mdns", config.DiscoveryMDNS, server("example.com", ""), "", "https://m.local", 1, false},
		{"off", config.DiscoveryOff, server("example.com", ""), "", "", 0, false},
		{"no mode", "sometimes", server("example.com", ""), "", "", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				s := startDNS(t, dnsserver.Options{Zone: c.zone})
				s.Misbehave("", "", c.fault)
				client := impatient(s)
				browsed := 0
				client.browse = func(context.Context, BrowseOptions) (Found, error) {
					browsed++
					return Found{Servers: []Server{byMDNS},
						Skipped: []Skipped{{"x", errors.New("no")}}, Again: minAgain}, nil
				}
				r := discover(t, client, DiscoverOptions{Mode: c.mode, Domains: []string{"example.com"}})
				expect(t, "issuers", r.issuers(), c.issuers)
				expect(t, "an error", r.err != nil, c.fault != "")
				expect(t, "windows of mDNS", browsed, c.mdns)
				expect(t, "name server asked", len(s.Questions()) > 0, c.unicast)
			})
		})
	}
}

// mDNS is not used if one of several domains does not answer, nor if the caller says so; and who has answered is told.
func TestDiscoverAnswered(t *testing.T) {
	spec.Rules(t, "DIS-2", "DIS-6")
	t.Parallel()
	byMDNS := Server{Instance: "m", Scheme: "https", Host: "m.local", Port: 443, Domain: mdnsDomain}
	// listed in another domain
	other := strings.ReplaceAll(server("c.test", ""), "a._nmos-auth._tcp.c.test", "a._nmos-auth._tcp.b.test")
	for _, c := range []struct {
		name, zone, failing string // failing: the record for which the name server fails
		noMDNS              string
		heard               Found
		issuers, answered   string
		note                string // why mDNS is not used
	}{
		{"none anywhere", "", "", "", Found{}, "", "a.test c.test", ""},
		{"mDNS answers", "", "", "", Found{Servers: []Server{byMDNS}}, "https://m.local", "a.test c.test local", ""},
		{"mDNS has one that may not be used", "", "", "", Found{Skipped: []Skipped{{"x", errors.New("no")}}}, "",
			"a.test c.test local", ""},
		{"mDNS answers with less than all", "", "", "", Found{Skipped: []Skipped{{"x", errors.New("no SRV record")}},
			silent: []string{"local"}}, "", "a.test c.test", ""},
		{"forbidden", "", "", "for a reason", Found{Servers: []Server{byMDNS}}, "", "a.test c.test",
			"mDNS is not used: for a reason"},
		{"one fails", "", "_nmos-auth._tcp.a.test.", "", Found{Servers: []Server{byMDNS}}, "", "c.test",
			"mDNS is not used: no answer was had from a.test"},
		{"its records fail", "_nmos-auth._tcp.a.test. PTR a._nmos-auth._tcp.a.test.", "a._nmos-auth._tcp.a.test.", "",
			Found{Servers: []Server{byMDNS}}, "", "c.test", "mDNS is not used: no answer was had from a.test"},
		{"one fails, the other has one", server("c.test", ""), "_nmos-auth._tcp.a.test.", "", Found{},
			"https://auth.c.test", "c.test", ""},
		{"an instance of another domain", other, "", "", Found{}, "https://auth.c.test", "a.test c.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				s := startDNS(t, dnsserver.Options{Zone: c.zone})
				if c.failing != "" {
					s.Misbehave(c.failing, "", dnsserver.ServFail)
				}
				client := impatient(s)
				client.browse = func(context.Context, BrowseOptions) (Found, error) {
					c.heard.Again = minAgain
					return c.heard, nil
				}
				r := discover(t, client, DiscoverOptions{Domains: []string{"a.test", "c.test"}, NoMDNS: c.noMDNS})
				expect(t, "issuers", r.issuers(), c.issuers)
				expect(t, "answered", strings.Join(r.Answered, " "), c.answered)
				for i := range r.Servers {
					if in := r.Servers[i].Domain; in != mdnsDomain && in != "c.test" {
						t.Errorf("found in %q, want c.test", in)
					}
				}
				note := ""
				for _, step := range r.steps {
					if strings.HasPrefix(step.Text, "mDNS is not used") {
						note = step.Text
					}
				}
				expect(t, "note", note, c.note)
			})
		})
	}
}

// Whom the configuration does not admit is left out, and whether mDNS is used is decided without it.
func TestDiscoverAdmits(t *testing.T) {
	spec.Rules(t, "DIS-6")
	s := startDNS(t, dnsserver.Options{Zone: server("example.com", "")})
	c := dnsClient(s)
	c.browse = func(context.Context, BrowseOptions) (Found, error) {
		return Found{Servers: []Server{
			{Instance: "m", Scheme: "https", Host: "m.local", Port: 443, Domain: mdnsDomain},
			{Instance: "rogue", Scheme: "https", Host: "rogue.local", Port: 443, Domain: mdnsDomain},
		}, Again: minAgain}, nil
	}
	r := discover(t, c, DiscoverOptions{Domains: []string{"example.com"}, Admit: func(s *Server) error {
		if s.Host != "m.local" {
			return errors.New("not " + s.Host + " in " + s.Domain)
		}
		return nil
	}})
	expect(t, "issuers", r.issuers(), "https://m.local")
	expect(t, "left out", strings.Join(r.left(), "\n"),
		"a: not auth.example.com in example.com\nrogue: not rogue.local in local")
}

// Both fail: the error says both, and what was left out on the way is kept.
func TestDiscoverErrors(t *testing.T) {
	spec.Rules(t, "DIS-2")
	s := startDNS(t, dnsserver.Options{})
	s.Misbehave("", "", dnsserver.ServFail)
	c := dnsClient(s)
	c.browse = func(context.Context, BrowseOptions) (Found, error) {
		return Found{}, errors.New("discovery: mDNS: no interface")
	}
	r := discover(t, c, DiscoverOptions{
		ResolvConf: resolvConf(""), Networks: func() []netip.Prefix {
			return []netip.Prefix{netip.MustParsePrefix("192.0.2.77/26")}
		},
	})
	failed := "64.2.0.192.in-addr.arpa: name server " + s.Addr() + ": SERVFAIL: the server could not find out\n"
	expect(t, "error", r.err, "discovery: unicast DNS-SD: PTR b._dns-sd._udp."+failed+"PTR lb._dns-sd._udp."+failed+
		"discovery: mDNS: no interface")
}

func TestParseResolvConf(t *testing.T) {
	c := parseResolvConf([]byte("; comment\n# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver\n" +
		" nameserver  2001:db8::1  # x\nnameserver fe80::1%eth0\nnameserver 192.0.2.4\nnameserver auth.example.com\n" +
		"search old.test\ndomain older.test\r\n" +
		"search A.test b.test. . ..  a_b.test c..test x/y.test \xff.test local a.test\noptions edns0\nsearch\n"))
	expect(t, "servers", c.servers, "[192.0.2.1:53 [2001:db8::1]:53 [fe80::1%eth0]:53]")
	expect(t, "search", c.search, "[a.test. b.test. a_b.test.]")
	c = parseResolvConf([]byte("search " + strings.Repeat("x", 400) + " " + strings.Repeat("a.test ", 3) +
		strings.Join(strings.Split(strings.Repeat("b", 40), ""), ".test ")))
	if len(c.search) > maxDomains {
		t.Errorf("%d domains", len(c.search))
	}
	expect(t, "empty", parseResolvConf(nil), resolverConfig{})
}

func TestReverseDomain(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.0":  "0.2.0.192.in-addr.arpa.",
		"2001:db8::": "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
	} {
		expect(t, address, reverseDomain(netip.MustParseAddr(address)), want)
	}
}
