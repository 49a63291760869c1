// Package mint makes access tokens for tests: good ones, and bad ones whose fault has a name.
//
// It is the second implementation of IS-10's tokens in this project, written from the specifications and not from the
// agent: it imports nothing of agent/*, so that an error has to be made twice before a test passes by it. What it
// shares with the agent is the rule numbers and the reason codes, as plain strings.
//
// A [Token] is a template: header and claims are ordered lists of members that can be set, doubled and removed, and
// [Token.Sign] turns them into a compact JWS. [Faults] and [Variants] are the tables that tests range over:
//
//	base := mint.New(mint.Options{Key: key, Issuer: issuer, Device: "node-1.example.com"})
//	for _, c := range mint.Faults {
//		token := c.Make(base) // base is not changed
//		…ask for c.Request(), expect c.Want and c.Status
//	}
//
// Limits: for tests only. Its functions panic where the operating system has no randomness and where a template cannot
// be signed (no key, or a value that JSON cannot express): a test double has nothing better to do. Templates are not
// safe for concurrent use; [Token.Clone] makes one that is independent. Keys, tables and the functions of this package
// may be used by any number of goroutines.
package mint

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"time"
)

// The names that a template starts with where Options leaves them empty.
const (
	DefaultIssuer  = "https://auth.example.com"
	DefaultDevice  = "node-1.example.com"
	DefaultClient  = "controller-1"
	DefaultSubject = "operator@example.com"
	DefaultScope   = "connection node events"
	DefaultKID     = "key-1"
	DefaultLife    = time.Hour
)

// Permission is the value of one x-nmos-<api> claim: path specifiers for reading and for writing (IS-10 Access Tokens).
type Permission struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`
}

// Everything permits all paths, for reading and for writing.
var Everything = Permission{Read: []string{"*"}, Write: []string{"*"}}

// Options are what New needs to know. The zero value gives a valid token of DefaultIssuer for DefaultDevice.
type Options struct {
	Key    *Key   // signer; nil: the cached 2048-bit key named DefaultKID
	Issuer string // iss
	// Device is the device's host name, which becomes aud. The audience rows of the tables are derived from it, so it
	// needs at least three labels, the first of at least two characters and ending in a letter or digit.
	Device  string
	Client  string        // client_id
	Subject string        // sub
	Scope   string        // scope, names separated by single spaces
	Now     time.Time     // what iat and exp are reckoned from; zero: the present
	Life    time.Duration // exp - iat; zero: DefaultLife
	// Permissions maps the name of an API, such as "connection", to its permission; nil: Everything for each API in
	// Scope.
	Permissions map[string]Permission
}

// Token is a template of a token. Change Header and Claims freely before Sign.
type Token struct {
	Header Object
	Claims Object
	Key    *Key      // the signer
	Issuer string    // the issuer that the template was made for, kept when the iss claim is changed
	Device string    // the device that the template was made for, kept when the aud claim is changed
	Now    time.Time // UTC, whole seconds
}

// New returns a template of a valid token: header typ, alg and kid; claims iss, sub, aud, exp, iat, client_id, scope
// and one x-nmos-* claim for each API.
func New(o Options) *Token {
	o = o.withDefaults()
	t := &Token{Key: o.Key, Issuer: o.Issuer, Device: o.Device, Now: o.Now}
	t.Header.Set("typ", "JWT")
	t.Header.Set("alg", "RS512")
	t.Header.Set("kid", o.Key.KID)
	t.Claims.Set("iss", o.Issuer)
	t.Claims.Set("sub", o.Subject)
	t.Claims.Set("aud", []string{o.Device})
	t.Claims.Set("exp", o.Now.Add(o.Life).Unix())
	t.Claims.Set("iat", o.Now.Unix())
	t.Claims.Set("client_id", o.Client)
	t.Claims.Set("scope", o.Scope)
	apis := make([]string, 0, len(o.Permissions))
	for api := range o.Permissions {
		apis = append(apis, api)
	}
	slices.Sort(apis)
	for _, api := range apis {
		t.Claims.Set("x-nmos-"+api, o.Permissions[api])
	}
	return t
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Issuer, DefaultIssuer}, {&o.Device, DefaultDevice}, {&o.Client, DefaultClient},
		{&o.Subject, DefaultSubject}, {&o.Scope, DefaultScope},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.Key == nil {
		o.Key = CachedKey(DefaultKID, 2048)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	o.Now = o.Now.UTC().Truncate(time.Second)
	if o.Life == 0 {
		o.Life = DefaultLife
	}
	if o.Permissions == nil {
		o.Permissions = map[string]Permission{}
		for _, api := range splitScope(o.Scope) {
			o.Permissions[api] = Everything
		}
	}
	return o
}

func splitScope(scope string) []string {
	var names []string
	for start, i := 0, 0; i <= len(scope); i++ {
		if i == len(scope) || scope[i] == ' ' {
			if i > start {
				names = append(names, scope[start:i])
			}
			start = i + 1
		}
	}
	return names
}

// Clone returns a template that can be changed without changing t. The key is shared.
func (t *Token) Clone() *Token {
	c := *t
	c.Header = slices.Clone(t.Header)
	c.Claims = slices.Clone(t.Claims)
	return &c
}

// Sign returns the compact serialization (RFC 7515 §7.1), signed with RSASSA-PKCS1-v1_5 and SHA-512 whatever the
// header's alg says.
func (t *Token) Sign() string { return SignBytes(t.Header.Bytes(), t.Claims.Bytes(), t.Key) }

// SignBytes returns the compact serialization of a header and a payload that need not be JSON.
func SignBytes(header, payload []byte, key *Key) string {
	return signText(encode(header)+"."+encode(payload), key)
}

// signText signs a text as it stands, so that a verifier that decodes leniently has a good signature before it, and
// the fault under test is the only one.
func signText(input string, key *Key) string {
	return input + "." + encode(signature(input, key))
}

// signature is RS512 (RFC 7518 §3.3) over input.
func signature(input string, key *Key) []byte {
	digest := sha512.Sum512([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, key.Private, crypto.SHA512, digest[:])
	if err != nil {
		panic(fmt.Errorf("mint: sign with %s: %w", key.KID, err))
	}
	return sig
}

// encode is base64url without padding (RFC 7515 §2).
func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
