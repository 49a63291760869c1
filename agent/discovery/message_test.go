package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"nmosauthd/tinytest/spec"
)

// answerTo packs an answer to q with the id 7.
func answerTo(t testing.TB, q question, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(q.name, q.kind)
	m.Id, m.Response, m.RecursionAvailable, m.Compress = 7, true, true, true
	for i, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			m.Answer = append(m.Answer, rr)
		} else {
			m.Extra = append(m.Extra, rr)
		}
	}
	m.SetEdns0(1232, false)
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var ptrQuestion = question{"_nmos-auth._tcp.example.com.", dns.TypePTR}

var goodRecords = []string{
	"_nmos-auth._tcp.example.com. 60 IN PTR Studio\\032A\\.1._nmos-auth._tcp.example.com.",
	"Studio\\032A\\.1._nmos-auth._tcp.example.com. 60 IN SRV 1 2 443 auth.example.com.",
	`Studio\032A\.1._nmos-auth._tcp.example.com. 60 IN TXT "api_proto=https" "" "x=\195\164\"\\" "pri=1"`,
	"auth.example.com. 60 IN A 192.0.2.1",
	"auth.example.com. 2147483648 IN AAAA 2001:db8::1",
	"auth.example.com. 60 IN CNAME other.example.com.",
	"auth.example.com. 60 IN MX 1 mail.example.com.",
	"auth.example.com. 60 CH A 192.0.2.2",
}

func TestParseMessage(t *testing.T) {
	spec.Rules(t, "DIS-1")
	m, err := parseMessage(answerTo(t, ptrQuestion, goodRecords...), 7, ptrQuestion)
	if err != nil || m.rcode != 0 || m.truncated || m.cut || m.referral || len(m.answer) != 1 || len(m.extra) != 5 {
		t.Fatalf("got %+v, error %v", m, err)
	}
	const instance = `studio\ a\.1._nmos-auth._tcp.example.com.`
	expect(t, "target", m.answer[0].target, `Studio\ A\.1._nmos-auth._tcp.example.com.`)
	expect(t, "SRV", m.extra[0].name+" "+m.extra[0].data(), instance+" 1 2 443 auth.example.com.")
	expect(t, "TXT", fmt.Sprintf("%q", m.extra[1].txt), `["api_proto=https" "x=ä\"\\" "pri=1"]`)
	expect(t, "TXT for people", m.extra[1].data(), `"api_proto=https" "x=\u00e4\"\\" "pri=1"`)
	expect(t, "A", m.extra[2].addr, "192.0.2.1")
	expect(t, "AAAA", m.extra[3].addr, "2001:db8::1")
	expect(t, "TTL with the top bit", m.extra[3].ttl, "0s")
	expect(t, "TTL", m.extra[2].ttl, time.Minute)
}

