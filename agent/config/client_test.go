package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// A client that was made by hand.
func TestConfigGivenClient(t *testing.T) {
	got, err := Parse("x.toml", []byte("[client]\nscopes = [\"events\"]\nissuer = \"https://a.example\"\nclient_id = "+
		"\"node 1\"\nclient_secret_file = \"/etc/nmos-authd/secret\"\nauth_method = \"client_secret_basic\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Client
	want.Scopes, want.Issuer, want.ClientID = []string{"events"}, "https://a.example", "node 1"
	want.ClientSecretFile, want.AuthMethod = "/etc/nmos-authd/secret", ClientAuthSecret
	if !reflect.DeepEqual(got.Client, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got.Client, want)
	}
}

// What of [client] contradicts itself is refused, with its line.
func TestConfigClientMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`client_secret_file = "/s"`, `:3: [client] client_secret_file is the secret of a client that was made by hand, and client_id is missing`},
		{`client_id = "x"` + "\n" + `issuer = "https://a"` + "\n" + `initial_access_token_file = "/s"`,
			`:5: [client] initial_access_token_file is for registering, and with client_id nothing is registered`},
		{`client_id = "x"`, `:3: [client] client_id is known to one server only: name that one in issuer`},
		{`client_id = "x"` + "\n" + `issuer = "https://a"` + "\n" + `auth_method = "client_secret_basic"`,
			`:5: [client] auth_method is "client_secret_basic", which needs client_secret_file`},
		{`client_id = "x"` + "\n" + `issuer = "https://a"` + "\n" + `client_secret_file = "/s"` + "\n" +
			`auth_method = "private_key_jwt"`,
			`:6: [client] auth_method is "private_key_jwt", which needs no client_secret_file`},
		{`client_id = "x"` + "\n" + `issuer = "https://a"` + "\n" + `keys = "jwks"`,
			`:5: [client] keys has no effect with client_id: how the server gets that client's keys is set at the server`},
		{`keys = "jwks_uri"`, `:3: [client] keys is "jwks_uri", which needs the key jwks_uri`},
		{`keys = "jwks"` + "\n" + `jwks_uri = "https://a/b"`,
			`:3: [client] keys is "jwks", by which jwks_uri has no effect`},
		{`jwks_uri = "https://a/b"` + "\n" + `auth_method = "client_secret_basic"`,
			`:3: [client] jwks_uri is for keys, and the client authenticates by a secret`},
		{`keys = "jwks"` + "\n" + `auth_method = "client_secret_basic"`,
			`:3: [client] keys is for keys, and the client authenticates by a secret`},
		{`jwks_uri = "http://a/b"`, `:3: [client] jwks_uri: "http://a/b" must be https; http needs allow_http = true, for development only`},
		{`jwks_uri = "https://u:p@a/b?token"`, `:3: [client] jwks_uri: "https://…@a/b?…" holds a user name; remove it`},
		{`jwks_uri = "https://a/b#c"`, `:3: [client] jwks_uri: "https://a/b#…" holds a fragment; an issuer has none`},
		{`issuer = "https://*.a"`, `:3: [client] issuer: "https://*.a" holds a *; patterns belong in trusted_issuers`},
		{`software_id = "4"`, `:3: [client] software_id: "4" is not a UUID`},
		{`client_id = "ä"`, `:3: [client] client_id: "ä" is not a client identifier: at most 256 printable characters of ASCII`},
		{`auth_method = "private_key"`, `:3: [client] auth_method: "private_key" must be one of auto, private_key_jwt, client_secret_basic`},
		{`scopes = ["a b"]`, `:3: [client] scopes: "a b" is not a scope: 1 to 64 printable characters of ASCII without blank, quote and backslash`},
		{`allow_uids = ["nmos"]`, `:3: [client] allow_uids: each entry must be a user number, not a string`},
		{`secret = "x"`, `:3: unknown key "secret" in [client]`},
	} {
		_, err := Parse("x.toml", []byte("\n[client]\n"+c.text+"\n"))
		if got := fmt.Sprint(err); got != "x.toml"+c.want {
			t.Errorf("%q:\n got %s\nwant x.toml%s", c.text, got, c.want)
		}
	}
}

// What of [client] is allowed and rarely meant is said (CLI-10).
func TestClientWarnings(t *testing.T) {
	spec.Rules(t, "CLI-10")
	const all = "[client]\nscopes = [\"events\"]\nallow_uids = [1]\n"
	for _, c := range []struct {
		text string
		want []string
	}{
		{all, nil},
		{strings.Replace(all, "events", "connection", 1),
			[]string{"[client] scopes: without a user, a device gets tokens for"}},
		{"[client]\nscopes = [\"registration\"]", []string{"[client] allow_uids and group are empty"}},
		{all + "[state]\ndir = \"\"", []string{"[client] scopes: [state] dir is empty"}},
		{all + "client_id = \"x\"\nissuer = \"https://a\"\n[state]\ndir = \"\"", nil},
		{all + "initial_access_token_file = \"/x\"",
			[]string{"[client] initial_access_token_file: the token is sent to whichever"}},
		{all + "initial_access_token_file = \"/x\"\nissuer = \"https://a\"", nil},
		{"[client]\njwks_uri = \"https://a\"", []string{"[client] jwks_uri has no effect"}},
	} {
		cfg, err := Parse("x.toml", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got := cfg.Warnings()
		if len(got) != len(c.want) || len(got) > 0 && !strings.HasPrefix(got[0], c.want[0]) {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}
