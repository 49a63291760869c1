package estserver

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"net/http"
	"strconv"
	"time"
)

// enrol answers /simpleenroll and /simplereenroll.
func (s *Server) enrol(r *http.Request, req *Request, body []byte) (answer, []string) {
	csr, breaches := s.checkCSR(req, body)
	if len(breaches) > 0 {
		return answer{}, breaches
	}
	if redirects(req.Fault) {
		return answer{}, nil // what it leads to looks at the request
	}
	if breaches = s.checkKey(req, csr); len(breaches) > 0 {
		return answer{}, breaches
	}
	if refused, breaches := s.authenticate(r, req, csr); refused != "" || len(breaches) > 0 {
		return refusal(http.StatusForbidden, refused), breaches
	}
	after := int((s.opt.RetryAfter + time.Second - 1) / time.Second)
	accepted := func(when string) answer {
		a := refusal(http.StatusAccepted, "a person has to agree")
		if when != "" {
			a.header = map[string]string{"Retry-After": when}
		}
		return a
	}
	switch req.Fault {
	case Deferred:
		s.defers(csr, req.At.Add(time.Duration(after)*time.Second))
		return accepted(strconv.Itoa(after)), nil
	case DeferredDate:
		at := req.At.Add(time.Duration(after) * time.Second).UTC().Truncate(time.Second)
		s.defers(csr, at)
		return accepted(at.Format(http.TimeFormat)), nil
	case UnavailableUntil: // the answer is made in spoil
		s.defers(csr, req.At.Add(time.Duration(after)*time.Second))
	case DeferredBare:
		return accepted(""), nil
	case DeferredForAge:
		return accepted("9467280000"), nil
	}
	if failed(req.Fault) {
		return refusal(http.StatusOK, ""), nil // made in spoil
	}
	return s.pkcs7(req.Fault, s.issue(req.Fault, csr)...), nil
}

func redirects(f Fault) bool {
	return f == Redirect || f == RedirectHost || f == RedirectHTTP || f == RedirectLoop
}

// failed reports whether nothing is issued for a fault.
func failed(f Fault) bool {
	switch f {
	case NotFound, Unauthorized, Forbidden, ServerError, Unavailable, UnavailableUntil:
		return true
	}
	return false
}

// issue makes the certificate that is asked for, or another by the fault.
func (s *Server) issue(fault Fault, csr *x509.CertificateRequest) []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opt.Now().Truncate(time.Second)
	template := &x509.Certificate{
		RawSubject: csr.RawSubject, DNSNames: csr.DNSNames, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-s.opt.Backdate), NotAfter: now.Add(s.opt.Life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	ca, public := s.facility, csr.PublicKey
	switch fault {
	case WrongCA:
		ca = s.stranger
	case ForgedCA:
		ca = s.facility.forged(now)
	case WrongNames:
		template.DNSNames = []string{"other." + csr.Subject.CommonName}
	case WrongCN:
		template.RawSubject = nil
		template.Subject = csr.Subject
		template.Subject.CommonName = "other." + csr.Subject.CommonName
	case MoreNames:
		template.DNSNames = append([]string{"registry.example.com"}, csr.DNSNames...)
	case Wildcard:
		template.DNSNames = []string{"*.example.com"}
	case OtherKey:
		public = &newKey().PublicKey
	case NoServerUse:
		template.ExtKeyUsage = template.ExtKeyUsage[1:]
	case NoClientUse:
		template.ExtKeyUsage = template.ExtKeyUsage[:1]
	case NoUse:
		template.ExtKeyUsage = nil
	case CAInstead:
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	case ShortLife:
		template.NotBefore, template.NotAfter = now, now.Add(time.Minute)
	case Ended:
		template.NotBefore, template.NotAfter = now.AddDate(0, 0, -2), now.AddDate(0, 0, -1)
	case NotYet:
		template.NotBefore, template.NotAfter = now.AddDate(0, 0, 7), now.AddDate(0, 0, 97)
	}
	leaf := sign(template, ca.Intermediate, public, ca.key)
	s.issued = append(s.issued, leaf)
	switch fault {
	case Several:
		return []*x509.Certificate{ca.Root, ca.Intermediate, leaf}
	case SeveralLeaves:
		template.DNSNames = []string{"other." + csr.Subject.CommonName}
		return []*x509.Certificate{sign(template, ca.Intermediate, public, ca.key), leaf}
	}
	return []*x509.Certificate{leaf}
}

// forged is an authority of other keys that calls itself as this one does, key identifiers included: who compares names
// and not signatures is taken in.
func (ca *CA) forged(now time.Time) *CA {
	fake := &CA{rootKey: newKey(), key: newKey()}
	copied := func(c *x509.Certificate) *x509.Certificate {
		t := caTemplate("", now)
		t.Subject, t.SubjectKeyId = c.Subject, c.SubjectKeyId
		return t
	}
	root := copied(ca.Root)
	fake.Root = sign(root, root, &fake.rootKey.PublicKey, fake.rootKey)
	fake.Intermediate = sign(copied(ca.Intermediate), fake.Root, &fake.key.PublicKey, fake.rootKey)
	return fake
}

// selfSigned is a server's certificate that vouches for itself.
func selfSigned(now time.Time) *x509.Certificate {
	key := newKey()
	t := caTemplate("localhost", now)
	t.IsCA, t.KeyUsage, t.DNSNames = false, x509.KeyUsageDigitalSignature, []string{"localhost"}
	return sign(t, t, &key.PublicKey, key)
}

// weakRoot is a root on a curve below P-256 (CERT-16).
func weakRoot(now time.Time) *x509.Certificate {
	key := newKeyOn(elliptic.P224())
	t := caTemplate("weak root", now)
	return sign(t, t, &key.PublicKey, crypto.Signer(key))
}
