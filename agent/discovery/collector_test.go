package discovery

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"nmosauthd/tinytest/spec"
)

var (
	sender1 = netip.MustParseAddr("192.0.2.1")
	sender2 = netip.MustParseAddr("192.0.2.2")
)

// said packs what a host of the link says: records, in the answer section.
func said(t testing.TB, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.Response, m.Authoritative, m.Compress = true, true, true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		rr.Header().Class |= 1 << 15 // as the only one of its name and kind (RFC 6762 §10.2)
		m.Answer = append(m.Answer, rr)
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	mPTR = "_nmos-auth._tcp.local. 120 IN PTR auth._nmos-auth._tcp.local."
	mSRV = "auth._nmos-auth._tcp.local. 110 IN SRV 1 2 8443 auth-1.local."
	mTXT = `auth._nmos-auth._tcp.local. 100 IN TXT "api_proto=https" "api_ver=v1.0" "pri=10"`
	mA   = "auth-1.local. 90 IN A 192.0.2.7"
)

// told is what the collector's browser makes of what it has.
func told(t *testing.T, c *collector) Found {
	t.Helper()
	b := newBrowser(c, nil, false)
	b.browse(t.Context(), mdnsDomain+".")
	return b.found()
}

// answer takes what the link says and answers the questions that the collector has, as a responder with these records
// does, one record a packet. It returns the questions.
func answer(t *testing.T, c *collector, records ...string) string {
	t.Helper()
	var all []string
	for range 10 {
		due, _ := c.missing(time.Unix(int64(1000+len(all)), 0))
		if len(due) == 0 {
			break
		}
		for _, q := range due {
			all = append(all, q.String())
			for _, text := range records {
				rr, err := dns.NewRR(text)
				if err != nil {
					t.Fatal(err)
				}
				if canonical(rr.Header().Name) == q.name && rr.Header().Rrtype == q.kind {
					c.take(said(t, text), sender1)
				}
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Whatever form an advertisement comes in, what is missing is asked for, and it is the same server.
func TestCollectorForms(t *testing.T) {
	spec.Rules(t, "DIS-2")
	const instance = "SRV auth._nmos-auth._tcp.local, TXT auth._nmos-auth._tcp.local"
	for _, c := range []struct {
		name    string
		packets [][]string // what comes unasked
		asked   string
	}{
		{"all in one", [][]string{{mPTR, mSRV, mTXT, mA}}, ""},
		{"all in one, in another order", [][]string{{mA, mTXT, mSRV, mPTR}}, ""},
		{"PTR alone", [][]string{{mPTR}}, "A auth-1.local, AAAA auth-1.local, " + instance},
		{"no address", [][]string{{mPTR, mSRV, mTXT}}, "A auth-1.local, AAAA auth-1.local"},
		{"two packets", [][]string{{mPTR, mSRV}, {mTXT, mA}}, ""},
		{"one a packet", [][]string{{mPTR}, {mSRV}, {mTXT}, {mA}}, ""},
		{"one a packet, the wrong way round",
			[][]string{{mA}, {mTXT}, {mSRV}, {mPTR}}, "A auth-1.local, AAAA auth-1.local, " + instance},
		{"a useless address",
			[][]string{{mPTR, mSRV, mTXT, "auth-1.local. 90 IN AAAA fe80::1", "auth-1.local. 90 IN A 127.0.0.1"}},
			"A auth-1.local, AAAA auth-1.local"},
		{"other case", [][]string{{strings.ToUpper(mPTR), strings.Replace(mSRV, "auth-1", "Auth-1", 1), mTXT},
			{strings.Replace(mA, "auth-1.local", "AUTH-1.Local", 1)}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newCollector()
			for _, records := range c.packets {
				m.take(said(t, records...), sender1)
			}
			expect(t, "asked", answer(t, m, mSRV, mTXT, mA), c.asked)
			f := told(t, m)
			if len(f.Servers) != 1 || len(f.Skipped) != 0 {
				t.Fatalf("got %+v, left out %v, want one server", f.Servers, f.Skipped)
			}
			s := f.Servers[0]
			s.Instance = strings.ToLower(s.Instance)
			expect(t, "server", fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", Server{
				Instance: "auth", Scheme: "https", Host: "auth-1.local", Port: 8443, Pri: 10, Priority: 1, Weight: 2,
				TTL: 90 * time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Domain: "local"}))
			expect(t, "again", f.Again, 90*time.Second)
		})
	}
}

// A server of which something is missing in the end is left out, and the link has not answered in full (DIS-6).
func TestCollectorIncomplete(t *testing.T) {
	spec.Rules(t, "DIS-2", "DIS-6")
	for want, records := range map[string][]string{
		"auth: no SRV record: no answer":                        {mPTR, mTXT, mA},
		"auth: no TXT record: no answer":                        {mPTR, mSRV, mA},
		"auth: the host auth-1.local has no address: no answer": {mPTR, mSRV, mTXT},
	} {
		c := newCollector()
		c.take(said(t, records...), sender1)
		c.take(said(t, "_nmos-auth._tcp.local. 120 IN PTR b._nmos-auth._tcp.local.",
			// which says all, and is no good
			strings.Replace(mSRV, "auth.", "b.", 1), strings.Replace(strings.Replace(mTXT, "auth.", "b.", 1), "https",
				"ftp", 1)), sender1)
		f := told(t, c)
		var left []string
		for _, s := range f.Skipped {
			left = append(left, s.Instance+": "+s.Reason.Error())
		}
		if !slices.Contains(left, want) || len(left) != 2 || len(f.Servers) != 0 {
			t.Errorf("got %+v, left out %q, want %q", f.Servers, left, want)
		}
		expect(t, "silent", f.silent, "[local]")
	}
	c := newCollector()
	c.take(said(t, mPTR, mSRV, mTXT, mA), sender1)
	expect(t, "silent", told(t, c).silent, "[]")
}

// A question is put three times at most, a second apart, and then is waited for no longer.
func TestCollectorAsks(t *testing.T) {
	spec.Rules(t, "DIS-2")
	c := newCollector()
	c.take(said(t, mPTR, mTXT, strings.Replace(mSRV, "auth-1.local", "auth.example.com", 1)), sender1)
	if due, missing := c.missing(time.Unix(1, 0)); len(due) != 0 || missing {
		t.Errorf("a host outside of .local: got %v asked of the link, want none", due)
	}
	c.take(said(t, "_nmos-auth._tcp.local. 120 IN PTR b._nmos-auth._tcp.local.",
		strings.Replace(mTXT, "auth.", "b.", 1)), sender1)
	start := time.Unix(1000, 0)
	var at []time.Duration
	for d := time.Duration(0); d < 10*time.Second; d += 100 * time.Millisecond {
		due, missing := c.missing(start.Add(d))
		if len(due) > 0 {
			at = append(at, d)
		}
		if want := d < 3*time.Second; missing != want {
			t.Errorf("after %v: missing %v, want %v", d, missing, want)
		}
	}
	expect(t, "asked", at, "[0s 1s 2s]")
}

// What a host takes back is gone (RFC 6762 §10.1), and what is said twice is valid for the least TTL.
func TestCollectorTTL(t *testing.T) {
	spec.Rules(t, "DIS-2")
	c := newCollector()
	c.take(said(t, mPTR, mSRV, mTXT, mA), sender1)
	c.take(said(t, mPTR, mSRV, mTXT, strings.Replace(mA, " 90 ", " 45 ", 1)), sender1)
	c.take(said(t, mPTR, mSRV, mTXT, strings.Replace(mA, " 90 ", " 500 ", 1)), sender1)
	expect(t, "again", told(t, c).Again, 45*time.Second)
	for _, record := range []string{mPTR, mSRV, mTXT, mA} {
		c := newCollector()
		c.take(said(t, mPTR, mSRV, mTXT, mA), sender1)
		rr, _ := dns.NewRR(record)
		rr.Header().Ttl = 0
		c.take(said(t, rr.String()), sender1)
		if f := told(t, c); len(f.Servers) != 0 {
			t.Errorf("%s was taken back: got %+v", record, f.Servers)
		}
	}
}

// What is not a response to anybody, or says nothing about the service, leaves nothing.
func TestCollectorForeign(t *testing.T) {
	spec.Rules(t, "DIS-2")
	good := said(t, mPTR, mSRV, mTXT, mA)
	change := func(at int, to byte) []byte {
		p := slices.Clone(good)
		p[at] = to
		return p
	}
	for name, p := range map[string][]byte{
		"empty":           nil,
		"a header":        good[:12],
		"a question":      change(2, 0),
		"another opcode":  change(2, 0x80|5<<3),
		"an error":        change(3, 2),
		"cut short":       good[:len(good)-1],
		"another service": said(t, "_http._tcp.local. 120 IN PTR a._http._tcp.local."),
		"another domain":  said(t, "_nmos-auth._tcp.example.com. 120 IN PTR a._nmos-auth._tcp.example.com."),
		"into elsewhere":  said(t, "_nmos-auth._tcp.local. 120 IN PTR a._nmos-auth._tcp.example.com."),
		"another class":   change(12+17+6+2, 3),
		"too long":        append(slices.Clone(good), make([]byte, maxPacket)...),
	} {
		c := newCollector()
		c.take(p, sender1)
		if len(c.instances) != 0 {
			t.Errorf("%s: got %d instances, want none", name, len(c.instances))
		}
	}
}

// Whoever floods the link fills no memory, and does not keep the others from being heard: 40,000 advertisements of one
// host, and then the only one of another.
func TestCollectorFlood(t *testing.T) {
	spec.Rules(t, "DIS-2")
	c := newCollector()
	filler := `"` + strings.Repeat("x", 250) + `" `
	flood := func(n int, from netip.Addr) {
		for i := range n {
			name := fmt.Sprintf("f%d._nmos-auth._tcp.local.", i)
			c.take(said(t, "_nmos-auth._tcp.local. 4500 IN PTR "+name, fmt.Sprintf("%s 4500 IN SRV 0 0 443 h%d.local.",
				name, i), name+` 4500 IN TXT "api_proto=https" "api_ver=v1.0" "pri=0" `+strings.Repeat(filler, 20),
				fmt.Sprintf("h%d.local. 4500 IN A 192.0.2.9", i)), from)
		}
	}
	before := heap()
	flood(2000, sender1)
	c.take(said(t, mPTR, mSRV, mTXT, mA), sender2)
	f := told(t, c)
	expect(t, "servers", len(f.Servers), maxFromOne+1)
	if !slices.ContainsFunc(f.Servers, func(s Server) bool { return s.Instance == "auth" }) {
		t.Errorf("got %+v, want auth among them", f.Servers)
	}
	for i := range 1000 { // whoever has, or forges, many addresses
		flood(20, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(c.instances) > maxAdvertised || len(c.hosts) > maxAwaited || len(c.senders) > maxSenders+1 {
		t.Errorf("got %d instances, %d hosts, %d senders", len(c.instances), len(c.hosts), len(c.senders))
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("got %d bytes held, want 2 MiB at most", grown)
	}
	due, _ := c.missing(time.Unix(1000, 0))
	if len(due) > 2*(maxAdvertised+maxAwaited) {
		t.Errorf("got %d questions", len(due))
	}
	runtime.KeepAlive(c)
}

// One packet cannot grow without bounds either: what is 2 bytes in it may be a name of 1000.
func TestCollectorOnePacket(t *testing.T) {
	spec.Rules(t, "DIS-2")
	c := newCollector()
	records := []string{mPTR}
	for i := range 600 {
		records = append(records, fmt.Sprintf("auth._nmos-auth._tcp.local. 100 IN SRV 0 0 %d h.local.", i+1))
	}
	c.take(said(t, records[:200]...), sender1)
	for i := range 30 {
		records = []string{mPTR}
		for j := range 100 {
			records = append(records, fmt.Sprintf("h.local. 100 IN A 192.0.%d.%d", i, j))
		}
		c.take(said(t, records...), sender1)
	}
	i, h := c.instances["auth._nmos-auth._tcp.local."], c.hosts["h.local."]
	if len(i.srv) != maxTargets || len(h.addresses) != maxAddresses {
		t.Errorf("got %d SRV records and %d addresses, want %d and %d",
			len(i.srv), len(h.addresses), maxTargets, maxAddresses)
	}
	// 4000 names of 255 bytes, as pointers, in a record that nobody asked for.
	p := said(t, mPTR)
	at := len(p)
	p[7] = 3
	p = append(p, strings.Repeat("\x3f"+strings.Repeat("\xff", 63), 3)+"\x3c"+strings.Repeat("\xff", 60)+
		"\x00\x00\x01\x80\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07"...)
	list := strings.Repeat(string([]byte{0xc0 | byte(at>>8), byte(at)}), 4000)
	p = append(p, "\x00\x00\x37\x00\x01\x00\x00\x00\x3c"+
		string([]byte{byte((4 + len(list)) >> 8), byte(4 + len(list))})+"\x00\x02\x00\x00"+list...)
	c = newCollector()
	if size := testing.AllocsPerRun(5, func() { c.take(p, sender1) }); size > 1000 {
		t.Errorf("got %v allocations for one packet", size)
	}
	expect(t, "instances", len(c.instances), 1) // the packet is read all the same
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whatever arrives, it is read within bounds, and what is said about it is printable.
func FuzzCollector(f *testing.F) {
	f.Add(said(f, mPTR, mSRV, mTXT, mA), said(f, mA))
	f.Add(said(f, mPTR), said(f, mTXT, mSRV))
	f.Add(said(f, `_nmos-auth._tcp.local. 0 IN PTR \000\255\.x._nmos-auth._tcp.local.`, mSRV), said(f, mPTR, mA))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := newCollector()
		for _, p := range [][]byte{first, second, first} {
			if len(p) > 3 { // or the fuzzer would look for it
				p = slices.Clone(p)
				p[2], p[3] = 0x84, 0
			}
			c.take(p, sender1)
		}
		due, _ := c.missing(time.Unix(1000, 0))
		for _, q := range due {
			if _, err := q.pack(0, false); err != nil || !local(q.name) {
				t.Errorf("asks %q: %v", q.name, err)
			}
		}
		b := newBrowser(c, nil, true)
		b.browse(t.Context(), mdnsDomain+".")
		found := b.found()
		if len(found.Servers)+len(found.Skipped) > maxAdvertised*maxTargets || found.Again < minAgain ||
			found.Again > maxTTL {
			t.Errorf("got %d servers, %d left out, again %v", len(found.Servers), len(found.Skipped), found.Again)
		}
		for _, s := range found.Skipped {
			if strings.ContainsFunc(s.Instance+s.Reason.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("left out %q: %q", s.Instance, s.Reason)
			}
		}
		for _, s := range found.Servers {
			if len(s.Addresses) > maxAddresses || plausibleHost(s.Host) != nil {
				t.Errorf("got %+v", s)
			}
		}
	})
}
