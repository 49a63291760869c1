package agent_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// A token that was first seen by a clock that was wrong is judged again as soon as the clock is right, and the other
// way round: what the clock had to do with an answer is remembered nowhere.
func TestClockSteps(t *testing.T) {
	spec.Rules(t, "OPS-1")
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
						t.Errorf("%s, then %s, nbf later: at %s %v, want %s",
							first.name, second.name, c.name, got, c.later)
					}
				}
			}
			if d.fetches.Load() != fetches {
				t.Errorf("%s, then %s: keys were fetched", first.name, second.name)
			}
		}
	}
}

// doubtful is an agent whose clock the test sets, with keys of two issuers.
type doubtful struct {
	*agent.Agent
	t     *testing.T
	now   agent.Time
	start time.Time // the true time at the start
}

const otherIssuer = "https://other.example.com"

func newDoubtful(t *testing.T, state audit.Clock, behind time.Duration) *doubtful {
	d := &doubtful{t: t, start: time.Now().Truncate(time.Second)}
	d.now = agent.Time{Now: d.start.Add(-behind), Trusted: state != audit.ClockUnset, State: state}
	config := config.Default()
	config.Authorization.Servers = []string{mint.DefaultIssuer, otherIssuer}
	store := keys.NewStore(nil, nil)
	store.Configure(agent.KeyPolicy(config))
	for _, issuer := range config.Authorization.Servers {
		set, _, err := keys.Parse(mint.JWKS(mint.CachedKey(issuer, 2048)))
		if err != nil {
			t.Fatal(err)
		}
		store.Hold(keys.Held{Name: issuer, Keys: set})
	}
	d.Agent = agent.New(config, []string{mint.DefaultDevice}, store, func() agent.Time { return d.now })
	return d
}

// pass lets time go by.
func (d *doubtful) pass(by time.Duration) {
	d.now.Now, d.now.Run = d.now.Now.Add(by), d.now.Run+by
}

// token is one of an issuer that was issued, and expires, so long after the start.
func (d *doubtful) token(issuer string, issued, expires time.Duration) *mint.Token {
	return mint.New(mint.Options{
		Issuer: issuer, Key: mint.CachedKey(issuer, 2048), Now: d.start.Add(issued), Life: expires - issued,
		Client: fmt.Sprint(issued, expires),
	})
}

func (d *doubtful) want(step string, tok *mint.Token, reason string) answer {
	d.t.Helper()
	var a answer
	for _, again := range []string{"", ", remembered"} {
		a = parseAnswer(d.t, d.NewSession().Packet(nil, []byte(get(senders, tok.Sign())), 32<<10))
		if a.reason() != reason {
			d.t.Errorf("%s%s: got %v, want %s", step, again, a, reason)
		}
	}
	return a
}

// forge returns a token with the claims of tok that no key has signed.
func forge(tok *mint.Token) *mint.Token {
	forged := tok.Clone()
	forged.Key = mint.CachedKey("forger", 2048)
	return forged
}

// By a clock that is behind and not synchronised, as one restored from a file at boot: a fresh token is good by its own
// iat, and says which others of its issuer have expired. Nothing that is not verified says anything.
func TestClockRestored(t *testing.T) {
	spec.Rules(t, "OPS-1", "CLM-8")
	d := newDoubtful(t, audit.ClockUnsynchronised, 2*time.Hour)
	const life = time.Hour
	expired := d.token(mint.DefaultIssuer, -3*life, -127*time.Second)
	d.want("forged", forge(d.token(mint.DefaultIssuer, 0, life)), "signature")
	bad := d.token(mint.DefaultIssuer, 0, life)
	bad.Claims.Delete("sub")
	d.want("signed, and not well formed", bad, "subject-missing")
	d.want("expired, by a clock that cannot know", expired, "ok")
	early := d.token(mint.DefaultIssuer, -life, life)
	early.Claims.Set("nbf", d.start.Unix())
	d.want("not valid before a time that the clock has not reached", early, "clock-untrusted")
	fresh := d.want("fresh", d.token(mint.DefaultIssuer, 0, life), "ok")
	if got := fresh.lines["expires-in"]; got != "3600" {
		t.Errorf("expires-in: got %s, want 3600", got)
	}
	d.want("expired, as the fresh one has shown", expired, "token-expired")
	d.want("valid from the time that the fresh one has shown", early, "ok")
	d.want("of another issuer, from whose tokens nothing is known", d.token(otherIssuer, -3*life, -time.Minute), "ok")

	d.pass(2*life + time.Minute) // by which even that clock is past the fresh token's end
	d.want("an hour after its end", d.token(mint.DefaultIssuer, -3*life, 0), "token-expired")

	// After a restart nothing is known.
	d = newDoubtful(t, audit.ClockUnsynchronised, 2*time.Hour)
	d.want("expired, after a restart", expired, "ok")
}

// [clock] unsynchronised = "deny", and a clock before the floor: 503. But what a verified token has shown to be expired
// is that.
func TestClockUntrustedAndExpired(t *testing.T) {
	spec.Rules(t, "OPS-1")
	d := newDoubtful(t, audit.ClockUnset, 50*365*24*time.Hour)
	expired := d.token(mint.DefaultIssuer, -2*time.Hour, -time.Second)
	d.want("expired", expired, "clock-untrusted")
	d.want("a forged one", forge(d.token(mint.DefaultIssuer, 0, time.Hour)), "signature")
	d.want("expired, and a forged one came", expired, "clock-untrusted")
	d.want("fresh", d.token(mint.DefaultIssuer, 0, time.Hour), "clock-untrusted")
	d.want("expired, and a fresh one came", expired, "token-expired")
	d.want("expired at the second", d.token(mint.DefaultIssuer, -time.Hour, 0), "token-expired")
	d.want("expires a second later", d.token(mint.DefaultIssuer, -time.Hour, time.Second), "clock-untrusted")
	d.want("expired, of another issuer", d.token(otherIssuer, -2*time.Hour, -time.Second), "clock-untrusted")
	d.Configure(config.Default(), []string{mint.DefaultDevice})
	d.want("expired, after a reload", expired, "token-expired")
}

