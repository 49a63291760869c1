package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// anchors returns what servers are checked by: the roots that came by EST and those that a person installed. If another
// fingerprint is configured than the one that the former go back to, they do not count (CERT-11). It returns nil if no
// root is held.
func (c *Client) anchors(installed []*x509.Certificate) *anchors {
	roots := slices.Clone(installed)
	if c.pinKept() {
		roots = append(roots, c.kept.certs()...)
	}
	return newAnchors(roots, c.kept.links)
}

// pinKept reports whether the roots held are those of the configured fingerprint, or come from them by roll-over.
func (c *Client) pinKept() bool {
	pin := c.config.Fingerprint
	return pin == "" || sameFingerprint(pin, c.kept.Pin) || pinned(c.kept.certs(), pin) != nil
}

// adopt takes the roots of a checked answer in place of those that came before (CERT-13), if they vouch for the server
// that sent them: else the device could never speak to it again.
func (c *Client) adopt(s *session, roots, links, installed []*x509.Certificate, first bool) error {
	pin, before, at := c.config.Fingerprint, c.kept, s.server.base()
	if !c.pinKept() && pinned(roots, pin) == nil {
		return errPin
	}
	anchors := newAnchors(append(slices.Clone(roots), installed...), links)
	if err := anchors.server(s.shown, s.host, s.wall, s.trusted); err != nil {
		return wrap("the roots do not vouch for the server that sent them", explainTLS(err, ""))
	}
	event, said, trust := EventRoots, "", TrustChecked
	switch {
	case first && pin == "":
		event, said, trust = EventFirstTrust, "trusted on first contact, unchecked: ", TrustFirst
	case first:
		event, said = EventFirstTrust, "trusted by the configured fingerprint: "
	}
	after := *before
	after.Pin = strings.ToLower(strings.ReplaceAll(pin, ":", ""))
	after.Roots, after.Links, after.links = nil, nil, links
	var news []string
	for _, cert := range roots {
		if i := slices.IndexFunc(before.Roots, func(r *root) bool { return r.cert.Equal(cert) }); i >= 0 {
			after.Roots = append(after.Roots, before.Roots[i])
			continue
		}
		r := &root{DER: cert.Raw, Trust: trust, Server: at, Since: s.since(), cert: cert}
		sum := fingerprint(cert)
		if sameFingerprint(pin, sum) {
			r.Trust = TrustPinned
		}
		after.Roots = append(after.Roots, r)
		news = append(news, shown(cert.Subject.String())+" (SHA-256 "+sum+")")
	}
	for _, l := range links {
		after.Links = append(after.Links, l.Raw)
	}
	if len(news) > 0 || len(after.Roots) != len(before.Roots) || after.Pin != before.Pin ||
		!slices.EqualFunc(after.Links, before.Links, bytes.Equal) {
		if err := c.replace(&after); err != nil {
			return err
		}
	}
	c.lookTries, c.lookAt = 0, c.rootsAt(time.Now())
	if len(news) > 0 {
		c.o.Report(Event{Kind: event, Server: at, Text: said + strings.Join(news, ", ")})
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
		return want, s.failed("csrattrs", err)
	}
	return want, nil
}

