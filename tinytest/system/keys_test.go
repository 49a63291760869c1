package system_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// The keys are fetched again by themselves, no later than the interval says, and not all the time either.
func TestKeysAreFetchedAgain(t *testing.T) {
	spec.Rules(t, "KEY-1")
	t.Parallel()
	const interval = 5 * time.Second // the shortest that can be configured
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "refresh = \"5s\""
	began := time.Now()
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")

	withdrawn := server.Signer() // nobody asks about it: the daemon learns it by itself
	old := everything(server).Sign()
	b.want(get(senders).bearing(old), 200, "ok")
	server.AddKey(mint.CachedKey("key-2", 2048))
	server.RemoveKey(withdrawn.KID)
	waitRequests(t, server, authserver.PathJWKS, 3)
	b.await(get(senders).bearing(old), 401, "key-unknown")

	// The first time it is any part of the interval, a second at least, so that devices which started together drift
	// apart; then half of it at least. How late one may be is a matter of the machine.
	n := 0
	for _, r := range server.Log() {
		if r.Path != authserver.PathJWKS {
			continue
		}
		least := time.Duration(0)
		if n++; n > 1 {
			least = time.Second + time.Duration(n-2)*interval/2
		}
		if after := r.Time.Sub(began); after < least {
			t.Errorf("fetched for the %dth time %v after the start, want %v at least", n, after, least)
		}
	}
	if n, m := server.Requests(authserver.PathMetadata), server.Requests(authserver.PathJWKS); n-m < 0 || n-m > 1 {
		t.Errorf("%d requests for metadata, %d for keys", n, m)
	}
}

// Every key of the set counts, whichever the token names; a set may be a bare array, and keys of other kinds do no
// harm.
func TestManyKeys(t *testing.T) {
	spec.Rules(t, "KEY-4")
	t.Parallel()
	usual, bare, mixed := newServer(t, authserver.Options{}), newServer(t,
		authserver.Options{}), newServer(t, authserver.Options{})
	bare.Misbehave(authserver.PathJWKS, authserver.KeysBare)
	mixed.Misbehave(authserver.PathJWKS, authserver.KeysMixed)
	second, third := mint.CachedKey("key-2", 2048), mint.CachedKey("key-3", 2048)
	for _, s := range []*authserver.Server{usual, bare, mixed} {
		s.AddKey(second)
		s.AddKey(third)
	}
	nameless := third.JWK()
	nameless.KeyID = ""
	noName := newServer(t, authserver.Options{})
	noName.SetJWKS(mint.JWKSOf(second.JWK(), nameless))
	b := start(t, trusting(t, usual, bare, mixed, noName))

	token := func(s *authserver.Server, key *mint.Key, kid string) string {
		tok := another(s)
		tok.Key = key
		tok.Header.Set("kid", kid)
		if kid == "" {
			tok.Header.Delete("kid")
		}
		return tok.Sign()
	}
	for name, s := range map[string]*authserver.Server{"usual": usual, "bare": bare, "mixed": mixed} {
		t.Run(name, func(t *testing.T) {
			b := b.on(t)
			for _, key := range s.Keys() {
				for _, kid := range []string{key.KID, "key-1", "key-3", "no-such-key", ""} {
					b.await(get(senders).bearing(token(s, key, kid)), 200, "ok")
				}
			}
			if n := s.Requests(authserver.PathJWKS); n != 1 {
				t.Errorf("got %d requests for keys, want 1", n)
			}
			b.await(get(senders).bearing(token(s, mint.CachedKey("attacker", 2048), "key-2")), 401, "signature")
		})
	}
	t.Run("no name", func(t *testing.T) {
		for _, kid := range []string{"key-3", "key-2", ""} {
			b.on(t).await(get(senders).bearing(token(noName, third, kid)), 200, "ok")
		}
	})
	if n := noName.Requests(authserver.PathJWKS); n != 1 {
		t.Errorf("got %d requests for keys, want 1", n)
	}
}

