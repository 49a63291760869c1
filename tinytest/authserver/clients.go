package authserver

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Kind is whose habits a server has: those in which real servers differ, as seen in Keycloak 26, oidc-provider 9,
// Hydra 2.3 and BBC's.
type Kind string

// The kinds.
const (
	Exemplary    Kind = "" // as RFC 7591, 7592, 6749 and IS-10 have it
	Keycloak     Kind = "keycloak"
	OIDCProvider Kind = "oidc-provider"
	Hydra        Kind = "hydra"
	BBC          Kind = "bbc" // client_secret_basic alone, and no RFC 7592
)

// RegisteredClient is a client that has registered itself.
type RegisteredClient struct {
	ID, Name, Scope, AuthMethod, Alg, JWKSURI string
	KeyIDs                                    []string // of inline keys
	Disabled                                  bool
}

// client is one entry of the server's store.
type client struct {
	RegisteredClient
	secret      string
	secretUntil int64 // 0: always
	token       string
	jwks        *jose.JSONWebKeySet
	fetched     time.Time // when jwks came from JWKSURI
	given       bool      // by Options.Clients
	metadata    map[string]any
}

// clients is the server's store. Guarded by Server.mu.
type clients struct {
	all         map[string]*client
	jtis        map[string]bool
	violations  []string
	last        int
	registered  int
	revoked     []string
	secretUntil int64
}

// Registered returns the clients that are registered, by number of registration.
func (s *Server) Registered() []RegisteredClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []RegisteredClient
	for _, id := range slices.Sorted(maps.Keys(s.clients.all)) {
		all = append(all, s.clients.all[id].RegisteredClient)
	}
	return all
}

// Registrations is how many clients have been registered since the start, forgotten and deleted ones included.
func (s *Server) Registrations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients.registered
}

// Revoked returns the tokens that were revoked.
func (s *Server) Revoked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients.revoked)
}

// Violations returns what was wrong with the messages of clients so far, each in a sentence: rules that real servers
// need not enforce are among them.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients.violations)
}

// ForgetClients empties the store of registered clients, as a server does that lost its data base.
func (s *Server) ForgetClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.all, s.clients.jtis = nil, nil
}

// Disable has a client be refused, or accepted again.
func (s *Server) Disable(id string, disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients.all[id]; c != nil {
		c.Disabled = disabled
	}
}

// GiveClient registers a client by hand, as an administrator does, with keys or with a secret.
func (s *Server) GiveClient(id, scope, secret string, jwks []byte) error {
	c := &client{secret: secret}
	c.ID, c.Scope, c.AuthMethod = id, scope, "client_secret_basic"
	if jwks != nil {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(jwks, &set); err != nil {
			return fmt.Errorf("authserver: %w", err)
		}
		c.jwks, c.AuthMethod = &set, "private_key_jwt"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(c)
	return nil
}

// SecretsEnd has secrets that are given from now on end at that time (client_secret_expires_at); zero means never.
func (s *Server) SecretsEnd(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients.secretUntil = 0; !at.IsZero() {
		s.clients.secretUntil = at.Unix()
	}
}

// put stores a client. The lock is held.
func (s *Server) put(c *client) {
	if s.clients.all == nil {
		s.clients.all = map[string]*client{}
	}
	s.clients.all[c.ID] = c
}

// violated notes what is wrong with a request.
func (s *Server) violated(r *http.Request, format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r, format, a...)
}

// note is violated with the lock held.
func (s *Server) note(r *http.Request, format string, a ...any) {
	if len(s.clients.violations) < logLimit {
		v := r.Method + " " + r.URL.Path + ": " + fmt.Sprintf(format, a...)
		s.clients.violations = append(s.clients.violations, v)
	}
}

