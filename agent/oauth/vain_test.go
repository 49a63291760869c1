package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

// A server that registers the device and then knows nothing of the client, as one that wants somebody to approve it, or
// whose store is broken, is not filled with clients: the next is registered with a back-off (CLI-36, CLI-57). The first
// time is as soon as ever, since a server may have lost its clients.
func TestRegisteredInVain(t *testing.T) {
	spec.Rules(t, "CLI-36", "CLI-44", "CLI-57")
	for name, manage := range map[string]string{
		"CLI-44/unknown": `"registration_access_token":"of-the-registration","registration_client_uri":"` + issuer + `/c"`,
		"CLI-38/ended":   `"client_secret_expires_at":946684801`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, made := true, 0
				p := begin(nil)
				p.answer = func(r *http.Request, body string) (int, http.Header, string) {
					switch {
					case r.URL.Path == "/register":
						made++
						return 201, nil, fmt.Sprintf(`{"client_id":"c%d","client_secret":"sesame-1",%s}`, made, manage)
					case strings.HasPrefix(r.URL.Path, "/c"):
						return 401, nil, ""
					case good:
						return usual(r, body)
					}
					return 401, nil, `{"error":"invalid_client"}`
				}
				p.again()
				go p.Run(t.Context())
				ask(p.Client, 5*time.Minute)
				good = false
				if ask(p.Client, 30*time.Minute); made < 2 {
					t.Errorf("%d registrations half an hour after the server lost its clients, want another", made)
				}
				if ask(p.Client, 48*time.Hour); made > 12 {
					t.Errorf("%d registrations in two days of a server that takes none of the clients", made)
				}
				before := p.flash.saves
				if ask(p.Client, 24*time.Hour); p.flash.saves > before+24 {
					t.Errorf("%d writes on the third day", p.flash.saves-before)
				}
				before = made
				p.config.Version = "2"
				p.Configure(p.config)
				ask(p.Client, 10*time.Second)
				if made != before+1 {
					t.Errorf("%d registrations after a change, want one that is tried now", made-before)
				}
				ask(p.Client, 24*time.Hour)
				good = true
				p.Retry() // as an administrator has it
				if ask(p.Client, 10*time.Minute); p.Token("registration").Err != nil {
					t.Errorf("the server takes clients again: %v", p.Token("registration").Err)
				}
				// It was well since, so the next time is a first one.
				now := made
				good = false
				if ask(p.Client, 30*time.Minute); made <= now {
					t.Error("the server lost its clients once more, and half an hour later none is registered")
				}
			})
		})
	}
}