// Forged tokens cost at most one fetch an interval, however many come, whether the key that they name is held or not.
// Meanwhile good tokens are served, remembered ones and new ones.
func TestFloodOfForgedTokens(t *testing.T) {
	spec.Rules(t, "KEY-6")
	t.Parallel()
	const interval, flood = time.Second, 3500 * time.Millisecond
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	good := get(senders).bearing(everything(server).Sign())
	b.await(good, 200, "ok")

	forge := forger(server)
	begin := time.Now()
	for range 2000 {
		b.want(get(senders).bearing(forge("key-1")), 401, "signature")
	}
	eventually(t, "a fetch for tokens that name a key which is held",
		func() bool { return server.Requests(authserver.PathJWKS) >= 2 })
	if n, most := server.Requests(authserver.PathJWKS), 2+int(time.Since(begin)/interval); n > most {
		t.Fatalf("got %d requests for keys after tokens that name a key which is held, want 2 to %d", n, most)
	}
	eventually(t, "the fetches for them", func() bool { return time.Since(begin) > interval })

	before := server.Counts()
	begin = time.Now()
	var asked [3]atomic.Int64
	var stop atomic.Bool
	stopped := make(chan struct{})
	for i := range asked { // one names new keys, one few keys, one none
		flooder := newCaller(t, b.Dir)
		go func() {
			defer func() { stopped <- struct{}{} }()
			for n := 0; !stop.Load(); n++ {
				kid := ""
				if i < 2 {
					kid = fmt.Sprintf("k-%d", n%[]int{1 << 30, 3}[i])
				}
				r, err := flooder.packet.Ask(get(senders).bearing(forge(kid)).lines()...)
				if err != nil || r.Allowed() || r.Status == 503 && (r.Reason != "keys-pending" || r.RetryAfter < 1) {
					t.Errorf("a forged token: %v, %v", r, err)
					return
				}
				asked[i].Add(1)
			}
		}()
	}
	fetched := func(path string) int { return server.Requests(path) - before[path] }
	served := 0
	eventually(t, "a flood, fetches for it, and good tokens served", func() bool {
		b.want(good, 200, "ok")
		b.want(get(senders).bearing(another(server).Sign()), 200, "ok")
		served += 2
		return time.Since(begin) > flood && served >= 20 && asked[0].Load() >= 50 &&
			fetched(authserver.PathJWKS) >= 2 && fetched(authserver.PathMetadata) >= 2
	})
	stop.Store(true)
	for range asked {
		<-stopped
	}
	for _, path := range []string{authserver.PathJWKS, authserver.PathMetadata} {
		if n, most := fetched(path), 2+int(time.Since(begin)/interval); n > most {
			t.Errorf("got %d requests for %s within %v, want 2 to %d", n, path, time.Since(begin), most)
		}
	}
	t.Logf("%d, %d and %d forged tokens, and %d good ones meanwhile; %d fetches",
		asked[0].Load(), asked[1].Load(), asked[2].Load(), served, server.Requests(authserver.PathJWKS))
}

// forger returns tokens of the server that no key of its has signed, each another one.
func forger(s *authserver.Server) func(kid string) string {
	return func(kid string) string {
		t := another(s)
		if t.Header.Set("kid", kid); kid == "" {
			t.Header.Delete("kid")
		}
		return unsigned(t)
	}
}

// unsigned ends the token with what looks like a signature: a flood must not wait for an attacker who computes one.
func unsigned(t *mint.Token) string {
	segment := base64.RawURLEncoding.EncodeToString
	return segment(t.Header.Bytes()) + "." + segment(t.Claims.Bytes()) + "." + segment(bytes.Repeat([]byte{7}, 256))
}

