package oauth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"nmosauthd/agent/discovery"
)

// chooseAuth returns the authentication method and the algorithm of its assertions (CLI-22, CLI-23). RS256 goes before
// ES256 for a new key, since every server takes it; held is the algorithm of the key that is there already.
func chooseAuth(m *discovery.Metadata, config *Config, held string) (method, alg string, err error) {
	offered := m.TokenAuthMethods
	if offered == nil {
		offered = []string{SecretBasic}
	}
	algs := m.TokenAuthSigningAlgs
	if algs == nil {
		algs = []string{algRSA} // Hydra does not say, and takes it
	}
	for _, a := range []string{held, algRSA, algEC} {
		if a != "" && alg == "" && slices.Contains(algs, a) {
			alg = a
		}
	}
	usable := func(method string) bool {
		return slices.Contains(offered, method) && (method != PrivateKeyJWT || alg != "")
	}
	switch want := config.AuthMethod; {
	case config.Given.ID != "" && config.Given.Secret != "":
		return SecretBasic, "", nil
	case config.Given.ID != "":
		want = PrivateKeyJWT
		fallthrough
	case want != "":
		if want == PrivateKeyJWT && alg == "" {
			return "", "", fmt.Errorf("%s is configured, and the server takes none of RS256 and ES256 for it: it "+
				"offers %s",
				want, quoteList(algs))
		}
		if want != PrivateKeyJWT {
			alg = ""
		}
		return want, alg, nil
	case usable(PrivateKeyJWT):
		return PrivateKeyJWT, alg, nil
	case usable(SecretBasic):
		return SecretBasic, "", nil
	}
	return "", "", fmt.Errorf("the server offers no way to authenticate that this device has (private_key_jwt with "+
		"RS256 or ES256, client_secret_basic): it offers %s with %s", quoteList(offered), quoteList(algs))
}

// quoteList writes names that a server sent.
func quoteList(names []string) string {
	const most = 8
	more := ""
	if len(names) > most {
		names, more = names[:most], ", …"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%+.40q", n)
	}
	if len(quoted) == 0 {
		return "nothing"
	}
	return strings.Join(quoted, ", ") + more
}

// authenticate adds the client's authentication to a form (CLI-51, CLI-54): one method, never both.
func (c *Client) authenticate(config *Config, audience string, e *entry, key *deviceKey, r *request) error {
	if key == nil {
		secret := e.Secret
		if e.Given {
			secret = config.Given.Secret
			if config.Given.ID != e.ClientID { // it is no longer configured, and to be forgotten
				c.mu.Lock()
				secret = c.given.Secret
				if c.given.ID != e.ClientID {
					secret = ""
				}
				c.mu.Unlock()
			}
			if secret == "" {
				return errors.New("the secret of this client is no longer configured")
			}
		}
		r.authorization = basic(e.ClientID, secret)
		r.secrets = []string{secret, url.QueryEscape(secret), strings.TrimPrefix(r.authorization, "Basic ")}
		return nil
	}
	now, trusted := c.o.Clock()
	if !trusted {
		return errClock
	}
	assertion, err := key.assertion(e.ClientID, audience, now)
	if err != nil {
		return err
	}
	r.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	r.form.Set("client_assertion", assertion)
	r.form.Set("client_id", e.ClientID)
	r.secrets = []string{assertion}
	return nil
}

// secretEnds returns when the secret's time is over (CLI-38), 0 if never, or if it is not what the client shows: a
// server may give one to a client that signs, too.
func (e *entry) secretEnds() int64 {
	if e.Method == PrivateKeyJWT {
		return 0
	}
	return e.Expires
}

// ended reports whether the secret's time is over. By itself that decides nothing: the clock may have been set to
// anything.
func (c *Client) ended(e *entry) bool {
	now, trusted := c.o.Clock()
	return e.secretEnds() != 0 && trusted && now.Unix() >= e.Expires
}
