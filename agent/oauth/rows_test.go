package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/spec"
)

// registering is a device that is answered so when it registers; it has made one try.
func registering(t *testing.T, status int, text string) (*play, time.Duration) {
	t.Helper()
	p := begin(nil)
	p.answer = func(r *http.Request, body string) (int, http.Header, string) {
		if r.URL.Path == "/register" {
			return status, nil, text
		}
		return usual(r, body)
	}
	p.Token("registration")
	return p, p.Step(t.Context())
}

// What the server registered other than asked is reported, each by its name.
func TestRegisteredOtherwise(t *testing.T) {
	spec.Rules(t, "CLI-34")
	for name, c := range map[string]struct{ member, want string }{
		"CLI-34/grants":      {`"grant_types":["authorization_code"]`, "asked: grant_types lacks client_credentials"},
		"CLI-34/none":        {`"grant_types":[]`, "other than asked: grant_types lacks client_credentials"},
		"CLI-34/scope":       {`"scope":"events"`, "other than asked: scope events"},
		"CLI-34/grants-null": {`"grant_types":null,"scope":null,"token_endpoint_auth_method":null`, ""},
		"CLI-34/more":        {`"grant_types":["refresh_token","client_credentials"]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := registering(t, 201, `{"client_id":"c","client_secret":"sesame-1",`+c.member+`}`)
			said := p.said()
			if !strings.Contains(said, "registered as") || !strings.Contains(said, c.want) ||
				c.want == "" && strings.Contains(said, "other than asked") {
				t.Errorf("got %s, want %q", said, c.want)
			}
		})
	}
}

// A registration that failed for the server's reasons is tried again soon, one that was refused not before an hour.
func TestRegisteredAgain(t *testing.T) {
	spec.Rules(t, "CLI-35")
	for status, soon := range map[int]bool{
		500: true, 502: true, 503: true, 429: true, 408: true, 400: false, 401: false, 403: false, 405: false,
	} {
		p, wait := registering(t, status, `{"error":"invalid_request"}`)
		if again := wait < 10*time.Minute; again != soon || !soon && wait < time.Hour || p.Status().Err == nil {
			t.Errorf("%d: again in %v, %v", status, wait, p.Status().Err)
		}
	}
}

// A registration is managed by https alone (CLI-21): it goes with the registration token.
func TestManagedByHTTPS(t *testing.T) {
	spec.Rules(t, "CLI-21", "CLI-40")
	for uri, manageable := range map[string]bool{
		issuer + "/c": true, "http://auth.example.com/c": false, "ftp://auth.example.com/c": false, "/c": false,
		"https://user:secret@auth.example.com/c": false, issuer + "/c#part": false,
	} {
		p, _ := registering(t, 201, fmt.Sprintf(`{"client_id":"c","client_secret":"sesame-1",`+
			`"registration_access_token":"of-the-registration","registration_client_uri":%q}`, uri))
		s := p.Status()
		if len(s.Clients) != 1 || s.Clients[0].ClientID != "c" || s.Clients[0].Manageable != manageable {
			t.Errorf("%s: got %+v, want manageable %v", uri, s.Clients, manageable)
		}
	}
}

// What software it is goes to the server if the device says so, and else nothing of it.
func TestSoftware(t *testing.T) {
	spec.Rules(t, "CLI-37")
	for _, id := range []string{"", "d4f4b2ae-0000-4000-8000-000000000001"} {
		p := begin(usual)
		p.config.SoftwareID, p.config.Version = id, strings.Repeat("2.1", min(1, len(id)))
		p.again()
		p.Step(t.Context())
		want := fmt.Sprintf(`"software_id":%q,"software_version":"2.1"`, id)
		body := p.seen[0]
		if id != "" && !strings.Contains(body, want) || id == "" && strings.Contains(body, "software") {
			t.Errorf("with the software id %q: got %s", id, body)
		}
	}
}

// Keycloak asks for keys no sooner than ten seconds after the last time: a new key is not used before.
func TestSettledKey(t *testing.T) {
	spec.Rules(t, "CLI-68")
	if oauth.KeySettled <= 10*time.Second || oauth.KeySettled > time.Minute || oauth.KeyRetired != time.Hour {
		t.Errorf("a new key is used after %v, and the old one goes after %v", oauth.KeySettled, oauth.KeyRetired)
	}
}
