package authserver

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// clientMetadata adds what a client needs to know.
func (s *Server) clientMetadata(m map[string]any) {
	methods := []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}
	switch s.opt.Kind {
	case BBC:
		methods = methods[:1]
	case Hydra:
		// It says nothing of algorithms.
	default:
		algs := s.opt.Algs
		if algs == nil {
			algs = []string{"RS256", "ES256"}
		}
		m["token_endpoint_auth_signing_alg_values_supported"] = algs
	}
	m["token_endpoint_auth_methods_supported"] = methods
}

// bearer returns the bearer token of a request.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// failure is an error of RFC 6749 §5.2 or RFC 7591 §3.2.2 with its description.
func failure(status int, code, description string) answer {
	a := jsonAnswer(encode(map[string]string{"error": code, "error_description": description}))
	a.status = status
	return a
}

// policy is how Keycloak refuses a registration.
func policy(name, details string) answer {
	return failure(403, "insufficient_scope",
		"Policy '"+name+"' rejected request to client-registration service. Details: "+details)
}

// body reads a JSON request.
func (s *Server) body(r *http.Request) (map[string]any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		s.violated(r, "Content-Type %q, want application/json", r.Header.Get("Content-Type"))
		return nil, errors.New("Content-Type must be application/json")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, bodyLimit)
	var m map[string]any
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil || m == nil {
		s.violated(r, "the body is not a JSON object: %v", err)
		return nil, errors.New("the body is not a JSON object")
	}
	return m, nil
}

