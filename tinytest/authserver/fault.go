package authserver

import (
	"fmt"
	"slices"

	"nmosauthd/tinytest/misbehave"
)

// Fault names one way to misbehave.
type Fault string

// Faults of any path.
const (
	Hang           Fault = "hang"            // no answer until the client gives up or the server closes
	Half           Fault = "half"            // Content-Length promises more than comes
	HTML           Fault = "html"            // 200 with a page for people
	NotFound       Fault = "not-found"       // 404
	ServerError    Fault = "server-error"    // 500
	Unavailable    Fault = "unavailable"     // 503 with Retry-After: 1
	RedirectHTTP   Fault = "redirect-http"   // 302 to the same path by plain HTTP
	RedirectOther  Fault = "redirect-other"  // 302 to another origin
	RedirectLoop   Fault = "redirect-loop"   // 302 to itself
	Reset          Fault = "reset"           // TCP reset instead of an answer
	Drip           Fault = "drip"            // the right answer, one byte every DripInterval
	BodyBroken     Fault = "body-broken"     // JSON that ends in the middle, with a matching Content-Length
	BodyDuplicates Fault = "body-duplicates" // every member of the document twice, the second time with another value
	BodyEmpty      Fault = "body-empty"      // 200 with nothing
	BodyNull       Fault = "body-null"       // 200 with null
	BodyHuge       Fault = "body-huge"       // the right document with HugeBody bytes in it
	BodyEndless    Fault = "body-endless"    // chunks until the client gives up
	GzipGarbage    Fault = "gzip-garbage"    // Content-Encoding: gzip, and it is not
	GzipBomb       Fault = "gzip-bomb"       // HugeBody bytes packed into a few thousand
)

// Faults of the metadata.
const (
	MetadataOtherIssuer   Fault = "metadata-other-issuer"   // issuer is not the one asked for (RFC 8414 §3.3)
	MetadataNoIssuer      Fault = "metadata-no-issuer"      //
	MetadataNoJWKS        Fault = "metadata-no-jwks"        // no jwks_uri
	MetadataJWKSHTTP      Fault = "metadata-jwks-http"      // jwks_uri by plain HTTP, where the keys are indeed
	MetadataJWKSElsewhere Fault = "metadata-jwks-elsewhere" // jwks_uri at another origin, with an attacker's keys
	MetadataJWKSNotURL    Fault = "metadata-jwks-not-url"   // jwks_uri is a number
)

// Faults of the key set. Those marked good leave a document that a client must be able to use.
const (
	KeysEmpty   Fault = "keys-empty"   // no keys in the set
	KeysMissing Fault = "keys-missing" // an object without "keys"
	KeysObject  Fault = "keys-object"  // "keys" is an object
	KeysBare    Fault = "keys-bare"    // good: a bare array of keys, as in INFO-002's example
	KeysMixed   Fault = "keys-mixed"   // good: keys of other and unknown types beside the right ones
	KeysOfEnc   Fault = "keys-of-enc"  // the keys are marked use=enc
	KeysOfRS256 Fault = "keys-of-rs256"
	KeysOf1024  Fault = "keys-of-1024"  // only a modulus of 1,024 bits
	KeysOf16384 Fault = "keys-of-16384" // only a modulus of 16,384 bits
	KeysMany    Fault = "keys-many"     // ManyKeys strangers, then the right ones
)

// Faults of the token endpoint. Those marked good leave an answer that a client must be able to use.
const (
	TokenOtherScope  Fault = "token-other-scope"  // a token for a scope that was not asked for
	TokenNoScope     Fault = "token-no-scope"     // good: no scope in the answer: it is the one asked for
	TokenNoExpiry    Fault = "token-no-expiry"    // no expires_in
	TokenExpiryZero  Fault = "token-expiry-zero"  // expires_in is 0
	TokenExpiryText  Fault = "token-expiry-text"  // expires_in is a string
	TokenExpiryHuge  Fault = "token-expiry-huge"  // good: expires_in is 10^18, which counts as a day
	TokenMAC         Fault = "token-mac"          // token_type is not Bearer
	TokenLowerCase   Fault = "token-lower-case"   // good: token_type is bearer
	TokenOpaque      Fault = "token-opaque"       // good: the token is not a JWT
	TokenRefresh     Fault = "token-refresh"      // good: a refresh token comes beside it
	TokenMissing     Fault = "token-missing"      // no access_token
	TokenControl     Fault = "token-control"      // a line break in the token
	Unauthorized     Fault = "unauthorized"       // 401 with a page, of a proxy; of any path
	InvalidClient    Fault = "invalid-client"     // 401, as if the client were unknown or disabled
	InvalidScope     Fault = "invalid-scope"      // 400
	TooMany          Fault = "too-many"           // 429 with Retry-After
	ErrorNotJSON     Fault = "error-not-json"     // 400 with plain text
	InvalidGrant     Fault = "invalid-grant"      // 400, as if the code or the refresh token were no longer good
	ErrorWithSecrets Fault = "error-with-secrets" // 400, whose description repeats what the client sent
)

