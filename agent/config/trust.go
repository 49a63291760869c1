package config

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wildcard"
)

// Trusts reports whether the keys of an issuer that a token names may be fetched (KEY-5): it matches one of
// TrustedIssuers. A "*" stands for any part of the host; scheme and path are compared as text; the port takes no part.
// A URL with any other part is not trusted: a user name, say, could disguise the host.
func (c Authorization) Trusts(issuer string) bool {
	if len(c.TrustedIssuers) == 0 {
		return false
	}
	// The same checks as for an issuer in the configuration: only a plain URL with a plain host is an issuer.
	u, err := c.issuerURL(issuer)
	if err != nil || strings.Contains(u.Host, "*") {
		return false
	}
	host := ascii.Host(u.Hostname())
	for _, pattern := range c.TrustedIssuers {
		scheme, rest, _ := strings.Cut(pattern, "://")
		authority, path, _ := strings.Cut(rest, "/")
		if scheme == u.Scheme && "/"+keys.TrimIssuer(path) == "/"+
			keys.TrimIssuer(strings.TrimPrefix(u.EscapedPath(), "/")) &&
			wildcard.Match([]byte(patternHost(authority)), []byte(host)) {
			return true
		}
	}
	return false
}

// DomainMDNS is the domain of what mDNS finds (RFC 6762 §3).
const DomainMDNS = "local"

// Admits returns why the configuration does not let a server be found, or nil (DIS-2, DIS-6). It holds for what was
// found before, too: whoever it does not admit is no longer an issuer. server is the URL by which it was advertised,
// and domain where; "" if that is unknown, which counts as DomainMDNS.
func (c *Config) Admits(server, domain string) error {
	mode, domains := c.Discovers(), c.Discovery.Domains
	byMDNS := domain == DomainMDNS || domain == ""
	u, err := url.Parse(server)
	switch {
	case mode == DiscoveryOff:
		return errors.New("discovery is off")
	case byMDNS && mode == DiscoveryUnicast:
		return errors.New("mDNS is not used")
	case !byMDNS && mode == DiscoveryMDNS:
		return errors.New("[discovery] mode is \"mdns\"")
	case err != nil || u.Scheme != "https" && (u.Scheme != "http" || !c.Authorization.AllowHTTP):
		return errors.New("the server's URL is not https")
	case !byMDNS && len(domains) > 0 && !slices.Contains(domains, strings.ToLower(domain)):
		return errors.New("[discovery] domains does not name " + shown(domain))
	case len(c.Discovery.Hosts) == 0:
		return nil
	}
	host := []byte(ascii.Host(u.Hostname()))
	for _, pattern := range c.Discovery.Hosts {
		if wildcard.Host([]byte(pattern), host) {
			return nil
		}
	}
	return errors.New("[discovery] hosts does not name the host " + shown(string(host)))
}

// patternHost returns the host of a pattern's authority, without its port. Patterns are checked when they are
// configured.
func patternHost(authority string) string {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return ascii.Host(host)
}
