package token_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/tinytest/mint"
)

// issuers is a key store whose documents the test writes.
type issuers struct {
	*keys.Store
	events chan keys.Event

	mu        sync.Mutex
	documents map[string][]byte
	asked     int
}

// hold returns a store that holds these documents' keys, by the name of their issuer.
func hold(tb testing.TB, documents map[string][]byte) *issuers {
	tb.Helper()
	h := &issuers{events: make(chan keys.Event), documents: documents}
	h.Store = keys.NewStore(func(_ context.Context, issuer string) ([]byte, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.documents[issuer], nil
	}, func(e keys.Event) { h.events <- e })
	policy := keys.Policy{Refresh: 24 * time.Hour}
	for name := range documents {
		policy.Servers = append(policy.Servers, name)
	}
	h.Configure(policy)
	for _, name := range policy.Servers {
		h.seek(name) // else only the first that answers is asked
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	tb.Cleanup(func() { cancel(); <-done })
	for range documents {
		h.await(tb)
	}
	return h
}

// await waits for one fetch to end.
func (h *issuers) await(tb testing.TB) {
	tb.Helper()
	select {
	case e := <-h.events:
		if e.Err != nil {
			tb.Fatalf("keys of %s: %v", e.Issuer, e.Err)
		}
	case <-time.After(time.Minute):
		tb.Fatal("no fetch within a minute")
	}
}

// seek has the keys of an issuer fetched, as a token does that was not seen before.
func (h *issuers) seek(issuer string) keys.Prospect {
	h.asked++
	prospect, _ := h.Seek(h.Set(), []byte(issuer), fmt.Appendf(nil, "token %d of %s", h.asked, issuer), keys.KIDUnknown)
	return prospect
}

// renew replaces the document of one issuer and has it fetched.
func (h *issuers) renew(tb testing.TB, issuer string, document []byte) {
	tb.Helper()
	h.mu.Lock()
	h.documents[issuer] = document
	h.mu.Unlock()
	if h.seek(issuer) == keys.Untrusted {
		tb.Fatalf("%s is not trusted", issuer)
	}
	h.await(tb)
}

// The moment at which the tests of this package judge tokens.
var present = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

var clock = token.Clock{Now: present.UnixMicro(), Trusted: true}

func newVerifier(o token.Options) *token.Verifier {
	o.Names = token.Names{mint.DefaultDevice}
	return token.NewVerifier(o)
}

// tokenFor returns a template of a good token of the client.
func tokenFor(client string) *mint.Token {
	return mint.New(mint.Options{Client: client, Now: present})
}

// spoil changes a token's signature, so that no key verifies it.
func spoil(tok string) string {
	b := []byte(tok)
	at := len(b) - 20
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}
