package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	// refuses member names given twice or in another case, as encoding/json does not
	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/discovery"
)

// maxAnswer is the longest answer that is read, in bytes (CLI-55).
const maxAnswer = 64 << 10

// request is one request of this package. What it is called is for messages.
type request struct {
	what, method, url string
	form              url.Values // sent as such, or
	json              any        // sent as such
	authorization     string
	secrets           []string // that the server must not see quoted: all that is sent and is one
}

// answer is what came. Its body is whole.
type answer struct {
	status int
	body   []byte
	sent   bool // the request went out whole
}

// refusalError is a server's answer that is not the one hoped for.
type refusalError struct {
	what        string
	status      int
	code        string // error of RFC 6749 §5.2 or RFC 7591 §3.2.2; empty if it gave none
	description string // safe to print
	retryAfter  time.Duration
	clock       string // what the server's clock has to do with it
}

func (e *refusalError) Error() string {
	s := fmt.Sprintf("%s: HTTP %d", e.what, e.status)
	if text := http.StatusText(e.status); text != "" {
		s += " " + text
	}
	if e.code != "" {
		s += ": " + e.code
	}
	if e.description != "" {
		s += ": " + e.description
	}
	if a := advise(e.code, e.description); a != "" {
		s += " (" + a + ")"
	}
	return s + e.clock
}

// errUnusable is for an answer that says that the server did what was asked, but not what it did.
var errUnusable = errors.New("the server may have registered a client that nobody can use")

// errLost is for a registration that was sent and not answered.
var errLost = errors.New("the device may be registered all the same")

// final reports whether asking again without a change is useless (CLI-35), or harmful: each time another client may be
// left at the server.
func final(err error) bool {
	var e *refusalError
	if !errors.As(err, &e) {
		return errors.Is(err, errUnusable)
	}
	return e.status >= 400 && e.status < 500 && e.status != http.StatusRequestTimeout &&
		e.status != http.StatusTooManyRequests && e.status != http.StatusNotFound
}

// credentials reports whether the server refused the client's authentication. Keycloak says unauthorized_client of a
// wrong secret, and 400 with a key; Hydra jti_known.
func credentials(err error) bool {
	var e *refusalError
	return errors.As(err, &e) &&
		(e.code == "invalid_client" || e.status == http.StatusUnauthorized || e.code == "jti_known")
}

// refusedClient reports whether the server says that the client or its proof is the fault. Another 401 may be a
// proxy's.
func refusedClient(err error) bool {
	var e *refusalError
	return errors.As(err, &e) && e.code == "invalid_client"
}

// status returns the HTTP status of a refusal, 0 for another error.
func status(err error) int {
	var e *refusalError
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// advices name the server's own setting, by what an error says or is.
var advices = []struct{ says, code, advice string }{
	{"Trusted Hosts", "", trustedHosts},
	{"Host not trusted", "", trustedHosts},
	{"Max Clients Limit", "", clientsLimit},
	{"max 200 clients", "", clientsLimit},
	{"Allowed Client Scopes", "", clientScopes},
	{"clientScope", "", clientScopes},
	{"No remaining count", "", "the initial access token is used up; create another one"},
	{"no access token provided", "", // oidc-provider
		"this server registers nobody without an initial access token; configure one"},
	{"Failed decode token", "", "the token that was sent is not one of this server"},
	{"Token is not active", "", "compare the server's clock with this device's"},
	{"loading public key", "", serverKeys},
	{"load public key", "", serverKeys},
	{"Multiple audiences", "", ownFault},
	{"Token reuse", "", ownFault},
	{"", "invalid_scope", "the server does not grant this scope to this client"},
	{"", "unauthorized_client", "the client may not use client credentials, or its secret is wrong"},
	{"", "unsupported_grant_type", "enable client credentials at the server"},
}

const (
	trustedHosts = `Keycloak: client registration policy "Trusted Hosts" does not admit this device's address; ` +
		`add it, or configure an initial access token`
	clientsLimit = `Keycloak: client registration policy "Max Clients Limit" is reached; raise it, remove clients, ` +
		`or configure an initial access token`
	clientScopes = `Keycloak: client registration policy "Allowed Client Scopes" lacks one of the configured scopes`
	serverKeys   = "the server cannot get this device's keys: it must reach and trust the jwks_uri, or be given jwks"
	ownFault     = "a fault of this program"
)

// advise returns the first advice that fits.
func advise(code, text string) string {
	for _, a := range advices {
		if a.says != "" && strings.Contains(text, a.says) || a.code != "" && a.code == code {
			return a.advice
		}
	}
	return ""
}

// send sends a request and returns an answer of status 200 or want. Any other, or none, is an error for people in which
// no secret is; what is known of the answer is there all the same.
func (c *Client) send(ctx context.Context, issuer string, r *request, want int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	what := r.what
	if u, err := url.Parse(r.url); err == nil {
		what += " at " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	a, err := c.exchange(ctx, issuer, r, want)
	var refused *refusalError
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &refused):
		refused.what = what
		return answer{status: a.status}, refused
	}
	return answer{status: a.status, sent: a.sent}, wrap(what, err)
}

