package main

import (
	"crypto/x509"
	"fmt"
	"os"

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
