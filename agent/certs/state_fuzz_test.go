package certs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// lonely is a device that reaches nobody, and that checks what its firmware is given.
func lonely(t *testing.T, kept *flash, given *[]certs.Bundle) *certs.Client {
	away := errors.New("no network")
	c := certs.New(certs.Options{
		Dial:      func(context.Context, string, string) (net.Conn, error) { return nil, away },
		Servers:   func(context.Context) ([]certs.Server, error) { return nil, away },
		Maker:     func() (*tls.Certificate, error) { return nil, nil },
		Installed: func() ([]*x509.Certificate, error) { return nil, nil },
		Storage:   kept,
		HandOver: func(b certs.Bundle) error {
			kinds := map[certs.KeyKind]bool{}
			for _, p := range b.Pairs {
				if _, err := tls.X509KeyPair(p.Chain, p.Key); err != nil || kinds[p.Kind] {
					t.Errorf("handed over two of a kind (%v), or a pair that is none: %v", kinds[p.Kind], err)
				}
				kinds[p.Kind] = true
			}
			*given = append(*given, b)
			return nil
		},
		Clock:  func() (time.Time, bool) { return time.Now(), true },
		Report: func(certs.Event) {},
	})
	c.Configure(certs.Config{})
	return c
}

// plainText checks an error for people.
func plainText(t *testing.T, err error) {
	t.Helper()
	if s := err.Error(); len(s) > 1000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("got an error of %d bytes, %.300q", len(s), s)
	}
}

// Whatever the stored file holds, it is refused with a short text that quotes nothing of it, or the firmware gets whole
// pairs, one of a kind.
func FuzzStored(f *testing.F) {
	spec.Rules(f, "CERT-29", "CERT-48")
	ca := newCA("By Hand", 200*day)
	kept := &flash{}
	var given []certs.Bundle
	for range 2 {
		key, chain, _ := pems(f, ca, name)
		if err := lonely(nil, kept, &given).Install(context.Background(), append(key, chain...)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(kept.data)
	var s map[string]any
	if err := json.Unmarshal(kept.data, &s); err != nil {
		f.Fatal(err)
	}
	pairs := s["pairs"].([]any)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		f.Fatal(err)
	}
	leaf := ca.sign(&x509.Certificate{NotAfter: time.Now().Add(100 * day)}, private.Public())
	other := map[string]any{"pkcs8": der, "chain": [][]byte{leaf.Raw}}
	for _, change := range []func(){
		func() { s["pairs"] = append(pairs, pairs[0]) },
		func() { s["pairs"] = append(pairs, other, other) }, // of a kind that is not configured
		func() { pairs[0].(map[string]any)["kind"] = "rsa" },
		func() { s["pairs"] = []any{nil} },
		func() { s["pairs"], s["place"] = nil, 70000 },
		func() { s["place"], s["waiting"] = 7, []any{map[string]any{"kind": "x", "until": int64(1) << 62}} },
		func() { s["waiting"], s["roots"] = nil, []any{map[string]any{"der": ca.cert.Raw, "trust": "\x1b"}} },
		func() { s["links"] = [][]byte{ca.cert.Raw, {0x30, 0}} },
	} {
		change()
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept, given := &flash{data: data}, []certs.Bundle(nil)
		c := lonely(t, kept, &given)
		if err := c.Load(); err != nil {
			plainText(t, err)
			return
		}
		c.Step(t.Context())
		if err := lonely(t, kept, &given).Load(); err != nil {
			t.Errorf("what it stored cannot be read: %v", err)
		}
		for _, x := range c.Certificates() {
			if x.Leaf == nil || x.PrivateKey == nil {
				t.Error("a certificate without its key is shown")
			}
		}
	})
}

// Whatever a file holds that a person installs, it is refused with a short text, or the firmware has it.
func FuzzInstall(f *testing.F) {
	spec.Rules(f, "CERT-47")
	ca := newCA("By Hand", 200*day)
	key, chain, _ := pems(f, ca, name)
	f.Add(append(bytes.Clone(key), chain...))
	f.Add(append(bytes.Clone(chain), key...))
	f.Add(key)
	f.Add(append(bytes.ReplaceAll(key, []byte("PRIVATE"), []byte("\x1b]0;\a")), chain...))
	f.Add(append(append(bytes.Clone(key), chain...), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})...))
	f.Fuzz(func(t *testing.T, text []byte) {
		var given []certs.Bundle
		c := lonely(t, &flash{}, &given)
		if err := c.Install(t.Context(), text); err != nil {
			plainText(t, err)
			if len(given) > 0 && len(given[len(given)-1].Pairs) > 0 {
				t.Error("refused, and handed over")
			}
			return
		}
		if len(given) == 0 || len(given[len(given)-1].Pairs) != 1 || len(c.Certificates()) != 1 {
			t.Error("installed, and not handed over")
		}
	})
}
