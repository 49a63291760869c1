package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/token"
)

// maxSocketPath is the longest path of a Unix socket, in bytes: sun_path of unix(7) with its closing NUL.
const maxSocketPath = 107

// refuse says what is wrong with a value, which it quotes: why goes on from there.
func refuse(value, why string, args ...any) (string, error) {
	return "", errors.New(shown(value) + " " + fmt.Sprintf(why, args...))
}

// refuseURL is refuse for a URL.
func refuseURL(value, why string, args ...any) (string, error) {
	return "", errors.New(shownURL(value) + " " + fmt.Sprintf(why, args...))
}

// hostName checks a host or domain name (RFC 1123 §2.1) and returns it in lower case without a trailing dot.
func hostName(s string) (string, error) {
	name := ascii.Host(s)
	if err := validHost(name); err != nil {
		return refuse(s, "is not a host name: %v", err)
	}
	return name, nil
}

// deviceName checks a host name or an address (CLM-4). An IPv6 address is returned without brackets, in the form of RFC
// 5952.
func deviceName(s string) (string, error) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil && addr.Is6() {
		if addr.Zone() != "" {
			return refuse(s, "holds a zone, which means nothing on another device")
		}
		return addr.String(), nil
	}
	return hostName(s)
}

// hostPattern checks a pattern for host names (CLM-5) and returns it in lower case without a trailing dot.
func hostPattern(s string) (string, error) {
	if _, err := hostName(strings.ReplaceAll(s, "*", "x")); err != nil {
		return refuse(s, `is not a pattern for host names such as "auth.example.com" or "*.example.com"`)
	}
	return ascii.Host(s), nil
}

func validHost(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > 253:
		return errors.New("the name is over 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("a part between two dots is empty")
		case len(label) > 63:
			return errors.New("a part between dots is over 63 characters")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("a part between dots starts or ends with a hyphen")
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 0x80:
				return errors.New("write characters outside ASCII in their xn-- form")
			case !isAlphanumeric(c) && c != '-':
				return fmt.Errorf("the name contains %q", c)
			}
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// realm checks the realm of a challenge. It becomes a quoted string that must survive parsers which split at commas
// (ANS-6), so what would end or split it is refused rather than escaped.
func realm(s string) (string, error) {
	if len(s) > 256 {
		return "", errors.New("the realm is over 256 characters")
	}
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == ',' {
			return refuse(s, "holds %q; only printable ASCII without quote, backslash and comma is allowed", c)
		}
	}
	return s, nil
}

// serverURL checks an issuer URL (RFC 8414 §2). It is returned as written, since issuers are compared as text (CLM-1).
func (a *Authorization) serverURL(s string) (string, error) {
	u, err := a.issuerURL(s)
	if err != nil {
		return refuseURL(s, "%v", err)
	}
	if strings.Contains(u.Host, "*") {
		return refuse(s, "holds a *; patterns belong in trusted_issuers")
	}
	return s, nil
}

// optionalServerURL is serverURL, but the text may be empty.
func (a *Authorization) optionalServerURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return a.serverURL(s)
}

// endpointURL checks a URL on the device, which may be empty. Unlike an issuer's it may have a query.
func (a *Authorization) endpointURL(s string) (string, error) {
	base, _, _ := strings.Cut(s, "?")
	if s == "" {
		return "", nil
	}
	u, err := a.issuerURL(base)
	switch {
	case err != nil:
		return refuseURL(s, "%v", err)
	case strings.Contains(s, "#"):
		return refuseURL(s, "holds a fragment")
	case strings.Contains(u.Host, "*"), len(s) > 2048, !visible(s):
		return refuseURL(s, "is not a URL of the form https://host/path")
	}
	return s, nil
}

// visible reports whether a text is of printable ASCII without blanks.
//
//go:noinline // for flash
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// scopeName checks a scope (RFC 6749 §3.3).
func scopeName(s string) (string, error) {
	if s == "" || len(s) > 64 || !visible(s) || strings.ContainsAny(s, "\"\\") {
		return refuse(s, "is not a scope: 1 to 64 printable characters of ASCII without blank, quote and backslash")
	}
	return s, nil
}

// clientID checks a client identifier (RFC 6749 appendix A.1), which may be empty.
func clientID(s string) (string, error) {
	if len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return refuse(s, "is not a client identifier: at most 256 printable characters of ASCII")
	}
	return s, nil
}

// uuid checks a UUID, which may be empty, and returns it in lower case.
func uuid(s string) (string, error) {
	lower := strings.ToLower(s)
	if s != "" && !ascii.IsUUID(lower) {
		return refuse(s, "is not a UUID")
	}
	return lower, nil
}

