package estserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// waiting is a device that was told to come again.
type waiting struct {
	until    time.Time
	key      string
	repeated bool
	tied     bool // to the session that it was asked in, so that it needs another request
}

// narrow are the headers that an unchecked request may have: those without which there is no HTTP/1.1, and none that
// says who asks (CERT-11).
var narrow = []string{"Accept", "Accept-Encoding", "Connection"}

// checkRequest looks at what is common to all requests.
func (s *Server) checkRequest(r *http.Request, req *Request, body []byte, bodyErr error) (breaches []string) {
	breach := func(format string, a ...any) { breaches = append(breaches, fmt.Sprintf(format, a...)) }
	if r.TLS != nil {
		req.TLS = r.TLS.Version
		if len(r.TLS.PeerCertificates) > 0 {
			req.Client = r.TLS.PeerCertificates[0]
		}
	} else {
		breach("CERT-3: asked by plain HTTP")
	}
	one := s.connectionOf(r, req)
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		if r.Header.Get(name) != "" {
			breach("CERT-26: header %s was sent", name)
		}
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		breach("CERT-4: the path has a query")
	}
	if req.Operation == "" {
		breach("CERT-4: the path is not one of EST's")
	}
	want := http.MethodGet
	if req.Operation == Enrol || req.Operation == Reenrol {
		want = http.MethodPost
	}
	if r.Method != want {
		breach("CERT-4: the method is %s, want %s", r.Method, want)
	}
	if bodyErr != nil {
		breach("CERT-26: the body: %v", bodyErr)
	}
	if want == http.MethodGet && len(body) > 0 {
		breach("CERT-4: a GET with a body")
	}
	switch one.fault {
	case CertOtherCA, CertOtherHost, CertEnded, CertNotForServer, PlainPort:
		if !one.first {
			breach("CERT-12: asked although the server shows %s", one.fault)
		}
	}
	if one.first {
		breaches = append(breaches, s.checkFirst(r, req, one)...)
	}
	if req.Client != nil && req.At.After(req.Client.NotAfter) {
		breach("CERT-26: an expired client certificate was shown")
	}
	return breaches
}

// connectionOf finds the connection of a request, and whether it is the unchecked one. That is known with the first
// request, not before: a handshake that the device breaks off is none.
func (s *Server) connectionOf(r *http.Request, req *Request) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, _ := r.Context().Value(connectionKey{}).(net.Conn)
	one := s.connections[c]
	if one == nil {
		return &connection{} // of the plain port
	}
	if one.requests == 0 && s.contact {
		one.first, s.contact = true, false
	}
	one.requests++
	req.Connection = one.id
	if one.first && redirects(req.Fault) {
		one.requests-- // its target is asked in the same way, here or on the next connection
		s.contact = true
	}
	return &connection{id: one.id, fault: one.fault, first: one.first, requests: one.requests}
}

// checkFirst looks at the one request that is made unchecked.
func (s *Server) checkFirst(r *http.Request, req *Request, one *connection) (breaches []string) {
	breach := func(format string, a ...any) { breaches = append(breaches, fmt.Sprintf(format, a...)) }
	if req.Operation != CACerts {
		breach("CERT-11: %s was asked unchecked", req.Operation)
	}
	if req.Client != nil {
		breach("CERT-11: a client certificate was shown unchecked")
	}
	if one.requests > 1 {
		breach("CERT-11: the unchecked connection has %d requests", one.requests)
	}
	for name := range r.Header {
		if !slices.Contains(narrow, name) {
			breach("CERT-11: header %s was sent unchecked", name)
		}
	}
	if req.Where == elsewhere {
		breach("CERT-7: led to another host before the root is known")
	}
	return breaches
}

// checkCSR looks at the form of an enrolment.
func (s *Server) checkCSR(req *Request, body []byte) (csr *x509.CertificateRequest, breaches []string) {
	der, err := decode(body)
	if err != nil {
		return nil, []string{fmt.Sprintf("CERT-26: the body is not base64: %v", err)}
	}
	if csr, err = x509.ParseCertificateRequest(der); err != nil {
		return nil, []string{fmt.Sprintf("CERT-26: the body is not PKCS #10: %v", err)}
	}
	req.CSR = csr
	breach := func(format string, a ...any) { breaches = append(breaches, fmt.Sprintf(format, a...)) }
	if err := csr.CheckSignature(); err != nil {
		breach("CERT-22: the request is not signed by its key: %v", err)
	}
	switch csr.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384,
		x509.ECDSAWithSHA512, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
	default:
		breach("CERT-22: the request is signed with %v", csr.SignatureAlgorithm)
	}
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			breach("CERT-21: RSA of %d bits", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Params().BitSize < 256 {
			breach("CERT-21: a curve of %d bits", key.Params().BitSize)
		}
	default:
		breach("CERT-21: a key of type %T", csr.PublicKey)
	}
	name := csr.Subject.CommonName
	if name == "" || !slices.Contains(csr.DNSNames, name) {
		breach("CERT-22: CN %q is not among the names %q", name, csr.DNSNames)
	}
	for _, one := range csr.DNSNames {
		if strings.Contains(one, "*") {
			breach("CERT-22: a wildcard %q", one)
		}
		if net.ParseIP(one) != nil {
			breach("CERT-22: an address %q among the names", one)
		}
		if s.opt.Domain != "" && !strings.HasSuffix(one, "."+s.opt.Domain) {
			breach("CERT-22: %q is not in %s", one, s.opt.Domain)
		}
	}
	if len(csr.IPAddresses) > 0 {
		breach("CERT-22: IP addresses %v", csr.IPAddresses)
	}
	if len(csr.URIs) > 0 || len(csr.EmailAddresses) > 0 {
		breach("CERT-22: names that are not host names")
	}
	if csr.Subject.SerialNumber == "" && !s.opt.AnySerial {
		breach("CERT-23: no serialNumber in the subject")
	}
	return csr, breaches
}

