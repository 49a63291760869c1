package discovery

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// serverPatience bounds the wait for a name server while there is another to ask.
	serverPatience = 2 * time.Second
	// addressPatience bounds the attempt at one address of a host while there is another.
	addressPatience = 3 * time.Second
)

// Roots returns the roots by which servers are verified now; nil for the system's.
func (c *Client) Roots() (*x509.CertPool, error) { return c.options.Roots() }

// Dial connects to "host:port" as the client itself does.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return c.dial(ctx, network, address, nil)
}

// DialServer is Dial for a server that was found: the addresses that were found with it come first.
func (c *Client) DialServer(ctx context.Context, network, address string, s *Server) (net.Conn, error) {
	return c.dial(ctx, network, address, s)
}

// dial connects to "host:port". For the host of a server that was found, the addresses found with it come
// first.
func (c *Client) dial(ctx context.Context, network, address string, found *Server) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if found == nil || found.Host != strings.ToLower(host) || len(found.Addresses) == 0 {
		return c.dialHost(ctx, network, host, port)
	}
	conn, err := c.dialEach(ctx, network, found.Addresses, port, true)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	addrs, again := c.lookup(ctx, host) // the addresses may be outdated
	var others []netip.Addr
	for _, a := range addrs {
		if !slices.Contains(found.Addresses, a) {
			others = append(others, a)
		}
	}
	if len(others) > 0 {
		conn, again = c.dialEach(ctx, network, others, port, false)
	}
	switch {
	case conn != nil:
		return conn, nil
	case again == nil || ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("%w; and %w", err, again)
}

// dialHost connects to a host by its current addresses.
func (c *Client) dialHost(ctx context.Context, network, host, port string) (net.Conn, error) {
	addrs, err := c.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return c.dialEach(ctx, network, addrs, port, false)
}

// dialEach connects to the first of one or more addresses that accepts the connection; more says that there is another
// way to try after them.
func (c *Client) dialEach(
	ctx context.Context, network string, addrs []netip.Addr, port string, more bool,
) (conn net.Conn, err error) {
	for i, a := range addrs {
		address := net.JoinHostPort(a.String(), port)
		once, cancel := patience(ctx, addressPatience, i == len(addrs)-1 && !more)
		conn, err = c.dialer.DialContext(once, network, address)
		cancel()
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		err = &dialError{address, err}
	}
	return nil, err
}

// dialError says why the connection to an address failed, and names the address once.
type dialError struct {
	address string
	err     error
}

func (e *dialError) Error() string {
	if reason := e.reason(); reason != errRefused {
		return reason + " (" + e.address + ")"
	}
	return errRefused + " by " + e.address
}

// The texts of ECONNREFUSED, ECONNRESET and EPIPE: this package does not import syscall.
const (
	errRefused = "connection refused"
	errReset   = "connection reset by peer"
	errPipe    = "broken pipe"
)

// reason returns the cause without the address.
func (e *dialError) reason() string {
	var failed *net.OpError
	switch {
	case errors.As(e.err, &failed) && failed.Timeout():
		return "no answer in time"
	case hungUp(e.err): // so soon that connecting fails
		return errClosed.Error()
	case errors.As(e.err, &failed):
		return innermost(failed).Error()
	}
	return e.err.Error()
}

func (e *dialError) Unwrap() error { return e.err }

// hostsFile looks names up in /etc/hosts, read as Go does: its name servers cannot be asked.
var hostsFile = net.Resolver{
	PreferGo: true,
	Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, errNoServer },
}

// lookup returns the addresses of a host, one or more. It is the only way from the name of a host to its addresses: for
// servers that are configured, those that were found, and a collector of the audit. An entry of /etc/hosts counts
// first; names in .local are asked of the link, by mDNS (RFC 6762 §3), any other name of the name servers.
func (c *Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if addrs, err := hostsFile.LookupNetIP(ctx, "ip", host); err == nil && len(addrs) > 0 {
		return distinct(addrs), nil
	}
	conf := readResolvConf(c.options.ResolvConf, nil)
	r := c.newResolver(c.nameServers(conf, nil), nil)
	var failed error
	outcome := NoSuchName
	for _, name := range conf.names(host) {
		got, err := c.hostAddresses(ctx, r, name)
		var addrs []netip.Addr
		for _, a := range got.records {
			if usable(a.addr) && !slices.Contains(addrs, a.addr) && len(addrs) < maxAddresses {
				addrs = append(addrs, a.addr)
			}
		}
		if err == nil && len(addrs) == 0 && len(got.records) > 0 {
			err = errors.New("answered, but with no usable address")
		}
		switch {
		case len(addrs) > 0:
			return addrs, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && failed == nil:
			failed = err
		case err == nil && got.outcome != NoSuchName:
			outcome = got.outcome
		}
	}
	if failed == nil {
		failed = errors.New(outcome.String())
	}
	return nil, wrap("looking up "+host, failed)
}

// distinct returns each address once: package net returns an IPv4 address of /etc/hosts in its IPv6 form, too.
func distinct(addrs []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// hostAddresses asks for the addresses of a host, the link for a name in .local and name servers for any other.
func (c *Client) hostAddresses(ctx context.Context, r *resolver, name string) (resolved, error) {
	if !local(name) {
		return r.addresses(ctx, name, name)
	}
	got, err := c.askLink(ctx, name)
	if err == nil && len(got.records) == 0 {
		err = errors.New("no host of this link answers to " + undot(name) + " (mDNS)")
	}
	return got, err
}

// newResolver returns a resolver that asks these name servers.
func (c *Client) newResolver(addresses []string, trace tracer) *resolver {
	r := &resolver{dialer: &c.dialer, patience: c.patience, rounds: 2, plain: &c.plain, trace: trace}
	for _, address := range addresses {
		_, plain := c.plain.Load(address)
		r.servers = append(r.servers, &dnsServer{address: address, plain: plain})
	}
	return r
}

// patience bounds one of several attempts; the last may take all the time that is left.
func patience(ctx context.Context, d time.Duration, last bool) (context.Context, context.CancelFunc) {
	if last {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
