package keys

import (
	"net/url"
	"strings"
)

// maxIssuer is the longest issuer that a server may name, bytes.
const maxIssuer = 2048

// TrimIssuer takes off the one trailing slash that comparisons of issuers ignore (CLM-1).
//
//go:noinline // for flash
func TrimIssuer[T ~string | ~[]byte](iss T) T {
	if n := len(iss); n > 0 && iss[n-1] == '/' {
		return iss[:n-1]
	}
	return iss
}

// ContainsIssuer reports whether an issuer is one of these (CLM-1).
func ContainsIssuer(issuers []string, issuer string) bool {
	for _, one := range issuers {
		if TrimIssuer(one) == TrimIssuer(issuer) {
			return true
		}
	}
	return false
}

// MayName reports whether the metadata of a server that discovery found at this URL may name this issuer (KEY-8): the
// URL itself, however it is written; or, of a server that was advertised without api_selector, any issuer of the same
// scheme, host and port. This does not apply to a configured issuer.
func MayName(server, issuer string) bool {
	at, path, ok := split(server)
	origin, named, well := split(issuer)
	return ok && well && at == origin && (path == "" || path == named)
}

// Origin returns the scheme, host and port of an issuer in normalised form (RFC 3986 §6.2.3):
// in lower case, without the scheme's own port. It is "" for what cannot be an issuer.
func Origin(issuer string) string {
	origin, _, _ := split(issuer)
	return origin
}

// split takes an issuer apart; ok is false for what cannot be one (RFC 8414 §2).
func split(issuer string) (origin, path string, ok bool) {
	forbidden := func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }
	if len(issuer) > maxIssuer || strings.ContainsFunc(issuer, forbidden) {
		return "", "", false
	}
	u, err := url.Parse(issuer)
	if err != nil || u.User != nil || u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery ||
		u.Scheme != "https" && u.Scheme != "http" {
		return "", "", false
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + strings.TrimSuffix(host, ":"), TrimIssuer(u.EscapedPath()), true
}
