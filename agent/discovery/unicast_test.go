package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// oneServer is a domain with one good server.
const oneServer = `
	$ORIGIN example.com.
	@                       SOA ns hostmaster 1 2 3 4 90
	_nmos-auth._tcp         300 PTR auth-1._nmos-auth._tcp
	auth-1._nmos-auth._tcp  200 SRV 3 4 443 auth-1
	auth-1._nmos-auth._tcp  400 TXT "api_proto=https" "api_ver=v1.0" "pri=10"
	auth-1                  500 A 192.0.2.1
	auth-1                  500 AAAA 2001:db8::1`

func startDNS(t testing.TB, o dnsserver.Options) *dnsserver.Server {
	t.Helper()
	s, err := dnsserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// shortPatience is what name servers get in tests in which one is silent.
const shortPatience = 200 * time.Millisecond

// attempt is a test that may be tried again: it keeps what fails.
type attempt struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (a *attempt) Helper() {} // lines are told by the texts

func (a *attempt) Errorf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = append(a.failed, fmt.Sprintf(format, args...))
}

func (a *attempt) Error(args ...any) { a.Errorf("%s", fmt.Sprint(args...)) }

func (a *attempt) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	runtime.Goexit()
}

func (a *attempt) Fatal(args ...any) { a.Fatalf("%s", fmt.Sprint(args...)) }

// tries runs a test that depends on how soon others answer, a name server or the hosts of a link, and again if it
// fails: on a busy machine an answer may come late, and a packet be lost. What fails each time is at fault.
func tries(t *testing.T, times int, test func(t testing.TB, try int)) {
	t.Helper()
	for try := range times {
		a := &attempt{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			test(a, try)
		}()
		<-done
		if len(a.failed) == 0 {
			return
		}
		report := t.Logf
		if try == times-1 {
			report = t.Errorf
		}
		report("try %d of %d:\n%s", try+1, times, strings.Join(a.failed, "\n"))
	}
}

// patiently runs a test with clients that wait a short time for a name server, and again with more patience if it
// fails.
func patiently(t *testing.T, test func(t testing.TB, impatient func(...*dnsserver.Server) *Client)) {
	t.Helper()
	tries(t, 4, func(t testing.TB, try int) {
		test(t, func(servers ...*dnsserver.Server) *Client {
			c := dnsClient(servers...)
			c.patience = shortPatience << (2 * try)
			return c
		})
	})
}

// dnsClient returns a Client that asks these name servers, and finds nothing by mDNS.
func dnsClient(servers ...*dnsserver.Server) *Client {
	o := Options{}
	for _, s := range servers {
		o.DNSServers = append(o.DNSServers, s.Addr())
	}
	c := New(o)
	c.browse = func(context.Context, BrowseOptions) (Found, error) { return Found{Again: retryAgain}, nil }
	return c
}

// run is the outcome of one discovery with its steps.
type run struct {
	Found
	err   error
	steps []Step
}

func discover(t testing.TB, c *Client, o DiscoverOptions) run {
	t.Helper()
	var r run
	r.Found, r.err = c.Discover(t.Context(), o, func(s Step) { r.steps = append(r.steps, s) })
	if r.Again < minAgain || r.Again > maxTTL {
		t.Errorf("again after %v", r.Again)
	}
	return r
}

// example looks in example.com alone.
var example = DiscoverOptions{Domains: []string{"example.com"}, Mode: config.DiscoveryUnicast}

// issuers are those found, in their order.
func (r *run) issuers() string {
	var all []string
	for i := range r.Servers {
		all = append(all, r.Servers[i].IssuerURL())
	}
	return strings.Join(all, " ")
}

// left are the subjects left out, each with its reason.
func (r *run) left() []string {
	var all []string
	for _, s := range r.Skipped {
		all = append(all, s.Instance+": "+s.Reason.Error())
	}
	slices.Sort(all)
	return all
}

// outcomes tells how each question was answered.
func (r *run) outcomes() string {
	var all []string
	for _, s := range r.steps {
		if s.Kind == StepAsked {
			kind, _, _ := strings.Cut(s.Query, " ")
			all = append(all, fmt.Sprintf("%s %s %s", kind, s.Network, s.Outcome))
		}
	}
	return strings.Join(all, ", ")
}

