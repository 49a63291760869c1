package discovery

import (
	"fmt"
	"strings"
	"testing"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// EST servers are found by unicast DNS-SD, in the order of their pri before that of their SRV records; what is for
// development, or states no pri, is left out. Authorization servers are not among them.
func TestDiscoverEST(t *testing.T) {
	spec.Rules(t, "CERT-1", "CERT-2", "CERT-3")
	zone := oneServer + `
		_nmos-certs._tcp      PTR a._nmos-certs._tcp
		_nmos-certs._tcp      PTR b._nmos-certs._tcp
		_nmos-certs._tcp      PTR c._nmos-certs._tcp
		_nmos-certs._tcp      PTR d._nmos-certs._tcp
		_nmos-certs._tcp      PTR e._nmos-certs._tcp
		a._nmos-certs._tcp    SRV 0 0 8443 est-a
		a._nmos-certs._tcp    TXT "pri=99" "api_selector=studio"
		b._nmos-certs._tcp    SRV 9 0 443 est-b
		b._nmos-certs._tcp    TXT "pri=0" "api_proto=http" "api_ver=v9"
		c._nmos-certs._tcp    SRV 0 0 443 est-a
		c._nmos-certs._tcp    TXT "pri=100"
		d._nmos-certs._tcp    SRV 0 0 443 est-b
		d._nmos-certs._tcp    TXT "api_selector=x"
		e._nmos-certs._tcp    SRV 0 0 443 est-b
		e._nmos-certs._tcp    TXT "pri=1" "api_selector=../x"
		est-a                 A 192.0.2.7
		est-b                 A 192.0.2.8`
	s := startDNS(t, dnsserver.Options{Zone: zone})
	c := dnsClient(s)
	for _, dev := range []bool{false, true} {
		c.options.AllowHTTP = dev
		steps := 0
		found, err := c.DiscoverEST(t.Context(), example, func(Step) { steps++ })
		if err != nil || steps == 0 {
			t.Fatalf("%v, %d steps", err, steps)
		}
		var got, left []string
		for _, s := range found.Servers {
			got = append(got, fmt.Sprint(s.IssuerURL(), s.Addresses))
		}
		for _, s := range found.Skipped {
			left = append(left, s.Instance+": "+s.Reason.Error())
		}
		want := "https://est-b.example.com[192.0.2.8] https://est-a.example.com:8443/studio[192.0.2.7]"
		wantLeft := "c: pri 100 is for development only; d: no pri; e: api_selector \"../x\" is not a path"
		if dev {
			want += " https://est-a.example.com[192.0.2.7]"
			wantLeft = "d: no pri; e: api_selector \"../x\" is not a path"
		}
		expect(t, "found", strings.Join(got, " "), want)
		expect(t, "left out", strings.Join(left, "; "), wantLeft)
	}
	for _, q := range s.Questions() {
		if strings.HasPrefix(q.Name, service) {
			t.Errorf("asked for %s", q.Name)
		}
	}
}

// A link that shouts does not help: mDNS is not asked, and a domain without EST servers is no error (CERT-1).
func TestDiscoverESTNever(t *testing.T) {
	spec.Rules(t, "CERT-1")
	s := startDNS(t, dnsserver.Options{Zone: oneServer})
	c := dnsClient(s)
	c.browse = nil // whoever browses the link ends in a panic
	found, err := c.DiscoverEST(t.Context(), example, nil)
	if err != nil || len(found.Servers) != 0 || found.Again < minAgain {
		t.Errorf("got %+v, %v; want none", found, err)
	}
	s.Close()
	if _, err := c.DiscoverEST(t.Context(), example, nil); err == nil || !strings.Contains(err.Error(), certService) {
		t.Errorf("without a name server: got %v", err)
	}
}
