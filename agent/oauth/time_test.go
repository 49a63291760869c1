package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/spec"
)

// Tokens are renewed at half their life and 15 s before the end, from a second to a day; there is never none.
func TestRenewal(t *testing.T) {
	spec.Rules(t, "CLI-3", "CLI-58")
	for _, life := range []int{1, 2, 20, 29, 30, 31, 60, 300, 3600, 86400, 1e9} {
		t.Run(fmt.Sprint("CLI-58/", life), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := given(t, good(life))
				lasts := time.Duration(min(life, 86400)) * time.Second
				p.Token("registration")
				time.Sleep(25 * time.Second)
				gap := time.Duration(0)
				for range 100 {
					if p.Token("registration").Err != nil {
						gap++
					}
					time.Sleep(lasts / 10)
				}
				synctest.Wait()
				times := p.when()
				if life > 1 && gap > 0 { // one with less than a second left is not handed out
					t.Errorf("%d of 100 questions had no token", gap)
				}
				if len(times) < 15 {
					t.Fatalf("only %d requests in ten lives", len(times))
				}
				for i := 2; i < len(times); i++ {
					after := times[i].Sub(times[i-1])
					if after > lasts/2 || life >= 30 && lasts-after < 15*time.Second ||
						after < lasts/2-min(time.Minute, lasts/4) {
						t.Errorf("renewed after %v of %v", after, lasts)
					}
				}
			})
		})
	}
}

