package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// DiscoveryTrust says whom discovery makes an issuer of tokens, in a sentence without a full stop (DIS-6).
func (c *Config) DiscoveryTrust() string {
	by := ""
	switch c.Discovers() {
	case DiscoveryOff:
		return "discovery is off, so only issuers that [authorization] names are trusted"
	case DiscoveryUnicast:
		by = "DNS-SD names"
	case DiscoveryMDNS:
		by = "answers by mDNS"
	default:
		by = "DNS-SD names, or if it names none, that answers by mDNS"
	}
	roots := "the roots of the system"
	if c.Authorization.CAFile != "" {
		roots = c.Authorization.CAFile
	}
	if len(c.Discovery.Hosts) > 0 {
		return fmt.Sprintf("[discovery] hosts = %q: tokens are accepted from each of these hosts that %s "+
			"and whose certificate chains to %s", c.Discovery.Hosts, by, roots)
	}
	return fmt.Sprintf("[discovery] hosts is empty: tokens are accepted from any host that %s, "+
		"if its certificate chains to %s (in many facilities every device has such a certificate); name the hosts of "+
		"your servers in hosts", by, roots)
}

// Warnings returns what is allowed in a configuration but rarely intended, one sentence each.
func (c *Config) Warnings() []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if c.Mode != ModeEnforce {
		warn("mode is %q: nothing is denied", c.Mode)
	}
	for _, open := range c.NotEnforced() {
		all = append(all, "[enforce] "+open.API+": to "+open.Access+" is not denied to anybody, only recorded")
	}
	if c.Authorization.AllowHTTP {
		warn("[authorization] allow_http: whoever can answer on the network can make tokens that this device accepts")
	}
	for _, s := range c.Authorization.Servers {
		if i := strings.Index(s, "/.well-known/"); i >= 0 {
			warn("[authorization] servers: %s is a document's URL, which no token has as its iss; name the issuer, "+
				"without /.well-known/…", shown(s))
		}
	}
	for _, p := range c.Authorization.TrustedIssuers {
		u, err := url.Parse(p)
		if err != nil {
			continue // cannot happen: Parse checked it
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		if last := host[strings.LastIndexByte(host, '.')+1:]; strings.Contains(last, "*") {
			// `*` stands for any part of the host, dots included.
			warn(
				"[authorization] trusted_issuers: %s also matches hosts of any other domain; end it in a domain of "+
					"yours",
				shown(p))
		}
	}
	for _, p := range c.Discovery.Hosts {
		if last := p[strings.LastIndexByte(p, '.')+1:]; strings.Contains(last, "*") {
			warn("[discovery] hosts: %s also matches hosts of any other domain; end it in a domain of yours", shown(p))
		}
	}
	if c.Discovery.Mode == DiscoveryMDNS && c.Discovers() == DiscoveryOff {
		warn("[discovery] mode is \"mdns\", which has no effect with [authorization] servers: discovery is off")
	}
	if c.Audit.Full == AuditWait {
		warn("[audit] full is \"wait\": while a sink is stuck the device's APIs are, too")
	}
	return append(append(all, c.clientWarnings()...), c.certificateWarnings()...)
}

// clientWarnings is the part of Warnings for [client].
func (c *Config) clientWarnings() (all []string) {
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	cl := &c.Client
	if !cl.Enabled() {
		for _, key := range []struct{ name, value string }{
			{"client_id", cl.ClientID}, {"issuer", cl.Issuer}, {"initial_access_token_file", cl.InitialAccessTokenFile},
			{"jwks_uri", cl.JWKSURI},
		} {
			if key.value != "" {
				warn("[client] %s has no effect, since scopes is empty: the device is not a client", key.name)
			}
		}
		return all
	}
	for _, s := range cl.Scopes {
		if s != "registration" && s != "events" { // CLI-10
			warn("[client] scopes: without a user, a device gets tokens for \"registration\" and \"events\" only; "+
				"%s needs an arrangement in your facility", shown(s))
		}
	}
	if c.State.Dir == "" && cl.ClientID == "" {
		warn("[client] scopes: [state] dir is empty, so a registration could not be kept, and is not made")
	}
	if cl.InitialAccessTokenFile != "" && cl.Issuer == "" && c.Discovers() != DiscoveryOff &&
		len(c.Discovery.Hosts) == 0 {
		warn("[client] initial_access_token_file: the token is sent to whichever server discovery finds; name yours " +
			"in [client] issuer or [discovery] hosts")
	}
	if len(cl.AllowUIDs) == 0 && cl.Group == "" {
		warn("[client] allow_uids and group are empty, so only root and the daemon's own user are given tokens")
	}
	return all
}

// NeedsRoots reports whether no authorization server could be used without ca_file (DIS-5): each speaks https.
func (c *Config) NeedsRoots() bool {
	a := &c.Authorization
	plain := func(issuer string) bool { return strings.HasPrefix(issuer, "http://") }
	return !a.AllowHTTP || c.Discovers() == DiscoveryOff && !slices.ContainsFunc(a.Servers, plain) &&
		!slices.ContainsFunc(a.TrustedIssuers, plain)
}
