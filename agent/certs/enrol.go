package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// anchors returns what servers are checked by: the roots that came by EST and those that a person installed. If another
// fingerprint is configured than the one that the former go back to, they do not count (CERT-11). It returns nil if no
// root is held.
func (c *Client) anchors(config Config, installed []*x509.Certificate) *anchors {
	roots := slices.Clone(installed)
	if c.pinKept(config) {
		roots = append(roots, c.kept.certs()...)
	}
	return newAnchors(roots, c.kept.links)
}

// pinKept reports whether the roots held are those of the configured fingerprint, or come from them by roll-over.
func (c *Client) pinKept(config Config) bool {
	return config.Fingerprint == "" || sameFingerprint(config.Fingerprint, c.kept.Pin) ||
		pinned(c.kept.certs(), config.Fingerprint) != nil
}

// adopt takes the roots of a checked answer in place of those that came before (CERT-13), if they vouch for the server
// that sent them: else the device could never speak to it again.
func (c *Client) adopt(
	config Config, s *session, roots, links, installed []*x509.Certificate, first bool,
) error {
	before := c.kept
	after := *before
	trust := TrustChecked
	if config.Fingerprint != "" {
		if !c.pinKept(config) && pinned(roots, config.Fingerprint) == nil {
			return errPin
		}
		after.Pin = strings.ToLower(strings.ReplaceAll(config.Fingerprint, ":", ""))
	} else if after.Pin = ""; first {
		trust = TrustFirst
	}
	anchors := newAnchors(append(slices.Clone(roots), installed...), links)
	if err := anchors.server(s.peer, s.host, s.wall, s.trusted); err != nil {
		return fmt.Errorf("the roots do not vouch for the server that sent them: %w", explainTLS(err))
	}
	var since int64
	if s.trusted {
		since = s.wall.Unix()
	}
	after.Roots, after.Links, after.links = nil, nil, links
	var news []string
	for _, cert := range roots {
		i := slices.IndexFunc(before.Roots, func(r *root) bool { return r.cert.Equal(cert) })
		if i >= 0 {
			after.Roots = append(after.Roots, before.Roots[i])
			continue
		}
		r := &root{DER: cert.Raw, Trust: trust, Server: s.server.base(), Since: since, cert: cert}
		if config.Fingerprint != "" && sameFingerprint(config.Fingerprint, fingerprint(cert)) {
			r.Trust = TrustPinned
		}
		after.Roots = append(after.Roots, r)
		news = append(news, fmt.Sprintf("%s (SHA-256 %s)", shown(cert.Subject.String()), fingerprint(cert)))
	}
	for _, l := range links {
		after.Links = append(after.Links, l.Raw)
	}
	same := len(news) == 0 && len(after.Roots) == len(before.Roots) && after.Pin == before.Pin &&
		slices.EqualFunc(after.Links, before.Links, bytes.Equal)
	now := time.Now()
	if !same {
		c.kept = &after
		was := c.unsaved
		if err := c.save(); err != nil {
			c.kept, c.unsaved = before, was // what was stored is as it was
			return err
		}
		c.handed = false
	}
	c.lookTries, c.looked, c.lookAt = 0, now, c.rootsAt(now)
	switch text := strings.Join(news, ", "); {
	case len(news) == 0:
	case first && config.Fingerprint == "":
		c.o.Report(Event{Kind: EventFirstTrust, Server: s.server.base(), Text: "trusted on first contact, unchecked: " +
			text})
	case first:
		c.o.Report(Event{Kind: EventFirstTrust, Server: s.server.base(),
			Text: "trusted by the configured fingerprint: " + text})
	default:
		c.o.Report(Event{Kind: EventRoots, Server: s.server.base(), Text: text})
	}
	for _, sl := range c.slots {
		p := c.kept.pair(sl.kind)
		sl.now = sl.now || p != nil && c.outdated(p)
	}
	return nil
}

