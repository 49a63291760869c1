package authserver

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	formLife = 5 * time.Minute
	codeLife = time.Minute // RFC 6749 §4.1.2: ten minutes at most
	tries    = 5           // of a password, for one form
)

// consent is what a person has permitted a client: what a code or a refresh token stands for.
type consent struct {
	client, user, scope string
	redirect, challenge string
	until               time.Time // of the code
	used                bool      // the code was
	refresh             string    // the token that is good at present; "" if the client is not registered for any
	ended               bool
}

// form is an authorization request that waits for a person.
type form struct {
	consent
	state string
	fault Fault
	until time.Time
	tries int
}

// authorize answers the browser of a person whose client wants a code (RFC 6749 §4.1.1), strictly: PKCE by S256 (RFC
// 7636), the redirect URI as registered, letter by letter, and a state.
func (s *Server) authorize(r *http.Request, fault Fault) answer {
	if r.Method != http.MethodGet {
		return textAnswer(http.StatusMethodNotAllowed, "GET only")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.violated(r, "the query cannot be read")
		return page(http.StatusBadRequest, "This request cannot be read.", "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients.all[q.Get("client_id")]
	if len(q["client_id"]) != 1 || c == nil || c.Disabled {
		s.note(r, "client_id is unknown")
		return page(http.StatusBadRequest, "The program that sent you here is unknown.", "")
	}
	to := q.Get("redirect_uri")
	if len(q["redirect_uri"]) != 1 || !slices.Contains(c.Redirects, to) { // §3.1.2.4: never sent there
		s.note(r, "redirect_uri %q is not registered", to)
		return page(http.StatusBadRequest, "The address to send you back to is not registered.", "")
	}
	f := &form{
		consent: consent{client: c.ID, scope: q.Get("scope"), redirect: to, challenge: q.Get("code_challenge")},
		state:   q.Get("state"), fault: fault, until: time.Now().Add(formLife),
	}
	if code, why := s.requestFault(q, c); code != "" {
		s.note(r, "%s", why)
		return s.sendBack(f, url.Values{"error": {code}, "error_description": {why}})
	}
	if fault == AuthorizeDenied {
		return s.sendBack(f, denied)
	}
	if s.opt.Owner != "" {
		return s.agreed(f, s.opt.Owner)
	}
	number := rand.Text()
	if s.clients.forms == nil {
		s.clients.forms = map[string]*form{}
	}
	s.clients.forms[number] = f
	return s.signInPage(http.StatusOK, number, f, "")
}

// denied is how a person's no is told (RFC 6749 §4.1.2.1).
var denied = url.Values{"error": {"access_denied"}, "error_description": {"the person does not agree"}}

// requestFault says what is wrong with an authorization request whose client and redirect URI are good. The lock is
// held.
func (s *Server) requestFault(q url.Values, c *client) (code, why string) {
	for name, values := range q {
		if len(values) > 1 {
			return "invalid_request", name + " is given twice"
		}
	}
	challenge, err := base64.RawURLEncoding.DecodeString(q.Get("code_challenge"))
	switch {
	case q.Get("response_type") == "":
		return "invalid_request", "no response_type"
	case q.Get("response_type") != "code":
		return "unsupported_response_type", "response_type " + q.Get("response_type")
	case q.Get("state") == "":
		return "invalid_request", "no state"
	case q.Get("code_challenge_method") != "S256": // absent means plain (RFC 7636 §4.3), which IS-10 does not have
		return "invalid_request", "code_challenge_method must be S256"
	case err != nil || len(challenge) != sha256.Size:
		return "invalid_request", "code_challenge is not a SHA-256 in base64url"
	case q.Get("scope") == "" || !within(q.Get("scope"), c.Scope):
		return "invalid_scope", "scope " + q.Get("scope")
	}
	return "", ""
}

// sendBack sends the browser back to the client.
func (s *Server) sendBack(f *form, values url.Values) answer {
	v := url.Values{"iss": {s.Issuer()}} // RFC 9207
	for name := range values {
		v.Set(name, values.Get(name))
	}
	if f.state != "" {
		v.Set("state", f.state)
	}
	switch f.fault {
	case AuthorizeNoState:
		v.Del("state")
	case AuthorizeOtherState:
		v.Set("state", rand.Text())
	case AuthorizeOtherIssuer:
		v.Set("iss", "https://attacker.example.net")
	}
	glue := "?"
	if strings.Contains(f.redirect, "?") {
		glue = "&"
	}
	return answer{http.StatusFound, map[string]string{
		"Location": f.redirect + glue + v.Encode(), "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
	}, nil}
}

// agreed gives the code for what a person has agreed to. The lock is held.
func (s *Server) agreed(f *form, user string) answer {
	c := f.consent
	c.user, c.until = user, time.Now().Add(codeLife)
	code := rand.Text()
	if s.clients.codes == nil {
		s.clients.codes = map[string]*consent{}
	}
	s.clients.codes[code] = &c
	return s.sendBack(f, url.Values{"code": {code}})
}

// signIn takes the form with a person's password and decision.
func (s *Server) signIn(r *http.Request) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	if why := readForm(r); why != "" {
		return page(http.StatusBadRequest, "This form cannot be read.", why)
	}
	number := r.PostForm.Get("request")
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.clients.forms[number]
	if f == nil || !time.Now().Before(f.until) {
		return page(http.StatusBadRequest, "This form is no longer good. Please start again.", "")
	}
	if c := s.clients.all[f.client]; c == nil || c.Disabled {
		delete(s.clients.forms, number)
		return page(http.StatusBadRequest, "The program that sent you here is no longer known.", "")
	}
	switch r.PostForm.Get("decision") {
	case "deny":
		delete(s.clients.forms, number)
		return s.sendBack(f, denied)
	case "allow":
	default:
		return page(http.StatusBadRequest, "Neither allow nor deny.", "")
	}
	user := r.PostForm.Get("username")
	want, known := s.opt.Users[user]
	if !known || subtle.ConstantTimeCompare([]byte(want), []byte(r.PostForm.Get("password"))) != 1 {
		if f.tries++; f.tries >= tries {
			delete(s.clients.forms, number)
			return page(http.StatusForbidden, "Too many tries. Please start again.", "")
		}
		return s.signInPage(http.StatusForbidden, number, f, "Name or password is wrong.")
	}
	delete(s.clients.forms, number)
	return s.agreed(f, user)
}

// signInPage is the form that a person fills in. The lock is held.
func (s *Server) signInPage(status int, number string, f *form, note string) answer {
	return page(status, note, fmt.Sprintf(`<p>%s wants to use: %s</p>
<form method="post" action="%s">
<input type="hidden" name="request" value="%s">
<label>Name <input name="username" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>`, html.EscapeString(s.clients.all[f.client].Name), html.EscapeString(f.scope), PathSignIn, number))
}

// page is a page for people, which no other site may show in a frame (RFC 6749 §10.13).
func page(status int, note, body string) answer {
	return answer{status, map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
	}, []byte("<!DOCTYPE html><title>Sign in</title>\n<p>" + html.EscapeString(note) + "</p>\n" + body + "\n")}
}

