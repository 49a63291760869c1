package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// When the server changes, or what was refused is configured otherwise, tokens are fetched then, and not when the old
// ones are half over or the back-off ends.
func TestTokensFollowTheConfiguration(t *testing.T) {
	spec.Rules(t, "CLI-24", "CLI-57")
	synctest.Test(t, func(t *testing.T) {
		bad := false
		p := begin(func(r *http.Request, body string) (int, http.Header, string) {
			if r.URL.Path == "/token" {
				if bad {
					return 503, http.Header{"Retry-After": {"3600"}}, ""
				}
				return 200, nil,
					fmt.Sprintf(`{"access_token":"of-%s","token_type":"bearer","expires_in":86400}`, r.URL.Host)
			}
			return usual(r, body)
		})
		go p.Run(t.Context())
		ask(p.Client, 5*time.Second)
		p.config.Issuer = "https://second.example.com"
		p.Configure(p.config)
		gap := ask(p.Client, time.Minute)
		if a := p.Token("registration"); a.Token != "of-second.example.com" || gap > 0 {
			t.Errorf("a minute after the server changed: got %q (none for %v), want a token of the second",
				a.Token, gap)
		}
		bad = true
		p.ReportRefused(p.Token("registration").Token)
		ask(p.Client, 10*time.Second)
		bad = false
		before := p.count("POST /token")
		p.config.Given = oauth.Given{ID: "by hand", Secret: "another"}
		p.Configure(p.config)
		ask(p.Client, 10*time.Second)
		if n := p.count("POST /token"); n == before || p.Status().Tokens[0].Err != nil {
			t.Errorf("another client was configured, and after 10 s: %+v", p.Status().Tokens)
		}
	})
}

// A registry that refuses every token does not make the device ask a server that wants to be left alone.
func TestReportsKeepTheBackOff(t *testing.T) {
	spec.Rules(t, "CLI-14", "CLI-57")
	synctest.Test(t, func(t *testing.T) {
		bad := false
		p := begin(func(r *http.Request, body string) (int, http.Header, string) {
			if bad && r.URL.Path == "/token" {
				return 503, http.Header{"Retry-After": {"300"}}, ""
			}
			if r.URL.Path == "/token" {
				return 200, nil, `{"access_token":"t","token_type":"bearer","expires_in":86400}`
			}
			return usual(r, body)
		})
		go p.Run(t.Context())
		ask(p.Client, 5*time.Second)
		bad = true
		before := p.count("POST /token")
		for range 600 {
			p.ReportRefused(p.Token("registration").Token)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := p.count("POST /token") - before; n < 1 || n > 3 {
			t.Errorf("%d requests in ten minutes, want 2 or so: the server said 300 s", n)
		}
	})
}

// That the device's clock says that a secret has ended is no reason to register again while the server takes it: the
// clock may have been set to anything.
func TestClockSetForward(t *testing.T) {
	spec.Rules(t, "CLI-38", "CLI-44")
	registered, refuse := 0, false
	p := begin(func(r *http.Request, body string) (int, http.Header, string) {
		switch {
		case r.URL.Path == "/register":
			registered++
			return 201, nil, fmt.Sprintf(`{"client_id":"c%d","client_secret":"sesame","client_secret_expires_at":%d}`,
				registered, time.Now().Add(24*time.Hour).Unix())
		case refuse:
			return 401, nil, `{"error":"invalid_client"}`
		}
		return usual(r, body)
	})
	step := func() {
		for range 3 {
			p.Token("registration")
			p.Here(issuer)
			p.Due()
			p.Step(t.Context())
		}
	}
	step()
	p.ahead = 30 * 24 * time.Hour
	step()
	if registered != 1 || p.Status().Tokens[0].Err != nil {
		t.Errorf("with the clock a month ahead: %d registrations, %v; want 1", registered, p.Status().Tokens[0].Err)
	}
	refuse = true
	for range 2 {
		p.Due()
		p.Step(t.Context())
	}
	refuse = false
	step()
	if registered != 2 {
		t.Errorf("after the secret's end and the server's refusal: %d registrations, want 2", registered)
	}
}

// A registration token that comes replaces the old one whatever else is wrong with the answer: the old one is no
// longer valid.
func TestNewRegistrationTokenIsKept(t *testing.T) {
	spec.Rules(t, "CLI-41")
	for name, rest := range map[string]string{
		"method":  `"token_endpoint_auth_method":"tls_client_auth"`,
		"no id":   `"client_secret":"other-secret"`,
		"address": `"registration_client_uri":"gopher://example.com/"`,
	} {
		t.Run("CLI-41/"+name, func(t *testing.T) {
			var bearers []string
			p := begin(func(r *http.Request, body string) (int, http.Header, string) {
				switch r.URL.Path {
				case "/register":
					return 201, nil, `{"client_id":"c","client_secret":"s-s-s-s-s","registration_client_uri":"` +
						issuer + `/c",` + `"registration_access_token":"token-1"}`
				case "/c":
					bearers = append(bearers, r.Header.Get("Authorization"))
					return 200, nil, fmt.Sprintf(`{"registration_access_token":"token-%d",%s}`, len(bearers)+1, rest)
				}
				return usual(r, body)
			})
			for _, name := range []string{"a", "b", "c"} {
				p.config.Name = name
				p.Configure(p.config)
				p.Due()
				p.Step(t.Context())
			}
			if got := strings.Join(bearers, ","); got != "Bearer token-1,Bearer token-2" {
				t.Errorf("got %s, want the token of each answer in the next request; %v", got, p.Status().Err)
			}
		})
	}
}

// After a suspension or a step of the clock a token may have ended: another is fetched soon, and until it is there the
// old one is in use.
func TestSuspendedDevice(t *testing.T) {
	spec.Rules(t, "CLI-58", "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		p := begin(usual)
		go p.Run(t.Context())
		ask(p.Client, 5*time.Second)
		n := p.count("POST /token")
		p.ClockChanged() // by nothing
		ask(p.Client, 10*time.Second)
		if got := p.count("POST /token"); got != n {
			t.Errorf("%d requests because the clock was set by nothing", got-n)
		}
		p.mu.Lock()
		p.ahead = time.Hour
		p.mu.Unlock()
		p.ClockChanged()
		if gap := ask(p.Client, 20*time.Second); gap > 0 || p.count("POST /token") != n+1 {
			t.Errorf("after a suspension of an hour: %d requests in 20 s, want 1; no token for %v",
				p.count("POST /token")-n, gap)
		}
		p.mu.Lock()
		p.ahead = 0
		p.mu.Unlock()
		p.ClockChanged() // back: nothing ends earlier by that
		if ask(p.Client, 20*time.Second); p.count("POST /token") != n+1 {
			t.Errorf("%d requests because the clock was set back", p.count("POST /token")-n-1)
		}
	})
}