// Faults that clients of the server meet at its other endpoints.
const (
	MetadataNoRegistration Fault = "metadata-no-registration" // no registration_endpoint, though there is one (Hydra)
	AuthorizeNoState       Fault = "authorize-no-state"       // sent back without the state
	AuthorizeOtherState    Fault = "authorize-other-state"    // sent back with another state
	AuthorizeOtherIssuer   Fault = "authorize-other-issuer"   // sent back with another server's iss (RFC 9207)
	AuthorizeDenied        Fault = "authorize-denied"         // the person says no
)

// Faults of the registration endpoint.
const (
	InitialUsedUp    Fault = "initial-used-up"    // Keycloak's initial access token, used too often
	HostNotTrusted   Fault = "host-not-trusted"   // Keycloak's policy Trusted Hosts
	MaxClients       Fault = "max-clients"        // Keycloak's policy Max Clients Limit
	ScopesNotAllowed Fault = "scopes-not-allowed" // Keycloak's policy Allowed Client Scopes
	RegisterNoID     Fault = "register-no-id"     // 201 without a client_id
	RegisterLost     Fault = "register-lost"      // registered, and the answer is lost
	RegisterNoKeys   Fault = "register-no-keys"   // 400: jwks_uri cannot be fetched
)

// Faults of the connection: they spoil every path, whatever path they are set for.
const (
	CertOtherCA   Fault = "cert-other-ca"   // a certificate of a CA that nobody installed
	CertOtherHost Fault = "cert-other-host" // a certificate for other.example.com
	CertExpired   Fault = "cert-expired"    // a certificate that ended yesterday
	TLS11         Fault = "tls-1.1"         // nothing above TLS 1.1
	PlainPort     Fault = "plain-port"      // plain HTTP where TLS is expected
	ResetConnect  Fault = "reset-connect"   // TCP reset instead of a handshake
	HangConnect   Fault = "hang-connect"    // the handshake is never answered
)

// Sizes of what is too large.
const (
	HugeBody = 10 << 20 // bytes
	ManyKeys = 1000
)

// Scope says where a fault can be set.
type Scope int

// The scopes.
const (
	AnyPath Scope = iota
	MetadataPath
	KeysPath
	Connection
	TokenPath
	RegisterPath
	AuthorizePath
)

// FaultInfo is one row of the table of faults.
type FaultInfo struct {
	Fault Fault
	Scope Scope
	Good  bool // a client must get by with it
}

// Faults is the table of all faults.
var Faults = []FaultInfo{
	{Hang, AnyPath, false}, {Half, AnyPath, false}, {HTML, AnyPath, false}, {NotFound, AnyPath, false},
	{ServerError, AnyPath, false}, {Unavailable, AnyPath, false}, {RedirectHTTP, AnyPath, false},
	{RedirectOther, AnyPath, false}, {RedirectLoop, AnyPath, false}, {Reset, AnyPath, false}, {Drip, AnyPath, false},
	{BodyBroken, AnyPath, false}, {BodyDuplicates, AnyPath, false}, {BodyEmpty, AnyPath, false},
	{BodyNull, AnyPath, false}, {BodyHuge, AnyPath, false}, {BodyEndless, AnyPath, false},
	{GzipGarbage, AnyPath, false}, {GzipBomb, AnyPath, false},

	{MetadataOtherIssuer, MetadataPath, false}, {MetadataNoIssuer, MetadataPath, false},
	{MetadataNoJWKS, MetadataPath, false}, {MetadataJWKSHTTP, MetadataPath, false},
	{MetadataJWKSElsewhere, MetadataPath, false}, {MetadataJWKSNotURL, MetadataPath, false},

	{KeysEmpty, KeysPath, false}, {KeysMissing, KeysPath, false}, {KeysObject, KeysPath, false},
	{KeysBare, KeysPath, true}, {KeysMixed, KeysPath, true}, {KeysOfEnc, KeysPath, false},
	{KeysOfRS256, KeysPath, false}, {KeysOf1024, KeysPath, false}, {KeysOf16384, KeysPath, false},
	{KeysMany, KeysPath, false},

	{CertOtherCA, Connection, false}, {CertOtherHost, Connection, false}, {CertExpired, Connection, false},
	{TLS11, Connection, false}, {PlainPort, Connection, false}, {ResetConnect, Connection, false},
	{HangConnect, Connection, false},
}

