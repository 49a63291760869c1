package agent_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// info002 is the token that INFO-002 shows, from Keycloak behind a reverse proxy: no kid, aud as one string, azp in
// place of client_id, and claims that IS-10 does not know. Its key is not public.
const info002 = "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9." +
	"eyJleHAiOjE2MTI3OTM1MTYsImlhdCI6MTYxMjc5MzMzNiwianRpIjoiMGYxNjc4MzMtOTlkMC00Mjg0LTk5ODAtM2UyYjJlODdmN2RiIiwiaX" +
	"NzIjoiaHR0cHM6Ly9hdXRob3JpemF0aW9uLXNlcnZlci5jb20iLCJhdWQiOiJyZWdpc3RyeS5leGFtcGxlLm9yZyIsInN1YiI6ImJhZjQxNGU4" +
	"LTM0YjctNDUwMy1hODdlLTNiNGViOTE2Y2UzYSIsInR5cCI6IkJlYXJlciIsImF6cCI6IjMwYmFmNjE3LTE3NDQtNGMyNC05YmFmLTIyMzUxYm" +
	"VjMWE3MyIsInNlc3Npb25fc3RhdGUiOiJkMjNmMzE5ZS03OWYzLTRiY2UtOTk1Ni1iNTNlODMzMTUzYzMiLCJhY3IiOiIxIiwic2NvcGUiOiJy" +
	"ZWdpc3RyYXRpb24iLCJ4LW5tb3MtcmVnaXN0cmF0aW9uIjp7InJlYWQiOlsiKiJdLCJ3cml0ZSI6WyIqIl19LCJjbGllbnRJZCI6IjMwYmFmNj" +
	"E3LTE3NDQtNGMyNC05YmFmLTIyMzUxYmVjMWE3MyJ9." +
	"edE5qHXBBGPMZ8S_RZYhW4sYo5uc1GT1gt8z3HkkJwqH_iHL6nD-84l6NOFYpXrE42WjElRyTU5JlPu7gpLMqZHmeqSSDpK-SfF5q25kNHmaib" +
	"oA5DXQxDeb24ULFztRIjJGmBmWQ6Pg8a8tqVNmO0M75cQBV5pQyDZK1mekFapm3CmzXc628MbQ6YfbeBnNihkbij9NlMFFUffjug12iqiNCv2E" +
	"EYPSGjsAk2UmVn0WkUQ742EKfqdp1HoBgyMsYJ-D0BjxgRIHWLuYyu7CmrFlOcN2PGbisp_RuGYy3xibgVa-MS8G0_VkQc9rvqkoDKL9kCLPOT" +
	"yQBeuZsY6wUA"

// INFO-002's token is well formed by every rule: what a device misses is its key, and with one, the same claims permit
// what they say.
func TestTokenOfINFO002(t *testing.T) {
	spec.Rules(t, "CLM-3", "CLM-9")
	key := mint.CachedKey("key-1", 2048)
	d := newDevice(t, func(c *config.Config) {
		c.Device.Names = []string{"registry.example.org"}
		c.Authorization.Servers = []string{"https://authorization-server.com"}
	}, key.JWK())
	issued := time.Unix(1612793336, 0)
	at := issued.Add(time.Minute)
	d.clock.Store(&at)
	ask := func(method, target, token string) answer {
		t.Helper()
		return d.ask(t, "decide 1\nmethod="+method+"\ntarget="+target+"\nauthorization=Bearer "+token+"\n")
	}
	const resource = "/x-nmos/registration/v1.3/resource"
	if a := ask("POST", resource, info002); a.reason() != "keys-pending" && a.reason() != "key-unknown" &&
		a.reason() != "signature" {
		t.Errorf("as it stands: got %+v, want that its key is not known", a)
	}
	segments := strings.Split(info002, ".")
	sum := sha512.Sum512([]byte(segments[0] + "." + segments[1]))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.Private, crypto.SHA512, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	ours := segments[0] + "." + segments[1] + "." + base64.RawURLEncoding.EncodeToString(signature)
	if a := ask("POST", resource, ours); a.reason() != "ok" {
		t.Errorf("the same claims under a key that is held: got %+v, want ok", a)
	}
	if a := ask("GET", "/x-nmos/node/v1.3/self", ours); a.reason() != "api-not-granted" {
		t.Errorf("another API: got %+v, want api-not-granted", a)
	}
	at = issued.Add(3 * time.Minute)
	d.clock.Store(&at)
	if a := ask("POST", resource, ours); a.reason() != "token-expired" {
		t.Errorf("3 minutes later: got %+v, want token-expired", a)
	}
}