// clientMetadata adds what a client needs to know.
func (s *Server) clientMetadata(m map[string]any) {
	methods := []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
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
	}
	if token := bearer(r); s.opt.InitialToken != "" && token != s.opt.InitialToken {
		if s.opt.Kind == Keycloak {
			return failure(401, "invalid_token", "Failed decode token")
		}
		a := failure(401, "invalid_token", "the initial access token is missing or wrong")
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
	if c.AuthMethod != "private_key_jwt" || s.opt.Kind == Hydra {
		c.secret, c.secretUntil = rand.Text()+"~+ %:", s.clients.secretUntil
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
	return a
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
	case method != "private_key_jwt" && method != "client_secret_basic":
		return bad("token_endpoint_auth_method %q", method)
	}
	if grants := fmt.Sprint(m["grant_types"]); grants != "[client_credentials]" {
		return bad("grant_types %s, want client_credentials alone (CLI-31)", grants)
	}
	if types, isList := m["response_types"].([]any); !isList || len(types) > 0 { // CLI-32
		return bad("response_types %v, want []", m["response_types"])
	}
	if uris, isList := m["redirect_uris"].([]any); !isList || len(uris) > 0 {
		return bad("redirect_uris %v, want []", m["redirect_uris"])
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
		var why string
		if set, why = publicKeys(encode(jwks)); why != "" {
			return bad("%s", why)
		}
	}
	c.RegisteredClient = RegisteredClient{
		ID: c.ID, Name: text("client_name"), Scope: scope, AuthMethod: method,
		Alg: text("token_endpoint_auth_signing_alg"), JWKSURI: uri,
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

// manage answers requests for a client's configuration (RFC 7592).
func (s *Server) manage(r *http.Request) answer {
	id := strings.TrimPrefix(r.URL.Path, PathClient)
	s.mu.Lock()
	c := s.clients.all[id]
	allowed := c != nil && c.token != "" && bearer(r) == c.token
	s.mu.Unlock()
	if !allowed {
		switch s.opt.Kind {
		case Hydra:
			a := jsonAnswer(encode(map[string]string{"error": "The request could not be authorized"}))
			a.status = 401
			return a
		case Keycloak:
			return failure(401, "invalid_token", "Failed decode token")
		}
		a := failure(401, "invalid_token", "token or client unknown")
		a.header["WWW-Authenticate"] = `Bearer error="invalid_token"`
		return a
	}
	switch r.Method {
	case http.MethodGet:
		s.mu.Lock()
		defer s.mu.Unlock()
		return jsonAnswer(encode(s.information(c)))
	case http.MethodDelete:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients.all, id)
		return answer{status: http.StatusNoContent}
	case http.MethodPut:
		m, err := s.body(r)
		if err != nil {
			return failure(400, "invalid_client_metadata", err.Error())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if m["client_id"] != id {
			s.note(r, "client_id %v, want %s (CLI-42)", m["client_id"], id)
			return failure(400, "invalid_client_metadata", "client_id")
		}
		for _, name := range []string{
			"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
		} {
			if _, ok := m[name]; ok {
				s.note(r, "%s in an update (CLI-42)", name)
				return failure(400, "invalid_request", name+" in an update")
			}
		}
		if secret, ok := m["client_secret"]; ok && secret != c.secret {
			s.note(r, "another client_secret (CLI-42)")
			return failure(400, "invalid_client_metadata", "client_secret")
		}
		delete(m, "client_secret")
		delete(m, "client_id")
		if a, ok := s.describe(r, c, m); !ok {
			return a
		}
		if s.opt.Kind != OIDCProvider {
			c.token = rand.Text() // the old one is no longer valid
		}
		if c.secret != "" {
			c.secretUntil = s.clients.secretUntil
		}
		return jsonAnswer(encode(s.information(c)))
	}
	return textAnswer(http.StatusMethodNotAllowed, "GET, PUT or DELETE")
}

// revoke answers RFC 7009.
func (s *Server) revoke(r *http.Request) answer {
	if _, refused, ok := s.formClient(r); !ok {
		return refused
	}
	if r.PostForm.Get("token") == "" {
		s.violated(r, "no token")
		return failure(400, "invalid_request", "no token")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.revoked = append(s.clients.revoked, r.PostForm.Get("token"))
	return answer{status: http.StatusOK}
}

// formClient reads a form and authenticates the client that sent it (RFC 6749 §2.3, RFC 7523 §2.2).
func (s *Server) formClient(r *http.Request) (c *client, refused answer, ok bool) {
	bad := func(status int, code, format string, a ...any) (*client, answer, bool) {
		s.violated(r, format, a...)
		return nil, failure(status, code, fmt.Sprintf(format, a...)), false
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		kind != "application/x-www-form-urlencoded" {
		return bad(400, "invalid_request", "Content-Type %q (CLI-50)", r.Header.Get("Content-Type"))
	}
	if r.URL.RawQuery != "" {
		return bad(400, "invalid_request", "parameters in the URL (CLI-50)")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, bodyLimit)
	if err := r.ParseForm(); err != nil {
		return bad(400, "invalid_request", "no form")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return bad(400, "invalid_request", "%s is given twice", name)
		}
	}
	id, secret, basic := r.BasicAuth()
	assertion, posted := r.PostForm.Get("client_assertion"), r.PostForm.Has("client_secret")
	if basic && assertion != "" || basic && posted || posted && assertion != "" {
		return bad(400, "invalid_request", "two methods of authentication (CLI-54)")
	}
	if assertion != "" {
		return s.asserted(r, assertion)
	}
	if basic {
		var errs [2]error
		id, errs[0] = url.QueryUnescape(id)
		secret, errs[1] = url.QueryUnescape(secret)
		if errors.Join(errs[:]...) != nil {
			return bad(401, "invalid_client", "id or secret is not form-urlencoded (CLI-54)")
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if named := r.PostForm.Get("client_id"); basic && named != "" && named != id {
		return bad(401, "invalid_client", "client_id is another one (CLI-51)")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want, given := s.opt.Clients[id]; given && want == secret {
		return &client{RegisteredClient: RegisteredClient{ID: id}, given: true}, answer{}, true
	}
	c = s.clients.all[id]
	switch {
	case c != nil && c.AuthMethod == "client_secret_basic" && c.secret != secret && s.opt.Kind == Keycloak:
		return nil, failure(401, "unauthorized_client", "Invalid client or Invalid client credentials"), false
	case c == nil || c.Disabled || c.AuthMethod != "client_secret_basic" || c.secret != secret || !basic,
		c.secretUntil != 0 && c.secretUntil <= time.Now().Unix():
		a := failure(401, "invalid_client", "client authentication failed")
		if s.opt.Kind != Keycloak {
			a.header["WWW-Authenticate"] = `Basic realm="authserver"`
		}
		return nil, a, false
	}
	return c, answer{}, true
}

// asserted authenticates a client by its assertion (RFC 7523 §3).
func (s *Server) asserted(r *http.Request, assertion string) (c *client, refused answer, ok bool) {
	status := http.StatusUnauthorized
	if s.opt.Kind == Keycloak {
		status = http.StatusBadRequest
	}
	refuse := func(description string) (*client, answer, bool) {
		return nil, failure(status, "invalid_client", description), false
	}
	bad := func(format string, a ...any) (*client, answer, bool) {
		s.violated(r, format, a...)
		return refuse(fmt.Sprintf(format, a...))
	}
	if r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return bad("client_assertion_type %q (CLI-51)", r.PostForm.Get("client_assertion_type"))
	}
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return bad("the assertion: %v (CLI-52)", err)
	}
	head := jws.Signatures[0].Protected
	if head.KeyID == "" || head.ExtraHeaders["typ"] != "JWT" {
		return bad("kid %q, typ %v in the assertion (CLI-52)", head.KeyID, head.ExtraHeaders["typ"])
	}
	var claims struct {
		Iss, Sub, Jti string
		Aud           any
		Exp, Iat      int64
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return bad("the assertion's claims: %v", err)
	}
	if named := r.PostForm.Get("client_id"); named != "" && named != claims.Sub {
		return bad("client_id and sub differ (CLI-51)")
	}
	if claims.Iss != claims.Sub || claims.Sub == "" {
		return bad("iss %q, sub %q (CLI-52)", claims.Iss, claims.Sub)
	}
	if claims.Aud != s.URL()+PathToken {
		return bad("aud %v, want %s (CLI-52)", claims.Aud, s.URL()+PathToken)
	}
	now := time.Now().Add(s.opt.Clock).Unix()
	switch {
	case claims.Exp <= now || claims.Iat > now+10:
		return bad("Token is not active: iat %d, exp %d, now %d (CLI-53)", claims.Iat, claims.Exp, now)
	case claims.Exp-claims.Iat > 60:
		s.violated(r, "an assertion lives %d s (CLI-53)", claims.Exp-claims.Iat)
	case claims.Iat == 0:
		s.violated(r, "no iat in the assertion (CLI-53)")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case claims.Jti == "":
		s.note(r, "no jti (CLI-52)")
		return refuse("no jti")
	case s.clients.jtis[claims.Jti]:
		s.note(r, "jti again (CLI-52)")
		if s.opt.Kind == Hydra {
			return nil, failure(400, "jti_known", "the jti was used before"), false
		}
		return refuse("Token reuse detected")
	}
	if s.clients.jtis == nil {
		s.clients.jtis = map[string]bool{}
	}
	s.clients.jtis[claims.Jti] = true
	if c = s.clients.all[claims.Sub]; c == nil || c.Disabled || c.AuthMethod != "private_key_jwt" {
		return refuse("client authentication failed")
	}
	if c.Alg != "" && c.Alg != head.Algorithm {
		s.note(r, "alg %s, registered %s", head.Algorithm, c.Alg)
		return refuse("alg mismatch")
	}
	if why := s.readKeys(c, head.KeyID); why != "" {
		return refuse(why)
	}
	for _, k := range c.jwks.Key(head.KeyID) {
		if _, err := jws.Verify(k); err == nil && k.Algorithm == head.Algorithm {
			return c, answer{}, true
		}
	}
	return refuse("Unable to load public key")
}

// keyRest is how long the server goes by a key set before it asks again, as Keycloak does.
const keyRest = 10 * time.Second

// readKeys sees to it that the client's keys are there, or says why not. The lock is held.
func (s *Server) readKeys(c *client, kid string) (why string) {
	if c.JWKSURI == "" {
		return ""
	}
	if c.jwks != nil && (len(c.jwks.Key(kid)) > 0 || time.Since(c.fetched) < keyRest) {
		return ""
	}
	if s.opt.FetchKeys == nil {
		if s.opt.Kind == Keycloak {
			return "Unexpected error when loading public keys: Connection refused"
		}
		return "client authentication failed"
	}
	document, err := s.opt.FetchKeys(c.JWKSURI)
	if err != nil {
		return "client authentication failed"
	}
	if c.jwks, why = publicKeys(document); why != "" {
		c.jwks = nil
		return why
	}
	c.fetched = time.Now()
	return ""
}

// grant answers a token request by the fault that is set.
func (s *Server) grant(r *http.Request, a map[string]any, fault Fault) answer {
	switch fault {
	case TokenOtherScope:
		a["scope"] = "x-other"
	case TokenNoScope:
		delete(a, "scope")
	case TokenNoExpiry:
		delete(a, "expires_in")
	case TokenExpiryZero:
		a["expires_in"] = 0
	case TokenExpiryText:
		a["expires_in"] = fmt.Sprint(a["expires_in"])
	case TokenExpiryHuge:
		a["expires_in"] = int64(1e18)
	case TokenMAC:
		a["token_type"] = "mac"
	case TokenLowerCase:
		a["token_type"] = "bearer"
	case TokenOpaque:
		a["access_token"] = "opaque-" + rand.Text()
	case TokenRefresh:
		a["refresh_token"] = "refresh-" + rand.Text()
	case TokenMissing:
		delete(a, "access_token")
	case TokenControl:
		a["access_token"] = "a\r\nX-Injected: 1"
	case InvalidClient:
		return failure(401, "invalid_client", "Invalid client or Invalid client credentials")
	case InvalidScope:
		return failure(400, "invalid_scope", "Invalid scopes: "+r.PostForm.Get("scope"))
	case TooMany:
		t := failure(429, "too_many_requests", "slow down")
		t.header["Retry-After"] = strconv.Itoa(TooManyRest)
		return t
	case ErrorNotJSON:
		return textAnswer(http.StatusBadRequest, "bad request")
	case ErrorWithSecrets:
		return failure(400, "invalid_request", "not understood: "+r.PostForm.Encode()+" "+r.Header.Get("Authorization"))
	}
	t := jsonAnswer(encode(a))
	t.header["Cache-Control"] = "no-store" // RFC 6749 §5.1
	return t
}

// TooManyRest is the Retry-After of the fault too-many, in seconds.
const TooManyRest = 120
