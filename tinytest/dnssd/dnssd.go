// Package dnssd finds services by unicast DNS-SD (RFC 6763), as a controller or a device's firmware does, and reaches
// hosts whose names only that name server knows.
//
//	r := dnssd.Resolver{Server: "127.0.0.1:5353"}
//	found, err := r.Browse(ctx, "_nmos-register._tcp", "studio.example", "v1.3")
//	response, err := r.Client(roots).Get(found[0].URL() + "/x-nmos/registration/v1.3/")
//
// It is the second implementation of NMOS discovery in this project; it imports nothing of agent/*.
//
// Limits: for tests and demonstrations. Unicast only, nothing is remembered.
package dnssd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks one name server.
type Resolver struct {
	Server string // its address and port
}

// Instance is one server of a service.
type Instance struct {
	Host     string // without the dot at the end, which certificates do not have
	Port     int
	Text     map[string]string // of its TXT record
	Priority int               // of TXT: pri
	order    uint16            // of SRV
}

// URL is its origin.
func (i Instance) URL() string {
	return i.Text["api_proto"] + "://" + net.JoinHostPort(i.Host, strconv.Itoa(i.Port))
}

// Authorization reports whether it wants tokens (TXT api_auth, IS-04).
func (i Instance) Authorization() bool { return i.Text["api_auth"] == "true" }

// Browse finds the servers of a service in a domain that speak a version by HTTPS, the best one first. That there is
// none is an error.
func (r Resolver) Browse(ctx context.Context, service, domain, version string) ([]Instance, error) {
	name := dns.Fqdn(service + "." + domain)
	pointers, err := r.ask(ctx, name, dns.TypePTR)
	if err != nil {
		return nil, err
	}
	var found []Instance
	var faults []error
	for _, rr := range pointers {
		i, err := r.resolve(ctx, rr.(*dns.PTR).Ptr, version)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		found = append(found, i)
	}
	if len(found) == 0 {
		return nil, errors.Join(append(faults, fmt.Errorf("dnssd: no %s in %s", service, domain))...)
	}
	slices.SortStableFunc(found, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.order, b.order))
	})
	return found, nil
}

// resolve reads the records of an instance.
func (r Resolver) resolve(ctx context.Context, name, version string) (i Instance, err error) {
	services, err := r.ask(ctx, name, dns.TypeSRV)
	if err != nil {
		return i, err
	}
	texts, err := r.ask(ctx, name, dns.TypeTXT)
	if err != nil {
		return i, err
	}
	if len(services) == 0 || len(texts) == 0 {
		return i, fmt.Errorf("dnssd: %s lacks an SRV or a TXT record", name)
	}
	srv := services[0].(*dns.SRV)
	i = Instance{
		Host: strings.TrimSuffix(srv.Target, "."), Port: int(srv.Port), order: srv.Priority, Text: map[string]string{},
	}
	for _, pair := range texts[0].(*dns.TXT).Txt {
		key, value, _ := strings.Cut(pair, "=")
		if key = strings.ToLower(key); i.Text[key] == "" { // RFC 6763 §6.4
			i.Text[key] = value
		}
	}
	switch i.Priority, err = strconv.Atoi(i.Text["pri"]); {
	case err != nil:
		return i, fmt.Errorf("dnssd: %s: pri %q is not a number", name, i.Text["pri"])
	case i.Text["api_proto"] != "https":
		return i, fmt.Errorf("dnssd: %s: api_proto is %q, want https", name, i.Text["api_proto"])
	case !slices.Contains(strings.Split(i.Text["api_ver"], ","), version):
		return i, fmt.Errorf("dnssd: %s: api_ver %q lacks %s", name, i.Text["api_ver"], version)
	}
	return i, nil
}

// ask returns the records of a name and a type; a name that is not there has none.
func (r Resolver) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	c := dns.Client{Net: "tcp", Timeout: 10 * time.Second} // whole answers, without tries
	m, _, err := c.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, kind), r.Server)
	if err != nil {
		return nil, fmt.Errorf("dnssd: %s %s: %w", dns.TypeToString[kind], name, err)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("dnssd: %s %s: %s", dns.TypeToString[kind], name, dns.RcodeToString[m.Rcode])
	}
	return slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype != kind }), nil
}

// Dial connects to a host by the name server's address for it.
func (r Resolver) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		records, err := r.ask(ctx, dns.Fqdn(host), dns.TypeA)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, fmt.Errorf("dnssd: %s has no address", host)
		}
		address = net.JoinHostPort(records[0].(*dns.A).A.String(), port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Client returns a client that trusts these roots. It follows no redirect, and keeps no connection.
func (r Resolver) Client(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: r.Dial, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
