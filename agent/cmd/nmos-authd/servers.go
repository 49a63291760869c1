package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/discovery"
)

// readRoots reads the roots for the authorization servers' certificates (DIS-5); nil for the system's.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// newClient returns what fetches from the authorization servers. The roots are read at each connection, so that certificates
// can be installed and removed while the daemon runs.
func newClient(c *agent.Config) *discovery.Client {
	file := c.Authorization.CAFile
	return discovery.New(discovery.Options{
		Roots:      func() (*x509.CertPool, error) { return readRoots(file) },
		AllowHTTP:  c.Authorization.AllowHTTP,
		DNSServers: c.Discovery.DNSServers,
	})
}

// discoverOptions returns where to look for servers. What the system says is read at each look.
func discoverOptions(c *agent.Config) discovery.DiscoverOptions {
	return discovery.DiscoverOptions{
		Mode:       discovery.Mode(c.Discovery.Mode),
		Domains:    c.Discovery.Domains,
		ResolvConf: func() ([]byte, error) { return os.ReadFile("/etc/resolv.conf") },
		HostName: func() string {
			name, err := os.Hostname()
			if err != nil {
				return ""
			}
			return name
		},
	}
}

// finder returns what looks for servers as the configuration has it, nil where that is off.
func finder(c *agent.Config, client *discovery.Client, log *zap.Logger) agent.Find {
	if c.Discovery.Mode == agent.DiscoveryOff {
		return nil
	}
	options := discoverOptions(c)
	said := "" // what was logged last: looks come every minute while nothing is found
	return func(ctx context.Context) ([]string, time.Duration, error) {
		found, err := client.Discover(ctx, options, nil)
		var issuers, skipped []string
		for i := range found.Servers {
			issuers = append(issuers, found.Servers[i].IssuerURL())
		}
		for _, s := range found.Skipped {
			skipped = append(skipped, s.Instance+": "+s.Reason.Error())
		}
		if now := fmt.Sprint(skipped, len(issuers) == 0, err); now != said && ctx.Err() == nil {
			said = now
			if len(skipped) > 0 {
				log.Warn("servers are advertised that cannot be used", zap.Strings("servers", skipped))
			}
			if len(issuers) == 0 {
				log.Warn("no authorization server found; \"nmos-authd discover\" shows each step", zap.Error(err))
			}
		}
		return issuers, found.Again, err
	}
}