func questions(s *dnsserver.Server) []string {
	var all []string
	for _, q := range s.Questions() {
		all = append(all, q.String())
	}
	return all
}

func expect(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\ngot  %s\nwant %s", what, g, w)
	}
}

func TestUnicast(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{Zone: oneServer})
	r := discover(t, dnsClient(s), example)
	if r.err != nil || len(r.Servers) != 1 {
		t.Fatalf("got %+v, error %v", r.Servers, r.err)
	}
	want := Server{
		Instance: "auth-1", Scheme: "https", Host: "auth-1.example.com", Port: 443, Pri: 10, Priority: 3, Weight: 4,
		TTL: 200 * time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"),
			netip.MustParseAddr("2001:db8::1")}, Domain: "example.com",
	}
	expect(t, "server", fmt.Sprintf("%+v", r.Servers[0]), fmt.Sprintf("%+v", want))
	// All of it came beside the answer.
	expect(t, "questions", questions(s), []string{"PTR _nmos-auth._tcp.example.com. udp"})
	if size := s.Questions()[0].UDPSize; size != 1232 {
		t.Errorf("EDNS0 size %d", size)
	}
}

func TestUnicastEachRecordAsked(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{Zone: oneServer, Bare: true})
	r := discover(t, dnsClient(s), example)
	expect(t, "issuers", r.issuers(), "https://auth-1.example.com")
	expect(t, "addresses", r.Servers[0].Addresses, "[192.0.2.1 2001:db8::1]")
	expect(t, "questions", questions(s), []string{
		"PTR _nmos-auth._tcp.example.com. udp",
		"SRV auth-1._nmos-auth._tcp.example.com. udp",
		"TXT auth-1._nmos-auth._tcp.example.com. udp",
		"A auth-1.example.com. udp",
		"AAAA auth-1.example.com. udp",
	})
	expect(t, "TTL", r.Servers[0].TTL, 200*time.Second)
}

// Instance names are text for people, with all that may be in it (RFC 6763 §4.1.1).
func TestUnicastInstanceNames(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for label, name := range map[string]string{
		`Studio\032Auth\032\(main\)`:         "Studio Auth (main)",
		`Stra\195\159e\0327\.1`:              "Straße 7.1",
		`a\.b\.c`:                            "a.b.c",
		`x:1\064y\092z\"`:                    `x:1@y\z"`,
		`_nmos-auth`:                         "_nmos-auth",
		`\000\027[31m`:                       `"\x00\x1b[31m"`,
		`\255\254`:                           `"\xff\xfe"`,
		strings.Repeat(`\195\164`, 31) + "x": strings.Repeat("ä", 31) + "x",
	} {
		zone := strings.ReplaceAll(strings.ReplaceAll(oneServer, "auth-1._nmos", label+"._nmos"), "443 auth-1",
			"443 AUTH-1.Example.COM.")
		for _, bare := range []bool{false, true} {
			s := startDNS(t, dnsserver.Options{Zone: zone, Bare: bare})
			r := discover(t, dnsClient(s), example)
			if len(r.Servers) != 1 || InstanceName(r.Servers[0].Instance) != name ||
				r.Servers[0].Host != "auth-1.example.com" || len(r.Servers[0].Addresses) != 2 {
				t.Errorf("%s, bare %v: %+v, %v, left out %q", label, bare, r.Servers, r.err, r.left())
			}
		}
	}
}