// ClientFaults is the table of the faults that only clients of the server meet.
var ClientFaults = []FaultInfo{
	{TokenOtherScope, TokenPath, false}, {TokenNoScope, TokenPath, true}, {TokenNoExpiry, TokenPath, false},
	{TokenExpiryZero, TokenPath, false}, {TokenExpiryText, TokenPath, false}, {TokenExpiryHuge, TokenPath, true},
	{TokenMAC, TokenPath, false}, {TokenLowerCase, TokenPath, true}, {TokenOpaque, TokenPath, true},
	{Unauthorized, AnyPath, false}, {TokenRefresh, TokenPath, true},
	{TokenMissing, TokenPath, false}, {TokenControl, TokenPath, false},
	{InvalidClient, TokenPath, false}, {InvalidScope, TokenPath, false}, {TooMany, TokenPath, false},
	{ErrorNotJSON, TokenPath, false}, {ErrorWithSecrets, TokenPath, false}, {InvalidGrant, TokenPath, false},

	{MetadataNoRegistration, MetadataPath, false}, {AuthorizeNoState, AuthorizePath, false},
	{AuthorizeOtherState, AuthorizePath, false}, {AuthorizeOtherIssuer, AuthorizePath, false},
	{AuthorizeDenied, AuthorizePath, false},

	{HostNotTrusted, RegisterPath, false}, {MaxClients, RegisterPath, false}, {ScopesNotAllowed, RegisterPath, false},
	{InitialUsedUp, RegisterPath, false}, {RegisterNoID, RegisterPath, false},
	{RegisterLost, RegisterPath, false}, {RegisterNoKeys, RegisterPath, false},
}

// turns are a fault and for how many requests, or connections, it is still good.
type turns = misbehave.Turns[Fault]

// Misbehave spoils every answer of a path from now on: PathMetadata, PathJWKS, PathToken, or any other path of the
// server. For a fault of the connection the path is ignored. A path and the connection have one fault each at a time;
// the last one counts. It panics for a fault that the table does not have, or has for other paths only, since a test
// that misspells its fault tests nothing.
func (s *Server) Misbehave(path string, f Fault) { s.misbehave(path, f, misbehave.EveryTime) }

// MisbehaveTimes is Misbehave for the next n requests of the path, or the next n connections.
func (s *Server) MisbehaveTimes(path string, f Fault, n int) { s.misbehave(path, f, n) }

func (s *Server) misbehave(path string, f Fault, n int) {
	if err := s.tryMisbehave(path, f, n); err != nil {
		panic(err)
	}
}

// tryMisbehave is misbehave with an error for what a person may have misspelt.
func (s *Server) tryMisbehave(path string, f Fault, n int) error {
	all := slices.Concat(Faults, ClientFaults)
	i := slices.IndexFunc(all, func(r FaultInfo) bool { return r.Fault == f })
	if i < 0 {
		return fmt.Errorf("authserver: no fault is called %q", f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch scope := all[i].Scope; {
	case scope == Connection:
		s.connFault = turns{Fault: f, Left: n}
		return nil
	case scope == MetadataPath && path != PathMetadata, scope == KeysPath && path != PathJWKS,
		scope == TokenPath && path != PathToken, scope == RegisterPath && path != PathRegister,
		scope == AuthorizePath && path != PathAuthorize:
		return fmt.Errorf("authserver: %q cannot misbehave by %s", path, f)
	}
	s.faults[path] = &turns{Fault: f, Left: n}
	return nil
}

// Behave ends every misbehaviour, that of the connection included. Requests that hang go on hanging.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	s.connFault = turns{}
}

// take returns the fault for the next request of a path, "" for none, and counts it.
func (s *Server) take(path string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.faults[path]; t != nil {
		return t.Take()
	}
	return ""
}

// takeConnection is take for the next connection.
func (s *Server) takeConnection() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connFault.Take()
}
