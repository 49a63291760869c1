package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"

	// refuses member names given twice or in another case, as encoding/json does not
	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/keys"
)

const (
	// wellKnown is the place of metadata, between the host and the path of an issuer (RFC 8414 §3.1).
	wellKnown = "/.well-known/oauth-authorization-server"
	// wellKnownOpenID is the place in OpenID Connect, after the path (OpenID Connect Discovery 1.0 §4).
	wellKnownOpenID = "/.well-known/openid-configuration"
)

// metadata holds the members of RFC 8414 §2 that the daemon needs.
type metadata struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
}

// parseIssuer reads an issuer URL: https without query or fragment (RFC 8414 §2).
func (c *Client) parseIssuer(issuer string) (*url.URL, error) {
	u, err := parseURL(issuer)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "https" && !c.options.AllowHTTP:
		return nil, errors.New("not https")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		return nil, errors.New("an issuer has no query or fragment")
	}
	return u, nil
}

// parseURL reads an absolute http or https URL without a user.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil: // its text repeats the URL, which may hold a secret
		return nil, errors.New("not a URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("not an https URL")
	case u.User != nil:
		return nil, errors.New("a user name is not allowed")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '%' }):
		// RFC 3986 §3.2.2; what is more, a request is written with it, and no certificate is for an address with a
		// zone.
		return nil, errors.New("the host is not plain ASCII; other scripts are written as xn--…")
	}
	return u, nil
}

// metadataURL inserts the well-known part between host and path, less the path's last slash (RFC 8414 §3.1, DIS-4).
func metadataURL(issuer *url.URL) *url.URL {
	u := &url.URL{Scheme: issuer.Scheme, Host: issuer.Host}
	u.Path = wellKnown + strings.TrimSuffix(issuer.Path, "/")
	u.RawPath = wellKnown + strings.TrimSuffix(issuer.EscapedPath(), "/")
	return u
}

// metadataPlaces returns the places of an issuer's metadata in the order in which to try them (KEY-8): first the one
// given, then those that Keycloak before 26.4 uses, after the path.
func metadataPlaces(first, issuer *url.URL) []*url.URL {
	places := []*url.URL{first}
	for _, known := range []string{wellKnown, wellKnownOpenID} {
		u := &url.URL{Scheme: first.Scheme, Host: first.Host}
		u.Path = strings.TrimSuffix(issuer.Path, "/") + known
		u.RawPath = strings.TrimSuffix(issuer.EscapedPath(), "/") + known
		if u.String() != first.String() {
			places = append(places, u)
		}
	}
	return places
}

// parseMetadata reads metadata of an issuer.
func parseMetadata(body []byte, from source) (metadata, error) {
	var m metadata
	if err := parseJSON(body, &m); err != nil {
		return m, err
	}
	switch {
	case m.Issuer == "":
		return m, errors.New("the document names no issuer")
	case !from.speaksFor(m.Issuer): // RFC 8414 §3.3, KEY-8
		return m, errors.New("the document names another issuer, " + shown(m.Issuer) + from.advice(m.Issuer))
	}
	return m, nil
}

// advice says what to do about a server that names another issuer of its own scheme, host and port: it has several,
// like Keycloak with its realms, and must be asked for the right one.
func (s *source) advice(named string) string {
	u, err := parseURL(named)
	if err != nil || keys.Origin(named) == "" || keys.Origin(named) != keys.Origin(s.issuer.String()) {
		return ""
	}
	selector := strings.Trim(u.EscapedPath(), "/")
	switch {
	case s.found && plausibleSelector(selector):
		return "; announce it with api_selector=" + selector
	case plausibleSelector(selector):
		return "; name that one in [authorization] servers, or announce it with api_selector=" + selector
	}
	return ""
}

// keysURL returns where metadata says the keys are.
func (m *metadata) keysURL(from source) (*url.URL, error) {
	if m.JWKSURI == "" {
		return nil, errors.New("the document names no jwks_uri")
	}
	at, err := parseURL(m.JWKSURI)
	// An http issuer was allowed for development; an https one must not lead there all the same (KEY-8).
	if err == nil && at.Scheme != "https" && from.issuer.Scheme == "https" {
		err = errors.New("not https")
	}
	if err != nil {
		return nil, wrap("jwks_uri "+shown(m.JWKSURI), err)
	}
	at.Fragment, at.RawFragment = "", ""
	return at, nil
}

// parseJSON reads a document, and if it is not JSON says what it is.
func parseJSON(body []byte, into any) error {
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // a byte order mark (RFC 8259 §8.1 lets a parser ignore it)
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return errors.New("an empty document")
	case trimmed[0] == '<':
		return errPage
	}
	err := json.Unmarshal(body, into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d of %d: %w", syntax.Offset, len(body), err)
	case errors.As(err, &kind):
		what, _, _ := strings.Cut(kind.Value, " ") // the value may follow
		return fmt.Errorf("unexpected JSON %s at byte %d of %d", what, kind.Offset, len(body))
	case strings.Contains(err.Error(), "duplicate key"): // the name follows
		return errors.New("not JSON that all read alike: it gives one member name twice")
	default:
		return errors.New("unexpected JSON")
	}
}

// plain writes a URL for a message: without user, query and fragment.
//
//go:noinline // for flash
func plain(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// shown quotes a received URL for a message: without user, query and fragment, in ASCII and of bounded
// length.
func shown(s string) string {
	const most = 200
	more := ""
	if u, err := url.Parse(s); err == nil {
		s = plain(u)
		if u.Opaque != "" {
			s, more = u.Scheme+":", "…"
		}
	} else {
		s, _, _ = strings.Cut(s, "?")
	}
	if len(s) > most {
		s, more = s[:most], "…"
	}
	return fmt.Sprintf("%+q%s", s, more)
}
