package keys_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// kept returns what a store that had rotated its key would keep.
func kept(t testing.TB) keys.LastGood {
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

// What was kept is held again after a restart, retired kids included, and fetched again within the interval.
func TestLastGood(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-7")
	good := kept(t)
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := good.Encode()
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same is not written as the same bytes: %v", err)
	}
	g, _, err := keys.DecodeLastGood(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Servers) != 1 || len(g.Issuers) != 1 {
		t.Fatalf("got %+v", g)
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
		if i == nil || i.Keys[0].KID != "one" || i.KID([]byte("zero")) != keys.KIDRetired ||
			i.KID([]byte("one")) != keys.KIDHeld {
			t.Errorf("held: %+v", i)
		}
		if s.holds("https://evil.example.com") {
			t.Error("keys of an issuer are held that is not trusted")
		}
		if len(s.of("")) != 0 {
			t.Error("fetched immediately, as all devices would after a power cut")
		}
		pass(time.Hour)
		if len(s.of(issuer)) == 0 {
			t.Error("not fetched within the interval")
		}
	})
}

// If keys of any server are held, none is asked immediately after a restart, not even one that comes before it in the
// list.
func TestLastGoodOfSecondServer(t *testing.T) {
	spec.Rules(t, "KEY-3")
	const before = "https://before.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{before, issuer}, Refresh: time.Hour})
		s.Hold(kept(t).Issuers[0])
		go s.Run(t.Context())
		synctest.Wait()
		if len(s.of("")) != 0 {
			t.Error("fetched immediately, as all devices would after a power cut")
		}
		pass(3 * time.Hour)
		if len(s.of(issuer)) < 3 || len(s.of(before)) != 0 {
			t.Errorf("fetched %d times, and %d times from one that nobody needs", len(s.of(issuer)), len(s.of(before)))
		}
	})
}

// Whatever happened to the file, it is read as it was written or refused, with a reason.
func TestDamagedLastGood(t *testing.T) {
	spec.Rules(t, "KEY-3")
	data, err := kept(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, _, err := keys.DecodeLastGood(data[:n]); err == nil {
			t.Fatalf("cut off at %d of %d bytes it is read", n, len(data))
		}
		broken := bytes.Clone(data)
		broken[n] ^= 0x20
		if _, _, err := keys.DecodeLastGood(broken); err == nil {
			t.Fatalf("with byte %d changed it is read", n)
		}
	}
	if _, _, err := keys.DecodeLastGood(bytes.Repeat([]byte("x"), keys.MaxLastGood+1)); err == nil {
		t.Error("too large, and read")
	}
	seal := func(line string) []byte { return keys.Sealed([]byte(line)) }
	for _, c := range []struct{ line, want string }{
		{`{"format":2,"issuers":[]}`, "format 2"}, {`{"issuers":[]}`, "format 0"}, {`[]`, "JSON"},
	} {
		if _, _, err := keys.DecodeLastGood(seal(c.line)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %s", c.line, err, c.want)
		}
	}
	// A later release may write more.
	line := strings.Replace(strings.Split(string(data), "\n")[0], `{"format":1`, `{"more":{"a":[1]},"format":1`, 1)
	if _, _, err := keys.DecodeLastGood(seal(line)); err != nil {
		t.Errorf("written by a later release of the same format: %v", err)
	}
}

