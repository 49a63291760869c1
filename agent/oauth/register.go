package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/discovery"
)

// clientMetadata is what a client says of itself (RFC 7591 §2).
type clientMetadata struct {
	ClientID     string              `json:"client_id,omitempty"` // in an update alone
	Name         string              `json:"client_name"`
	GrantTypes   []string            `json:"grant_types"`
	Responses    []string            `json:"response_types"` // []: what all servers take (CLI-32)
	RedirectURIs []string            `json:"redirect_uris"`
	Scope        string              `json:"scope"`
	Method       string              `json:"token_endpoint_auth_method"`
	Alg          string              `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKSURI      string              `json:"jwks_uri,omitempty"`
	JWKS         *jose.JSONWebKeySet `json:"jwks,omitempty"`
	SoftwareID   string              `json:"software_id,omitempty"`
	Version      string              `json:"software_version,omitempty"`
}

// information is what the server says of the client (RFC 7591 §3.2.1). null is absent.
type information struct {
	ClientID   string   `json:"client_id"`
	Secret     string   `json:"client_secret"`
	Expires    any      `json:"client_secret_expires_at"`
	Token      string   `json:"registration_access_token"`
	Manage     string   `json:"registration_client_uri"`
	Scope      *string  `json:"scope"`
	GrantTypes []string `json:"grant_types"`
	Method     *string  `json:"token_endpoint_auth_method"`
}

// describe is the metadata to register or update with.
func (e *entry) describe(config *Config) *clientMetadata {
	m := &clientMetadata{
		Name: config.Name, GrantTypes: []string{"client_credentials"}, Responses: []string{}, RedirectURIs: []string{},
		Scope: joinScopes(config.Scopes), Method: e.Method, SoftwareID: config.SoftwareID, Version: config.Version,
	}
	if e.Method != PrivateKeyJWT {
		return m
	}
	m.Alg = e.Keys[0].Alg
	if e.Inline { // never both (CLI-33)
		set := publicSet(e.Keys)
		m.JWKS = &set
	} else {
		m.JWKSURI = config.JWKSURI
	}
	return m
}

// digest stands for metadata: a change of it is one for the server, too.
func (m *clientMetadata) digest() string {
	same := *m
	same.ClientID = ""
	data, err := json.Marshal(&same)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// chooseKeys says how the server gets the keys, and why (CLI-33).
func chooseKeys(config *Config) (inline bool, why string) {
	switch {
	case config.Keys == KeysInline:
		return true, "keys are sent to the server as jwks: so configured"
	case config.Keys == KeysByURI: // register sees to it that there is one
		return false, "the server gets the keys at the jwks_uri: so configured"
	case config.JWKSURI != "":
		return false, "the server gets the keys at the jwks_uri, since the device publishes them there"
	}
	return true, "keys are sent to the server as jwks, since no jwks_uri is configured"
}

// ready sees to it that a client is held for the configuration, and that it is stored. It returns a wait if none is.
func (c *Client) ready(ctx context.Context, config *Config) (*entry, time.Duration) {
	if c.dirty {
		if err := c.store(); err != nil {
			return nil, c.failUnsaved(config, err)
		}
		c.tries = 0
	}
	e := c.kept.find(config)
	if e != nil && e.ClientID != "" && (!e.Given || e.ClientID == config.Given.ID && e.fits(config)) {
		c.enter(Registered)
		return e, 0
	}
	m, err := c.metadata(ctx, config.Issuer)
	switch {
	case ctx.Err() != nil:
		return nil, firstBackOff
	case err != nil:
		return nil, c.failure(config, err)
	}
	held := ""
	if e != nil && len(e.Keys) > 0 {
		held = e.Keys[0].Alg
	}
	method, alg, err := chooseAuth(m, config, held)
	if err != nil {
		return nil, c.failRefused(config, err)
	}
	if e, err = c.prepare(config, m, method, alg); err != nil {
		return nil, c.failUnsaved(config, err)
	}
	if e.Given {
		c.enter(Registered)
		return e, 0
	}
	if err := c.register(ctx, config, m, e); err != nil {
		c.lost(ctx, e, err)
		if time.Since(c.metaAt) >= metadataRest { // an endpoint may have moved
			c.metaAt = time.Time{}
		}
		switch {
		case ctx.Err() != nil:
			return nil, firstBackOff
		case c.dirty:
			return nil, c.failUnsaved(config, err)
		}
		return nil, c.failure(config, err)
	}
	c.tries, c.next = 0, time.Time{}
	return e, 0
}

// lost notes whether a registration that failed may be left at the server all the same. What is stored says so from
// before it was sent; it is set right after an answer that stays, since others come every few minutes.
func (c *Client) lost(ctx context.Context, e *entry, err error) {
	switch {
	case c.dirty:
		return
	case ctx.Err() != nil, errors.Is(err, errLost), errors.Is(err, errUnusable):
		e.lost = true
	case final(err) && !e.lost:
		e.Attempted = false
		_ = c.save() // if it fails, more is said than need be
		return
	}
	c.publish()
}

// fits reports whether an operator's client is authenticated as the configuration now says.
func (e *entry) fits(config *Config) bool {
	return (e.Method == SecretBasic) == (config.Given.Secret != "")
}

func (c *Client) failRefused(config *Config, err error) time.Duration {
	c.metaAt = time.Time{}
	return c.fail(config, Refused, err, alarm.Spread(mostBackOff))
}

func (c *Client) failUnsaved(config *Config, err error) time.Duration {
	c.tries++
	return c.fail(config, Unsaved, err, alarm.BackOff(c.tries, firstBackOff, mostBackOff))
}

// prepare stores an entry, with the key if the method needs one, before anything is sent: a key that a server knows
// must not be lost, and storage that does not work is better met now.
func (c *Client) prepare(config *Config, m *discovery.Metadata, method, alg string) (*entry, error) {
	e := c.kept.find(config)
	if e == nil {
		if len(c.kept.Entries) >= mostIssuers { // one that came to nothing makes room
			if i := slices.IndexFunc(c.kept.Entries, func(e *entry) bool { return e.ClientID == "" }); i >= 0 {
				c.kept.Entries = slices.Delete(c.kept.Entries, i, i+1)
			}
		}
		if len(c.kept.Entries) >= mostIssuers {
			return nil, fmt.Errorf("clients of %d issuers are stored already; forget one", mostIssuers)
		}
		e = &entry{Issuer: config.Issuer, Given: config.Given.ID != ""}
		c.kept.Entries = append(c.kept.Entries, e)
	}
	e.Method, e.TokenEndpoint = method, m.TokenEndpoint
	c.doubtful, c.doubted = false, time.Now()
	if method == PrivateKeyJWT && (len(e.Keys) == 0 || e.Keys[0].Alg != alg) {
		k, err := makeKey(alg)
		if err != nil {
			return nil, err
		}
		e.Keys, e.Rotation = []*deviceKey{k}, steady
	}
	if e.Given {
		e.ClientID, e.Scope = config.Given.ID, joinScopes(config.Scopes)
		e.Since, e.Secret = c.unixNow(), "" // which the configuration has
	} else {
		inline, why := chooseKeys(config)
		e.Inline, e.Attempted = inline, true
		if method == PrivateKeyJWT {
			c.reportKeys(config.Issuer, why)
		}
	}
	return e, c.store()
}

// reportKeys reports how the keys go, once for each change.
func (c *Client) reportKeys(issuer, why string) {
	if c.lastWhy != issuer+why {
		c.lastWhy = issuer + why
		c.o.Report(Event{Kind: EventKeys, Issuer: issuer, Text: why})
	}
}

// unixNow is the time for people to read; 0 while the clock is not trusted.
func (c *Client) unixNow() int64 {
	if now, trusted := c.o.Clock(); trusted {
		return now.Unix()
	}
	return 0
}

// errNoURI is why keys cannot go as they are configured to.
var errNoURI = errors.New("the server is to get the keys at a jwks_uri, and none is configured")

// register registers the device (RFC 7591 §3), and stores the answer before anything else is done with it.
func (c *Client) register(ctx context.Context, config *Config, m *discovery.Metadata, e *entry) error {
	if m.RegistrationEndpoint == "" {
		return errors.New("the server's metadata name no registration_endpoint: enable dynamic registration there " +
			"(Hydra: oidc.dynamic_client_registration), or give this device a client made by hand")
	}
	if config.Name == "" || len(config.Scopes) == 0 {
		return errors.New("a client needs a scope and a name of its own to be registered, and this device has " +
			"neither a " +
			"serial number nor a host name yet") // CLI-31
	}
	if e.Method == PrivateKeyJWT && !e.Inline && config.JWKSURI == "" {
		return errNoURI
	}
	c.enter(Unregistered)
	body := e.describe(config)
	r := request{what: "registration", method: http.MethodPost, url: m.RegistrationEndpoint, json: body}
	if config.InitialToken != "" {
		if !visible(config.InitialToken) || strings.Contains(config.InitialToken, " ") {
			return errors.New("the initial access token holds characters that cannot be sent")
		}
		r.authorization, r.secrets = "Bearer "+config.InitialToken, []string{config.InitialToken} // CLI-30
	}
	a, err := c.send(ctx, config.Issuer, &r, http.StatusCreated)
	if status(err) == http.StatusBadRequest && body.JWKSURI != "" && config.Keys == KeysAuto && keysRefused(err) {
		// A change, so it may be asked again (CLI-35).
		c.reportKeys(config.Issuer, "keys are sent to the server as jwks, since it refuses the jwks_uri")
		e.Inline = true
		body = e.describe(config)
		r.json = body
		a, err = c.send(ctx, config.Issuer, &r, http.StatusCreated)
	}
	switch {
	case err != nil && a.status == http.StatusCreated:
		return oneLine(err, errUnusable)
	case err != nil && a.sent && a.status == 0, status(err) == http.StatusGatewayTimeout:
		return oneLine(err, errLost)
	case err != nil:
		return err
	}
	var info information
	err = parseObject(a.body, &info)
	if err != nil && a.status != http.StatusCreated {
		return wrap("registration at "+m.RegistrationEndpoint+": the answer", err)
	}
	if err == nil && info.ClientID == "" {
		err = errors.New("no client_id")
	}
	var differs []string
	if err == nil {
		differs, err = e.adopt(&info, body)
	}
	if err != nil {
		return wrap("registration at "+m.RegistrationEndpoint+": the answer", oneLine(err, errUnusable))
	}
	e.renew(&info)
	e.ClientID, e.Since, e.Refused, e.Asked, e.Attempted = info.ClientID, c.unixNow(), 0, body.digest(), false
	e.lost = false
	c.vain++
	if err := c.store(); err != nil {
		return err
	}
	c.enter(Registered)
	c.well()
	c.upkeep, c.stepAt = time.Time{}, time.Time{}
	c.mu.Lock()
	for _, g := range c.grants {
		g.next = time.Now() // those that are held are another client's
	}
	c.mu.Unlock()
	c.o.Report(Event{Kind: EventRegistered, Issuer: config.Issuer, Text: registeredText(e, differs)})
	return nil
}

// keysRefused reports whether it is the jwks_uri that a server does not like.
func keysRefused(err error) bool {
	var e *refusalError
	return errors.As(err, &e) && strings.Contains(e.description, "jwks_uri")
}

func registeredText(e *entry, differs []string) string {
	s := fmt.Sprintf("registered as %s, scope %q, %s", shownText(e.ClientID, nil), e.Scope, e.Method)
	if !e.manageable() {
		s += "; the server offers no updates (RFC 7592)"
	}
	if len(differs) > 0 {
		s += "; other than asked: " + strings.Join(differs, ", ")
	}
	return s
}

// usable reports whether what a server gave can be kept and sent.
//
//go:noinline // for flash
func usable(s string) bool { return len(s) <= 4096 && visible(s) }

// renew takes over the credentials that the server gave.
func (e *entry) renew(info *information) {
	if info.Secret != "" && usable(info.Secret) {
		e.Secret, e.Expires = info.Secret, 0
		if at, ok := info.Expires.(float64); ok && at > 0 && at < 1<<40 { // what is beyond will not be lived to see
			e.Expires = int64(at)
		}
	}
	if info.Token != "" && usable(info.Token) {
		e.Token = info.Token
	}
	if usableURL(info.Manage, e.Issuer) && usable(info.Manage) {
		e.Manage = info.Manage
	}
}

// adopt takes over what the server says of the client, and says what differs from what was asked (CLI-34). Nothing is
// taken over if it returns an error.
func (e *entry) adopt(info *information, asked *clientMetadata) (differs []string, err error) {
	if !usable(info.ClientID) || !usable(info.Secret) || !usable(info.Token) || !usable(info.Manage) {
		return nil, errors.New("an identifier, secret or token cannot be used: too long, or not in ASCII")
	}
	method := e.Method
	if info.Method != nil && *info.Method != method {
		differs = append(differs, "token_endpoint_auth_method "+shownText(*info.Method, nil))
		if *info.Method == PrivateKeyJWT && len(e.Keys) == 0 ||
			*info.Method != PrivateKeyJWT && *info.Method != SecretBasic {
			return nil, fmt.Errorf("the client is to authenticate by %s, which this device does not do",
				shownText(*info.Method, nil))
		}
		method = *info.Method
	}
	if method == SecretBasic && info.Secret == "" && e.Secret == "" {
		return nil, errors.New("no client_secret in it")
	}
	if info.GrantTypes != nil && !slices.Contains(info.GrantTypes, "client_credentials") {
		differs = append(differs, "grant_types lacks client_credentials")
	}
	e.Method, e.Scope = method, asked.Scope
	if info.Scope != nil && joinScopes(strings.Fields(*info.Scope)) != asked.Scope {
		differs = append(differs, "scope "+shownText(*info.Scope, nil))
		e.Scope, _ = compare(asked.Scope, *info.Scope)
	}
	if info.Manage != "" && !usableURL(info.Manage, e.Issuer) {
		differs = append(differs, "the registration_client_uri is not https, and is not used")
	}
	return differs, nil
}

// usableURL reports whether a URL may be asked: https, unless the issuer is http (CLI-21).
func usableURL(s, issuer string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && u.User == nil && u.Fragment == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(issuer, "http:"))
}