// A token that its server dated wrongly harms no other: it counts up to five minutes beyond that server's own Date, as
// it runs on.
func TestClockOneTokenFromTheFuture(t *testing.T) {
	spec.Rules(t, "OPS-1")
	const minute = time.Minute
	d := newDoubtful(t, audit.ClockUnsynchronised, 2*time.Hour)
	d.Dated(mint.DefaultIssuer, d.start)
	stays := d.token(mint.DefaultIssuer, 0, 20*minute)
	d.want("fresh", stays, "ok")
	wrong := d.token(mint.DefaultIssuer, 5*minute+time.Second, 30*minute)
	d.want("dated too far beyond", wrong, "clock-untrusted")
	d.want("dated in 2099", d.token(mint.DefaultIssuer, 73*365*24*time.Hour, 74*365*24*time.Hour), "clock-untrusted")
	expired := d.token(mint.DefaultIssuer, -time.Hour, 0)
	d.want("what had been shown holds", expired, "token-expired")
	d.want("nothing has expired by it", d.token(mint.DefaultIssuer, 0, 5*minute), "ok")
	d.pass(time.Second)
	d.want("the Date runs on", wrong, "ok")
	d.want("and then it counts", d.token(mint.DefaultIssuer, 0, 5*minute), "token-expired")
	d.want("but no further", stays, "ok")

	d = newDoubtful(t, audit.ClockUnsynchronised, 2*time.Hour)
	stays = d.token(mint.DefaultIssuer, 0, 20*minute)
	d.want("no Date: an hour ahead", d.token(mint.DefaultIssuer, time.Hour, 2*time.Hour), "ok")
	d.want("and all before has expired", stays, "token-expired")
	d.Dated(mint.DefaultIssuer, d.start)
	d.want("a Date shows that it was wrong", stays, "ok")
	d.want("it does not come back", d.token(mint.DefaultIssuer, -time.Hour, 0), "token-expired")
	d.Dated(otherIssuer, d.start.AddDate(73, 0, 0))
	d.want("the Date of another issuer, 2099", stays, "ok")
}

// A synchronised clock decides, whatever a server's Date or a token says.
func TestClockSynchronisedDecides(t *testing.T) {
	spec.Rules(t, "OPS-1", "CLM-8")
	const year, good = 365 * 24 * time.Hour, "ok"
	for _, date := range []time.Duration{0, 40 * time.Second, -40 * time.Second, 73 * year, -50 * year} {
		d := newDoubtful(t, audit.ClockSynchronised, 0)
		d.Dated(mint.DefaultIssuer, d.start.Add(date))
		tok := d.token(mint.DefaultIssuer, -time.Minute, time.Hour)
		step := "Date " + date.String() + ": "
		d.want(step+"good", tok, good)
		d.want(step+"issued a second later", d.token(mint.DefaultIssuer, time.Second, time.Hour), "token-issued-later")
		d.want(step+"issued in 2099", d.token(mint.DefaultIssuer, 73*year, 74*year), "token-issued-later")
		d.want(step+"expired", d.token(mint.DefaultIssuer, -time.Hour, 0), "token-expired")
		later := d.token(mint.DefaultIssuer, -time.Minute, time.Hour)
		later.Claims.Set("nbf", d.start.Add(time.Second).Unix())
		d.want(step+"nbf a second later", later, "token-not-yet-valid")
		d.want(step+"good, after all that", tok, good)
	}
	d := newDoubtful(t, audit.ClockSynchronised, 0)
	d.want("issued later", d.token(mint.DefaultIssuer, time.Minute, time.Hour), "token-issued-later")
	d.want("expires before that was issued", d.token(mint.DefaultIssuer, -time.Hour, time.Minute), "token-expired")
	// The clock is set back: what has been shown to be past stays so.
	d.now.Now = d.start.Add(-time.Hour)
	d.want("the clock was set back", d.token(mint.DefaultIssuer, -2*time.Hour, -time.Second), "token-expired")
	fresh := d.token(mint.DefaultIssuer, 0, time.Hour)
	d.want("and tokens that were fresh come from the future", fresh, "token-issued-later")
	d.now.State = audit.ClockUnsynchronised
	d.want("set back, and not synchronised", d.token(mint.DefaultIssuer, -2*time.Hour, -time.Second), "token-expired")
	d.want("and those that were fresh are so again", fresh, good)
}

// What the bound says does not depend on the order in which tokens come, nor on how many come at the same time.
func TestClockBoundsConcurrently(t *testing.T) {
	spec.Rules(t, "OPS-1")
	d := newDoubtful(t, audit.ClockUnsynchronised, 2*time.Hour)
	const n = 64
	var asking sync.WaitGroup
	for i := range 4 {
		asking.Go(func() {
			s := d.NewSession()
			for j := range n {
				at := time.Duration((j*(2*i+1))%n) * time.Second
				s.Packet(nil, []byte(get(senders, d.token(mint.DefaultIssuer, at, time.Hour).Sign())), 32<<10)
				d.Dated(mint.DefaultIssuer, d.start)
				d.ServerTime(mint.DefaultIssuer)
			}
		})
	}
	asking.Wait()
	d.want("expired at the greatest", d.token(mint.DefaultIssuer, -time.Hour, (n-1)*time.Second), "token-expired")
	d.want("expires a second later", d.token(mint.DefaultIssuer, -time.Hour, n*time.Second), "ok")
}
