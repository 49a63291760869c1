package keys_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

const issuer = "https://auth.example.com"

// attempt is one fetch, as the servers see it.
type attempt struct {
	issuer string
	at     time.Time
	event  *keys.Event // what the store reported; nil while it is under way
}

// servers are all authorization servers of a test in virtual time, and a store that fetches from them.
type servers struct {
	*keys.Store
	// answer is called for each fetch, by its number for that issuer.
	answer func(ctx context.Context, issuer string, n int) ([]byte, error)
	tokens atomic.Int64

	mu       sync.Mutex
	attempts []*attempt
	under    map[string]int // fetches under way
	most     int            // concurrent fetches of one issuer
}

// serve starts a store with this policy, in a bubble of virtual time.
func serve(t *testing.T, policy keys.Policy,
	answer func(ctx context.Context, issuer string, n int) ([]byte, error)) *servers {
	s := &servers{answer: answer, under: map[string]int{}}
	s.Store = keys.NewStore(s.fetch, s.report)
	s.Configure(policy)
	go s.Run(t.Context())
	synctest.Wait()
	return s
}

func (s *servers) fetch(ctx context.Context, issuer string) ([]byte, error) {
	s.mu.Lock()
	n := 0
	for _, a := range s.attempts {
		if a.issuer == issuer {
			n++
		}
	}
	s.attempts = append(s.attempts, &attempt{issuer: issuer, at: time.Now()})
	s.under[issuer]++
	s.most = max(s.most, s.under[issuer])
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.under[issuer]--
		s.mu.Unlock()
	}()
	return s.answer(ctx, issuer, n)
}

func (s *servers) report(e keys.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.attempts {
		if a.issuer == e.Issuer && a.event == nil {
			a.event = &e
			return
		}
	}
}

// of returns the attempts for one issuer, "" for all.
func (s *servers) of(issuer string) []*attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*attempt
	for _, a := range s.attempts {
		if issuer == "" || a.issuer == issuer {
			found = append(found, a)
		}
	}
	return found
}

// gaps returns the times between attempts.
func gaps(attempts []*attempt) []time.Duration {
	var all []time.Duration
	for i := 1; i < len(attempts); i++ {
		all = append(all, attempts[i].at.Sub(attempts[i-1].at))
	}
	return all
}

// ask asks about a token that was not seen before and that no held key verifies, and whose kid is not known either.
func (s *servers) ask(issuer string) (keys.Prospect, time.Duration) {
	return s.askAgain(issuer, fmt.Sprint("token ", s.tokens.Add(1)))
}

// askAgain asks about a certain token.
func (s *servers) askAgain(issuer, token string) (keys.Prospect, time.Duration) {
	return s.Seek(s.Set(), []byte(issuer), []byte(token), keys.KIDUnknown)
}

// holds reports whether keys of the issuer are held.
func (s *servers) holds(issuer string) bool { return s.Set().Issuer([]byte(issuer)) != nil }

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// oneKey is a document that any issuer may have: real keys are not needed if nothing is verified.
var oneKey = mint.JWKSOf(mint.FakeJWK("one", 2048))

func always(document []byte) func(context.Context, string, int) ([]byte, error) {
	return func(context.Context, string, int) ([]byte, error) { return document, nil }
}

// hang waits until the store gives up.
func hang(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
