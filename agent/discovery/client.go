package discovery

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// Metadata is the part of an Authorization Server's metadata that a client needs (RFC 8414 §2). The endpoints are
// absolute URLs without a user or fragment, https unless the issuer is http; empty if the server names none. It is read
// separately from metadata, so that an error in it does not cost the keys.
type Metadata struct {
	Issuer               string `json:"issuer"`
	TokenEndpoint        string `json:"token_endpoint"`
	RegistrationEndpoint string `json:"registration_endpoint"`
	RevocationEndpoint   string `json:"revocation_endpoint"`
	// What follows is nil if not given. TokenAuthMethods are then client_secret_basic alone (CLI-22), and GrantTypes
	// authorization_code and implicit.
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthSigningAlgs  []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
}

// Metadata returns the metadata of an issuer, found as KeySet finds them, which must name that issuer.
func (c *Client) Metadata(ctx context.Context, issuer string) (Metadata, error) {
	s, err := c.issuerSource(issuer)
	if err != nil {
		return Metadata{}, err
	}
	return c.metadata(ctx, s)
}

// FoundMetadata returns the metadata of the server that discovery found at this URL, as FoundKeySet does: they may name
// another issuer (KEY-8).
func (c *Client) FoundMetadata(ctx context.Context, at string) (Metadata, error) {
	s, err := c.foundSource(at)
	if err != nil {
		return Metadata{}, err
	}
	return c.metadata(ctx, s)
}

func (c *Client) metadata(ctx context.Context, s source) (m Metadata, err error) {
	err = c.read(ctx, s, func(_ context.Context, _ *fetch, found document) error {
		err := parseJSON(found.body, &m)
		if err == nil {
			err = m.checkEndpoints(s.issuer)
		}
		return wrap("discovery: metadata from "+plain(found.from), err)
	})
	if err != nil {
		return Metadata{}, err
	}
	return m, nil
}

// checkEndpoints checks the form of the endpoints (CLI-21). The host may differ: its certificate decides.
func (m *Metadata) checkEndpoints(issuer *url.URL) error {
	for _, e := range []struct{ name, value string }{
		{"token_endpoint", m.TokenEndpoint},
		{"registration_endpoint", m.RegistrationEndpoint},
		{"revocation_endpoint", m.RevocationEndpoint},
	} {
		if e.value == "" {
			continue
		}
		if err := checkEndpoint(e.value, issuer.Scheme); err != nil {
			return wrap(e.name+" "+shown(e.value), err)
		}
	}
	return nil
}

func checkEndpoint(endpoint, scheme string) error {
	u, err := parseURL(endpoint)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && scheme == "https":
		return errors.New("not https")
	case u.Fragment != "": // RFC 6749 §3.2
		return errors.New("a fragment is not allowed")
	}
	return nil
}

// HTTPClient returns a client that connects as for key sets: with the roots at that time (DIS-5), to the addresses that
// were found with the issuer, without a proxy. It keeps no connection, follows no redirect, and its errors are for
// people. Callers bound their requests in time and what they read in size.
func (c *Client) HTTPClient(issuer string) *http.Client {
	return &http.Client{
		Transport:     &transport{client: c, issuer: issuer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type transport struct {
	client *Client
	issuer string
}

// RoundTrip makes a connection for each request, so that newly installed roots count.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	f, err := t.client.newFetch(r.Context(), t.client.foundServer(t.issuer))
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, wrap("the root certificates", err)
	}
	f.transport.DisableKeepAlives = true
	res, err := f.transport.RoundTrip(r)
	if err != nil {
		return nil, explain(r.Context(), err)
	}
	res.Body = plainBody{res.Body, r.Context()}
	return res, nil
}

// plainBody is that of an answer, whose errors are for people, too: net/http's would quote a broken trailer.
type plainBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b plainBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = explain(b.ctx, err)
	}
	return n, err
}