// checkHeaders looks at how an enrolment is sent.
func checkHeaders(h http.Header) (breaches []string) {
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || kind != "application/pkcs10" {
		breaches = append(breaches, fmt.Sprintf("CERT-26: Content-Type %q", h.Get("Content-Type")))
	}
	if !strings.EqualFold(h.Get("Content-Transfer-Encoding"), "base64") {
		breaches = append(breaches, "CERT-15: no Content-Transfer-Encoding: base64")
	}
	return breaches
}

// device names who asks, and for which kind of key.
func device(csr *x509.CertificateRequest) string {
	return csr.Subject.SerialNumber + " " + csr.PublicKeyAlgorithm.String()
}

// checkKey looks at whether a key is new, and at whether a device that was told to wait has waited, and comes again
// with the same key.
func (s *Server) checkKey(req *Request, csr *x509.CertificateRequest) (breaches []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, again := string(csr.RawSubjectPublicKeyInfo), false
	if w := s.waiting[device(csr)]; w != nil {
		again = w.key == key
		if again && req.At.Before(w.until) {
			breaches = append(breaches,
				fmt.Sprintf("CERT-27: asked %v before Retry-After is over", w.until.Sub(req.At)))
		}
		if !again && !w.repeated && !w.tied {
			breaches = append(breaches, "CERT-27: another key after Retry-After")
		}
		w.repeated = true
		if !again {
			delete(s.waiting, device(csr))
		}
	}
	if s.keys[key] && !again {
		breaches = append(breaches, "CERT-20: the key was used for another request")
	}
	s.keys[key] = true
	return breaches
}

// defers remembers that a device has to wait.
func (s *Server) defers(csr *x509.CertificateRequest, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[device(csr)]
	if w == nil {
		w = &waiting{}
		s.waiting[device(csr)] = w
	}
	w.until, w.key, w.tied = until, string(csr.RawSubjectPublicKeyInfo), s.opt.Challenge
}

// authenticate looks at who asks. What it refuses is not always wrong.
func (s *Server) authenticate(r *http.Request, req *Request, csr *x509.CertificateRequest) (
	refused string, breaches []string,
) {
	breaches = checkHeaders(r.Header)
	breach := func(format string, a ...any) { breaches = append(breaches, fmt.Sprintf(format, a...)) }
	if b := s.checkChallenge(r.TLS, csr); b != "" {
		if strings.HasPrefix(b, "CERT") {
			breach("%s", b)
		} else {
			refused = b
		}
	}
	s.mu.Lock()
	facilities := append([]*CA{s.facility}, s.former...)
	revoked := req.Client != nil && s.revoked[string(req.Client.Raw)]
	s.mu.Unlock()
	var chain []*x509.Certificate
	if r.TLS != nil {
		chain = r.TLS.PeerCertificates
	}
	ofMaker, ofFacility := s.below(chain, req.At, s.opt.Maker), s.below(chain, req.At, facilities...)
	switch {
	case revoked:
		refused = "the client certificate is revoked"
	case req.Operation == Reenrol && req.Client == nil:
		breach("CERT-41: the certificate being renewed was not shown")
	case req.Operation == Reenrol && ofMaker:
		breach("CERT-41: renewed with the maker's certificate")
	case req.Operation == Reenrol && !ofFacility:
		refused = "the client certificate is not this facility's"
	case req.Operation == Reenrol:
		if !bytes.Equal(req.Client.RawSubject, csr.RawSubject) {
			breach("CERT-41: subject %q, renewing %q", csr.Subject, req.Client.Subject)
		}
		if got, want := sorted(csr.DNSNames), sorted(req.Client.DNSNames); !slices.Equal(got, want) {
			breach("CERT-41: names %q, renewing %q", got, want)
		}
	case req.Client == nil && !s.opt.Open:
		refused = "a client certificate is wanted"
	case req.Client == nil:
	case ofFacility:
		breach("CERT-41: enrolled from the beginning with the facility's certificate")
	case !ofMaker:
		refused = "the client certificate comes from an unknown maker"
	case req.Client.Subject.SerialNumber != csr.Subject.SerialNumber:
		breach("CERT-23: serialNumber %q, by the maker %q", csr.Subject.SerialNumber, req.Client.Subject.SerialNumber)
	}
	return refused, breaches
}

// checkChallenge looks at whether a request is tied to the session if it has to be.
func (s *Server) checkChallenge(state *tls.ConnectionState, csr *x509.CertificateRequest) string {
	got, err := challenge(csr)
	switch {
	case err != nil:
		return "CERT-24: " + err.Error()
	case !s.opt.Challenge && got != "":
		return "CERT-24: a challengePassword that was not asked for"
	case !s.opt.Challenge:
		return ""
	case got == "":
		return "challengePassword is wanted"
	case state == nil || len(state.TLSUnique) == 0:
		return "CERT-24: a challengePassword in a session that has no tls-unique"
	case got != base64.StdEncoding.EncodeToString(state.TLSUnique):
		return "CERT-24: the challengePassword is not that of this session"
	}
	return ""
}

// below reports whether a client's chain leads to one of the roots.
func (s *Server) below(chain []*x509.Certificate, now time.Time, cas ...*CA) bool {
	if len(chain) == 0 {
		return false
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca.Root)
		between.AddCert(ca.Intermediate)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{
			x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }
