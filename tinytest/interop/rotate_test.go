package interop_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
)

// flash is where a client's registration is kept.
type flash struct {
	mu   sync.Mutex
	data []byte
}

func (f *flash) Load() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data, nil
}

func (f *flash) Save(data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append([]byte(nil), data...)
	return nil
}

// The device's key is replaced without a gap at both servers: package oauth alone, since no command asks for it.
func TestClientKeyIsReplaced_CLI68(t *testing.T) {
	needFetched(t)
	t.Parallel()
	for name, config := range map[string]func(t *testing.T) oauth.Config{
		"Keycloak": func(t *testing.T) oauth.Config { return oauth.Config{Issuer: devices(t).issuer()} },
		"oidc-provider": func(t *testing.T) oauth.Config {
			return oauth.Config{Issuer: newProvider(t).issuer(), InitialToken: initialToken}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := config(t)
			config.Name, config.Scopes, config.AuthMethod = "Acme AX-8 SN0012", []string{"registration"}, oauth.PrivateKeyJWT
			var mu sync.Mutex
			var said strings.Builder
			found := discovery.New(discovery.Options{Roots: func() (*x509.CertPool, error) { return shared.roots, nil }})
			c := oauth.New(oauth.Options{
				HTTP:     func(issuer string) *http.Client { return found.HTTPClient(issuer) },
				Metadata: found.Metadata, Storage: &flash{}, Clock: func() (time.Time, bool) { return time.Now(), true },
				Report: func(e oauth.Event) {
					mu.Lock()
					defer mu.Unlock()
					said.WriteString(e.Text + "\n")
					if e.Err != nil {
						t.Errorf("got an error while the key was replaced: %v", e.Err)
					}
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.Run(ctx)
			}()
			defer func() {
				cancel()
				<-done
			}()
			c.Configure(config)
			eventually(t, "a token", func() bool { return c.Token("registration").Err == nil })
			if err := c.RotateKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the new key to sign", func() bool {
				c.ReportRefused(c.Token("registration").Token) // so that tokens are asked for all the time
				mu.Lock()
				defer mu.Unlock()
				return strings.Contains(said.String(), "the new key signs")
			})
		})
	}
}