func TestUnicastAliases(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for name, zone := range map[string]string{
		"of the service": `
			_nmos-auth._tcp.example.com.        100 CNAME _nmos-auth._tcp.example.net.
			_nmos-auth._tcp.example.net.        100 PTR   main._nmos-auth._tcp.example.net.
			main._nmos-auth._tcp.example.net.   100 SRV   0 0 443 auth.example.net.
			main._nmos-auth._tcp.example.net.   100 TXT   "api_proto=https" "api_ver=v1.0" "pri=1"
			auth.example.net.                   100 A     192.0.2.7`,
		"of everything": `
			_nmos-auth._tcp.example.com.        100 PTR   main._nmos-auth._tcp.example.com.
			main._nmos-auth._tcp.example.com.   100 CNAME x.example.com.
			x.example.com.                      100 SRV   0 0 443 auth.example.net.
			x.example.com.                      100 TXT   "api_proto=https" "api_ver=v1.0" "pri=1"
			auth.example.net.                   100 CNAME a.example.net.
			a.example.net.                       40 CNAME b.example.net.
			b.example.net.                      100 A     192.0.2.7`,
	} {
		for _, bare := range []bool{false, true} {
			s := startDNS(t, dnsserver.Options{Zone: zone, Bare: bare})
			r := discover(t, dnsClient(s), example)
			if r.issuers() != "https://auth.example.net" || fmt.Sprint(r.Servers[0].Addresses) != "[192.0.2.7]" {
				t.Errorf("%s, bare %v: %+v, %v, left out %q", name, bare, r.Servers, r.err, r.left())
			}
		}
	}
}

// What was found is valid for the least TTL of all that led to it, that of each CNAME included.
func TestUnicastLeastTTL(t *testing.T) {
	spec.Rules(t, "DIS-2")
	const zone = `
		_nmos-auth._tcp.example.com.        100 PTR   main._nmos-auth._tcp.example.com.
		main._nmos-auth._tcp.example.com.   ISRV CNAME x.example.com.
		x.example.com.                      100 SRV   0 0 443 auth.example.net.
		x.example.com.                      100 TXT   "api_proto=https" "api_ver=v1.0" "pri=1"
		auth.example.net.                   IA CNAME  a.example.net.
		a.example.net.                      100 A     192.0.2.7`
	for _, ttl := range []string{"40 90", "90 40"} {
		first, second, _ := strings.Cut(ttl, " ")
		s := startDNS(t,
			dnsserver.Options{Zone: strings.NewReplacer("ISRV", first, "IA", second).Replace(zone), Bare: true})
		r := discover(t, dnsClient(s), example)
		if len(r.Servers) != 1 || r.Servers[0].TTL != 40*time.Second || r.Again != 40*time.Second {
			t.Errorf("TTLs %s: got %+v, again %v, want 40 s", ttl, r.Servers, r.Again)
		}
	}
}

// What comes beside an answer need not be all: a useless address does not keep the right one from being asked for (RFC
// 6763 §12).
func TestUnicastAdditionalPart(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for beside, want := range map[string]string{
		"auth-1 500 AAAA fe80::1":     "[192.0.2.1]",
		"auth-1 500 AAAA 2001:db8::9": "[192.0.2.1 2001:db8::9]",
		"auth-1 500 A 0.0.0.0":        "[192.0.2.1]",
		"auth-1 500 A 192.0.2.9":      "[192.0.2.9]",
		"auth-1 500 TXT \"not this\"": "[192.0.2.1]",
	} {
		part := strings.NewReplacer("auth-1                  500 A 192.0.2.1",
			"", "auth-1                  500 AAAA 2001:db8::1", beside).Replace(oneServer)
		rest := strings.Replace(oneServer, "auth-1                  500 AAAA 2001:db8::1", "", 1)
		s := startDNS(t, dnsserver.Options{Zone: part})
		c := dnsClient(s)
		r := c.newResolver([]string{s.Addr()}, func(step Step) {
			if strings.HasPrefix(step.Query, "PTR ") {
				if err := s.SetZone(rest); err != nil {
					t.Error(err)
				}
			}
		})
		b := newBrowser(r, nil, false)
		b.browse(t.Context(), "example.com.")
		f := b.found()
		if len(f.Servers) != 1 || fmt.Sprint(f.Servers[0].Addresses) != want {
			t.Errorf("%s: got %+v, left out %v, want addresses %s", beside, f.Servers, f.Skipped, want)
		}
	}
}

