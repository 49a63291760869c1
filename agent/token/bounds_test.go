package token_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// slowBound is the readable twin of what is known of an issuer's time: every iat that was verified, and what was known
// when.
type slowBound struct {
	issued []float64
	date   float64 // less the time run; 0 if none
}

// reached is the greatest iat that its server's Date, as it runs on, does not contradict; "not used" is none (OPS-1).
func (b *slowBound) reached(c token.Clock) (greatest float64, ok bool) {
	for _, iat := range b.issued {
		if b.date != 0 && iat > b.date+float64(c.Run)+5*60e6 {
			continue
		}
		if !ok || iat > greatest {
			greatest, ok = iat, true
		}
	}
	return greatest, ok
}

// judge is what a token is worth by OPS-1, CLM-7 and CLM-8 as they are written.
func (b *slowBound) judge(c token.Clock, issued, expires float64) wire.Reason {
	now := float64(c.Now)
	greatest, known := b.reached(c)
	if c.Trusted && c.Unsynchronised && known {
		now = max(now, greatest)
	}
	switch {
	case c.Trusted && now >= expires:
		return wire.Expired
	case c.Trusted && issued > now && c.Unsynchronised:
		return wire.ClockUntrusted
	case c.Trusted && issued > now:
		return wire.IssuedLater
	case known && greatest >= expires:
		return wire.Expired
	case !c.Trusted:
		return wire.ClockUntrusted
	}
	return wire.OK
}

// In any order of tokens of two issuers, of which one sends a Date and occasionally a token from the far future, and of
// clocks that are set, each answer is what the rules say.
func TestBoundsAsWritten(t *testing.T) {
	spec.Rules(t, "OPS-1", "CLM-7", "CLM-8")
	const other = "https://other.example.com"
	names := []string{mint.DefaultIssuer, other}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 0))
		keySet := map[string][]byte{}
		for _, name := range names {
			keySet[name] = mint.JWKS(mint.CachedKey(name, 2048))
		}
		held := hold(t, keySet)
		v := newVerifier(token.Options{Cached: 4})
		bounds := v.Bounds()
		slow := map[string]*slowBound{mint.DefaultIssuer: {}, other: {}}
		c := token.Clock{Now: present.UnixMicro()}
		minutes := func(n int) time.Duration { return time.Duration(r.IntN(n)-n/2) * time.Minute }
		date := present.Add(minutes(6))
		bounds.Dated(other, date.UnixMicro(), 0, held.Set())
		slow[other].date = float64(date.UnixMicro())
		var tok token.Token
		for i := range 60 {
			name := names[r.IntN(2)]
			switch r.IntN(4) {
			case 0: // the clock is set
				c.Now = present.Add(minutes(200)).UnixMicro()
			case 1: // time goes by
				by := int64(r.IntN(60)) * 1e6
				c.Now, c.Run = c.Now+by, c.Run+by
			}
			c.Trusted, c.Unsynchronised = r.IntN(4) > 0, r.IntN(3) > 0
			issued, life := present.Add(time.Duration(c.Run)*time.Microsecond-minutes(60).Abs()),
				time.Duration(1+r.IntN(40))*time.Minute
			if name == other && r.IntN(5) == 0 {
				issued = issued.Add(100 * time.Hour)
			}
			issued = issued.Truncate(time.Second)
			if c.Trusted && !c.Unsynchronised && issued.UnixMicro() > c.Now+5*60e6 {
				continue // a clock that is believed says that it is wrong; see TestClockSynchronisedDecides
			}
			m := mint.New(mint.Options{
				Issuer: name, Key: mint.CachedKey(name, 2048), Now: issued, Life: life,
			})
			slow[name].issued = append(slow[name].issued, float64(issued.UnixMicro()))
			expires := float64(issued.Add(life).UnixMicro())
			want := slow[name].judge(c, float64(issued.UnixMicro()), expires)
			raw := []byte(m.Sign())
			for range 2 {
				got := v.Check(raw, c, held.Set(), &tok)
				if got.Reason != want {
					t.Fatalf("seed %d, step %d: %s by %+v: got %v, want %v", seed, i, name, c, got.Reason, want)
				}
			}
		}
	}
}

