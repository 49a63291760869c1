package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// The algorithms of assertions that this device makes.
const (
	algRSA = "RS256"
	algEC  = "ES256"
)

// assertionLife is how long an assertion is good (CLI-53).
const assertionLife = time.Minute

// deviceKey is a private key that was made for assertions alone (CLI-66).
type deviceKey struct {
	Alg string `json:"alg"`
	DER []byte `json:"pkcs8"`

	signer crypto.Signer // of DER; nil before its first use
	kid    string
}

// makeKey makes a key for an algorithm: RSA of 2048 bits or P-256.
func makeKey(alg string) (*deviceKey, error) {
	var key crypto.Signer
	var err error
	if alg == algEC {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return nil, wrap("cannot make a key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, wrap("cannot make a key", err)
	}
	k := &deviceKey{Alg: alg, DER: der}
	return k, k.open()
}

// open reads the key and checks that it is one for its algorithm.
func (k *deviceKey) open() error {
	if k.signer != nil {
		return nil
	}
	any, err := x509.ParsePKCS8PrivateKey(k.DER)
	if err != nil {
		return errors.New("a stored key is damaged") // the error may quote it
	}
	var signer crypto.Signer
	switch key := any.(type) {
	case *rsa.PrivateKey:
		if k.Alg == algRSA {
			signer = key
		}
	case *ecdsa.PrivateKey:
		if k.Alg == algEC && key.Curve == elliptic.P256() {
			signer = key
		}
	}
	if signer == nil {
		return errors.New("a stored key is not one for its algorithm")
	}
	print, err := (&jose.JSONWebKey{Key: signer.Public()}).Thumbprint(crypto.SHA256) // CLI-65, RFC 7638
	if err != nil {
		return wrap("a stored key has no thumbprint", err)
	}
	k.signer, k.kid = signer, base64.RawURLEncoding.EncodeToString(print)
	return nil
}

// public is the key's entry in a JWKS: public members only (CLI-65).
func (k *deviceKey) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.kid, Use: "sig", Algorithm: k.Alg}
}

// publicSet is a JWKS.
func publicSet(keys []*deviceKey) jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public())
	}
	return set
}

// assertion is a JWT by which the client proves who it is (CLI-52), good for a minute by a clock that the caller has
// found trusted (CLI-53). Each call makes another jti: a server refuses one that it has seen, in a retry as well.
func (k *deviceKey) assertion(client, audience string, now time.Time) (string, error) {
	if err := k.open(); err != nil {
		return "", err
	}
	claims, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"` // one string: Keycloak 26 refuses an array
		ID       string `json:"jti"`
		IssuedAt int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}{client, client, audience, rand.Text(), now.Unix(), now.Add(assertionLife).Unix()})
	if err != nil {
		return "", wrap("cannot write an assertion", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Alg), Key: jose.JSONWebKey{Key: k.signer, KeyID: k.kid},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", wrap("cannot sign an assertion", err)
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", wrap("cannot sign an assertion", err)
	}
	return jws.CompactSerialize()
}