// Whoever answers for example.com says nothing about example.net: what belongs to another domain is asked for.
func TestUnicastPoison(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{Zone: `
		_nmos-auth._tcp.example.com.        PTR auth._nmos-auth._tcp.example.net.
		_nmos-auth._tcp.example.com.        PTR other._nmos-auth._tcp.example.com.
		auth._nmos-auth._tcp.example.net.   SRV 0 0 443 auth.example.net.
		auth._nmos-auth._tcp.example.net.   TXT "api_proto=https" "api_ver=v1.0" "pri=1"
		other._nmos-auth._tcp.example.com.  SRV 0 0 8443 auth.example.net.
		other._nmos-auth._tcp.example.com.  TXT "api_proto=https" "api_ver=v1.0" "pri=2"
		auth.example.net.                   A 192.0.2.1`, Bare: true})
	s.Misbehave("", "PTR", dnsserver.Poison)
	s.Misbehave("", "SRV", dnsserver.Poison)
	s.Misbehave("auth._nmos-auth._tcp.example.net", "SRV", dnsserver.None)
	r := discover(t, dnsClient(s), example)
	expect(t, "issuers", r.issuers(), "https://auth.example.net https://auth.example.net:8443")
	for _, server := range r.Servers {
		expect(t, "addresses", server.Addresses, "[192.0.2.1]")
	}
	ignored := 0
	for _, step := range r.steps {
		for _, rec := range step.Records {
			if strings.Contains(rec.Name, "example.net") && rec.Additional &&
				strings.Contains(step.Query, "example.com") {
				if ignored++; rec.Ignored == nil {
					t.Errorf("%s: %+v", step.Query, rec)
				}
			}
		}
	}
	if ignored == 0 {
		t.Error("nothing was ignored")
	}
}

// However many instances there are, so many are looked at, and the last ones are named as left out.
func TestUnicastBounded(t *testing.T) {
	spec.Rules(t, "DIS-1")
	var zone strings.Builder
	for i := range 100 {
		fmt.Fprintf(&zone, `
			_nmos-auth._tcp.example.com. PTR a%[1]d._nmos-auth._tcp.example.com.
			a%[1]d._nmos-auth._tcp.example.com. SRV 0 0 %[2]d auth.example.com.
			a%[1]d._nmos-auth._tcp.example.com. TXT "api_proto=https" "api_ver=v1.0" "pri=1"`, i, i+1)
	}
	zone.WriteString("\nauth.example.com. A 192.0.2.1\n")
	s := startDNS(t, dnsserver.Options{Zone: zone.String()})
	r := discover(t, dnsClient(s), example)
	if len(r.Servers) != maxInstances {
		t.Errorf("%d servers", len(r.Servers))
	}
	expect(t, "left out", r.left(), "[example.com: 36 more instances: 64 are looked at]")
	if n := len(s.Questions()); n > 2+2 { // PTR by UDP and TCP; the host once
		t.Errorf("%d questions: %q", n, questions(s))
	}
	// All 2,000 of a huge answer are nothing to it.
	s.Misbehave("", "PTR", dnsserver.Huge)
	if r = discover(t, dnsClient(s), example); len(r.Servers) > maxInstances ||
		len(r.Skipped) > 3*maxInstances+maxRecords {
		t.Errorf("%d servers, %d left out", len(r.Servers), len(r.Skipped))
	}
	for _, step := range r.steps {
		if len(step.Records) > maxShown {
			t.Errorf("%s: %d records shown", step.Query, len(step.Records))
		}
	}
}