// While the server fails the old token stays in use, and the new one comes within a back-off of its return.
func TestBackOff(t *testing.T) {
	spec.Rules(t, "CLI-57", "CLI-58")
	for name, bad := range map[string]func(*http.Request, string) (int, http.Header, string){
		"refused": func(*http.Request, string) (int, http.Header, string) { return 0, nil, "" },
		"500":     func(*http.Request, string) (int, http.Header, string) { return 500, nil, "" },
		"html":    func(*http.Request, string) (int, http.Header, string) { return 200, nil, "<html>" },
	} {
		t.Run("CLI-57/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := given(t, good(300))
				p.Token("registration")
				time.Sleep(25 * time.Second)
				start := time.Now()
				held := p.Token("registration").Left
				if held > 300*time.Second {
					t.Errorf("a token of 300 s is good for %v", held)
				}
				p.answer = bad
				n := len(p.when())
				if p.Token("registration").Err != nil {
					t.Fatal("no token to begin with")
				}
				ask(p.Client, held-3*time.Second)
				if a := p.Token("registration"); a.Err != nil {
					t.Errorf("after %v: %v, want the old token", time.Since(start), a.Err)
				}
				time.Sleep(4 * time.Second)
				if a := p.Token("registration"); a.Err == nil {
					t.Errorf("a token is handed out after its end: %v", a)
				}
				ask(p.Client, 4*time.Hour)
				times := p.when()[n:]
				if len(times) < 20 || len(times) > 150 {
					t.Errorf("%d requests in four hours", len(times))
				}
				a := p.Token("registration")
				if a.Err == nil || a.Retry <= 0 || a.Retry > 10*time.Minute {
					t.Errorf("got %v, retry %v; want a reason and a wait of up to ten minutes", a, a.Retry)
				}
				p.answer = good(300)
				if gap := ask(p.Client, 15*time.Minute); gap > 8*time.Minute {
					t.Errorf("no token for %v after the server's return", gap)
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	spec.Rules(t, "CLI-57")
	synctest.Test(t, func(t *testing.T) {
		p := given(t, func(*http.Request, string) (int, http.Header, string) {
			return 503, http.Header{"Retry-After": {"120"}}, ""
		})
		ask(p.Client, time.Hour)
		times := p.when()
		if len(times) < 10 {
			t.Fatalf("%d requests in an hour", len(times))
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 120*time.Second {
				t.Errorf("asked again after %v, want 120 s or more", gap)
			}
		}
	})
}

// One request at a time for a scope set, whoever asks, and no one waits.
func TestOneInFlight(t *testing.T) {
	spec.Rules(t, "CLI-3")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		flying, most := map[string]int{}, 0
		fly := func(scope string, n int) {
			mu.Lock()
			defer mu.Unlock()
			flying[scope] += n
			most = max(most, flying[scope])
		}
		give := good(60)
		p := given(t, func(r *http.Request, body string) (int, http.Header, string) {
			fly(body, 1)
			defer fly(body, -1)
			select {
			case <-time.After(5 * time.Second):
				return give(r, body)
			case <-r.Context().Done(): // the test is over
				return 0, nil, ""
			}
		})
		for range 20 {
			go func() {
				for range 300 {
					start := time.Now()
					p.Token("registration")
					p.Token("events registration")
					if took := time.Since(start); took > 0 {
						t.Errorf("an answer took %v", took)
					}
					time.Sleep(time.Second)
				}
			}()
		}
		time.Sleep(301 * time.Second)
		synctest.Wait()
		if most != 1 {
			t.Errorf("%d requests at a time, want 1", most)
		}
		if n := len(p.when()); n > 60 {
			t.Errorf("%d requests in five minutes", n)
		}
	})
}

// A token that nobody asks for is not renewed.
func TestUnusedToken(t *testing.T) {
	spec.Rules(t, "CLI-58")
	synctest.Test(t, func(t *testing.T) {
		p := given(t, good(60))
		p.Token("registration")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		// A registration, and tokens at 0 s, 3.75 s and then every 15 s, if chance has them as soon as can be, until
		// two lives have passed.
		if n, most := len(p.when()), 1+9; n > most {
			t.Errorf("got %d requests in a day for one question, want %d at most", n, most)
		}
		if gap := ask(p.Client, time.Minute); gap > 3*time.Second {
			t.Errorf("no token for %v after a day", gap)
		}
	})
}

// A refused token is replaced, immediately the first time, then with a back-off.
func TestReportRefused(t *testing.T) {
	spec.Rules(t, "CLI-14")
	synctest.Test(t, func(t *testing.T) {
		p := given(t, good(3600))
		p.Token("registration")
		time.Sleep(25 * time.Second)
		n := len(p.when())
		first := p.Token("registration").Token
		if !p.ReportRefused(first) || p.ReportRefused("another") || p.ReportRefused("") {
			t.Error("the wrong tokens count as refused")
		}
		synctest.Wait()
		if a := p.Token("registration"); a.Token == first || len(p.when()) != n+1 {
			t.Errorf("not replaced immediately: %v, %d requests", a, len(p.when())-n)
		}
		for range 600 { // a registry that refuses every token
			p.ReportRefused(p.Token("registration").Token)
			time.Sleep(time.Second)
		}
		if n := len(p.when()) - n; n < 3 || n > 15 {
			t.Errorf("%d requests in ten minutes, want a few", n)
		}
	})
}

// One token that is reported again and again counts as one: the back-off neither grows nor is drawn again.
func TestReportedOften(t *testing.T) {
	spec.Rules(t, "CLI-14")
	again := func(t *testing.T) {
		p := given(t, good(3600))
		p.Token("registration")
		time.Sleep(25 * time.Second)
		p.ReportRefused(p.Token("registration").Token)
		synctest.Wait()
		second := p.Token("registration")
		p.ReportRefused(second.Token)
		at := p.Token("registration").Next
		if at < 8*time.Second || at > time.Minute {
			t.Errorf("another comes in %v, want 8 s to a minute", at)
		}
		for range 100 {
			p.ReportRefused(second.Token)
		}
		if got := p.Token("registration"); got.Next != at || got.Token != second.Token {
			t.Errorf("after 100 more reports another comes in %v, want %v as before", got.Next, at)
		}
	}
	for range 30 { // the back-off is drawn at random
		synctest.Test(t, again)
	}
}

// Without RFC 7592 a client counts as gone after a day of refused credentials, over restarts too.
func TestGoneAfterADay(t *testing.T) {
	spec.Rules(t, "CLI-57")
	synctest.Test(t, func(t *testing.T) {
		registered := 0
		p := begin(func(r *http.Request, _ string) (int, http.Header, string) {
			if r.URL.Path == "/register" {
				registered++
				return 201, nil, fmt.Sprintf(`{"client_id":"c%[1]d","client_secret":"secret-%[1]d"}`, registered)
			}
			return 401, nil, `{"error":"invalid_client"}`
		})
		ctx, off := context.WithCancel(t.Context())
		go p.Run(ctx)
		ask(p.Client, 12*time.Hour)
		off()
		synctest.Wait()
		p.again()
		go p.Run(t.Context())
		ask(p.Client, 11*time.Hour)
		if registered != 1 {
			t.Errorf("after 23 h: %d registrations, want 1", registered)
		}
		ask(p.Client, 4*time.Hour)
		if registered != 2 {
			t.Errorf("after 27 h: %d registrations, want 2", registered)
		}
	})
}

// The token endpoint is kept over a restart; if it is not there any more the metadata say where it is, which are read
// again once in a while for as long as they do not help, and never because the endpoint refuses.
func TestEndpointMoves(t *testing.T) {
	spec.Rules(t, "CLI-20")
	synctest.Test(t, func(t *testing.T) {
		here, status := "/token", 200
		p := begin(func(r *http.Request, body string) (int, http.Header, string) {
			switch {
			case r.URL.Path == "/register":
				return usual(r, body)
			case r.URL.Path != here:
				return 404, nil, "<html>"
			case status != 200:
				return status, nil, `{"error":"invalid_scope"}`
			}
			return 200, nil, `{"access_token":"t","token_type":"bearer","expires_in":60}`
		})
		ctx, off := context.WithCancel(t.Context())
		go p.Run(ctx)
		ask(p.Client, time.Minute)
		off()
		synctest.Wait()
		read := p.read
		p.again()
		ctx, off = context.WithCancel(t.Context())
		defer off()
		go p.Run(ctx)
		ask(p.Client, 20*time.Minute)
		if p.read != read {
			t.Errorf("the metadata were read %d times after a restart, want none", p.read-read)
		}
		status = 400
		if ask(p.Client, time.Hour); p.read != read {
			t.Errorf("the metadata were read %d times because the endpoint refuses, want none", p.read-read)
		}
		status, here = 200, "/elsewhere"
		if ask(p.Client, time.Hour); p.read-read < 2 || p.read-read > 7 {
			t.Errorf("the metadata were read %d times in an hour in which they do not help, want 2 to 7", p.read-read)
		}
		p.mu.Lock()
		p.unread = true
		p.mu.Unlock()
		read = p.read
		if ask(p.Client, time.Hour); p.read == read || p.Token("registration").Err == nil {
			t.Errorf("%d readings that failed, and error %v, want some and an error", p.read-read,
				p.Token("registration").Err)
		}
		p.mu.Lock()
		p.unread = false
		p.mu.Unlock()
		p.mu.Lock()
		p.at = here
		p.mu.Unlock()
		ask(p.Client, 40*time.Minute)
		if a := p.Token("registration"); a.Err != nil {
			t.Errorf("40 minutes after the metadata named the new endpoint: %v", a.Err)
		}
		read = p.read
		off()
		synctest.Wait()
		p.again()
		go p.Run(t.Context())
		if ask(p.Client, time.Minute); p.read != read || p.Token("registration").Err != nil {
			t.Errorf("the new endpoint was not kept: %v after %d readings", p.Token("registration").Err, p.read-read)
		}
	})
}

// How long tokens live is stored, for the start, if it becomes another by a half or a double: flash wears out.
func TestLifeIsKept(t *testing.T) {
	spec.Rules(t, "CLI-58")
	life := 300
	p := begin(func(r *http.Request, body string) (int, http.Header, string) {
		if r.URL.Path == "/token" {
			return 200, nil, fmt.Sprintf(`{"access_token":"t","token_type":"bearer","expires_in":%d}`, life)
		}
		return usual(r, body)
	})
	p.Token("registration")
	p.Step(t.Context())
	for _, c := range []struct{ life, kept int }{{300, 300}, {599, 300}, {151, 300},
		{601, 601}, {310, 601}, {299, 299}} {
		life = c.life
		before := p.flash.saves
		p.Due()
		p.Step(t.Context())
		if !strings.Contains(string(p.flash.data), fmt.Sprintf(`"life":%d,`, c.kept)) {
			t.Errorf("tokens of %d s: want %d s to be kept, got %s", c.life, c.kept, p.flash.data)
		}
		if wrote := p.flash.saves - before; wrote > 0 && c.life != c.kept {
			t.Errorf("tokens of %d s: %d writes, want none", c.life, wrote)
		}
	}
}

// That the clock is not trusted is reported once; other failures are each time.
func TestFailuresAreReported(t *testing.T) {
	spec.Rules(t, "CLI-53", "CLI-57")
	for name, c := range map[string]struct {
		unsure      bool
		least, most int
	}{"CLI-53/clock": {true, 1, 1}, "CLI-57/refused": {false, 5, 40}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(func(r *http.Request, body string) (int, http.Header, string) {
					if r.URL.Path == "/token" {
						return 500, nil, ""
					}
					return 201, nil, `{"client_id":"c"}`
				})
				p.methods, p.unsure = []string{oauth.PrivateKeyJWT}, c.unsure
				p.again()
				go p.Run(t.Context())
				ask(p.Client, time.Hour)
				n := 0
				p.mu.Lock()
				for _, e := range p.events {
					if e.Kind == oauth.EventFailure {
						n++
					}
				}
				p.mu.Unlock()
				if n < c.least || n > c.most {
					t.Errorf("%d failures are reported in an hour, want %d to %d", n, c.least, c.most)
				}
			})
		})
	}
}

// Firmware that asks again when it is told to, and not before, is given a token then.
func TestAskedWhenTold(t *testing.T) {
	spec.Rules(t, "CLI-57", "CLI-69")
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		p := begin(func(r *http.Request, body string) (int, http.Header, string) {
			if !well.Load() && r.URL.Path == "/token" {
				return 503, http.Header{"Retry-After": {"300"}}, ""
			}
			return usual(r, body)
		})
		go p.Run(t.Context())
		p.Token("registration")
		time.Sleep(5 * time.Second)
		a := p.Token("registration")
		if a.Retry < 290*time.Second {
			t.Fatalf("got %v, retry %v, want 300 s or so", a, a.Retry)
		}
		well.Store(true)
		time.Sleep(a.Retry)
		synctest.Wait()
		if a := p.Token("registration"); a.Err != nil {
			t.Errorf("when it was told to ask again: %v, want a token", a.Err)
		}
	})
}
