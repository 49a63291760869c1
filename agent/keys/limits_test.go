package keys_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// hangLearned answers for servers, and hangs for issuers that tokens named.
func hangLearned(ctx context.Context, name string, _ int) ([]byte, error) {
	if strings.HasPrefix(name, "https://learned-") {
		return hang(ctx)
	}
	return oneKey, nil
}

// askLearned asks about tokens of so many issuers that are not known yet.
func (s *servers) askLearned(n int) {
	for i := range n {
		s.ask(fmt.Sprintf("https://learned-%d.example.com", i))
	}
	synctest.Wait()
}

// Four fetches are in flight at most, two of them for issuers that tokens named.
func TestConcurrentFetchesAreBounded(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		list := []string{"https://a", "https://b", "https://c", "https://d"}
		s := serve(t, keys.Policy{Servers: list, Trusts: below("https://learned-"), Refresh: time.Hour, Retry: retry},
			func(ctx context.Context, _ string, _ int) ([]byte, error) { return hang(ctx) })
		want := func(when string, want int) {
			t.Helper()
			if got := len(s.of("")); got != want {
				t.Errorf("%s: got %d fetches in flight, want %d", when, got, want)
			}
		}
		want("at first", 1)
		s.askLearned(4)
		want("four issuers named by tokens", 1+2)
		for _, name := range list {
			s.Ask(name)
		}
		synctest.Wait()
		want("four servers due", 4)
	})
}

// A server is asked at its time, whatever issuers that tokens named wait for: for others to end, or for their turn to
// be looked up.
func TestLearnedHoldUpNoServer(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	for name, answer := range map[string]func(context.Context, string, int) ([]byte, error){
		"others hang": hangLearned, "four were looked up": always(oneKey),
	} {
		synctest.Test(t, func(t *testing.T) {
			policy := keys.Policy{Trusts: below("https://learned-"), Refresh: hardlyEver, Retry: time.Hour}
			s := serve(t, policy, answer)
			s.askLearned(5)
			if n := len(s.of("")); n == 5 {
				t.Fatalf("%s: got %d fetches at first, want some to wait", name, n)
			}
			pass(time.Second)
			policy.Servers = []string{issuer}
			s.Configure(policy)
			synctest.Wait()
			if got := len(s.of(issuer)); got != 1 {
				t.Errorf("%s: got %d fetches of the server, want 1 immediately", name, got)
			}
		})
	}
}

// A failed fetch of a server is repeated soon. That of an issuer named by a token comes Retry later than it would, and
// with a single key to decide by it is as little in a hurry as with many.
func TestBackOffOfLearnedIssuer(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-3", "KEY-6")
	const learned = "https://learned-0.example.com"
	synctest.Test(t, func(t *testing.T) {
		policy := keys.Policy{
			Servers: []string{issuer}, Trusts: below(learned), Refresh: 4 * time.Minute, Retry: time.Hour,
		}
		s := serve(t, policy, func(_ context.Context, _ string, n int) ([]byte, error) {
			if n > 0 {
				return nil, errDown
			}
			return oneKey, nil
		})
		s.ask(learned)
		pass(5 * time.Minute)
		for name, later := range map[string]time.Duration{issuer: 0, learned: policy.Retry} {
			a := s.of(name)[1]
			if a.event == nil {
				t.Fatalf("%s: the second fetch was not reported", name)
			}
			least, most := later+policy.Refresh/8, later+policy.Refresh*3/8
			if got := a.event.Next; got < least || got > most {
				t.Errorf("%s: got %v after its first failure, want %v to %v", name, got, least, most)
			}
		}
	})
}

// Tokens do not put off what is due sooner without them: a server without keys is asked again as KEY-2 says.
func TestTokensPutNothingOff(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: time.Hour},
			func(context.Context, string, int) ([]byte, error) { return nil, errDown })
		for range 100 { // the fourth fetch comes after 1.5 + 3 + 6 s at most
			s.ask(issuer)
			pass(120 * time.Millisecond)
		}
		if got := len(s.of(issuer)); got < 4 {
			t.Errorf("got %d fetches in 12 s, want 4 at least", got)
		}
	})
}

// RenewNow, said twice, does not put off a fetch that is due before it may have others made.
func TestRenewNowPutsNothingOff(t *testing.T) {
	spec.Rules(t, "KEY-2", "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry},
			func(context.Context, string, int) ([]byte, error) { return nil, errDown })
		s.RenewNow()
		synctest.Wait()
		s.RenewNow()
		pass(4 * time.Second) // after two failures the third fetch comes within 3 s, the fourth 2 to 6 s after it
		if got := len(s.of(issuer)); got < 3 || got > 4 {
			t.Errorf("got %d fetches, want 3, or 4", got)
		}
	})
}

// How long a caller should wait says whether its issuer has to be looked up, for which four have their turn at a time:
// one that is new has, and neither one whose keys are held nor a server.
func TestWaitForTurn(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	const held = "https://learned-held.example.com"
	synctest.Test(t, func(t *testing.T) {
		one, _, err := keys.Parse(oneKey)
		if err != nil {
			t.Fatal(err)
		}
		s := serve(t, keys.Policy{
			Servers: []string{issuer}, Trusts: below("https://learned-"), Refresh: hardlyEver, Retry: time.Hour,
		}, func(_ context.Context, name string, _ int) ([]byte, error) {
			if name == issuer {
				return nil, errDown
			}
			return oneKey, nil
		})
		s.Hold(keys.Held{Name: held, Keys: one})
		s.askLearned(4)
		for name, most := range map[string]time.Duration{issuer: 4 * time.Second, held: 4 * time.Second} {
			if p, wait := s.ask(name); p != keys.Awaited || wait > most {
				t.Errorf("%s: got prospect %v, wait %v; want awaited, %v at most", name, p, wait, most)
			}
		}
		const fifth = "https://learned-4.example.com"
		if p, wait := s.ask(fifth); p != keys.Awaited || wait < time.Hour {
			t.Errorf("%s: got prospect %v, wait %v; want awaited, an hour at least", fifth, p, wait)
		}
	})
}