func TestUnicastLeftOut(t *testing.T) {
	spec.Rules(t, "DIS-1")
	const txt = `TXT "api_proto=https" "api_ver=v1.0" "pri=1"`
	for want, zone := range map[string]string{
		"a: no SRV record: no such name (NXDOMAIN)": ``,
		"a: no SRV record: no record of this type":  `a._nmos-auth._tcp.example.com. ` + txt,
		"a: no TXT record: no record of this type":  `a._nmos-auth._tcp.example.com. SRV 0 0 443 h.example.com.`,
		`a: the SRV record has the target ".": the service is not offered`: `a._nmos-auth._tcp.example.com. SRV 0 0 0 .
			a._nmos-auth._tcp.example.com. ` + txt,
		"a: the host h.example.com has no address: no such name (NXDOMAIN)": `a._nmos-auth._tcp.example.com. SRV 0 0 443 h.example.com.
			a._nmos-auth._tcp.example.com. ` + txt,
		"a: the host h.example.com has no address: no record of this type": `a._nmos-auth._tcp.example.com. SRV 0 0 443 h.example.com.
			a._nmos-auth._tcp.example.com. ` + txt + `
			h.example.com. TXT "x"`,
		"a: no address of the host h.example.com can be connected to": `a._nmos-auth._tcp.example.com. SRV 0 0 443 h.example.com.
			a._nmos-auth._tcp.example.com. ` + txt + `
			h.example.com. A 0.0.0.0
			h.example.com. A 224.0.0.251
			h.example.com. A 255.255.255.255
			h.example.com. AAAA fe80::1
			h.example.com. AAAA ::`,
		"a: port 0: the service is not offered": `a._nmos-auth._tcp.example.com. SRV 0 0 0 h.example.com.
			a._nmos-auth._tcp.example.com. ` + txt,
	} {
		s := startDNS(t,
			dnsserver.Options{Zone: "_nmos-auth._tcp.example.com. PTR a._nmos-auth._tcp.example.com.\n" + zone})
		r := discover(t, dnsClient(s), example)
		expect(t, "left out", r.left(), "["+want+"]")
		expect(t, "error", r.err, nil) // all of it is known
	}
	s := startDNS(t, dnsserver.Options{Zone: "_nmos-auth._tcp.example.com. PTR www.example.com."})
	r := discover(t, dnsClient(s), example)
	expect(t, "left out", r.left(), "[www.example.com: the name is not <instance>._nmos-auth._tcp.<domain>]")
}

// One question that fails does not spoil what was found, but it is asked again soon.
func TestUnicastPartly(t *testing.T) {
	spec.Rules(t, "DIS-6")
	s := startDNS(t, dnsserver.Options{Bare: true, Zone: oneServer + `
		_nmos-auth._tcp                      PTR auth-2._nmos-auth._tcp
		auth-2._nmos-auth._tcp               SRV 0 0 443 auth-2
		auth-2._nmos-auth._tcp               TXT "api_proto=https" "api_ver=v1.0" "pri=1"`})
	s.Misbehave("auth-2.example.com", "", dnsserver.ServFail)
	s.Misbehave("auth-1._nmos-auth._tcp.example.com", "TXT", dnsserver.ServFail)
	r := discover(t, dnsClient(s), example)
	expect(t, "issuers", r.issuers(), "https://auth-2.example.com") // looked up again when it is contacted
	expect(t, "addresses", r.Servers[0].Addresses, "[]")
	expect(t, "left out", r.left(), "[auth-1: TXT auth-1._nmos-auth._tcp.example.com: name server "+s.Addr()+
		": SERVFAIL: the server could not find out]")
	expect(t, "error", r.err, nil)
}

func TestUnicastAgain(t *testing.T) {
	spec.Rules(t, "DIS-6")
	for name, c := range map[string]struct {
		zone string
		want time.Duration
	}{
		"shortest":   {oneServer, 200 * time.Second},
		"an address": {strings.ReplaceAll(oneServer, "500 A", "77 A"), 77 * time.Second},
		"long": {strings.NewReplacer(" 300", " 900000", " 200 SRV", " 900000 SRV", " 400",
			" 900000", " 500", " 900000").Replace(oneServer), time.Hour},
		"none":                            {strings.ReplaceAll(oneServer, " 300", " 0"), minAgain},
		"nothing there, as the zone says": {`example.com. 3600 SOA ns hostmaster 1 2 3 4 90`, 90 * time.Second},
		"nothing there for long":          {`example.com. 3600 SOA ns hostmaster 1 2 3 4 80000`, retryAgain},
		"nothing there, and no word":      {``, retryAgain},
		"unusable":                        {strings.ReplaceAll(oneServer, "https", "http"), 200 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for _, bare := range []bool{false, true} {
				s := startDNS(t, dnsserver.Options{Zone: c.zone, Bare: bare})
				expect(t, "again", discover(t, dnsClient(s), example).Again, c.want)
			}
		})
	}
}

// The caller's context ends it immediately.
func TestUnicastCancelled(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{})
	s.Misbehave("", "", dnsserver.Silent)
	c := dnsClient(s)
	c.patience = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.Discover(ctx, example, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}