// register answers a registration (RFC 7591 §3).
func (s *Server) register(r *http.Request, fault Fault) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	switch fault {
	case HostNotTrusted:
		return policy("Trusted Hosts", "Host not trusted.")
	case MaxClients:
		return policy("Max Clients Limit", "It's allowed to have max 200 clients per realm")
	case ScopesNotAllowed:
		return policy("Allowed Client Scopes", "Not permitted to use specified clientScope")
	case InitialUsedUp:
		return failure(401, "invalid_token", "No remaining count on initial access token")
	}
	if token := bearer(r); s.opt.InitialToken != "" && token != s.opt.InitialToken {
		if s.opt.Kind == Keycloak {
			return failure(401, "invalid_token", "Failed decode token")
		}
		why := "the initial access token is missing or wrong"
		if s.opt.Kind == OIDCProvider && token == "" {
			why = "no access token provided"
		}
		a := failure(401, "invalid_token", why)
		a.header["WWW-Authenticate"] = `Bearer error="invalid_token"`
		return a
	}
	m, err := s.body(r)
	if err != nil {
		return failure(400, "invalid_client_metadata", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{"client_id", "client_secret", "registration_access_token"} {
		if _, ok := m[name]; ok {
			s.note(r, "a registration holds %s", name)
		}
	}
	if fault == RegisterNoKeys && m["jwks_uri"] != nil {
		return failure(400, "invalid_client_metadata", "jwks_uri cannot be fetched")
	}
	c := &client{}
	if a, ok := s.describe(r, c, m); !ok {
		return a
	}
	s.clients.last++
	s.clients.registered++
	c.ID = fmt.Sprintf("client-%04d", s.clients.last)
	if c.AuthMethod == "client_secret_basic" || s.opt.Kind == Hydra {
		c.secret, c.secretUntil = s.newSecret(), s.clients.secretUntil
	}
	if s.opt.Kind != BBC {
		c.token = rand.Text()
	}
	s.put(c)
	out := s.information(c)
	if fault == RegisterNoID {
		delete(out, "client_id")
	}
	a := jsonAnswer(encode(out))
	a.status = http.StatusCreated
	if s.opt.Kind != Keycloak {
		a.header["Cache-Control"] = "no-store" // RFC 7591 §3.2.1
	}
	return a
}

// newSecret returns a secret, as long as the kind of server makes them, with characters that must be escaped.
func (s *Server) newSecret() string {
	secret := rand.Text()[:20] + "~+ %:"
	if s.opt.Kind == Keycloak || s.opt.Kind == OIDCProvider {
		return secret + rand.Text() + rand.Text() + rand.Text()[:9]
	}
	return secret + "." // Hydra's has 26 characters
}

// describe takes over the metadata of a client, or refuses them. The lock is held.
func (s *Server) describe(r *http.Request, c *client, m map[string]any) (refused answer, ok bool) {
	bad := func(format string, a ...any) (answer, bool) {
		s.note(r, format, a...)
		return failure(400, "invalid_client_metadata", fmt.Sprintf(format, a...)), false
	}
	text := func(name string) string { v, _ := m[name].(string); return v }
	if text("client_name") == "" {
		return bad("no client_name (CLI-31)")
	}
	method := text("token_endpoint_auth_method")
	switch {
	case method == "":
		return bad("no token_endpoint_auth_method (CLI-31)")
	case method == "private_key_jwt" && s.opt.Kind == BBC:
		return bad("Invalid claim \"token_endpoint_auth_method\"")
	}
	grants, redirects, why := usesOf(m)
	if why != "" {
		return bad("%s", why)
	}
	switch person := slices.Contains(grants, codeGrant); {
	case method == "none" && person && !slices.Contains(grants, credentialsGrant): // RFC 8252 §8.4: a public client
	case method != "private_key_jwt" && method != "client_secret_basic":
		return bad("token_endpoint_auth_method %q", method)
	}
	scope := text("scope")
	if scope == "" {
		return bad("no scope (CLI-31)")
	}
	for _, name := range strings.Fields(scope) {
		if !slices.Contains(s.scopes(), name) {
			if s.opt.Kind == Keycloak {
				return policy("Allowed Client Scopes", "Not permitted to use specified clientScope"), false
			}
			return failure(400, "invalid_client_metadata", "scope "+name+" is not supported"), false
		}
	}
	jwks, uri := m["jwks"], text("jwks_uri")
	var set *jose.JSONWebKeySet
	switch {
	case jwks != nil && uri != "":
		return bad("jwks and jwks_uri (CLI-33)")
	case method == "private_key_jwt" && jwks == nil && uri == "":
		return bad("private_key_jwt without keys (CLI-33)")
	case jwks != nil:
		if set, why = publicKeys(encode(jwks)); why != "" {
			return bad("%s", why)
		}
	}
	c.RegisteredClient = RegisteredClient{
		ID: c.ID, Name: text("client_name"), Scope: scope, AuthMethod: method,
		Alg: text("token_endpoint_auth_signing_alg"), JWKSURI: uri, Grants: grants, Redirects: redirects,
	}
	c.jwks, c.fetched = set, time.Time{}
	if set != nil {
		for _, k := range set.Keys {
			c.KeyIDs = append(c.KeyIDs, k.KeyID)
		}
	}
	c.metadata = m
	return answer{}, true
}

// The grants of RFC 6749.
const (
	credentialsGrant = "client_credentials"
	codeGrant        = "authorization_code"
	refreshGrant     = "refresh_token"
)

var allGrants = []string{codeGrant, credentialsGrant, refreshGrant}

// usesOf reads for which grants a client is, and where people's browsers may be sent back to; or says why grant_types,
// response_types and redirect_uris do not agree (RFC 7591 §2.1).
func usesOf(m map[string]any) (grants, redirects []string, why string) {
	grants, ok := texts(m["grant_types"])
	person := slices.Contains(grants, codeGrant)
	switch {
	case !ok || len(grants) == 0:
		return nil, nil, fmt.Sprintf("grant_types %v, want a list (CLI-31)", m["grant_types"])
	case !person && (len(grants) > 1 || grants[0] != credentialsGrant):
		return nil, nil, fmt.Sprintf("grant_types %v, want client_credentials alone (CLI-31)", grants)
	case !within(strings.Join(grants, " "), strings.Join(allGrants, " ")):
		return nil, nil, fmt.Sprintf("grant_types %v are not all supported", grants)
	}
	types, ok := texts(m["response_types"])
	if want := map[bool]string{false: "[]", true: "[code]"}[person]; !ok || fmt.Sprint(types) != want { // CLI-32
		return nil, nil, fmt.Sprintf("response_types %v, want %s", m["response_types"], want)
	}
	redirects, ok = texts(m["redirect_uris"])
	if !ok || person != (len(redirects) > 0) {
		return nil, nil, fmt.Sprintf("redirect_uris %v, want some for %s and [] without", m["redirect_uris"], codeGrant)
	}
	for _, uri := range redirects {
		u, err := url.Parse(uri)
		switch {
		case err != nil || u.Host == "" || strings.Contains(uri, "#") || u.User != nil: // RFC 6749 §3.1.2
			return nil, nil, fmt.Sprintf("redirect_uri %q", uri)
		case u.Scheme == "https":
		case u.Scheme == "http" && net.ParseIP(u.Hostname()).IsLoopback(): // RFC 8252 §7.3
		default:
			return nil, nil, fmt.Sprintf("redirect_uri %q is neither https nor on the loopback interface", uri)
		}
	}
	return grants, redirects, ""
}

// texts reads a list of strings.
func texts(v any) (list []string, ok bool) {
	values, ok := v.([]any)
	for _, value := range values {
		text, isText := value.(string)
		list, ok = append(list, text), ok && isText
	}
	return list, ok
}

// publicKeys reads a client's key set (CLI-65), or says what is wrong with it.
func publicKeys(document []byte) (*jose.JSONWebKeySet, string) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(document, &set); err != nil || len(set.Keys) == 0 {
		return nil, "no key set"
	}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			return nil, "a private key in the key set (CLI-65)"
		}
		if k.KeyID == "" || k.Use != "sig" || k.Algorithm == "" {
			return nil, "a key without kid, use or alg (CLI-65)"
		}
	}
	return &set, ""
}

// scopes are what a client may have.
func (s *Server) scopes() []string {
	if s.opt.Scopes != nil {
		return s.opt.Scopes
	}
	return []string{"connection", "events", "node", "query", "registration"}
}

// information is what a client is told of itself (RFC 7591 §3.2.1), in the manner of the kind. The lock is held.
func (s *Server) information(c *client) map[string]any {
	s.keepSecret(c.secret, c.token)
	m := maps.Clone(c.metadata)
	m["client_id"] = c.ID
	if c.secret != "" {
		m["client_secret"], m["client_secret_expires_at"] = c.secret, c.secretUntil
	}
	m["client_id_issued_at"] = time.Now().Unix()
	switch s.opt.Kind {
	case Hydra:
		delete(m, "client_id_issued_at")
		m["redirect_uris"], m["contacts"] = nil, nil
		if c.JWKSURI != "" {
			m["jwks"] = map[string]any{}
		}
	case Keycloak:
		m["consentRequired"] = true
	}
	if c.token != "" {
		m["registration_access_token"] = c.token
		m["registration_client_uri"] = s.URL() + PathClient + c.ID
	}
	return m
}