// exchange is send, whose errors do not say what for.
func (c *Client) exchange(ctx context.Context, issuer string, r *request, want int) (a answer, err error) {
	var body []byte
	kind := ""
	switch {
	case r.form != nil:
		kind, body = "application/x-www-form-urlencoded", []byte(r.form.Encode())
	case r.json != nil:
		kind = "application/json"
		if body, err = json.Marshal(r.json); err != nil {
			return a, errors.New("cannot be written")
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(body))
	if err != nil {
		return a, errors.New("not a URL that can be requested")
	}
	var sent atomic.Bool
	if body != nil {
		req.Body = &noted{req.Body, &sent}
	}
	req.Header = http.Header{
		"User-Agent": {"nmos-authd"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"},
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if r.authorization != "" {
		req.Header.Set("Authorization", r.authorization)
	}
	client := *c.o.HTTP(issuer)
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	begun := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return answer{sent: sent.Load()}, c.plainError(ctx, err, r.secrets)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	a = answer{res.StatusCode, data, sent.Load()}
	switch {
	case len(data) > maxAnswer:
		err = fmt.Errorf("the answer is over %d KiB", maxAnswer>>10)
	case err != nil:
		err = fmt.Errorf("the answer breaks off after %d bytes: %w", len(data), c.plainError(ctx, err, r.secrets))
	case res.StatusCode == http.StatusOK, res.StatusCode == want:
		a.sent = true
	case res.StatusCode >= 300 && res.StatusCode < 400:
		err = fmt.Errorf("a redirect (HTTP %d), which is not followed", res.StatusCode)
	default:
		err = refusal(res, data, r.secrets, c.clockDifference(res, begun))
	}
	return a, err
}

// noted notes when a body is read, which net/http does once it has a connection: from then on, the server may know of
// the request, although no answer comes.
type noted struct {
	io.ReadCloser
	sent *atomic.Bool
}

func (n *noted) Read(p []byte) (int, error) {
	n.sent.Store(true)
	return n.ReadCloser.Read(p)
}

// plainError takes the URL off an error of package net/http, which may hold a query. What is left is for people, since
// discovery's client says it so, but may name what the server sent, such as the hosts of its certificate.
func (c *Client) plainError(ctx context.Context, err error, secrets []string) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no full answer within %v", c.patience)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.New(shown(err.Error(), secrets, 500))
}

// codes are the errors of RFC 6749 §5.2, RFC 6750 §3.1, RFC 7591 §3.2.2 and of Hydra, which are safe to print.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_token", "insufficient_scope", "invalid_redirect_uri", "invalid_client_metadata",
	"invalid_software_statement", "unapproved_software_statement", "unsupported_token_type", "jti_known",
}

// refusal reads an answer that is an error. Most servers send JSON; others are told by their status alone.
func refusal(res *http.Response, body []byte, secrets []string, clock string) error {
	e := &refusalError{status: res.StatusCode}
	if wait, known := discovery.RetryAfter(res.Header, mostRest); known {
		e.retryAfter = wait
	}
	var m struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := parseObject(body, &m); err == nil {
		if slices.Contains(codes, m.Error) {
			e.code = m.Error
		} else if m.Error != "" { // Hydra has a sentence there
			m.Description = strings.TrimSuffix(m.Error+": "+m.Description, ": ")
		}
		e.description = shownText(m.Description, secrets)
	}
	if credentials(e) {
		e.clock = clock
	}
	return e
}

// shownText quotes what a server says.
func shownText(s string, secrets []string) string { return shown(s, secrets, 200) }

// shown quotes a text, bounded, unless it repeats a secret.
func shown(s string, secrets []string, most int) string {
	if s == "" {
		return ""
	}
	if repeats(s, secrets) {
		return "(its text repeats a secret that was sent to it, and is left out)"
	}
	return ascii.Quote(s, most)
}

// repeats reports whether a text has a piece of a secret in it, or something that looks like a JWT.
func repeats(s string, secrets []string) bool {
	const piece = 8
	if strings.Contains(s, "eyJ") {
		return true
	}
	for _, secret := range secrets {
		if len(secret) <= piece {
			if secret != "" && strings.Contains(s, secret) {
				return true
			}
			continue
		}
		for i := 0; i+piece <= len(secret); i++ {
			if strings.Contains(s, secret[i:i+piece]) {
				return true
			}
		}
	}
	return false
}

// mostRest is the longest Retry-After that is obeyed.
const mostRest = time.Hour

// clockDifference says how far the server's clock is from the device's if that may be why it refuses an assertion. It
// decides nothing (OPS-1).
func (c *Client) clockDifference(res *http.Response, begun time.Time) string {
	const usual = 5 * time.Second
	date, err := http.ParseTime(res.Header.Get("Date"))
	now, trusted := c.o.Clock()
	if err != nil || !trusted {
		return ""
	}
	off := date.Sub(now)
	switch took := time.Since(begun); {
	case off > usual+took:
		return fmt.Sprintf("; its clock is %v ahead of this device's", off.Round(time.Second))
	case off < -usual-took:
		return fmt.Sprintf("; its clock is %v behind this device's", -off.Round(time.Second))
	}
	return ""
}

// parseObject reads a JSON object. Errors do not quote it.
func parseObject(body []byte, into any) error {
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return errors.New("an empty answer")
	case trimmed[0] == '<':
		return errors.New("an HTML page, not JSON")
	case trimmed[0] != '{':
		return errors.New("not a JSON object")
	}
	err := json.Unmarshal(trimmed, into)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind):
		what, _, _ := strings.Cut(kind.Value, " ") // the value may follow
		return fmt.Errorf("a member has the wrong type: a JSON %s at byte %d", what, kind.Offset)
	case strings.Contains(err.Error(), "duplicate key"):
		return errors.New("not JSON that all read alike: it gives one member name twice")
	}
	return errors.New("not JSON, or not all of it")
}

// basic is the header of client_secret_basic: both halves are form-urlencoded first (CLI-54, RFC 6749 §2.3.1).
func basic(id, secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return r.Header.Get("Authorization")
}

// visible reports whether a string is of the characters that RFC 6749 appendix A has for tokens and secrets, and so can
// be sent in a header.
//
//go:noinline // for flash
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