// attributes asks for /csrattrs, which a server may not have (CERT-25).
func (s *session) attributes(ctx context.Context) (attributes, error) {
	a, err := s.do(ctx, "csrattrs", nil)
	var refused *statusError
	switch {
	case errors.As(err, &refused), err == nil && a.status != http.StatusOK:
		return attributes{}, nil
	case err != nil:
		return attributes{}, err
	}
	want, err := parseAttributes(a.body)
	if err != nil {
		return want, fmt.Errorf("csrattrs at %s: %w", s.server.base(), err)
	}
	return want, nil
}

// enrol asks for a certificate (CERT-26, CERT-41). It returns nil if one came, or if a person has to agree first.
func (c *Client) enrol(
	ctx context.Context, config Config, s *session, sl *slot, operation string, old *pair, want attributes,
) error {
	bits := want.takes(sl.kind)
	if bits == 0 {
		return fmt.Errorf("%s takes no keys of kind %s that this device can make", s.server.base(), sl.kind)
	}
	at := s.server.url("")
	key, pkcs8, err := crypto.Signer(nil), []byte(nil), error(nil)
	wait := c.kept.wait(sl.kind)
	asked := 0
	if wait != nil && wait.Server == at {
		asked = wait.Asked
		if !want.challenge { // a request that is tied to its session is made again (CERT-27)
			key, _, err = openKey(wait.Key)
			pkcs8 = wait.Key
		}
	}
	if key == nil && err == nil {
		key, pkcs8, err = makeKey(sl.kind, bits) // CERT-20
	}
	if err != nil {
		return err
	}
	w := wanted{names: config.Names, serial: config.Serial}
	if old != nil {
		w.subject, w.names = old.leaf.RawSubject, old.leaf.DNSNames
	}
	var unique []byte
	if want.challenge { // CERT-24
		s = c.open(s.server, s.anchors, s.identity)
		defer s.close()
		if unique, err = s.tie(ctx); err != nil {
			return fmt.Errorf("%s at %s: %w", operation, s.server.base(), err)
		}
	}
	body, err := makeRequest(key, w, unique)
	if err != nil {
		return err
	}
	a, err := s.do(ctx, operation, body)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable && refused.retry > 0:
		return c.wait(s, sl, pkcs8, asked+1, refused.retry)
	case err != nil:
		return err
	case a.status == http.StatusAccepted:
		return c.wait(s, sl, pkcs8, asked+1, a.retry)
	case a.status != http.StatusOK:
		return fmt.Errorf("%s at %s: %w", operation, s.server.base(), &statusError{status: a.status})
	}
	p, err := c.accept(config, s, key, pkcs8, a.body)
	if err != nil {
		return fmt.Errorf("%s at %s: the certificate is not used: %w", operation, s.server.base(), err)
	}
	c.kept.put(p)
	*sl = slot{kind: sl.kind}
	c.handed = false
	c.o.Report(Event{Kind: EventIssued, Server: s.server.base(), Key: sl.kind, Text: describe(p.leaf)})
	if err := c.save(); err != nil { // it is stored later, and only then used
		c.o.Report(Event{Kind: EventFailure, Key: sl.kind, Err: err, Again: firstBackOff})
	}
	return nil
}

