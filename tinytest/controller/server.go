package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// metadata is what the controller needs of the authorization server's (RFC 8414 §2).
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	Grants        []string `json:"grant_types_supported"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	SaysIssuer    bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// Find finds the authorization server by DNS-SD and returns its issuer.
func (c *Controller) Find(ctx context.Context) (issuer string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.find(ctx)
	return c.server.Issuer, err
}

// find is Find with the lock held, if it was not found before.
func (c *Controller) find(ctx context.Context) error {
	if c.server.Issuer != "" {
		return nil
	}
	found, err := c.opt.Resolver.Browse(ctx, "_nmos-auth._tcp", c.opt.Domain, "v1.0")
	if err != nil {
		return err
	}
	var faults []error
	for _, i := range found {
		path := ""
		if selector := i.Text["api_selector"]; selector != "" {
			path = "/" + selector
		}
		m, err := c.metadata(ctx, i.URL(), path)
		if err == nil {
			c.server = m
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// metadata reads and checks a server's metadata.
func (c *Controller) metadata(ctx context.Context, origin, path string) (m metadata, err error) {
	const wellKnown = "/.well-known/oauth-authorization-server"
	text, _, err := c.try(ctx, http.MethodGet, origin+wellKnown+path, nil, "")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("controller: the metadata of %s: %w", origin, err)
	}
	bad := func(format string, a ...any) (metadata, error) {
		return metadata{}, fmt.Errorf("controller: the metadata of %s: "+format, append([]any{origin}, a...)...)
	}
	if strings.TrimSuffix(m.Issuer, "/") != origin+path { // RFC 8414 §3.3
		return bad("they are of the issuer %q", m.Issuer)
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.Authorization, "token_endpoint": m.Token, "registration_endpoint": m.Registration,
	} {
		if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" {
			return bad("%s is %q", name, endpoint)
		}
	}
	if !slices.Contains(m.Challenges, "S256") {
		return bad("no PKCE by S256")
	}
	if !slices.Contains(m.Grants, "authorization_code") || !slices.Contains(m.Methods, "none") {
		return bad("no authorization code for public clients")
	}
	return m, nil
}

// Register registers the controller as a public client, whose people come back to a port of the loopback interface (RFC
// 7591; RFC 8252 §7.3), and returns its client_id.
func (c *Controller) Register(ctx context.Context) (id string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.register(ctx)
	return c.id, err
}

// register is Register with the lock held, if it has not registered before.
func (c *Controller) register(ctx context.Context) error {
	if c.id != "" {
		return nil
	}
	if err := c.find(ctx); err != nil {
		return err
	}
	if c.callback == nil {
		var err error
		if c.callback, err = listen(); err != nil {
			return err
		}
	}
	text, _, err := c.try(ctx, http.MethodPost, c.server.Registration, map[string]any{
		"client_name": c.opt.Name, "scope": c.opt.Scope, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"redirect_uris": []string{c.callback.url}, "application_type": "native",
	}, "")
	if err != nil {
		return err
	}
	var answer struct {
		ID    string `json:"client_id"`
		Scope string
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.ID == "" {
		return fmt.Errorf("controller: the registration's answer has no client_id: %w", err)
	}
	c.id = answer.ID
	return nil
}
