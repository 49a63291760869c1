package keys_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// However many names tokens bring, a bounded number is followed, and the configured ones are none the worse for it.
func TestLearnedIssuersAreBounded(t *testing.T) {
	spec.Rules(t, "KEY-5")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: time.Hour,
			Retry: retry}, func(_ context.Context, name string, _ int) ([]byte, error) {
			if name == issuer || strings.HasPrefix(name, "https://real-") {
				return oneKey, nil
			}
			return nil, errDown
		})
		const most = 16
		for i := range 3600 {
			for n := range 10 {
				if prospect, wait := s.ask(fmt.Sprintf("https://host-%d-%d.example.com",
					i, n)); prospect != keys.Awaited || wait <= 0 {
					t.Fatalf("got prospect %v, wait %v", prospect, wait)
				}
			}
			pass(time.Second)
		}
		if n := len(s.of("")); n > most*(3600/30+1)+10 {
			t.Errorf("%d fetches in an hour", n)
		}
		if n := len(s.of(issuer)); n < 1 || n > 3 || !s.holds(issuer) {
			t.Errorf("the configured issuer was fetched %d times", n)
		}
		// Names that turn out to be real find room among those that did not.
		for n := range 20 {
			name := fmt.Sprintf("https://real-%d.example.com", n)
			for range 600 { // as a controller asks again and again
				if s.ask(name); s.holds(name) {
					break
				}
				pass(time.Second)
			}
		}
		held := 0
		for n := range 20 {
			if s.holds(fmt.Sprintf("https://real-%d.example.com", n)) {
				held++
			}
		}
		if held != most || len(s.Set().Issuers()) != most+1 {
			t.Errorf("%d of 20 are held, %d in all; want %d", held, len(s.Set().Issuers()), most)
		}
	})
}

// Servers that tokens name and that hang do not keep the configured one from being asked.
func TestLearnedIssuersThatHang(t *testing.T) {
	spec.Rules(t, "KEY-5")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: time.Hour,
			Retry: retry}, func(ctx context.Context, name string, _ int) ([]byte, error) {
			if name == issuer {
				return oneKey, nil
			}
			return hang(ctx)
		})
		for n := range 10 {
			s.ask(fmt.Sprintf("https://host-%d.example.com", n))
		}
		pass(10 * time.Hour)
		if n := len(s.of(issuer)); n < 10 {
			t.Errorf("the configured issuer was fetched %d times in 10 hours", n)
		}
	})
}

// Of issuers that are new to the device four are looked up in each interval, whatever names tokens bring, and sixteen
// are followed.
func TestLookUpsOfNewIssuers(t *testing.T) {
	spec.Rules(t, "KEY-5", "KEY-6")
	for name, answer := range map[string]func(context.Context, string, int) ([]byte, error){
		"failing": func(context.Context, string, int) ([]byte, error) { return nil, errDown },
		"good":    always(oneKey),
		"hanging": func(ctx context.Context, _ string, _ int) ([]byte, error) { return hang(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Trusts: below("https://"), Refresh: hardlyEver, Retry: retry}, answer)
				for n := range 3600 {
					if prospect, wait := s.ask(
						fmt.Sprintf("https://host-%d.example.com", n)); prospect != keys.Awaited || wait <= 0 {
						t.Fatalf("got prospect %v, wait %v; want it awaited", prospect, wait)
					}
					pass(time.Second)
				}
				var all []*attempt
				for _, a := range s.of("") {
					if len(s.of(a.issuer)) == 1 || name != "good" { // what is learned is fetched again at its time
						all = append(all, a)
					}
				}
				for i := 4; i < len(all); i++ {
					if got := all[i].at.Sub(all[i-4].at); got < retry {
						t.Fatalf("got five look-ups within %v, want at least %v between the first and the last",
							got, retry)
					}
				}
				if got := len(s.Set().Issuers()); name == "good" && got != 16 {
					t.Errorf("got %d issuers learned, want 16", got)
				} else if name == "failing" && len(all) < 3600/30*4-8 {
					t.Errorf("got %d look-ups in an hour, want four in each interval", len(all))
				}
			})
		})
	}
}

// Look-ups of new issuers are limited; the servers of the configuration and issuers with keys are not.
func TestLookUpsLimitNobodyElse(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		var servers []string
		for n := range 9 {
			servers = append(servers, fmt.Sprintf("https://server-%d.example.com", n))
		}
		s := serve(t, keys.Policy{Servers: servers, Trusts: below("https://learned"), Refresh: 10 * time.Minute,
			Retry: retry}, func(_ context.Context, name string, n int) ([]byte, error) {
			if strings.HasPrefix(name, "https://learned") {
				return oneKey, nil
			}
			return nil, errDown
		})
		pass(time.Second)
		for _, name := range servers {
			if len(s.of(name)) == 0 {
				t.Errorf("%s was not tried within a second", name)
			}
		}
		for n := range 8 { // two intervals' worth
			s.ask(fmt.Sprintf("https://learned-%d.example.com", n))
		}
		pass(retry)
		if got := len(s.Set().Issuers()); got != 8 {
			t.Fatalf("got %d issuers learned after an interval, want 8", got)
		}
		for n := range 8 {
			before := len(s.of(fmt.Sprintf("https://learned-%d.example.com", n)))
			pass(retry)
			s.ask(fmt.Sprintf("https://learned-%d.example.com", n))
			synctest.Wait()
			if got := len(s.of(fmt.Sprintf("https://learned-%d.example.com", n))); got <= before {
				t.Error("an issuer whose keys are held was not asked for a new token")
			}
		}
	})
}

// Where sixteen names that tokens brought led nowhere, the seventeenth takes the place of one, and is looked up as it
// is.
func TestRoomForOneMore(t *testing.T) {
	spec.Rules(t, "KEY-5", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		const real = "https://real.example.com"
		s := serve(t, keys.Policy{Trusts: below("https://"), Refresh: time.Hour, Retry: retry},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == real {
					return oneKey, nil
				}
				return nil, errDown
			})
		for n := range 16 {
			s.ask(fmt.Sprintf("https://host-%d.example.com", n))
		}
		if _, wait := s.ask(real); wait != retry {
			t.Errorf("got a wait of %v while there is no room, want %v", wait, retry)
		}
		pass(10 * retry)
		s.ask(real)
		pass(4*retry + time.Second) // all of the fifteen others may have waited longer
		if !s.holds(real) {
			t.Error("asked for once when there was room, and not looked up")
		}
	})
}