// A new key beside the old one: tokens of both are good. A new key in place of the old one: the old one's tokens are
// refused, those that were just accepted included.
func TestRotation(t *testing.T) {
	spec.Rules(t, "KEY-7")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	old := everything(server)
	remembered := get(senders).bearing(old.Sign())
	b.await(remembered, 200, "ok")

	server.Rotate()
	second := get(senders).bearing(everything(server).Sign())
	if a := b.ask(second); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 || a.client != "" {
		t.Errorf("before the new key is held: %+v", a)
	}
	b.await(second, 200, "ok")
	b.want(remembered, 200, "ok")

	// The first key comes back as part of no set: its tokens are refused, whether remembered, new, or without a name.
	server.Replace()
	third := get(senders).bearing(everything(server).Sign())
	b.await(third, 200, "ok")
	for _, q := range []question{remembered, second} {
		if a := b.askBoth(q); a.status != 401 || a.reason != "key-unknown" {
			t.Errorf("a remembered token of a withdrawn key: %v", a)
		}
	}
	fetches, begin := server.Requests(authserver.PathJWKS), time.Now()
	for range 3 {
		old.Claims.Set("jti", time.Now().String())
		if a := b.askBoth(get(senders).bearing(old.Sign())); a.status != 401 || a.reason != "key-unknown" {
			t.Errorf("a new token of a withdrawn key: %v", a)
		}
	}
	if n, most := server.Requests(authserver.PathJWKS)-fetches, 1+int(time.Since(begin)/time.Second); n > most {
		t.Errorf("got %d fetches for a key that is known to have left, want at most %d", n, most)
	}
	old.Header.Delete("kid")
	unnamed := get(senders).bearing(old.Sign())
	b.want(unnamed, 503, "keys-pending")
	b.await(unnamed, 401, "signature")
	b.want(third, 200, "ok")
}

// AMWA's "No Matching Public Keys": a token under a new key, without kid, is 503 with Retry-After until the keys have
// been fetched, and good then; one under a key that never comes is 503 until then, and 401 from then on.
func TestNewKeyWithoutKid(t *testing.T) {
	spec.Rules(t, "KEY-6", "ANS-2", "ANS-5")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"2s\""
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	under := func(key *mint.Key) question {
		tok := another(server)
		tok.Key = key
		tok.Header.Delete("kid")
		return get(senders).bearing(tok.Sign())
	}
	for _, name := range []string{"key-2", "key-3"} { // the second while the limit on fetches is in force
		key := mint.CachedKey(name, 2048)
		nameless := key.JWK()
		nameless.KeyID = ""
		server.SetJWKS(mint.JWKSOf(nameless))
		fresh, forged := under(key), under(mint.CachedKey("attacker", 2048))
		release := server.Hold(authserver.PathJWKS) // until all have been asked
		for _, q := range []question{fresh, forged} {
			if a := b.askBoth(q); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 || a.retry > 4 {
				t.Errorf("%s, at first: got %v, retry %d; want 503 keys-pending, retry 1 to 4", name, a, a.retry)
			}
		}
		release()
		b.await(fresh, 200, "ok")
		b.await(forged, 401, "signature")
	}
}

// A server that was rebuilt and gives its new key the old kid is found soon, not only after an hour.
func TestSameKidWithAnotherKey(t *testing.T) {
	spec.Rules(t, "KEY-6")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := start(t, config)
	old := get(senders).bearing(everything(server).Sign())
	b.await(old, 200, "ok")
	rebuilt := mint.CachedKey("key-2", 2048)
	published := rebuilt.JWK()
	published.KeyID = server.Signer().KID
	server.SetJWKS(mint.JWKSOf(published))
	tok := everything(server)
	tok.Key = rebuilt
	fresh := get(senders).bearing(tok.Sign())
	b.want(fresh, 401, "signature")
	eventually(t, "the new key", func() bool { return b.ask(fresh).status == 200 })
	b.want(old, 401, "key-unknown")
}

// A server may sign before all its replicas publish the key: the token is refused after one look, and accepted once a
// later fetch brings the key.
func TestKeyIsPublishedLate(t *testing.T) {
	spec.Rules(t, "KEY-6")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\"\nrefresh = \"5s\""
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	early := everything(server)
	early.Key = mint.CachedKey("key-2", 2048)
	early.Header.Set("kid", early.Key.KID)
	q := get(senders).bearing(early.Sign())
	b.want(q, 503, "keys-pending")
	b.await(q, 401, "key-unknown")
	server.AddKey(early.Key)
	eventually(t, "the key published late", func() bool { return b.ask(q).reason == "ok" })
}
