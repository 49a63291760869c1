package mint

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// verifies reports whether a token's last segment is an RS512 signature of the text before it, with a decoder as
// lenient as they come: a token that fails here fails everywhere.
func verifies(token string, key *Key) bool {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return false
	}
	lenient := strings.NewReplacer("=", "", "+", "-", "/", "_", " ", "", "\r", "").Replace(token[i+1:])
	sig, err := base64.RawURLEncoding.DecodeString(lenient)
	if err != nil {
		return false
	}
	digest := sha512.Sum512([]byte(token[:i]))
	return rsa.VerifyPKCS1v15(&key.Private.PublicKey, crypto.SHA512, digest[:], sig) == nil
}

// strict decodes a token that must be well formed in every respect.
func strict(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		t.Fatalf("%d segments", len(segments))
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(segments[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("%v in %q", err, raw)
		}
	}
	return header, claims
}

func TestBaseIsWhatWasAskedFor(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	token := New(Options{
		Issuer: "https://auth.example.com/realm", Device: "meter-1.example.com", Now: now, Life: time.Minute,
		Permissions: map[string]Permission{"events": {Read: []string{"sources/*"}}},
	})
	header, claims := strict(t, token.Sign())
	if header["alg"] != "RS512" || header["typ"] != "JWT" || header["kid"] != DefaultKID {
		t.Errorf("header %v", header)
	}
	want := map[string]any{
		"iss": "https://auth.example.com/realm", "sub": DefaultSubject, "aud": []any{"meter-1.example.com"},
		"exp": float64(now.Unix() + 60), "iat": float64(now.Unix()), "client_id": DefaultClient, "scope": DefaultScope,
		"x-nmos-events": map[string]any{"read": []any{"sources/*"}},
	}
	if got, want := string(marshal(claims)), string(marshal(want)); got != want {
		t.Errorf("claims\n got %s\nwant %s", got, want)
	}
	if !verifies(token.Sign(), token.Key) {
		t.Error("its signature is bad")
	}
}