// issuerPattern checks an entry of trusted_issuers: an issuer URL whose host may hold `*`.
func (a *Authorization) issuerPattern(s string) (string, error) {
	u, err := a.issuerURL(s)
	if err != nil {
		return refuseURL(s, "%v", err)
	}
	if strings.Contains(u.Path, "*") {
		return refuse(s, "holds a * outside the host")
	}
	return s, nil
}

// shownURL quotes a URL for a message, without the parts that may hold a secret.
func shownURL(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i+1] + "…"
	}
	if start := strings.Index(s, "//") + 2; start >= 2 {
		host, _, _ := strings.Cut(s[start:], "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			s = s[:start] + "…" + s[start+at:]
		}
	}
	return shown(s)
}

// issuerURL reads what an issuer and a pattern for issuers have in common. Its errors continue a sentence whose subject
// is the URL.
func (a *Authorization) issuerURL(s string) (*url.URL, error) {
	if len(s) > 2048 {
		return nil, errors.New("is over 2048 characters")
	}
	if !visible(s) {
		return nil, errors.New("holds white space or characters outside ASCII")
	}
	u, err := url.Parse(s)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // the rest repeats the URL
		}
		return nil, fmt.Errorf("is not a URL: %w", err)
	}
	switch {
	case u.Scheme == "" || u.Opaque != "" || u.Host == "" && u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("is not a URL of the form https://host")
	case u.Scheme == "http" && !a.AllowHTTP:
		return nil, errors.New("must be https; http needs allow_http = true, for development only")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must be https")
	case u.User != nil:
		return nil, errors.New("holds a user name; remove it")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("holds a query; an issuer has none")
	case strings.Contains(s, "#"):
		return nil, errors.New("holds a fragment; an issuer has none")
	}
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		// A zone is free text behind the address, in which a name could hide that a pattern matches.
		if addr, err := netip.ParseAddr(host); err != nil || addr.Zone() != "" {
			return nil, errors.New("holds a bad IPv6 address")
		}
	} else if err := validHost(strings.TrimSuffix(strings.ReplaceAll(host, "*", "x"), ".")); err != nil {
		return nil, fmt.Errorf("has a bad host: %w", err)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has a bad port")
		}
	}
	return u, nil
}

// nameServer checks an entry of dns_servers. It is an address: the name of a name server could not be looked up.
func nameServer(s string) (string, error) {
	if addr, err := netip.ParseAddrPort(s); err == nil && addr.Port() != 0 {
		return s, nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return refuse(s, "lacks the port; write %q", netip.AddrPortFrom(addr, 53).String())
	}
	return refuse(s, "is not an address and port such as \"192.0.2.53:53\"")
}

// absolutePath checks a path that may be empty.
func absolutePath(s string) (string, error) {
	switch {
	case s == "":
		return "", nil
	case strings.ContainsRune(s, 0):
		return "", errors.New("the path holds a NUL")
	case !path.IsAbs(s):
		return refuse(s, "is not an absolute path")
	case len(s) > 4095:
		return "", errors.New("the path is over 4095 bytes")
	}
	return path.Clean(s), nil
}

// filePath checks the path of a file, which may be empty.
func filePath(s string) (string, error) {
	p, err := absolutePath(s)
	if err == nil && strings.HasSuffix(s, "/") {
		err = errors.New("the path does not name a file")
	}
	return p, err
}

// syslogPort is the port of a syslog server if none is given (RFC 5426, RFC 6587, RFC 5425); "" for another scheme.
func syslogPort(scheme string) string {
	switch scheme {
	case "udp":
		return "514"
	case "tcp":
		return "601"
	case "tls":
		return "6514"
	}
	return ""
}

// syslogURL checks the address of a syslog server and completes it by the port.
func syslogURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	const form = "must be one of udp://host:514, tcp://host:601, tls://host:6514"
	u, err := url.Parse(s)
	if err != nil || syslogPort(u.Scheme) == "" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" ||
		strings.ContainsAny(s, "?#") {
		return refuseURL(s, form)
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = syslogPort(u.Scheme)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return refuseURL(s, "has a bad port")
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if err := validHost(strings.TrimSuffix(host, ".")); err != nil {
			return refuseURL(s, "has a bad host: %v", err)
		}
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port), nil
}

// socketPath checks the path of a socket; "" disables it.
func socketPath(s string) (string, error) {
	s, err := filePath(s)
	switch {
	case err != nil:
		return "", err
	case len(s) > maxSocketPath:
		return "", fmt.Errorf("the path is %d bytes long; a socket's path has at most %d", len(s), maxSocketPath)
	}
	return s, nil
}

// neededSocketPath checks the path of a socket that cannot be left out.
func neededSocketPath(s string) (string, error) {
	if s == "" {
		return "", errors.New("the decision socket needs a path")
	}
	return socketPath(s)
}

// groupName checks the form of a group's name or number; only the device knows whether there is one.
func groupName(s string) (string, error) {
	if len(s) > 32 || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == ':' || r == '/'
	}) {
		return refuse(s, "is not a group name")
	}
	return s, nil
}

