package discovery

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
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
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 0, 0, 1)}}
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
		want    string // "": it works
	}{
		{"one", []string{good}, ""},
		{"one that leaves AAAA unanswered", []string{onlyA}, ""},
		{"one address of two serves", []string{deadThenLive}, ""},
		{"the first fails", []string{failing, good}, ""},
		{"the first is silent", []string{silent, good}, ""},
		{"the first knows that there is none", []string{unknown, good}, "looking up auth.nmos.test at name server " + unknown + ": no such host"},
		{"all fail", []string{failing}, "looking up auth.nmos.test at name server " + failing + ": server misbehaving"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, err := New(Options{Roots: ca.roots, DNSServers: c.servers}).KeySet(t.Context(), issuer)
			if c.want == "" {
				if err != nil || string(doc.JWKS) != someKeys {
					t.Errorf("%+v, %v", doc, err)
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

func TestKeySetAddressNeedsNoNameServer(t *testing.T) {
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	publish(mux, s.URL, "")
	ns, asked := nameServer(t, loopback)
	if _, err := New(Options{Roots: ca.roots, DNSServers: []string{ns}}).KeySet(t.Context(), s.URL); err != nil || asked.Load() != 0 {
		t.Errorf("%v after %d questions", err, asked.Load())
	}
}
