//go:build linux

package main

import (
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	golang "github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/load"
)

// library checks a token within this process: signature, issuer, audience and times.
type library struct {
	name  string
	check func(raw string) error
}

// libraries prints what the validation alone takes. Ours also reads what the token permits.
func (w *world) libraries(rounds int, each time.Duration) error {
	checks, err1 := w.checks()
	ours, err2 := w.verifier(1)
	remembered, err3 := w.verifier(len(w.fresh))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	all := []library{
		{name: "nmos-authd, a new token", check: ours},
		{name: "nmos-authd, remembered", check: remembered},
		{name: "go-jose v4", check: checks["go-jose"]},
		{name: "golang-jwt v5", check: checks["golang-jwt"]},
		{name: "jwx v3", check: checks["jwx"]},
	}
	forged := verdicts[1].make(w).token
	for _, l := range all {
		for _, raw := range w.fresh {
			if err := l.check(raw); err != nil {
				return fmt.Errorf("%s refuses a good token: %w", l.name, err)
			}
		}
		if l.check(forged) == nil {
			return fmt.Errorf("%s takes a forged token", l.name)
		}
	}
	var work []load.Work
	var wrong error
	for _, l := range all {
		n := 0
		work = append(work, load.Work{Name: l.name, Do: func() {
			wrong = cmp.Or(wrong, l.check(w.fresh[n%len(w.fresh)]))
			n++
		}})
	}
	costs := load.Measure(rounds, each/2, work...)
	load.PrintCosts(os.Stdout, "a token's validation, within a process", costs)
	return wrong
}

// checks are what the libraries do, by their names.
func (w *world) checks() (map[string]func(string) error, error) {
	var set jose.JSONWebKeySet
	err := json.Unmarshal(w.jwks, &set)
	if err != nil || len(set.Keys) != 1 {
		return nil, fmt.Errorf("the set has %d keys, want one: %w", len(set.Keys), err)
	}
	public, is := set.Keys[0].Key.(*rsa.PublicKey)
	if !is {
		return nil, fmt.Errorf("the key is a %T, want RSA", set.Keys[0].Key)
	}
	jwx, err := w.jwx()
	return map[string]func(string) error{"go-jose": w.goJose(public), "golang-jwt": w.golangJWT(public), "jwx": jwx},
		err
}

// verifier is ours, with room for so many tokens.
func (w *world) verifier(remembered int) (func(string) error, error) {
	store := keys.NewStore(func(context.Context, string) ([]byte, error) { return w.jwks, nil }, func(keys.Event) {})
	store.Configure(keys.Policy{Servers: []string{w.issuer}, Refresh: 24 * time.Hour})
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go store.Run(ctx)
	for store.Set().Issuer([]byte(w.issuer)) == nil {
		if time.Sleep(time.Millisecond); w.ctx.Err() != nil {
			return nil, w.ctx.Err()
		}
	}
	set := store.Set()
	v := token.NewVerifier(token.Options{Names: token.Names{device}, Cached: remembered})
	var t token.Token
	var buf []byte
	return func(raw string) error {
		buf = append(buf[:0], raw...)
		clock := token.Clock{Now: time.Now().UnixMicro(), Trusted: true}
		if o := v.Check(buf, clock, set, &t); o.Reason != wire.OK {
			return errors.New(o.Reason.Info().Code)
		}
		return nil
	}, nil
}

func (w *world) goJose(key *rsa.PublicKey) func(string) error {
	return func(raw string) error {
		parsed, err := josejwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS512})
		if err != nil {
			return err
		}
		var claims josejwt.Claims
		var more map[string]json.RawMessage
		if err = parsed.Claims(key, &claims, &more); err != nil {
			return err
		}
		expected := josejwt.Expected{Issuer: w.issuer, AnyAudience: josejwt.Audience{device}, Time: time.Now()}
		return claims.ValidateWithLeeway(expected, 0)
	}
}

func (w *world) golangJWT(key *rsa.PublicKey) func(string) error {
	parser := golang.NewParser(golang.WithValidMethods([]string{"RS512"}), golang.WithIssuer(w.issuer),
		golang.WithAudience(device), golang.WithExpirationRequired(), golang.WithIssuedAt())
	return func(raw string) error {
		_, err := parser.Parse(raw, func(*golang.Token) (any, error) { return key, nil })
		return err
	}
}

func (w *world) jwx() (func(string) error, error) {
	set, err := jwk.Parse(w.jwks)
	if err != nil {
		return nil, err
	}
	key, _ := set.Key(0)
	return func(raw string) error {
		_, err := jwt.Parse([]byte(raw), jwt.WithKey(jwa.RS512(), key), jwt.WithIssuer(w.issuer),
			jwt.WithAudience(device))
		return err
	}, nil
}
