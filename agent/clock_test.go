package agent_test

import (
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
)

// A token that was first seen by a clock that was wrong is judged anew as soon as the clock is right, and the other way round:
// what the clock had to do with an answer is remembered nowhere.
func TestClockSteps_OPS1(t *testing.T) {
	tok := mint.New(mint.Options{Life: time.Minute})
	tok.Claims.SetRaw("nbf", string(tok.Claims.Get("iat")))
	later := tok.Clone()
	later.Claims.Set("nbf", tok.Now.Add(30*time.Second).Unix())
	clocks := []struct {
		name       string
		at         time.Time
		tok, later string // what is answered then
	}{
		{"unset", time.Unix(5, 0), "clock-untrusted", "clock-untrusted"},
		{"an hour behind", tok.Now.Add(-time.Hour), "token-issued-later", "token-issued-later"},
		{"37 s ahead, on TAI", tok.Now.Add(37 * time.Second), "ok", "ok"},
		{"right", tok.Now, "ok", "token-not-yet-valid"},
		{"an hour ahead", tok.Now.Add(time.Hour), "token-expired", "token-expired"},
	}
	for _, first := range clocks {
		for _, second := range clocks {
			d := newDevice(t, nil, tok.Key.JWK())
			fetches := d.fetches.Load()
			for _, c := range []*struct {
				name       string
				at         time.Time
				tok, later string
			}{&first, &second, &first} {
				d.clock.Store(&c.at)
				for range 2 {
					if got := d.ask(t, get(senders, tok.Sign())); got.reason() != c.tok {
						t.Errorf("%s, then %s: at %s %v, want %s", first.name, second.name, c.name, got, c.tok)
					}
					if got := d.ask(t, get(senders, later.Sign())); got.reason() != c.later {
						t.Errorf("%s, then %s, nbf later: at %s %v, want %s", first.name, second.name, c.name, got, c.later)
					}
				}
			}
			if d.fetches.Load() != fetches {
				t.Errorf("%s, then %s: keys were fetched", first.name, second.name)
			}
		}
	}
}
