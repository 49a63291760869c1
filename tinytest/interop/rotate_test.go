package interop_test

import (
	"fmt"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// The device's key is replaced without a gap at both servers, which get the new one by an update of the registration.
func TestClientKeyIsReplaced(t *testing.T) {
	spec.Rules(t, "CLI-68")
	needFetched(t)
	t.Parallel()
	for name, issuer := range map[string]func(t *testing.T) string{
		"Keycloak":      func(t *testing.T) string { return devices(t).issuer() },
		"oidc-provider": func(t *testing.T) string { return newProvider(t).issuer() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, more := issuer(t), "auth_method = \"private_key_jwt\"\n"
			d := newDevice(t, clientConfig(issuer, registration, more))
			if name == "oidc-provider" {
				more += fmt.Sprintf("initial_access_token_file = %q\n", d.secret("initial", initialToken))
				d.reload(clientConfig(issuer, registration, more))
			}
			d.register()
			d.own("registration", "")
			after := len(d.Log())
			if said, ok := d.command("client", "rotate"); !ok {
				t.Fatalf("client rotate: %s", said)
			}
			eventually(t, "the new key to sign", func() bool {
				// so that tokens are asked for all the time
				d.another("registration", d.own("registration", "").TokenID)
				return strings.Contains(d.Log()[after:], "the new key signs")
			})
			if log := d.Log()[after:]; strings.Contains(log, `"as an OAuth client"`) {
				t.Errorf("got an error while the key was replaced:\n%s", log)
			}
		})
	}
}