// If sixteen issuers that tokens named are followed, one that failed longer than Retry ago gives way, and none
// earlier: being forgotten must not bring its next attempt forward.
func TestGivesWayAfterRetry(t *testing.T) {
	spec.Rules(t, "KEY-5", "KEY-6")
	const late = "https://learned-late.example.com"
	synctest.Test(t, func(t *testing.T) {
		one, _, err := keys.Parse(oneKey)
		if err != nil {
			t.Fatal(err)
		}
		s := serve(t, keys.Policy{Trusts: below("https://learned-"), Refresh: hardlyEver, Retry: time.Hour},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == late {
					return oneKey, nil
				}
				return nil, errDown
			})
		for n := range 12 {
			s.Hold(keys.Held{Name: fmt.Sprintf("https://learned-held-%d.example.com", n), Keys: one})
		}
		s.askLearned(4)
		for _, c := range []struct {
			after time.Duration // since the step before
			holds bool
		}{{0, false}, {time.Second, false}, {time.Hour - time.Second, false}, {time.Nanosecond, true}} {
			pass(c.after)
			s.ask(late)
			synctest.Wait()
			if got := s.holds(late); got != c.holds {
				t.Fatalf("%v later: got held %v, want %v", c.after, got, c.holds)
			}
		}
	})
}

// Each report says whether the keys differ from those held before.
func TestReportsChange(t *testing.T) {
	spec.Rules(t, "KEY-7")
	synctest.Test(t, func(t *testing.T) {
		other := mint.JWKSOf(mint.FakeJWK("two", 2048))
		documents := [][]byte{oneKey, oneKey, other, other}
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Minute},
			func(_ context.Context, _ string, n int) ([]byte, error) { return documents[min(n, 3)], nil })
		pass(10 * time.Minute)
		for i, want := range []bool{true, false, true, false} {
			if got := s.of(issuer)[i].event.Changed; got != want {
				t.Errorf("fetch %d: got changed %v, want %v", i, got, want)
			}
		}
	})
}

// Keys from a file leave a server what it is, and bring an issuer that is trusted, and no other. A server without keys
// is not the one in use.
func TestHold(t *testing.T) {
	spec.Rules(t, "KEY-1", "KEY-3", "KEY-5")
	const first, learned, stranger = "https://first.example.com", "https://learned-0.example.com",
		"https://x.example.com"
	synctest.Test(t, func(t *testing.T) {
		one, _, err := keys.Parse(oneKey)
		if err != nil {
			t.Fatal(err)
		}
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{first, issuer},
			Trusts: below("https://learned-"), Refresh: time.Hour})
		for _, name := range []string{issuer + "/", learned, stranger} {
			s.Hold(keys.Held{Name: name, Keys: one})
		}
		s.Hold(keys.Held{Name: first})
		got := ""
		for _, v := range s.Status() {
			got += fmt.Sprintf("%s server=%v used=%v kept=%v\n", v.Issuer, v.Server, v.Used, v.Kept)
		}
		want := first + " server=true used=false kept=false\n" +
			issuer + " server=true used=true kept=true\n" +
			learned + " server=false used=false kept=true\n"
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Of the kids that left a set a key without kid is none, and two keys' common kid is one: they take nobody's place.
func TestRetiredOnce(t *testing.T) {
	spec.Rules(t, "KEY-7")
	synctest.Test(t, func(t *testing.T) {
		parsed, _, err := keys.Parse(mint.JWKSOf(mint.FakeJWK("x", 2048), mint.FakeJWK("y", 2048),
			mint.FakeJWK("z", 2048)))
		if err != nil {
			t.Fatal(err)
		}
		parsed[0].KID, parsed[1].KID, parsed[2].KID = "common", "common", ""
		var gone []string
		for n := range 15 {
			gone = append(gone, fmt.Sprint("gone-", n))
		}
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Minute})
		s.Hold(keys.Held{Name: issuer, Keys: parsed, Retired: gone})
		go s.Run(t.Context())
		pass(time.Minute)
		for _, kid := range append(gone, "common") {
			if got := s.Set().Issuer([]byte(issuer)).KID([]byte(kid)); got != keys.KIDRetired {
				t.Errorf("kid %q: got state %v, want retired", kid, got)
			}
		}
	})
}

// No two sets of a Store have the same number, whether issuers came or went.
func TestGenerationsDiffer(t *testing.T) {
	spec.Rules(t, "KEY-7")
	one, _, err := keys.Parse(oneKey)
	if err != nil {
		t.Fatal(err)
	}
	const a, b = "https://learned-a.example.com", "https://learned-b.example.com"
	s := keys.NewStore(nil, nil)
	s.Configure(keys.Policy{Trusts: below("https://learned-"), Refresh: time.Hour})
	seen := map[uint64]string{s.Set().Generation: "nothing held"}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a came", func() { s.Hold(keys.Held{Name: a, Keys: one}) }},
		{"a went", func() { s.Forget(a) }},
		{"a came again", func() { s.Hold(keys.Held{Name: a, Keys: one}) }},
		{"b came", func() { s.Hold(keys.Held{Name: b, Keys: one}) }},
		{"b went", func() { s.Forget(b) }},
	} {
		step.do()
		n := s.Set().Generation
		if before := seen[n]; before != "" {
			t.Errorf("%s: got number %d, which the set had before: %s", step.name, n, before)
		}
		seen[n] = step.name
	}
}
