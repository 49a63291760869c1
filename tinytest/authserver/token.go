package authserver

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"

	"nmosauthd/tinytest/mint"
)

// bodyLimit is the most of a request's body that is read, in bytes.
const bodyLimit = 64 << 10

// token answers the client credentials grant (RFC 6749 §4.4) with a token for everything in the scope asked for.
func (s *Server) token(r *http.Request) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, bodyLimit)
	if err := r.ParseForm(); err != nil {
		return refusal(http.StatusBadRequest, "invalid_request")
	}
	client, ok := s.authenticate(r)
	if !ok {
		a := refusal(http.StatusUnauthorized, "invalid_client")
		a.header["WWW-Authenticate"] = `Basic realm="authserver"`
		return a
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		return refusal(http.StatusBadRequest, "unsupported_grant_type")
	}
	scope := or(r.PostForm.Get("scope"), mint.DefaultScope)
	life := s.opt.Life
	if life == 0 {
		life = mint.DefaultLife
	}
	t := s.Token(mint.Options{Client: client, Subject: client, Scope: scope, Life: life})
	audience := s.opt.Audience
	if audience == nil {
		audience = []string{"*"}
	}
	t.Claims.Set("aud", audience)
	a := jsonAnswer(encode(map[string]any{
		"access_token": t.Sign(), "token_type": "Bearer", "expires_in": int64(life.Seconds()), "scope": scope,
	}))
	a.header["Cache-Control"] = "no-store" // RFC 6749 §5.1
	return a
}

// authenticate finds the client by Basic or in the form (RFC 6749 §2.3.1).
func (s *Server) authenticate(r *http.Request) (client string, ok bool) {
	id, secret, basic := r.BasicAuth()
	if basic {
		var errs [2]error
		id, errs[0] = url.QueryUnescape(id)
		secret, errs[1] = url.QueryUnescape(secret)
		if slices.ContainsFunc(errs[:], func(err error) bool { return err != nil }) {
			return "", false
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	want, known := s.opt.Clients[id]
	return id, known && subtle.ConstantTimeCompare([]byte(want), []byte(secret)) == 1
}

// refusal is an error of RFC 6749 §5.2.
func refusal(status int, code string) answer {
	a := jsonAnswer(encode(map[string]string{"error": code}))
	a.status = status
	return a
}