// publicPrefix checks a prefix that needs no token (PATH-11). It must open nothing of /x-nmos, whose access the tokens
// rule, but for IS-09's API, which has no authorization.
func publicPrefix(s string) (string, error) {
	p, err := plainPath(s)
	if err != nil {
		return "", err
	}
	if isNMOS(p) && p != "/x-nmos/system" && !strings.HasPrefix(p, "/x-nmos/system/") {
		return refuse(s, "is an NMOS path; all but /x-nmos/system need a token")
	}
	return p, nil
}

// isNMOS reports whether a path is /x-nmos, in any case, or below it.
func isNMOS(p string) bool {
	first, _, _ := strings.Cut(p[1:], "/")
	return strings.EqualFold(first, "x-nmos")
}

// plainPath checks a path that is compared with normalised paths: it must stand as PATH-8 and PATH-9 would leave it.
func plainPath(s string) (string, error) {
	p := strings.TrimSuffix(s, "/")
	switch {
	case !strings.HasPrefix(s, "/"):
		return refuse(s, "does not start with a slash")
	case p == "":
		return "", errors.New(`"/" would open every path; name the prefixes one by one`)
	case path.Clean(p) != p:
		return refuse(s, "holds an empty, . or .. part")
	}
	for _, c := range p {
		if c <= ' ' || c > '~' || strings.ContainsRune(`%\?#*";<>^|{}`+"`", c) {
			return refuse(s, "holds %q; write the path plain and normalised, without query or pattern", c)
		}
	}
	return p, nil
}

// controlPath checks the path of a control socket (PATH-15), which may be anywhere except where all may read.
func controlPath(s string) (string, error) {
	p, err := plainPath(s)
	if err == nil && strings.EqualFold(p, "/x-nmos") {
		return refuse(s, "is what all may read; name the socket's own path")
	}
	return p, err
}

// claimPrefix checks a prefix that a claim rules, "/prefix=api" (PATH-11).
func claimPrefix(s string) (string, error) {
	prefix, api, found := strings.Cut(s, "=")
	if !found || !token.IsAPI([]byte(api)) {
		return refuse(s, "is not of the form \"/prefix=api\", the api in lower case as in x-nmos-<api>")
	}
	prefix, err := plainPath(prefix)
	if err == nil && isNMOS(prefix) {
		return refuse(prefix, "is an NMOS path; the claim of its own API rules it")
	}
	return prefix + "=" + api, err
}

// viewClaim checks the claim that lets somebody use the page.
func viewClaim(s string) (string, error) {
	if api, found := strings.CutPrefix(s, "x-nmos-"); s != "" && (!found || !token.IsAPI([]byte(api))) {
		return refuse(s, "is not of the form \"x-nmos-<api>\", in lower case")
	}
	return s, nil
}

// readMethod checks a method that changes nothing, "1.2.0.1:3m1" (CTL-41).
func readMethod(s string) (string, error) {
	m, ok := decide.ParseMethod(s)
	switch {
	case !ok:
		return refuse(s, "is not of the form \"1.2.0.1:3m1\", a class and a method that it defines")
	case decide.Depth(m.Class) != m.Level:
		return refuse(s, "names a method of level %d, which a class of %d levels does not define", m.Level,
			decide.Depth(m.Class))
	case !m.Valid():
		return "", fmt.Errorf("%s: the class ends in an authority key, behind which its own index is missing", shown(s))
	case m.IsStandard():
		return refuse(s, "is a standard method; only those of other classes can be listed")
	}
	return s, nil
}

// deviceModel checks one of several device models, "name=prefix" (CTL-19).
func deviceModel(s string) (string, error) {
	name, prefix, _ := strings.Cut(s, "=")
	if !isSelector(prefix) {
		return refuse(s, "is not of the form \"name=prefix\", the prefix of letters, digits, - and _")
	}
	if strings.HasPrefix(name, "/") {
		path, err := controlPath(name)
		return path + "=" + prefix, err
	}
	if !isSelector(name) {
		return refuse(s, "names neither a selector, of letters, digits, - and _, nor the path of a socket")
	}
	return s, nil
}

// isSelector reports whether s can be a selector of IS-14's API (CTL-60), which is also the form of a prefix.
func isSelector(s string) bool { return len(s) <= 64 && decide.IsSelector([]byte(s)) }

// checkTwice reports what a list of "name=value" names twice, since only one value could count.
func (r *reader) checkTwice(key, values string, list []string) {
	names := map[string]string{}
	for _, entry := range list {
		name, _, _ := strings.Cut(entry, "=")
		if first, twice := names[name]; twice {
			r.mistakes.add(r.set[key].line, "%s gives %s two %s, in %s and %s", key, shown(name), values, shown(first),
				shown(entry))
		}
		names[name] = entry
	}
}