// enrol asks for a certificate (CERT-26, CERT-41). It returns nil if one came, or if a person has to agree first.
func (c *Client) enrol(ctx context.Context, s *session, sl *slot, id identity, want attributes) error {
	bits := want.takes(sl.kind)
	if bits == 0 {
		return fmt.Errorf("%s takes no keys of kind %s that this device can make", s.server.base(), sl.kind)
	}
	var key crypto.Signer
	var pkcs8 []byte
	var err error
	asked := 0
	if wait := c.kept.wait(sl.kind); wait != nil && wait.Server == s.server.url("") {
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
	w := wanted{names: c.config.Names, serial: c.config.Serial}
	if id.renews != nil {
		w.subject, w.names = id.renews.leaf.RawSubject, id.renews.leaf.DNSNames
	}
	var unique []byte
	if want.challenge { // CERT-24
		s = c.open(s.server, s.anchors, s.identity)
		defer s.close()
		if unique, err = s.tie(ctx); err != nil {
			return s.failed(id.operation, err)
		}
	}
	body, err := makeRequest(key, w, unique)
	if err != nil {
		return err
	}
	a, err := s.do(ctx, id.operation, body)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable && refused.retry > 0:
		return c.wait(s, sl, pkcs8, asked+1, refused.retry)
	case err != nil:
		return err
	case a.status == http.StatusAccepted:
		return c.wait(s, sl, pkcs8, asked+1, a.retry)
	case a.status != http.StatusOK:
		return s.failed(id.operation, &statusError{status: a.status})
	}
	p, err := c.accept(s, key, pkcs8, a.body)
	if err != nil {
		return s.failed(id.operation, wrap("the certificate is not used", err))
	}
	c.kept.put(p)
	*sl = slot{kind: sl.kind, short: sl.short}
	c.handed, c.listAt = false, time.Time{}
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
	conn, err := s.connect(ctx, s.server.address())
	if err != nil {
		return nil, err
	}
	s.tied = conn
	unique := conn.ConnectionState().TLSUnique
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
		if err := c.save(); err != nil {
			return err
		}
		return fmt.Errorf("%s was asked %d times and nobody agreed: given up, and asked for again",
			s.server.base(), mostAsked)
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
	*sl = slot{kind: sl.kind, now: sl.now, begin: sl.begin, short: sl.short}
	if err := c.save(); err != nil {
		return err
	}
	c.o.Report(Event{Kind: EventWaiting, Server: s.server.base(), Key: sl.kind, Again: retry,
		Text: fmt.Sprintf("a person has to agree there; asked %d times", asked)})
	return nil
}

// accept checks what was issued (CERT-28) and makes a pair of it.
func (c *Client) accept(s *session, key crypto.Signer, pkcs8, body []byte) (*pair, error) {
	all, err := parseCerts(body)
	if err != nil {
		return nil, err
	}
	ours, _ := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	i := slices.IndexFunc(all, func(cert *x509.Certificate) bool { return ours.Equal(cert.PublicKey) })
	if i < 0 {
		return nil, errors.New("for another key")
	}
	leaf := all[i]
	if err := c.fits(leaf); err != nil {
		return nil, err
	}
	has := func(use x509.ExtKeyUsage) bool {
		return slices.Contains(leaf.ExtKeyUsage, use) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	}
	at, trusted := c.o.Clock() // later than that of the connection
	if c.early(leaf) > 0 {
		at = leaf.NotBefore // it is handed over then
	}
	switch {
	case leaf.IsCA:
		return nil, errors.New("a CA's")
	case !has(x509.ExtKeyUsageServerAuth) || !has(x509.ExtKeyUsageClientAuth):
		return nil, errors.New("the extended key usage is not for server and client both")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, errors.New("the key usage is not for signatures, so TLS cannot use it")
	case trusted && leaf.NotBefore.After(at):
		return nil, errors.New("not valid before " + dateTime(leaf.NotBefore))
	case trusted && leaf.NotAfter.Sub(at) < leastLife:
		return nil, errors.New("ends " + dateTime(leaf.NotAfter) + ", which is past or too soon")
	}
	anchors := newAnchors(c.kept.certs(), c.kept.links)
	if anchors == nil {
		return nil, errNoRoot
	}
	chain, err := anchors.check(append([]*x509.Certificate{leaf}, all...), "", at, trusted, x509.ExtKeyUsageAny)
	if err != nil {
		return nil, errors.New("does not lead to a root from cacerts: " + shown(err.Error()))
	}
	p := &pair{Key: pkcs8, Since: s.since()}
	for _, cert := range chain[:max(len(chain)-1, 1)] {
		p.Chain = append(p.Chain, cert.Raw)
	}
	if err := p.bounded(); err != nil {
		return nil, err
	}
	return p, p.open()
}

// bounded returns an error if a certificate is too long to be kept.
func (p *pair) bounded() error {
	size := len(p.Key)
	for _, der := range p.Chain {
		size += len(der)
	}
	if size > maxChain {
		return fmt.Errorf("over %d KiB, with key and intermediates", maxChain>>10)
	}
	return nil
}

// dateTime writes a time for people.
func dateTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

// describe says what a certificate is.
func describe(leaf *x509.Certificate) string {
	return fmt.Sprintf("for %s, from %s, until %s", shown(strings.Join(leaf.DNSNames, ", ")),
		shown(leaf.Issuer.String()), dateTime(leaf.NotAfter))
}