// A key, or all keys of one issuer, that this release does not take do not lose those of others: an earlier release
// kept a kid of any length.
func TestLastGoodOfOthers(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-8")
	jwk := func(kid string) string {
		set := string(mint.JWKSOf(mint.FakeJWK(kid, 2048))) // {"keys":[…]}
		return set[strings.Index(set, "[")+1 : strings.LastIndex(set, "]")]
	}
	good, long := jwk("one"), jwk(strings.Repeat("k", 200_000))
	line := `{"format":1,"servers":["https://a"],"issuers":[` +
		`{"issuer":"https://a","keys":[` + long + `]},` +
		`{"issuer":"https://b","keys":[` + long + `,` + good + `],"retired":["` + strings.Repeat("r", 200_000) +
		`","zero"]},` +
		`{"issuer":"https://c","keys":[{"kty":"oct","k":"AA"}]},` +
		`{"issuer":"https://d","keys":[]},` +
		`{"issuer":"https://e","keys":[` + good + `]}]}`
	g, left, err := keys.DecodeLastGood(keys.Sealed([]byte(line)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range g.Issuers {
		got = append(got, fmt.Sprint(h.Name, " ", len(h.Keys), " ", h.Retired))
	}
	if want := []string{"https://b 1 [zero]", "https://e 1 []"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var says []string
	for _, err := range left {
		if len(err.Error()) > 300 {
			t.Errorf("an error of %d bytes: %.300s", len(err.Error()), err)
		}
		name := err.Error()[strings.Index(err.Error(), `"`)+1:]
		says = append(says, name[:strings.Index(name, `"`)])
	}
	if want := "key 1 of "; !strings.HasPrefix(left[0].Error(), want) {
		t.Errorf("got %.40q, want it to begin with %q", left[0], want)
	}
	if want := strings.Fields("https://a https://a https://b https://c https://c https://d"); !slices.Equal(says,
		want) {
		t.Errorf("left out of %q, want %q: %v", says, want, left)
	}
}

// What is written is never larger than what is read back, however much servers publish; and who publishes most is the
// one whose keys are forgotten.
func TestLastGoodFits(t *testing.T) {
	spec.Rules(t, "KEY-8")
	var small, large []mint.JWK
	small = append(small, mint.FakeJWK("one", 2048))
	for n := range keys.MaxKeys {
		large = append(large, mint.FakeJWK(fmt.Sprint(strings.Repeat("<", 250), n), 2048)) // "\u003c" in the file
	}
	parse := func(set []mint.JWK) []keys.Key {
		parsed, left, err := keys.Parse(mint.JWKSOf(set...))
		if err != nil || len(left) > 0 {
			t.Fatalf("left out %v, %v; want all keys", left, err)
		}
		return parsed
	}
	few, many := parse(small), parse(large)
	g := keys.LastGood{Servers: []string{"https://0"}}
	for n := range 40 {
		name, set := fmt.Sprintf("https://%02d", n), few
		if n%2 == 1 {
			set = many
		}
		g.Issuers = append(g.Issuers, keys.Held{Name: name, Keys: set})
	}
	if data, err := g.Encode(); err == nil {
		t.Errorf("got %d bytes, want an error: no more than %d are read back", len(data), keys.MaxLastGood)
	}
	fitting, left := g.Fit()
	data, err := fitting.Encode()
	if err != nil || len(data) > keys.MaxLastGood {
		t.Fatalf("got %d bytes, %v, want at most %d", len(data), err, keys.MaxLastGood)
	}
	again, unread, err := keys.DecodeLastGood(data)
	if err != nil || len(unread) > 0 || !again.Equal(fitting) {
		t.Fatalf("read back: %v, %v", unread, err)
	}
	if len(left) == 0 || len(left)+len(again.Issuers) != 40 {
		t.Errorf("got %d issuers kept and %d left out, want 40 in all", len(again.Issuers), len(left))
	}
	var kept []string
	for _, h := range again.Issuers {
		if len(h.Keys) == 1 {
			kept = append(kept, h.Name)
		}
	}
	if len(kept) != 20 {
		t.Errorf("of the 20 issuers with one key, got %q kept", kept)
	}
	if all, none := again.Fit(); len(none) > 0 || !all.Equal(again) {
		t.Errorf("what fits is cut: %q", none)
	}
}

// When keys were fetched is kept; what was fetched again is the same all the same.
func TestLastGoodFetched(t *testing.T) {
	spec.Rules(t, "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		g := kept(t)
		at := time.Now().Add(-time.Hour)
		g.Issuers[0].Fetched = at
		data, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := keys.DecodeLastGood(data)
		if err != nil || !again.Issuers[0].Fetched.Equal(at) {
			t.Errorf("got %+v, %v, want fetched %v", again, err, at)
		}
		if again.Issuers[0].Fetched = time.Now(); !g.Equal(again) {
			t.Errorf("%+v and %+v: got different, want equal", g, again)
		}
		again.Issuers[0].Fetched = at

		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
		s.Hold(again.Issuers[0])
		if v := s.Status()[0]; !v.Kept || !v.Fetched.Equal(at) {
			t.Errorf("after a restart: got %+v, want kept, fetched %v", v, at)
		}
		go s.Run(t.Context())
		pass(time.Hour)
		if v := s.Status()[0]; v.Kept || time.Since(v.Fetched) > time.Hour {
			t.Errorf("after a fetch: got %+v, want fetched since", v)
		}
	})
}

// What 9345a8c wrote, before there were slots and times.
func TestLastGoodOfEarlierRelease(t *testing.T) {
	spec.Rules(t, "KEY-3")
	const file = `{"format":1,"servers":null,"issuers":[{"issuer":"https://127.0.0.1:25283",` +
		`"keys":[{"use":"sig","kty":"RSA","kid":"k1","alg":"RS512","n":"` +
		`vqbFJSXn6pREKOoDN8B1eJenS7UilFNniTM7FNEb3veH48WNKnOEHaN_eagrZWCQvCNK7Mhs3bHw6wso878ry2LAU52V0mBvJi1X` +
		`EDWdj0AjuW38i6Kfu10winyn0mZ7v-HPWRmbuMHonXNIeAkFU-SKDbXOFXH8-XLrZXlyzZCWSyfjArvTgetY04j_4NUpevmvBWfx` +
		`487e_8OBMT-hw4aSTpe68dnF-HVABWLJTfe4dWMrM5IZIxyPJD4bxZkCGyFp7gFIA0moWL9stccpQ3KQmyPvAMEhovGKQ9Gi2X5Y` +
		`CG-INY5_UFMClcrZtdsnmYBidwfPJXapvUBEWFW-dw` +
		`","e":"AQAB"}]}]}` + "\n" +
		"308527444252e66f5e4631fa84b37981007915f6c72bf9fb8c46251db457cecd\n"
	g, left, err := keys.DecodeLastGood([]byte(file))
	if err != nil || len(left) > 0 || len(g.Issuers) != 1 || g.Issuers[0].Name != "https://127.0.0.1:25283" ||
		len(g.Issuers[0].Keys) != 1 || g.Issuers[0].Keys[0].KID != "k1" || !g.Issuers[0].Fetched.IsZero() {
		t.Errorf("got %+v, %v, %v", g, left, err)
	}
}

// Whatever Fit returns can be written, to the byte; and it leaves nothing out for want of more than six bytes, the
// brackets and commas that it counts and need not be there.
func TestLastGoodFitsExactly(t *testing.T) {
	spec.Rules(t, "KEY-8")
	few, _, err := keys.Parse(oneKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, servers := range [][]string{nil, {}, {"https://a"}, strings.Fields(strings.Repeat("https://<a> ", 10))} {
		for n := 1; n <= 2; n++ {
			g := keys.LastGood{Servers: servers}
			for i := range n {
				held := keys.Held{Name: fmt.Sprint("https://", i), Keys: few, Retired: []string{""}}
				g.Issuers = append(g.Issuers, held)
			}
			data, err := g.Encode()
			if err != nil {
				t.Fatal(err)
			}
			for _, more := range []int{-6, -1, 0, 1} {
				g.Issuers[0].Retired[0] = strings.Repeat("r", keys.MaxLastGood-len(data)+more)
				full, unfit := g.Encode()
				if (unfit != nil) != (more > 0) {
					t.Fatalf("%d bytes more than can be read: got %v", more, unfit)
				}
				if _, _, err := keys.DecodeLastGood(full); more == 0 && err != nil {
					t.Errorf("as many bytes as can be read: got %v, want them read", err)
				}
				fitting, left := g.Fit()
				if _, err := fitting.Encode(); err != nil {
					t.Errorf("%d issuers, servers %q, %d bytes more than can be read: %v", n, servers, more, err)
				}
				if more > 0 && !slices.Equal(left, []string{"https://0"}) || more == -6 && len(left) > 0 {
					t.Errorf("%d issuers, servers %q, %d bytes more than can be read: got %q left out",
						n, servers, more, left)
				}
			}
		}
	}
}

// The keys of an issuer as a key set are what was parsed.
func TestJWKS(t *testing.T) {
	spec.Rules(t, "KEY-4")
	all, _, err := keys.Parse(mint.JWKSOf(mint.FakeJWK("one", 2048), mint.FakeJWK("", 4096)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&keys.Issuer{Keys: all}).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	again, left, err := keys.Parse(text)
	if err != nil || len(left) > 0 || !slices.EqualFunc(again, all, func(a, b keys.Key) bool {
		return a.KID == b.KID && a.Thumbprint == b.Thumbprint
	}) {
		t.Errorf("got %v, %v, %v; want %v", again, left, err, all)
	}
}

// Servers that alone take all the room there is leave none for keys, and do no harm.
func TestLastGoodOfLongServers(t *testing.T) {
	spec.Rules(t, "KEY-8")
	few, _, err := keys.Parse(oneKey)
	if err != nil {
		t.Fatal(err)
	}
	g := keys.LastGood{
		Servers: []string{strings.Repeat("s", keys.MaxLastGood)}, Issuers: []keys.Held{{Name: "https://a", Keys: few}},
	}
	if fitting, left := g.Fit(); len(fitting.Issuers) != 0 || !slices.Equal(left, []string{"https://a"}) {
		t.Errorf("got %d issuers, %q left out; want none, the one", len(fitting.Issuers), left)
	}
}

// Another key under the same kid, and the same key under another, is not what was held before.
func TestLastGoodDiffers(t *testing.T) {
	spec.Rules(t, "KEY-3")
	one := kept(t)
	for name, edit := range map[string]func(g *keys.LastGood){
		"servers":     func(g *keys.LastGood) { g.Servers = []string{"https://other"} },
		"name":        func(g *keys.LastGood) { g.Issuers[0].Name = "https://other" },
		"retired kid": func(g *keys.LastGood) { g.Issuers[0].Retired = []string{"other"} },
		"no issuer":   func(g *keys.LastGood) { g.Issuers = nil },
	} {
		other := one
		other.Issuers = slices.Clone(one.Issuers)
		if edit(&other); one.Equal(other) || other.Equal(one) {
			t.Errorf("%s: got equal, want different", name)
		}
	}
	change := func(edit func(k *keys.Key)) keys.LastGood {
		g := one
		g.Issuers = slices.Clone(g.Issuers)
		g.Issuers[0].Keys = slices.Clone(g.Issuers[0].Keys)
		edit(&g.Issuers[0].Keys[0])
		return g
	}
	if !one.Equal(change(func(*keys.Key) {})) {
		t.Error("the same: got different, want equal")
	}
	if one.Equal(change(func(k *keys.Key) { k.KID = "two" })) {
		t.Error("another kid: got equal, want different")
	}
	if one.Equal(change(func(k *keys.Key) { k.Thumbprint[31]++ })) {
		t.Error("another key: got equal, want different")
	}
}

// Of the kids that had left the set sixteen are read back, each of 256 bytes at most.
func TestLastGoodRetired(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-7")
	g := kept(t)
	g.Issuers[0].Retired = []string{strings.Repeat("k", 257), strings.Repeat("k", 256)}
	for n := range 16 {
		g.Issuers[0].Retired = append(g.Issuers[0].Retired, fmt.Sprint(n))
	}
	data, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := keys.DecodeLastGood(data)
	if err != nil || !slices.Equal(again.Issuers[0].Retired, g.Issuers[0].Retired[1:17]) {
		t.Errorf("got %d kids, %v; want the second to the seventeenth", len(again.Issuers[0].Retired), err)
	}
}
