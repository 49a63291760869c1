// Command sidecar is what a user would write for nginx's auth_request with go-jose in an afternoon: it answers 204, 401
// or 403 to the request that X-Original-Method and X-Original-URI name. It remembers nothing.
//
//	sidecar SOCKET JWKS ISSUER DEVICE
package main

import (
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// permission is the value of one x-nmos-<api> claim.
type permission struct{ Read, Write []string }

var (
	errToken = errors.New("the token is not good")
	errScope = errors.New("the token does not permit this")
	place    = regexp.MustCompile(`^/x-nmos/([a-z0-9-]+)(?:/v[0-9]+\.[0-9]+(?:/(.*))?)?$`)
)

// checker checks tokens for one device.
type checker struct {
	keys           jose.JSONWebKeySet
	issuer, device string
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: sidecar SOCKET JWKS ISSUER DEVICE")
	}
	c := checker{issuer: os.Args[3], device: os.Args[4]}
	text, err := os.ReadFile(os.Args[2])
	if err == nil {
		err = json.Unmarshal(text, &c.keys)
	}
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, &c))
}

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	switch c.judge(h.Get("X-Original-Method"), h.Get("X-Original-URI"), h.Get("Authorization")) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case errScope:
		w.WriteHeader(http.StatusForbidden)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer error=invalid_token`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// judge returns nil if the request may be served.
func (c *checker) judge(method, target, authorization string) error {
	u, err := url.ParseRequestURI(target)
	if err != nil || strings.ContainsAny(u.EscapedPath(), `%;\`) {
		return errScope
	}
	if bare := strings.TrimSuffix(u.Path, "/"); bare != "" && path.Clean(u.Path) != bare {
		return errScope // two servers could read it differently
	}
	write := false
	switch method {
	case "OPTIONS":
		return nil
	case "GET", "HEAD":
		if bare := strings.TrimSuffix(u.Path, "/"); bare == "" || bare == "/x-nmos" {
			return nil
		}
	case "POST", "PUT", "PATCH", "DELETE":
		write = true
	default:
		return errScope
	}
	raw, found := strings.CutPrefix(authorization, "Bearer ")
	if !found {
		return errToken
	}
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS512})
	if err != nil {
		return errToken
	}
	var claims jwt.Claims
	var more map[string]json.RawMessage
	if err = parsed.Claims(c.keys, &claims, &more); err != nil || claims.Expiry == nil || claims.Subject == "" {
		return errToken
	}
	expected := jwt.Expected{Issuer: c.issuer, Time: time.Now()}
	if more["client_id"] == nil && more["azp"] == nil || claims.ValidateWithLeeway(expected, 0) != nil {
		return errToken
	}
	named := false
	for _, name := range claims.Audience {
		_, host, isURL := strings.Cut(name, "://")
		named = named || matches(name, c.device) || isURL && matches(host, c.device)
	}
	if !named {
		return errScope
	}
	return c.permit(u.Path, write, more)
}

// permit looks for a specifier that matches the path.
func (c *checker) permit(requested string, write bool, claims map[string]json.RawMessage) error {
	parts := place.FindStringSubmatch(requested)
	if parts == nil {
		return errScope
	}
	rest := strings.TrimSuffix(parts[2], "/")
	raw, has := claims["x-nmos-"+parts[1]]
	var p permission
	if has && json.Unmarshal(raw, &p) != nil {
		return errToken
	}
	if rest == "" {
		var scope string
		json.Unmarshal(claims["scope"], &scope)
		if has || strings.Contains(" "+scope+" ", " "+parts[1]+" ") {
			return nil
		}
		return errScope
	}
	specifiers := p.Read
	if write {
		specifiers = p.Write
	}
	for _, s := range specifiers {
		if matches(s, rest) {
			return nil
		}
	}
	return errScope
}

// matches reports whether text matches a pattern in which "*" stands for any characters.
func matches(pattern, text string) bool {
	expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
	return regexp.MustCompile("^" + expression + "$").MatchString(text)
}
