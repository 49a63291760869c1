package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
)

// ReadRoots reads the roots for the authorization servers' certificates (DIS-5) from a file, or from all files of a
// folder. It returns nil, for the system's roots, if path is empty.
func ReadRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pool, err := readRoots(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	return pool, nil
}

// maxRoots is the longest file with roots that is read, in bytes: all that browsers trust are a quarter of it.
const maxRoots = 1 << 20

func readRoots(path string) (*x509.CertPool, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		files = nil
		for _, e := range entries {
			// Such folders are updated by links and by temporary names that start with a dot: links are followed,
			// dot names skipped.
			if file := filepath.Join(path, e.Name()); !strings.HasPrefix(e.Name(), ".") && isFile(file) {
				files = append(files, file)
			}
		}
	}
	pool, found := x509.NewCertPool(), false
	for _, file := range files {
		pem, err := readBounded(file, maxRoots)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: put the root certificate of your authorization server there", err)
		}
		if err != nil {
			return nil, err
		}
		// A byte order mark, at the front or where files were joined, would hide the certificate behind it.
		found = pool.AppendCertsFromPEM(bytes.ReplaceAll(pem, []byte("\ufeff"), nil)) || found
	}
	if !found {
		return nil, errors.New(path + " holds no certificate in PEM")
	}
	return pool, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// NewClient returns what fetches from the authorization servers. The roots are read at each connection, so that
// certificates can be installed and removed while the daemon runs. now is the time by which their certificates are
// judged; own returns the device's own certificates, nil if there are none.
func NewClient(c *config.Config, now func() time.Time, own func() []*tls.Certificate) *discovery.Client {
	file := c.Authorization.CAFile
	return discovery.New(discovery.Options{
		Roots:      func() (*x509.CertPool, error) { return ReadRoots(file) },
		RootsFile:  file,
		AllowHTTP:  c.Authorization.AllowHTTP,
		DNSServers: c.Discovery.DNSServers,
		ResolvConf: func() ([]byte, error) { return os.ReadFile("/etc/resolv.conf") },
		Now:        now,

		Certificates: own,
	})
}

// fetchKeys gets the keys of an issuer for the store, from the discovered server that speaks for the issuer if there is
// one (KEY-8).
func (d *daemon) fetchKeys(ctx context.Context, issuer string) ([]byte, error) {
	client := d.client.Load()
	var document discovery.Document
	var err error
	if at, found := d.finder.Server(issuer); !found {
		document, err = client.KeySet(ctx, issuer)
	} else if document, err = client.FoundKeySet(ctx, at); document.Issuer != "" {
		if named := d.finder.Named(at, issuer, document.Issuer); named != nil {
			err = named
		}
	}
	if err == nil && !document.Date.IsZero() {
		d.dated(issuer, document.Date)
	}
	return document.JWKS, err
}

// DiscoverOptions returns where to look for servers. The host name is read at each discovery.
func DiscoverOptions(c *config.Config) discovery.DiscoverOptions {
	return discovery.DiscoverOptions{
		Mode:    c.Discovers(),
		Domains: c.Discovery.Domains,
		Admit: func(s *discovery.Server) error {
			return c.Admits(s.IssuerURL(), s.Domain)
		},
		HostName: func() string {
			name, err := os.Hostname()
			if err != nil {
				return ""
			}
			return name
		},
	}
}

// finder returns the function that looks for servers, nil if discovery is off.
func finder(c *config.Config, client *discovery.Client, log *zap.Logger) agent.Find {
	if c.Discovers() == config.DiscoveryOff {
		return nil
	}
	said := "" // the last outcome logged: discovery repeats every minute while nothing is found
	return func(ctx context.Context, noMDNS string) (agent.Look, error) {
		options := DiscoverOptions(c)
		options.NoMDNS = noMDNS
		found, err := client.Discover(ctx, options, nil)
		look := agent.Look{Answered: found.Answered, Again: found.Again}
		for _, s := range found.Servers {
			look.Servers = append(look.Servers, agent.FoundServer{URL: s.IssuerURL(), Domain: s.Domain})
		}
		var skipped []string
		for _, s := range found.Skipped {
			skipped = append(skipped, s.Instance+": "+s.Reason.Error())
		}
		if now := fmt.Sprint(skipped, len(look.Servers) == 0, err); now != said && ctx.Err() == nil {
			said = now
			if len(skipped) > 0 {
				log.Warn("advertised servers cannot be used", zap.Strings("servers", skipped))
			}
			if len(look.Servers) == 0 {
				log.Warn("no authorization server found; \"nmos-authd discover\" shows each step", fields(err)...)
			}
		}
		return look, err
	}
}