// tie makes the connection that a request is to be tied to, and returns its tls-unique (RFC 5929 §3), which TLS 1.3
// does not have.
func (s *session) tie(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	s.most = tls.VersionTLS12
	u, err := url.Parse(s.server.url(""))
	if err != nil {
		return nil, errors.New("not a URL that can be requested")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := s.connect(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	s.tied = conn
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("not a TLS connection")
	}
	unique := secure.ConnectionState().TLSUnique
	if len(unique) == 0 {
		return nil, errors.New("the connection has no tls-unique to tie the request to")
	}
	return unique, nil
}

// wait notes that a person has to agree, and when the server is asked again: not before it said, later the more often
// it was asked, and not forever (CERT-27).
func (c *Client) wait(s *session, sl *slot, pkcs8 []byte, asked int, retry time.Duration) error {
	c.kept.forgetWait(sl.kind)
	if asked > mostAsked {
		err := fmt.Errorf("%s was asked %d times and nobody agreed: given up, and asked for again", s.server.base(),
			mostAsked)
		if failed := c.save(); failed != nil {
			err = fmt.Errorf("%w; %w", err, failed)
		}
		return err
	}
	if retry == 0 {
		retry = mostBackOff // the header is missing
	}
	retry = max(retry, min(time.Duration(asked)*2*time.Second, mostRest))
	w := &waiting{Kind: sl.kind, Key: pkcs8, Server: s.server.url(""), Asked: asked, until: time.Now().Add(retry)}
	if s.trusted {
		w.Until = s.wall.Add(retry).Unix()
	}
	c.kept.Waiting = append(c.kept.Waiting, w)
	*sl = slot{kind: sl.kind, now: sl.now, begin: sl.begin}
	if err := c.save(); err != nil {
		return err
	}
	c.o.Report(Event{Kind: EventWaiting, Server: s.server.base(), Key: sl.kind, Again: retry,
		Text: fmt.Sprintf("a person has to agree there; asked %d times", asked)})
	return nil
}

// accept checks what was issued (CERT-28) and makes a pair of it.
func (c *Client) accept(config Config, s *session, key crypto.Signer, pkcs8, body []byte) (*pair, error) {
	all, err := parseCerts(body)
	if err != nil {
		return nil, err
	}
	ours, _ := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	i := slices.IndexFunc(all, func(cert *x509.Certificate) bool { return ours.Equal(cert.PublicKey) })
	if i < 0 {
		return nil, errors.New("it is for another key")
	}
	leaf := all[i]
	if err := fits(leaf, config); err != nil {
		return nil, err
	}
	has := func(use x509.ExtKeyUsage) bool {
		return slices.Contains(leaf.ExtKeyUsage, use) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	}
	at := s.wall
	if leaf.NotBefore.After(at) && leaf.NotBefore.Sub(at) < 5*time.Minute {
		at = leaf.NotBefore // its clock is a little ahead
	}
	switch {
	case leaf.IsCA:
		return nil, errors.New("it is a CA's")
	case !has(x509.ExtKeyUsageServerAuth) || !has(x509.ExtKeyUsageClientAuth):
		return nil, errors.New("its extended key usage is not for server and client both")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, errors.New("its key usage is not for signatures, so TLS cannot use it")
	case s.trusted && leaf.NotBefore.After(at):
		return nil, fmt.Errorf("it is not valid before %s", leaf.NotBefore.UTC().Format(time.DateTime))
	case s.trusted && leaf.NotAfter.Sub(at) < leastLife:
		return nil, fmt.Errorf("it ends %s, which is past or too soon", leaf.NotAfter.UTC().Format(time.DateTime))
	}
	anchors := newAnchors(c.kept.certs(), c.kept.links)
	if anchors == nil {
		return nil, errNoRoot
	}
	chain, err := anchors.check(append([]*x509.Certificate{leaf}, all...), "", at, s.trusted, x509.ExtKeyUsageAny)
	if err != nil {
		return nil, fmt.Errorf("it does not lead to a root from cacerts: %s", shown(err.Error()))
	}
	p := &pair{Key: pkcs8}
	size := 0
	for _, cert := range chain[:max(len(chain)-1, 1)] {
		p.Chain = append(p.Chain, cert.Raw)
		size += len(cert.Raw)
	}
	if size > maxChain {
		return nil, fmt.Errorf("it and its intermediates have over %d KiB", maxChain>>10)
	}
	if s.trusted {
		p.Since = s.wall.Unix()
	}
	return p, p.open()
}

// describe says what a certificate is.
func describe(leaf *x509.Certificate) string {
	return fmt.Sprintf("for %s, from %s, until %s", shown(strings.Join(leaf.DNSNames, ", ")),
		shown(leaf.Issuer.String()), leaf.NotAfter.UTC().Format(time.DateTime))
}