// byCode exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.6). A code that comes twice was stolen: what it stood for ends
// (§4.1.2).
func (s *Server) byCode(r *http.Request, client *client) (scope, user, refresh string, refused answer, ok bool) {
	bad := func(code, why string) (string, string, string, answer, bool) {
		s.note(r, "%s", why)
		return "", "", "", failure(http.StatusBadRequest, code, why), false
	}
	form := r.PostForm
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if form.Get(name) == "" {
			return bad("invalid_request", "no "+name)
		}
	}
	c := s.clients.codes[form.Get("code")]
	switch {
	case c == nil || c.client != client.ID:
		return bad("invalid_grant", "the code is unknown, or was given to another client")
	case c.used:
		c.ended = true
		return bad("invalid_grant", "the code was used before: what it gave is withdrawn")
	}
	c.used = true // whatever comes of it: one try
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case c.ended || !time.Now().Before(c.until):
		return bad("invalid_grant", "the code has ended")
	case c.redirect != form.Get("redirect_uri"):
		return bad("invalid_grant", "redirect_uri is not that of the authorization request")
	case !verifierForm(form.Get("code_verifier")):
		return bad("invalid_grant", "code_verifier is not 43 to 128 unreserved characters")
	case c.challenge != base64.RawURLEncoding.EncodeToString(sum[:]):
		return bad("invalid_grant", "code_verifier does not fit the code_challenge")
	}
	if slices.Contains(client.Grants, refreshGrant) {
		s.renew(c)
	}
	return c.scope, c.user, c.refresh, answer{}, true
}

// verifierForm reports whether a text has the form of a code_verifier (RFC 7636 §4.1).
func verifierForm(text string) bool {
	return len(text) >= 43 && len(text) <= 128 && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
	})
}

// renew puts a new refresh token in place of the one before. The lock is held.
func (s *Server) renew(c *consent) {
	if s.clients.refresh == nil {
		s.clients.refresh = map[string]*consent{}
	}
	c.refresh = "refresh-" + rand.Text()
	s.clients.refresh[c.refresh] = c
}

// byRefresh exchanges a refresh token, which is good once (RFC 6749 §6, §10.4): one that comes again was stolen, and
// what it stood for ends.
func (s *Server) byRefresh(r *http.Request, client *client) (scope, user, refresh string, refused answer, ok bool) {
	bad := func(code, why string) (string, string, string, answer, bool) {
		s.note(r, "%s", why)
		return "", "", "", failure(http.StatusBadRequest, code, why), false
	}
	token := r.PostForm.Get("refresh_token")
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == "" {
		return bad("invalid_request", "no refresh_token")
	}
	c := s.clients.refresh[token]
	switch {
	case c == nil || c.client != client.ID:
		return bad("invalid_grant", "the refresh token is unknown, or was given to another client")
	case c.ended: // withdrawn, which is not the client's fault
		return "", "", "", failure(http.StatusBadRequest, "invalid_grant", "access was withdrawn"), false
	case c.refresh != token:
		c.ended = true
		return bad("invalid_grant", "the refresh token was used before: what it stood for is withdrawn")
	}
	scope = or(r.PostForm.Get("scope"), c.scope)
	if !within(scope, c.scope) {
		return bad("invalid_scope", "more than the person agreed to")
	}
	s.renew(c)
	return scope, c.user, c.refresh, answer{}, true
}

// Withdraw ends what people have permitted a client: its codes and refresh tokens are refused from now on. Access
// tokens are good until they end.
func (s *Server) Withdraw(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdraw(func(c *consent) bool { return c.client == client })
}

// withdraw ends those that are meant. The lock is held.
func (s *Server) withdraw(meant func(*consent) bool) {
	for _, all := range []map[string]*consent{s.clients.codes, s.clients.refresh} {
		for _, c := range all {
			c.ended = c.ended || meant(c)
		}
	}
}
