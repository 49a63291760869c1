package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grandcat/zeroconf"
)

const (
	// minWindow and maxWindow bound how long one Browse listens. The question is asked at its start and once more towards the
	// end: much longer brings no more answers, only traffic of others to look at.
	minWindow     = 2 * time.Second
	defaultWindow = 3 * time.Second
	maxWindow     = 5 * time.Second
	// maxAdvertised bounds how many advertisements of one window are looked at. A network has a handful; whoever sends
	// thousands must not fill the device's memory.
	maxAdvertised = 64
	// maxAddresses bounds the addresses of one of them.
	maxAddresses = 16
)

// BrowseOptions say how to look for servers by mDNS.
type BrowseOptions struct {
	// Window is how long to listen, 2 s to 5 s; other values are moved into that range. Zero: 3 s.
	Window time.Duration
	// Development also admits http and a pri of 100 or more (DIS-3).
	Development bool
	// Interfaces are the network interfaces to use. Empty: all that are up and can multicast.
	Interfaces []net.Interface
}

// Browse looks for Authorization Servers by mDNS (DIS-2, DIS-3), and returns when its window is over or ctx ends. Finding none
// is no error; an error means that no question could be asked.
//
// Limit: an advertisement counts only if its SRV, TXT and address records come in one packet, as responders send them to this
// question (RFC 6763 §12.1), and SRV priority and weight are not told.
func Browse(ctx context.Context, o BrowseOptions) (Found, error) {
	window := cmp.Or(o.Window, defaultWindow)
	ctx, cancel := context.WithTimeout(ctx, min(max(window, minWindow), maxWindow))
	defer cancel()

	// IPv4 and IPv6 are browsed apart: together, the library fails where a device has only one of them, and leaves the socket
	// of the other open.
	var streams []<-chan *zeroconf.ServiceEntry
	var errs []error
	for family, ip := range map[string]zeroconf.IPType{"IPv4": zeroconf.IPv4, "IPv6": zeroconf.IPv6} {
		stream, err := startBrowse(ctx, ip, o.Interfaces)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", family, err))
			continue
		}
		streams = append(streams, stream)
	}
	if len(streams) == 0 {
		return Found{}, fmt.Errorf("discovery: mDNS: %w", errors.Join(errs...))
	}
	c := collector{records: make(map[string]Record)}
	var drained sync.WaitGroup
	for _, stream := range streams {
		drained.Go(func() {
			for e := range stream {
				c.add(e)
			}
		})
	}
	drained.Wait()
	return c.found(o.Development), nil
}

// startBrowse asks the question on one address family. The channel is new, is the library's to close, which it does when ctx
// ends, and must be drained until then: the library's loop would stand still otherwise, with its sockets open.
func startBrowse(ctx context.Context, ip zeroconf.IPType, interfaces []net.Interface) (<-chan *zeroconf.ServiceEntry, error) {
	options := []zeroconf.ClientOption{zeroconf.SelectIPTraffic(ip)}
	if len(interfaces) > 0 {
		options = append(options, zeroconf.SelectIfaces(interfaces))
	}
	resolver, err := zeroconf.NewResolver(options...)
	if err != nil {
		return nil, err
	}
	entries := make(chan *zeroconf.ServiceEntry)
	if err := resolver.Browse(ctx, service, mdnsDomain+".", entries); err != nil {
		go func() { // the loop was started and has been told to end
			for range entries {
			}
		}()
		return nil, err
	}
	return entries, nil
}

// collector puts together what the packets of one window say. An instance that is heard on several interfaces, or on both
// address families, is one server.
type collector struct {
	mu      sync.Mutex
	records map[string]Record // by instance and target
}

func (c *collector) add(e *zeroconf.ServiceEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(e.Instance) + "\x00" + strings.ToLower(e.HostName)
	r, again := c.records[key]
	if !again {
		if len(c.records) >= maxAdvertised {
			return
		}
		r = Record{
			Instance: e.Instance,
			Host:     e.HostName,
			Port:     uint16(e.Port),
			TXT:      e.Text,
			TTL:      time.Duration(e.TTL) * time.Second,
		}
	}
	for _, ip := range slices.Concat(e.AddrIPv4, e.AddrIPv6) {
		a, _ := netip.AddrFromSlice(ip)
		// The device itself is no server: an advertisement that says so would have it knock at its own doors.
		if a = a.Unmap(); usable(a) && !a.IsLoopback() && !slices.Contains(r.Addresses, a) && len(r.Addresses) < maxAddresses {
			r.Addresses = append(r.Addresses, a)
		}
	}
	c.records[key] = r
}

// found sorts the advertisements into those that may be used and those that may not. Nothing is added any more.
func (c *collector) found(development bool) Found {
	var f Found
	holds := maxTTL
	for _, r := range c.records {
		s, err := ParseRecord(r, development)
		if err != nil {
			f.Skipped = append(f.Skipped, Skipped{InstanceName(r.Instance), err})
			continue
		}
		s.Domain = mdnsDomain
		holds = min(holds, s.TTL)
		f.Servers = append(f.Servers, s)
	}
	if len(f.Servers) == 0 {
		holds = retryAgain
	}
	f.Again = max(holds, minAgain)
	f.finish()
	return f
}
