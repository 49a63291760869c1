package agent

import (
	"fmt"
	"net/url"
	"strings"
)

// Warnings says what of a configuration is allowed and hardly ever meant, a sentence each.
func (c *Config) Warnings() []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if c.Mode != ModeEnforce {
		warn("mode is %q: nothing is denied", c.Mode)
	}
	if c.Authorization.AllowHTTP {
		warn("[authorization] allow_http: whoever can answer on the network can make tokens that this device accepts")
	}
	for _, p := range c.Authorization.TrustedIssuers {
		u, err := url.Parse(p)
		if err != nil {
			continue // it was parsed before
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		if last := host[strings.LastIndexByte(host, '.')+1:]; strings.Contains(last, "*") {
			// `*` stands for any part of the host, dots included.
			warn("[authorization] trusted_issuers: %s also matches hosts of any other domain; end it in a domain of yours", shown(p))
		}
	}
	if c.Audit.Full == AuditWait {
		warn("[audit] full is \"wait\": while a sink is stuck the device's APIs are, too")
	}
	return all
}