// Devices that waited for the time do not all come when it is there.
func TestClockTrustedAtOnce(t *testing.T) {
	spec.Rules(t, "CLI-53", "KEY-1")
	synctest.Test(t, func(t *testing.T) {
		first := map[int]int{}
		start := time.Now()
		kept := func() []byte {
			p := begin(func(r *http.Request, body string) (int, http.Header, string) {
				if r.URL.Path == "/register" {
					return 201, nil, `{"client_id":"c"}`
				}
				return usual(r, body)
			})
			p.methods = []string{oauth.PrivateKeyJWT}
			p.again()
			for range 3 {
				p.Token("registration")
				p.Due()
				p.Step(t.Context())
			}
			return p.flash.data
		}()
		var all []*play
		var mu sync.Mutex
		for range 60 {
			asked := false
			p := begin(func(r *http.Request, body string) (int, http.Header, string) {
				mu.Lock()
				defer mu.Unlock()
				if !asked {
					asked = true
					first[int(time.Since(start)/time.Second)]++
				}
				return usual(r, body)
			})
			p.methods, p.unsure, p.flash.data = []string{oauth.PrivateKeyJWT}, true, kept
			p.again()
			go p.Run(t.Context())
			all = append(all, p)
		}
		wait := func(d time.Duration) {
			for range d / time.Second {
				for _, p := range all {
					p.Token("registration")
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		wait(10 * time.Minute)
		if len(first) > 0 {
			t.Fatalf("asked without a clock: %v", first)
		}
		for _, p := range all {
			p.mu.Lock()
			p.unsure = false
			p.mu.Unlock()
			p.ClockChanged()
		}
		wait(time.Minute)
		total, most := 0, 0
		for _, n := range first {
			total, most = total+n, max(most, n)
		}
		if total != len(all) || most > 25 {
			t.Errorf("%d of %d asked in a minute, %d of them in one second", total, len(all), most)
		}
	})
}

// A method that is configured after the registration is not ignored without a word.
func TestMethodConfiguredLater(t *testing.T) {
	spec.Rules(t, "CLI-23")
	r := newRig(t, authserver.Options{})
	r.must("registration")
	r.config.AuthMethod = oauth.SecretBasic
	r.configure()
	r.work()
	if err := r.Status().Err; err == nil || !strings.Contains(err.Error(), "registered with private_key_jwt") {
		t.Errorf("got %v, want a word about the method", err)
	}
	if s := r.Status(); s.Tokens[0].Err != nil {
		t.Errorf("got %v, want tokens all the same", s.Tokens[0].Err)
	}
	r.registrations(1)
}

// Sets of scopes that are no longer asked for make room for others.
func TestManySets(t *testing.T) {
	spec.Rules(t, "CLI-10")
	synctest.Test(t, func(t *testing.T) {
		p := begin(usual)
		p.config.Scopes = strings.Fields("a b c d e f g h i j")
		p.Configure(p.config)
		go p.Run(t.Context())
		for _, s := range p.config.Scopes {
			p.Token(s)
		}
		if n := len(p.Status().Tokens); n != 8 {
			t.Errorf("%d sets are followed, want 8", n)
		}
		if a := p.Token("j"); a.Err == nil || !strings.Contains(a.Err.Error(), "8 sets") {
			t.Errorf("got %v, want a limit", a)
		}
		time.Sleep(time.Hour)
		p.Token("j")
		time.Sleep(30 * time.Second)
		if a := p.Token("j"); a.Err != nil {
			t.Errorf("an hour after the others were asked for: %v", a.Err)
		}
	})
}

// Issuers at which no registration came about make room for others.
func TestManyIssuers(t *testing.T) {
	spec.Rules(t, "CLI-24")
	refuse := true
	p := begin(func(r *http.Request, body string) (int, http.Header, string) {
		if refuse && r.URL.Path == "/register" {
			return 403, nil, ""
		}
		return usual(r, body)
	})
	for n := range 40 {
		p.config.Issuer = fmt.Sprintf("https://server-%d.example.com", n)
		p.Configure(p.config)
		p.Here(p.config.Issuer)
		p.Due()
		p.Step(t.Context())
	}
	refuse = false
	for n := range 20 {
		p.config.Issuer = fmt.Sprintf("https://another-%d.example.com", n)
		p.Configure(p.config)
		p.Here(p.config.Issuer)
		p.Due()
		p.Step(t.Context())
	}
	if n := len(p.Status().Clients); n != 16 || p.Status().Clients[0].ClientID == "" {
		t.Errorf("%d clients are kept, want 16 that are registered: %v", n, p.Status().Err)
	}
	if err := p.Status().Err; err == nil || !strings.Contains(err.Error(), "forget one") {
		t.Errorf("got %v, want a limit", err)
	}
}

// While requests hang a new configuration waits for one of them, not for all.
func TestConfigureDuringARequest(t *testing.T) {
	spec.Rules(t, "CLI-24")
	synctest.Test(t, func(t *testing.T) {
		hang := false
		p := begin(func(r *http.Request, body string) (int, http.Header, string) {
			if r.URL.Path == "/token" && hang && r.URL.Host == "auth.example.com" {
				<-r.Context().Done()
				return 0, nil, ""
			}
			return usual(r, body)
		})
		p.config.Scopes = strings.Fields("a b c d e f g h")
		p.Configure(p.config)
		hang = true
		go p.Run(t.Context())
		for _, s := range p.config.Scopes {
			p.Token(s)
		}
		time.Sleep(3 * time.Second)
		start := time.Now()
		p.config.Issuer = "https://second.example.com"
		p.Configure(p.config)
		for p.count("POST /token grant_type=client_credentials&scope=h") == 0 && time.Since(start) < 5*time.Minute {
			for _, s := range p.config.Scopes {
				p.Token(s)
			}
			time.Sleep(time.Second)
		}
		for p.Status().Tokens[7].Left == 0 && time.Since(start) < 5*time.Minute {
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 35*time.Second { // the request, the place, and a second
			t.Errorf("the second server gave all tokens after %v", took)
		}
	})
}

// A factory reset says what it cannot revoke: the operator's secret is no longer configured.
func TestForgetWithoutTheSecret(t *testing.T) {
	spec.Rules(t, "CLI-59")
	r := newRig(t, authserver.Options{})
	r.config.Given = oauth.Given{ID: "by hand", Secret: "s:cret"}
	if err := r.server.GiveClient("by hand", "registration events", "s:cret", nil); err != nil {
		t.Fatal(err)
	}
	r.configure()
	token := r.must("registration").Token
	r.Configure(oauth.Config{})
	if err := r.Forget(t.Context(), r.config.Issuer); err != nil {
		t.Errorf("forget: %v", err)
	}
	if got := r.server.Revoked(); len(got) != 1 || got[0] != token {
		t.Errorf("%d tokens revoked, want that one", len(got))
	}
	r.strict()
}