// Issuers come and go: what is known of those whose keys are held stays, and of others no more than some.
func TestBoundsAreBounded(t *testing.T) {
	spec.Rules(t, "OPS-1")
	held := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey("k", 2048))}).Set()
	var b token.Bounds
	date := present.UnixMicro()
	b.Dated(mint.DefaultIssuer+"/", date, 0, held)
	for i := range 10_000 {
		b.Dated(fmt.Sprintf("https://%d.example.com", i), date, 0, held)
		if n := b.Len(); n > 64 {
			t.Fatalf("got %d issuers, want 64 at most", n)
		}
	}
	if got, ok := b.Date(mint.DefaultIssuer, 1000); !ok || got != date+1000 {
		t.Errorf("got %d, %v; want %d", got, ok, date+1000)
	}
	if _, ok := b.Date("https://nobody.example.com", 0); ok {
		t.Error("a Date of an issuer that sent none")
	}
	b.Dated(mint.DefaultIssuer, date, 0, &keys.Set{})
}

// Few issuers are all remembered, whether their keys are held or not.
func TestBoundsKeepFew(t *testing.T) {
	spec.Rules(t, "OPS-1")
	var b token.Bounds
	for n := range 64 {
		b.Dated(fmt.Sprint("https://", n), int64(n), 0, &keys.Set{})
	}
	for n := range 64 {
		if got, ok := b.Date(fmt.Sprint("https://", n), 0); !ok || got != int64(n) {
			t.Errorf("issuer %d: got %d, %v; want %d", n, got, ok, n)
		}
	}
}

// A Date runs on with the time since the start. An iat counts up to five minutes beyond it, to the microsecond; one
// that was too late counts once it is not, and gives way to a plausible one until then.
func TestBoundsToTheMicrosecond(t *testing.T) {
	spec.Rules(t, "OPS-1")
	const (
		name   = "https://a.example.com"
		date   = int64(1_000_000_000)
		run    = int64(7_000_000)   // when the Date came
		latest = date + 300_000_000 // the last iat that counts then
		none   = -int64(1) << 62
	)
	for what, c := range map[string]struct {
		dated         bool
		earlier, then int64 // the iat of two tokens; 0 for no earlier one
		run           int64 // when the second came
		want          int64
	}{
		"the last that counts":              {dated: true, then: latest, run: run, want: latest},
		"one too late":                      {dated: true, then: latest + 1, run: run, want: none},
		"one too late, a microsecond later": {dated: true, then: latest + 1, run: run + 1, want: latest + 1},
		"an earlier one behind the last": {dated: true, earlier: latest,
			then: latest - 5, run: run, want: latest},
		"an earlier one behind one too late": {earlier: latest + 1, then: latest - 5, run: run,
			dated: true, want: latest - 5},
		"a later one": {dated: true, earlier: latest - 5,
			then: latest - 4, run: run, want: latest - 4},
		"no Date: whatever a token says":       {then: latest + 1, run: run, want: latest + 1},
		"no Date: an earlier one":              {earlier: latest + 1, then: latest, run: run, want: latest + 1},
		"a token without iat":                  {dated: true, then: none, run: run, want: none},
		"a token without iat, after the last":  {dated: true, earlier: latest, then: none, run: run, want: latest},
		"a token without iat, before any Date": {then: none, run: run, want: none},
	} {
		var b token.Bounds
		if c.earlier != 0 {
			b.Raise(name, c.earlier, run, &keys.Set{})
		}
		if c.dated {
			b.Dated(name+"/", date, run, &keys.Set{})
			if got, ok := b.Date(name, c.run+1); !ok || got != date+c.run+1-run {
				t.Errorf("%s: got the Date %d, %v; want %d", what, got, ok, date+c.run+1-run)
			}
		}
		if got := b.Raise(name, c.then, c.run, &keys.Set{}); got != c.want {
			t.Errorf("%s: got %d reached, want %d", what, got, c.want)
		}
	}
}
