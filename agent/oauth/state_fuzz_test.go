package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/spec"
)

// load is a device with this file.
func load(data string) *oauth.Client {
	return oauth.New(oauth.Options{
		Storage: &flash{data: []byte(data)}, Clock: func() (time.Time, bool) { return time.Now(), true },
		Report: func(oauth.Event) {},
	})
}

// Whatever the stored file of registrations holds, it is refused with a short text that quotes nothing of it, or what
// is taken from it names its issuers, and its public keys alone are shown.
func FuzzStored(f *testing.F) {
	spec.Rules(f, "CLI-36")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	good := fmt.Sprintf(`{"version":1,"clients":[{"issuer":"https://auth.example.com","client_id":"c","expires":7,`+
		`"token_endpoint_auth_method":"private_key_jwt","keys":[{"alg":"ES256","pkcs8":%q}]}]}`,
		base64.StdEncoding.EncodeToString(der))
	if ids, err := load(good).Held(context.Background()); err != nil || len(ids) != 1 {
		f.Fatalf("got %q, %v", ids, err)
	}
	f.Add([]byte(good))
	for _, c := range [][2]string{
		{`"version":1`, `"version":2`}, {`"pkcs8":`, `"x":`}, {`"issuer":"`, `"issuer":"","x":"`},
		{`"client_id":"`, `"client_id":"\u001b`}, {`"keys":[`, `"keys":[null,`}, {`"keys":[`, `"rotation":"retire","keys":[`},
		{`"keys":`, `"refused":-9223372036854775808,"life":9223372036854775807,"since":-1,"keys":`},
	} {
		f.Add([]byte(strings.Replace(good, c[0], c[1], 1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := load(string(data))
		issuers, err := c.Held(context.Background())
		if err != nil {
			if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\x1b\n") || issuers != nil {
				t.Errorf("got %q and an error of %d bytes, %.300q", issuers, len(s), s)
			}
			return
		}
		for _, s := range c.Status().Clients {
			if s.Issuer == "" {
				t.Errorf("got %+v", s)
			}
		}
		if set := string(c.JWKS()); strings.Contains(set, `"d":`) || !strings.HasPrefix(set, `{"keys":[`) {
			t.Errorf("shows %.300q", set)
		}
	})
}