func TestTablesAreWellFormed(t *testing.T) {
	base := New(Options{})
	before := string(base.Header.Bytes()) + string(base.Claims.Bytes())
	name, rule := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`), regexp.MustCompile(`^(TOK|CLM|KEY|PATH|ANS)-[0-9]+$`)
	seen := map[string]bool{}
	check := func(c Case) {
		if !name.MatchString(c.Name) || seen[c.Name] {
			t.Errorf("%s: a bad name, or there twice", c.Name)
		}
		seen[c.Name] = true
		if !rule.MatchString(c.Rule) || c.Want == "" || c.Status == 0 {
			t.Errorf("%s: rule %q, want %q, status %d", c.Name, c.Rule, c.Want, c.Status)
		}
		if (c.Then == "") != (c.ThenStatus == 0) {
			t.Errorf("%s: then %q with %d", c.Name, c.Then, c.ThenStatus)
		}
		if found, ok := Lookup(c.Name); !ok || found.Name != c.Name {
			t.Errorf("%s: not found by its name", c.Name)
		}
		c.Make(base)
		if string(base.Header.Bytes())+string(base.Claims.Bytes()) != before {
			t.Fatalf("%s: changed its base", c.Name)
		}
	}
	for _, c := range Faults {
		check(c)
		if c.Want == "ok" || c.Status == 200 {
			t.Errorf("%s: a fault that is accepted", c.Name)
		}
	}
	for _, c := range Variants {
		check(c)
		if c.Want != "ok" || c.Status != 200 {
			t.Errorf("%s: a variant that is refused", c.Name)
		}
	}
	if _, ok := Lookup("no-such-row"); ok {
		t.Error("found a row that is not there")
	}
	t.Logf("%d faults, %d variants", len(Faults), len(Variants))
}

func TestVariantsHaveGoodSignatures(t *testing.T) {
	base := New(Options{})
	for _, c := range Variants {
		token := c.Make(base)
		if !verifies(token, base.Key) {
			t.Errorf("%s: bad signature", c.Name)
		}
		strict(t, token)
	}
}

// A fault must be the only one: whatever is refused for its JSON, its header or its claims has a good signature.
func TestFaultsHaveOneReason(t *testing.T) {
	base := New(Options{})
	unsigned := map[string]bool{ // faults of which a missing or another signature is a part
		"alg-hs256-public-key": true, "alg-hs512-public-key": true, "alg-rs256": true, "alg-ps512": true,
		"alg-es512": true, "alg-none-unsigned": true,
		"iss-untrusted-forged": true, "forged-and-duplicate": true, "token-empty": true,
	}
	for _, c := range Faults {
		switch c.Want {
		case "token-malformed":
			continue // signed where there is something to sign
		case "signature", "keys-pending":
			if verifies(c.Make(base), base.Key) {
				t.Errorf("%s: the signature is good", c.Name)
			}
		default:
			if !unsigned[c.Name] && !verifies(c.Make(base), base.Key) {
				t.Errorf("%s: the signature is bad", c.Name)
			}
		}
	}
}

func TestFormFaultsAreThere(t *testing.T) {
	base := New(Options{})
	canonical := base64.RawURLEncoding.Strict()
	for _, c := range formFaults() {
		if c.Want != "token-malformed" {
			continue
		}
		segments := strings.Split(c.Make(base), ".")
		bad := len(segments) != 3
		for _, s := range segments {
			_, err := canonical.DecodeString(s)
			bad = bad || err != nil || s == "" || strings.ContainsAny(s, "\r\n") // which encoding/base64 skips
		}
		if !bad {
			t.Errorf("%s: well formed", c.Name)
		}
	}
}

func TestSizes(t *testing.T) {
	base := New(Options{})
	for name, limits := range map[string][2]int{
		"token-at-limit": {TokenLimit - 1, TokenLimit}, "token-over-limit": {TokenLimit + 1, TokenLimit + 2},
		"token-100-kb": {100_000, 100_001},
	} {
		c, _ := Lookup(name)
		if n := len(c.Make(base)); n < limits[0] || n > limits[1] {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func TestBadJSONIsBad(t *testing.T) {
	base := New(Options{})
	lenient := map[string]bool{ // what encoding/json lets through, for which this project has its own reader
		"kid-number": true, "forged-and-duplicate": true,
	}
	for _, c := range Faults {
		if c.Want != "token-json" || lenient[c.Name] || strings.Contains(c.Name, "duplicate") ||
			strings.Contains(c.Name, "utf8") || strings.Contains(c.Name, "surrogate") ||
			strings.Contains(c.Name, "deep") {
			continue
		}
		segment := 1
		if strings.HasPrefix(c.Name, "header-") {
			segment = 0
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(c.Make(base), ".")[segment])
		if err != nil {
			t.Fatal(err)
		}
		if json.Valid(raw) && bytes.HasPrefix(raw, []byte("{")) {
			t.Errorf("%s: %q is an object", c.Name, raw)
		}
	}
}

func TestKeys(t *testing.T) {
	a := CachedKey("a", 1024)
	if CachedKey("a", 1024) != a || CachedKey("b", 1024) == a {
		t.Error("keys are not kept by their name")
	}
	b := CachedKey("b", 1024)

	again, err := ParseKey("a", a.PEM())
	if err != nil || !again.Private.Equal(a.Private) {
		t.Errorf("PEM there and back: %v", err)
	}
	for _, text := range []string{"", "nonsense", string(a.PublicPEM())} {
		if _, err := ParseKey("a", []byte(text)); err == nil {
			t.Errorf("read a key from %.30q", text)
		}
	}

	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(JWKS(a, b), &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%v: %s", err, JWKS(a, b))
	}
	if k := set.Keys[0]; k["kty"] != "RSA" || k["alg"] != "RS512" || k["use"] != "sig" ||
		k["kid"] != "a" || k["e"] != "AQAB" {
		t.Errorf("got the key %v, want a, RSA, RS512, sig", k)
	}
	if got := string(JWKSOf()); got != `{"keys":[]}` {
		t.Errorf("the empty set is %s", got)
	}
	n, err := base64.RawURLEncoding.DecodeString(FakeJWK("big", 16384).N)
	if err != nil || len(n) != 2048 || n[0]&0x80 == 0 || n[len(n)-1]&1 == 0 {
		t.Errorf("a modulus of %d bytes, %v", len(n), err)
	}
}

func TestObject(t *testing.T) {
	var o Object
	o.Set("a", "<&>")
	o.Set("b", 1)
	o.Add("a", "2")
	o.Set("a", []string{"x"})
	if got := string(o.Bytes()); got != `{"a":["x"],"b":1,"a":2}` {
		t.Errorf("got %s, want a twice, the first replaced", got)
	}
	o.Delete("a")
	if got := string(o.Bytes()); got != `{"b":1}` {
		t.Errorf("got %s, want b alone", got)
	}
	if o.Get("a") != nil || string(o.Get("b")) != "1" {
		t.Error("Get")
	}
}

// A key and a time give the same tokens each time, and a PSS signature that is made here is one.
func TestTokensAreTheSameEachTime(t *testing.T) {
	options := Options{Now: time.Unix(1_700_000_000, 0)}
	for _, table := range [][]Case{Faults, Variants} {
		for _, c := range table {
			if first, second := c.Make(New(options)), c.Make(New(options)); first != second {
				t.Errorf("%s: two tokens of one template differ", c.Name)
			}
		}
	}
	key := CachedKey(DefaultKID, 2048)
	digest := sha512.Sum512([]byte("message"))
	err := rsa.VerifyPSS(&key.Private.PublicKey, crypto.SHA512, digest[:], pss(key, sha512.New, []byte("message")), nil)
	if err != nil {
		t.Errorf("a signature by PSS: %v", err)
	}
}
