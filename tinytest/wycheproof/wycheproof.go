// Package wycheproof holds those of Project Wycheproof's test vectors that are about what a token's signature needs:
// JSON Web Signatures, JSON Web Keys, and RSASSA-PKCS1-v1_5 with SHA-512.
//
// The files in testdata are those of the Go module github.com/c2sp/wycheproof at v0.0.0-20260902155932-3fa63dd0344a,
// unchanged, under the Apache License 2.0 beside them. The module itself has 109 MB.
//
// Limits: for tests only. It panics if a file cannot be read.
package wycheproof

import (
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

//go:embed testdata/*.json
var files embed.FS

// Result is what a vector's file says of it.
type Result string

// The results. An acceptable one is a signature that some standard lets pass.
const (
	Valid      Result = "valid"
	Invalid    Result = "invalid"
	Acceptable Result = "acceptable"
)

// Signature is a message and what is said to be its signature by RSASSA-PKCS1-v1_5 with SHA-512.
type Signature struct {
	Name               string // its file's size, number and comment
	Modulus            []byte
	Exponent           []byte
	Message, Signature []byte
	Result             Result
}

// Hex is bytes that a file has in hexadecimal digits.
type Hex []byte

// UnmarshalJSON reads a string of hexadecimal digits.
func (h *Hex) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := hex.DecodeString(s)
	*h = b
	return err
}

// SHA512 returns the vectors for keys of so many bits: 2048, 3072, 4096 or 8192.
func SHA512(bits int) (all []Signature) {
	var file struct {
		TestGroups []struct {
			PublicKey struct{ Modulus, PublicExponent Hex }
			Tests     []struct {
				TcID     int
				Comment  string
				Msg, Sig Hex
				Result   Result
			}
		}
	}
	read(fmt.Sprintf("rsa_signature_%d_sha512", bits), &file)
	for _, g := range file.TestGroups {
		for _, t := range g.Tests {
			all = append(all, Signature{
				Name:    fmt.Sprintf("%d-%d %s", bits, t.TcID, t.Comment),
				Modulus: g.PublicKey.Modulus, Exponent: g.PublicKey.PublicExponent,
				Message: t.Msg, Signature: t.Sig, Result: t.Result,
			})
		}
	}
	return all
}

// JWS is a compact JWS and the keys for it.
type JWS struct {
	Name   string // its file, group, number and comment
	Group  string // what the file calls its group
	Keys   []json.RawMessage
	Token  string
	Result Result
}

// JSONWebSignatures returns the vectors of the three files about JWS and JWK.
func JSONWebSignatures() (all []JWS) {
	for _, name := range []string{"json_web_signature", "json_web_key", "json_web_crypto"} {
		var file struct {
			TestGroups []struct {
				Comment         string
				Public, Private json.RawMessage
				Tests           []struct {
					TcID    int
					Comment string
					JWS     json.RawMessage
					Result  Result
				}
			}
		}
		read(name, &file)
		for _, g := range file.TestGroups {
			text := g.Public
			if text == nil {
				text = g.Private
			}
			var set struct{ Keys []json.RawMessage }
			if err := json.Unmarshal(text, &set); err != nil {
				panic(err)
			}
			if set.Keys == nil {
				set.Keys = []json.RawMessage{text}
			}
			for _, t := range g.Tests {
				var token string
				if json.Unmarshal(t.JWS, &token) != nil || t.JWS == nil {
					continue // a JWS in JSON, or a JWE
				}
				all = append(all, JWS{
					Name:  fmt.Sprintf("%s %s %d %s", name, g.Comment, t.TcID, t.Comment),
					Group: g.Comment, Keys: set.Keys, Token: token, Result: t.Result,
				})
			}
		}
	}
	return all
}

func read(name string, into any) {
	text, err := files.ReadFile("testdata/" + name + "_test.json")
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		panic(fmt.Errorf("wycheproof: %s: %w", name, err))
	}
}
