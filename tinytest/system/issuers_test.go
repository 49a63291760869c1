package system_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// A token of an issuer that the configuration does not name but trusts: 503 while its keys are looked up, then 200; and
// nothing is asked of it before it is needed.
func TestTrustedIssuerIsLookedUp(t *testing.T) {
	spec.Rules(t, "KEY-5")
	t.Parallel()
	for _, c := range []struct {
		name    string
		options authserver.Options
		pattern string
	}{
		{"exact", authserver.Options{}, "https://127.0.0.1"},
		{"pattern", authserver.Options{}, "https://127.*.1"},
		{"host name", authserver.Options{Host: "localhost"}, "https://local*"},
		{"path", authserver.Options{IssuerPath: "/realms/studio"}, "https://127.0.0.1/realms/studio"},
		{"path and slash", authserver.Options{IssuerPath: "/realms/studio", IssuerEnd: "/"},
			"https://127.0.0.1/realms/studio"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newServer(t, c.options)
			config := trusting(t)
			config.More = fmt.Sprintf("trusted_issuers = [%q]", c.pattern)
			b := start(t, config)
			b.want(get("/x-nmos"), 200, "public")
			if server.Connections() != 0 {
				t.Error("the server was asked before a token named it")
			}
			q := get(senders).bearing(everything(server).Sign())
			if a := b.ask(q); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 || a.retry > 60 {
				t.Errorf("first: %+v", a)
			}
			b.await(q, 200, "ok")
			if a := b.askBoth(q); a.client != mint.DefaultClient {
				t.Errorf("got %+v, want the client %s", a, mint.DefaultClient)
			}
			if n := server.Requests(authserver.PathJWKS); n != 1 {
				t.Errorf("%d requests for keys", n)
			}
			forged := everything(server)
			forged.Key = mint.CachedKey("attacker", 2048)
			b.want(get(senders).bearing(forged.Sign()), 401, "signature")
		})
	}
}

// stranger is a host that must never hear of the device.
type stranger struct {
	port        int
	connections atomic.Int64
}

func newStranger(t *testing.T) *stranger {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{port: l.Addr().(*net.TCPAddr).Port}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return s
}

// Whatever a token says, in its claims or in its header, no packet goes to a host that the device does not trust.
func TestUntrustedIssuerIsNeverAsked(t *testing.T) {
	spec.Rules(t, "KEY-5")
	t.Parallel()
	server, stranger := newServer(t, authserver.Options{}), newStranger(t)
	config := trusting(t, server)
	config.More = "retry = \"1s\"\n" +
		"trusted_issuers = [\"https://*.trusted.example.com\", \"https://localhost/realms/a\"]"
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")

	host := fmt.Sprintf("127.0.0.1:%d", stranger.port)
	local := fmt.Sprintf("localhost:%d", stranger.port)
	issuers := []string{
		"https://" + host, "http://" + host, "https://" + local, "https://" + host + "/realms/a",
		"https://" + local + "/realms/b", "http://" + local + "/realms/a",
		"https://user@" + local + "/realms/a", "https://" + local + "/realms/a?x",
		"https://" + local + "/realms/a#x", "https://" + local + "/realms/../realms/a",
		"https://" + local + "/realms%2fa", "https://x.trusted.example.com@" + host,
		"https://" + host + "/.trusted.example.com", "https://" + host + "#.trusted.example.com",
		"https://" + host + "?.trusted.example.com", "https://" + host + "\\.trusted.example.com",
		"HTTPS://" + host, "//" + host, "https://[::ffff:127.0.0.1]:" + fmt.Sprint(stranger.port),
		"https://2130706433:" + fmt.Sprint(stranger.port), "https://127.1:" + fmt.Sprint(stranger.port),
		"https://localhost.:" + fmt.Sprint(stranger.port) + "/x",
	}
	attacker := mint.CachedKey("attacker", 2048)
	begin := time.Now()
	for n := range 3000 {
		tok := everything(server)
		tok.Claims.Set("jti", fmt.Sprint(n))
		tok.Header.Set("kid", fmt.Sprint("k", n%7))
		if n%50 > 0 { // most name a host, some only point to it
			issuer := issuers[n%len(issuers)]
			if n >= len(issuers) {
				issuer += fmt.Sprint("/", n)
			}
			tok.Claims.Set("iss", issuer)
		}
		tok.Header.Set("jku", "https://"+host+"/jwks")
		tok.Header.Set("x5u", "https://"+host+"/cert")
		tok.Header.Set("jwk", attacker.JWK())
		a := b.ask(get(senders).bearing(unsigned(tok)))
		if n%50 > 0 && (a.status != 401 || a.reason != "issuer-untrusted" && a.reason != "issuer-missing") ||
			a.status == 200 {
			t.Fatalf("token %d, issuer %s: %v", n, tok.Claims.Get("iss"), a)
		}
	}
	t.Logf("3000 tokens in %v", time.Since(begin))

	// What was to be fetched has been, once the trusted server was asked again and answered.
	server.Rotate()
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	if n := stranger.connections.Load(); n != 0 {
		t.Errorf("%d connections to a host that is not trusted", n)
	}
	// The counter counts: once trusted, the same issuer is asked.
	config.More = "trusted_issuers = [\"https://127.0.0.1\"]"
	b.reload(config)
	tok := everything(server)
	tok.Claims.Set("iss", "https://"+host)
	b.want(get(senders).bearing(tok.Sign()), 503, "keys-pending")
	eventually(t, "a connection to the host, once it is trusted",
		func() bool { return stranger.connections.Load() > 0 })
}

// Issuers that never answer, learned from forged tokens, must not keep the configured server's keys from being renewed,
// nor be asked forever.
func TestHangingIssuersDoNotStarveOthers(t *testing.T) {
	spec.Rules(t, "KEY-5")
	t.Parallel()
	server := newServer(t, authserver.Options{Host: "localhost"})
	config := trusting(t, server)
	config.More = "retry = \"1s\"\ntrusted_issuers = [\"https://127.0.0.1\"]"
	// A fetch that hangs is given up after 10 s. If that comes first, the machine was busy, and it shows nothing.
	for range 4 {
		if whileOthersHang(t, start(t, config), server) {
			return
		}
	}
	t.Error("got the configured server's new key only once the fetches that hang had been given up, 4 times of 4")
}

// whileOthersHang reports whether the server's new key was accepted while fetches from others hang.
func whileOthersHang(t *testing.T, b *box, server *authserver.Server) bool {
	t.Helper()
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	var hanging []*authserver.Server
	for range 6 {
		s := newServer(t, authserver.Options{})
		s.Misbehave("", authserver.HangConnect)
		hanging = append(hanging, s)
		b.want(get(senders).bearing(everything(s).Sign()), 503, "keys-pending")
	}
	eventually(t, "connections that hang", func() bool {
		n := 0
		for _, s := range hanging {
			n += s.Connections()
		}
		return n >= 2
	})
	begin := time.Now()
	server.Rotate()
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	t.Logf("the configured server's new key took %v while others hang", time.Since(begin))
	return !strings.Contains(b.Log(), "not fetched")
}
