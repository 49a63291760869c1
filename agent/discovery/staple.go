package discovery

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"golang.org/x/crypto/ocsp"
)

// CheckStaple refuses a server whose certificate was revoked, by the answer of its CA that the server itself handed
// over in the handshake (an OCSP staple, RFC 6066 section 8; CERT-46). chain is the verified one, from the server's
// certificate on. No staple, or one that is not of that CA, says nothing: a server need not have one, and whoever sits
// between could take it away.
func CheckStaple(staple []byte, chain []*x509.Certificate) error {
	if len(staple) == 0 || len(chain) < 2 {
		return nil
	}
	r, err := ocsp.ParseResponseForCert(staple, chain[0], chain[1])
	if err == nil && r.Status == ocsp.Revoked {
		return errRevoked
	}
	return nil
}

var errRevoked = errors.New("the server's certificate was revoked by its CA (OCSP), so the server is not trusted: " +
	"give it a new one")

// checkStaple is CheckStaple for a connection that package tls has verified.
func checkStaple(state tls.ConnectionState) error {
	for _, chain := range state.VerifiedChains {
		if err := CheckStaple(state.OCSPResponse, chain); err != nil {
			return err
		}
	}
	return nil
}
