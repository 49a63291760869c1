package discovery

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// serverPatience is how long a name server is waited for while there is another to ask.
	serverPatience = 2 * time.Second
	// addressPatience is how long one address of a host is tried while there is another.
	addressPatience = 3 * time.Second
	// resolutionDelay is how long IPv6 addresses are waited for once there are IPv4 ones (compare RFC 8305 §3).
	resolutionDelay = 50 * time.Millisecond
)

// Roots returns the roots by which servers are verified now; nil for the system's.
func (c *Client) Roots() (*x509.CertPool, error) { return c.options.Roots() }

// Dial connects to "host:port" as the client itself does, by the configured name servers if there are any.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return c.dial(ctx, network, address, nil)
}

// dial connects to "host:port". For the host of a server that was found, the addresses that were found with it come first: a host
// of mDNS has no others. With name servers configured, they alone are asked for any other host.
func (c *Client) dial(ctx context.Context, network, address string, found *Server) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if found == nil || found.Host != strings.ToLower(host) || len(found.Addresses) == 0 {
		return c.dialHost(ctx, network, host, port)
	}
	if found.mdnsHost() {
		return c.dialEach(ctx, network, found.Addresses, port, false)
	}
	conn, err := c.dialEach(ctx, network, found.Addresses, port, true)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	conn, again := c.dialHost(ctx, network, host, port) // the addresses may be old by now
	if again != nil {
		return nil, fmt.Errorf("%w; and by its present addresses: %w", err, again)
	}
	return conn, nil
}

// dialHost connects to a host by its addresses as of now.
func (c *Client) dialHost(ctx context.Context, network, host, port string) (net.Conn, error) {
	if _, err := netip.ParseAddr(host); err == nil || len(c.options.DNSServers) == 0 {
		return c.dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
	addrs, err := c.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return c.dialEach(ctx, network, addrs, port, false)
}

// dialEach connects to the first of one or more addresses that takes the connection; more says that there is another way to try
// after them.
func (c *Client) dialEach(ctx context.Context, network string, addrs []netip.Addr, port string, more bool) (conn net.Conn, err error) {
	for i, a := range addrs {
		once, cancel := patience(ctx, addressPatience, i == len(addrs)-1 && !more)
		conn, err = c.dialer.DialContext(once, network, net.JoinHostPort(a.String(), port))
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return conn, err
}

// lookup asks the configured name servers for a host, one after the other until one knows. That a name does not exist is an
// answer too, which the next server is not asked to contradict. It returns one address or more, or an error.
func (c *Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	var errs []error
	for i, server := range c.options.DNSServers {
		once, cancel := patience(ctx, serverPatience, i == len(c.options.DNSServers)-1)
		addrs, err := c.ask(once, server, host)
		cancel()
		if err == nil {
			return addrs, nil
		}
		// Only the reason: the name server that the library names is not the one that was asked.
		reason := err.Error()
		var dns *net.DNSError
		if errors.As(err, &dns) {
			reason = dns.Err
		}
		errs = append(errs, fmt.Errorf("looking up %s at name server %s: %s", host, server, reason))
		if ctx.Err() != nil || dns != nil && dns.IsNotFound {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// ask asks one name server for the addresses of both families at once, so that a server which leaves one of the two
// questions unanswered, as some do with AAAA, is still of use. IPv4 comes first: media networks rarely route IPv6.
func (c *Client) ask(ctx context.Context, server, host string) ([]netip.Addr, error) {
	resolver := &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return c.dialer.DialContext(ctx, network, server)
		},
	}
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	start := func(network string) <-chan answer {
		done := make(chan answer, 1)
		go func() {
			addrs, err := resolver.LookupNetIP(ctx, network, host)
			done <- answer{addrs, err}
		}()
		return done
	}
	from4, from6 := start("ip4"), start("ip6")
	v4, v6 := <-from4, answer{}
	if v4.err == nil {
		select {
		case v6 = <-from6:
		case <-time.After(resolutionDelay): // there is enough to go on with
		}
	} else {
		v6 = <-from6
	}
	addrs := append(v4.addrs, v6.addrs...)
	var none *net.DNSError
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case errors.As(v4.err, &none) && none.IsNotFound:
		return nil, v6.err // "not found" too, or why half of the answer is missing
	default:
		return nil, v4.err
	}
}

// patience bounds one of several attempts; the last may take all the time that is left.
func patience(ctx context.Context, d time.Duration, last bool) (context.Context, context.CancelFunc) {
	if last {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
