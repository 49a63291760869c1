package keys_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

// kept returns what a store that had rotated its key would keep.
func kept(t *testing.T) keys.LastGood {
	t.Helper()
	old := keys.NewStore(nil, nil)
	first, _, err := keys.Parse(mint.JWKSOf(mint.FakeJWK("one", 2048)))
	if err != nil {
		t.Fatal(err)
	}
	old.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
	old.Hold(keys.Held{Name: issuer, Keys: first, Retired: []string{"zero"}})
	return old.Set().LastGood([]string{issuer})
}

// What was kept is held again after a restart, retired kids included, and fetched anew within the interval.
func TestLastGood_KEY3_KEY7(t *testing.T) {
	good := kept(t)
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := good.Encode()
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same is not written as the same bytes: %v", err)
	}
	g, err := keys.DecodeLastGood(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Servers) != 1 || len(g.Issuers) != 1 {
		t.Fatalf("%+v", g)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
		s.Hold(g.Issuers[0])
		s.Hold(keys.Held{Name: "https://evil.example.com", Keys: g.Issuers[0].Keys})
		go s.Run(t.Context())
		synctest.Wait()
		i := s.Set().Issuer([]byte(issuer))
		if i == nil || i.Keys[0].KID != "one" || !i.Retired([]byte("zero")) || i.Retired([]byte("one")) {
			t.Errorf("held: %+v", i)
		}
		if s.holds("https://evil.example.com") {
			t.Error("keys of an issuer are held that is not trusted")
		}
		if len(s.of("")) != 0 {
			t.Error("fetched at once, as all devices would after a power cut")
		}
		pass(time.Hour)
		if len(s.of(issuer)) == 0 {
			t.Error("not fetched within the interval")
		}
	})
}

// Where keys of any server are held, none is asked at once after a restart, not even one that comes before it in the list.
func TestLastGoodOfSecondServer_KEY3(t *testing.T) {
	const before = "https://before.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{before, issuer}, Refresh: time.Hour})
		s.Hold(kept(t).Issuers[0])
		go s.Run(t.Context())
		synctest.Wait()
		if len(s.of("")) != 0 {
			t.Error("fetched at once, as all devices would after a power cut")
		}
		pass(3 * time.Hour)
		if len(s.of(issuer)) < 3 || len(s.of(before)) != 0 {
			t.Errorf("fetched %d times, and %d times from one that nobody needs", len(s.of(issuer)), len(s.of(before)))
		}
	})
}

// Whatever happened to the file, it is read as it was written or refused, with a reason.
func TestDamagedLastGood_KEY3(t *testing.T) {
	data, err := kept(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := keys.DecodeLastGood(data[:n]); err == nil {
			t.Fatalf("cut off at %d of %d bytes it is read", n, len(data))
		}
		broken := bytes.Clone(data)
		broken[n] ^= 0x20
		if _, err := keys.DecodeLastGood(broken); err == nil {
			t.Fatalf("with byte %d changed it is read", n)
		}
	}
	if _, err := keys.DecodeLastGood(bytes.Repeat([]byte("x"), keys.MaxLastGood+1)); err == nil {
		t.Error("too large, and read")
	}
	seal := func(line string) []byte { return keys.Sealed([]byte(line)) }
	for _, c := range []struct{ line, want string }{
		{`{"format":2,"issuers":[]}`, "format 2"}, {`{"issuers":[]}`, "format 0"}, {`[]`, "JSON"},
		{`{"format":1,"issuers":[{"issuer":"https://a","keys":[]}]}`, "no key"},
		{`{"format":1,"issuers":[{"issuer":"https://a","keys":[{"kty":"oct","k":"AA"}]}]}`, "a key of"},
	} {
		if _, err := keys.DecodeLastGood(seal(c.line)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.line, err)
		}
	}
	// A later release may write more.
	line := strings.Replace(strings.Split(string(data), "\n")[0], `{"format":1`, `{"more":{"a":[1]},"format":1`, 1)
	if _, err := keys.DecodeLastGood(seal(line)); err != nil {
		t.Errorf("written by a later release of the same format: %v", err)
	}
}