func TestParseMessageForeign(t *testing.T) {
	spec.Rules(t, "DIS-1")
	good := answerTo(t, ptrQuestion, goodRecords...)
	change := func(at int, to byte) []byte {
		p := slices.Clone(good)
		p[at] = to
		return p
	}
	for name, p := range map[string][]byte{
		"empty":              nil,
		"eleven bytes":       good[:11],
		"only a header":      good[:12],
		"another number":     change(1, 8),
		"a question":         change(2, 0),
		"another opcode":     change(2, 0x80|5<<3),
		"two questions":      change(5, 2),
		"no question":        change(5, 0),
		"another name":       change(13, 'x'),
		"another type":       change(12+29+1, 1),
		"another class":      change(12+29+3, 3),
		"question cut short": good[:12+20],
	} {
		if m, err := parseMessage(p, 7, ptrQuestion); !errors.Is(err, errForeign) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	// Other case is the same name; some servers keep that of the question, some do not.
	if _, err := parseMessage(change(14, 'N'), 7, ptrQuestion); err != nil {
		t.Errorf("other case: %v", err)
	}
}

// Each prefix of a good answer is refused or foreign, never half believed, but where a record ends the counts tell.
func TestParseMessagePrefixes(t *testing.T) {
	spec.Rules(t, "DIS-1")
	good := answerTo(t, ptrQuestion, goodRecords...)
	for n := range good {
		if m, err := parseMessage(good[:n:n], 7, ptrQuestion); err == nil {
			t.Errorf("%d of %d bytes: %+v", n, len(good), m)
		}
	}
}

func TestParseMessageBounded(t *testing.T) {
	spec.Rules(t, "DIS-1")
	p := answerTo(t, ptrQuestion, goodRecords[0])
	p = p[:len(p)-11] // without EDNS0
	record := slices.Clone(p[12+29+4:])
	for range 2000 {
		p = append(p, record...)
	}
	binary.BigEndian.PutUint16(p[6:], 2001)
	binary.BigEndian.PutUint16(p[10:], 0)
	m, err := parseMessage(p, 7, ptrQuestion)
	if err != nil || len(m.answer) != maxRecords || !m.cut {
		t.Errorf("%d records, cut %v, %v", len(m.answer), m.cut, err)
	}
	strs := make([]byte, 0, 400)
	for range 200 {
		strs = append(strs, 1, 'x')
	}
	if r, ok := txtRecord(strs); !ok || len(r.txt) != maxStrings {
		t.Errorf("got %d strings, want %d", len(r.txt), maxStrings)
	}
}

// txtRecord is a TXT record with these data, as it is read from an answer.
func txtRecord(data []byte) (*resource, bool) {
	p := binary.BigEndian.AppendUint16([]byte(
		"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x10\x00\x01"+
			"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c"), uint16(len(data)))
	m, err := parseMessage(append(p, data...), 7, question{"a.", dns.TypeTXT})
	if err != nil || len(m.answer) != 1 {
		return nil, false
	}
	return m.answer[0], true
}

func TestQuestionPack(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for _, edns := range []bool{false, true} {
		p, err := ptrQuestion.pack(0x1234, edns)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(p); err != nil {
			t.Fatal(err)
		}
		want := new(dns.Msg).SetQuestion(ptrQuestion.name, dns.TypePTR)
		want.Id = 0x1234
		if edns {
			want.SetEdns0(1232, false)
		}
		expect(t, "packed", m.String(), want.String())
	}
	for _, name := range []string{"", "x", "a..b.", strings.Repeat("x", 64) + ".",
		strings.Repeat("abcdefg.", 33), "."} {
		if _, err := (question{name, dns.TypeA}).pack(1, true); (err == nil) != (name == ".") {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

// Whatever arrives, it is read within bounds, and what is read is what the DNS library reads.
func FuzzParseMessage(f *testing.F) {
	f.Add(answerTo(f, ptrQuestion, goodRecords...))
	f.Add(answerTo(f, ptrQuestion, goodRecords[0]))
	f.Add(answerTo(f, ptrQuestion))
	f.Add([]byte("\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x0c\x00\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= 2 {
			binary.BigEndian.PutUint16(p, 7) // or the fuzzer would look for it
		}
		m, err := parseMessage(p, 7, ptrQuestion)
		if len(m.answer)+len(m.extra) > maxRecords {
			t.Fatalf("%d records", len(m.answer)+len(m.extra))
		}
		for _, r := range slices.Concat(m.answer, m.extra) {
			if r.ttl < 0 || r.ttl > maxTTL || len(r.txt) > maxStrings || len(r.target) > 1100 ||
				!printable(r.name+r.target+r.data()) {
				t.Errorf("got %+v", r)
			}
		}
		var twin dns.Msg
		if err != nil || m.truncated || m.cut || twin.Unpack(p) != nil {
			return
		}
		expect(t, "answer", ours(m.answer), theirs(twin.Answer))
		expect(t, "additional", ours(m.extra), theirs(twin.Extra))
	})
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func ours(records []*resource) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintln(&b, r.name, kindName(r.kind), r.data())
	}
	return b.String()
}

// theirs writes the records of the kinds that count as ours does. TXT strings are counted only: the library has them
// escaped.
func theirs(records []dns.RR) string {
	var all []*resource
	for _, rr := range records {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		r := &resource{name: canonical(h.Name), kind: h.Rrtype}
		switch rr := rr.(type) {
		case *dns.A:
			r.addr, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			r.addr, _ = netip.AddrFromSlice(rr.AAAA.To16())
			r.addr = r.addr.Unmap()
		case *dns.PTR:
			r.target = rr.Ptr
		case *dns.CNAME:
			r.target = rr.Target
		case *dns.SRV:
			r.priority, r.weight, r.port, r.target = rr.Priority, rr.Weight, rr.Port, rr.Target
		case *dns.TXT:
			for _, s := range rr.Txt {
				if s = slowUnescape(s); s != "" && len(r.txt) < maxStrings {
					r.txt = append(r.txt, s)
				}
			}
		default:
			continue
		}
		all = append(all, r)
	}
	return ours(all)
}

// slowUnescape is the slow twin of unescape.
func slowUnescape(s string) string {
	var b []byte
	for s != "" {
		var n byte
		if len(s) >= 4 && s[0] == '\\' {
			if c, err := fmt.Sscanf(s[1:4], "%3d", &n); c == 1 && err == nil && s[1] >= '0' && s[1] <= '9' &&
				s[2] >= '0' && s[2] <= '9' && s[3] >= '0' && s[3] <= '9' {
				b, s = append(b, n), s[4:]
				continue
			}
		}
		if len(s) >= 2 && s[0] == '\\' {
			s = s[1:]
		}
		b, s = append(b, s[0]), s[1:]
	}
	return string(b)
}

// Whatever a TXT record's data is, it is read as RFC 6763 §6 has it or refused, and never gives a server that
// ParseRecord would not have given for the same strings.
func FuzzTXT(f *testing.F) {
	f.Add([]byte("\x0fapi_proto=https\x0capi_ver=v1.0\x05pri=1"))
	f.Add([]byte("\x00\x00\x0fapi_proto=https\x06=noise\x04flag\x0capi_ver=v1.0\x05PRI=1\x07pri=200"))
	f.Add([]byte("\x0fapi_proto=https\xffapi_ver"))
	f.Add([]byte("\x0fapi_proto=\u036b\xab\x000")) // a mark that would stand on the character before it
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<15 {
			return
		}
		r, ok := txtRecord(data)
		if !ok {
			return
		}
		size := 0
		for _, s := range r.txt {
			size += 1 + len(s)
			if s == "" || len(s) > 255 {
				t.Errorf("got %q", s)
			}
		}
		if size > len(data) || !printable(r.data()) {
			t.Errorf("%d bytes of %d: %s", size, len(data), r.data())
		}
		s, err := ParseRecord(Record{Host: "a.test.", Port: 1, TXT: r.txt}, false)
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("got %q", err)
			}
			return
		}
		if s.Scheme != "https" || s.Pri < 0 || s.Pri > 99 || !strings.HasPrefix(s.IssuerURL(), "https://a.test:1") {
			t.Errorf("got %+v", s)
		}
	})
}
