package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/ascii"
)

// service is the DNS-SD type of Authorization Servers (IS-10 Discovery).
const service = "_nmos-auth._tcp"

// certService is that of EST servers (CERT-1).
const certService = "_nmos-certs._tcp"

// mdnsDomain is the domain of mDNS (RFC 6762 §3).
const mdnsDomain = "local"

// version is the version of the Authorization API that the daemon speaks.
const version = "v1.0"

// Record is one advertisement of an Authorization Server by DNS-SD, unicast or multicast: its SRV, TXT and
// address records. Nothing in it is trusted: anyone on the network may have sent it. What makes a server
// trustworthy is its certificate (DIS-5).
type Record struct {
	Instance         string // name of the instance, in the presentation form of RFC 1035 §5.1
	Host             string // target of the SRV record
	Port             uint16
	Priority, Weight uint16 // of the SRV record; 0 if unknown
	TXT              []string
	TTL              time.Duration
	Addresses        []netip.Addr
}

// Server is an Authorization Server that was advertised and that this device may use.
type Server struct {
	Instance  string
	Scheme    string // api_proto: https, or http in development
	Host      string // lower case, no trailing dot (DIS-4)
	Port      uint16
	Selector  string // api_selector, without slashes at its ends; "" if none
	Pri       int    // the advertised pri: the lowest is tried first
	Priority  uint16 // of the SRV record
	Weight    uint16
	TTL       time.Duration
	Addresses []netip.Addr // if empty, Host has to be looked up
	Domain    string       // in which it was found, without trailing dot; "local" for mDNS
}

// MetadataURL returns the URL of the server's metadata (DIS-4).
func (s *Server) MetadataURL() string {
	return s.Scheme + "://" + s.hostPort() + wellKnown + s.path()
}

// IssuerURL returns the issuer whose metadata is there (RFC 8414 §3.1), written as issuers are: without the default
// port.
func (s *Server) IssuerURL() string {
	host := s.hostPort()
	if s.Scheme == "https" && s.Port == 443 || s.Scheme == "http" && s.Port == 80 {
		host = s.Host
	}
	return s.Scheme + "://" + host + s.path()
}

func (s *Server) hostPort() string { return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))) }

func (s *Server) path() string {
	if s.Selector == "" {
		return ""
	}
	return "/" + s.Selector
}

// ParseRecord makes a Server of a record, or returns why this device must not use it (DIS-3). Development also admits
// http, and servers with a pri of 100 or more, which are for trials.
func ParseRecord(r Record, development bool) (Server, error) {
	return parseRecord(r, service, development)
}

// parseRecord is ParseRecord for either service.
func parseRecord(r Record, of string, development bool) (Server, error) {
	s := Server{
		Instance:  r.Instance,
		Host:      ascii.Host(r.Host),
		Port:      r.Port,
		Priority:  r.Priority,
		Weight:    r.Weight,
		TTL:       r.TTL,
		Addresses: r.Addresses,
	}
	if err := s.parse(r.TXT, of, development); err != nil {
		return Server{}, err
	}
	return s, nil
}

// parse reads the strings of a TXT record. An EST server states its pri, and speaks https (CERT-2, CERT-3).
func (s *Server) parse(strs []string, of string, development bool) error {
	if err := plausibleHost(s.Host); err != nil {
		return err
	}
	if s.Port == 0 {
		return errors.New("port 0: the service is not offered") // RFC 6763 §A
	}
	txt := parseTXT(strs)
	if of == certService {
		txt["api_proto"], txt["api_ver"] = "https", version
	}
	if err := complete(strs, txt); err != nil {
		return err
	}
	switch s.Scheme = txt["api_proto"]; {
	case s.Scheme == "http" && !development:
		return errors.New("api_proto is http, which counts in development only")
	case s.Scheme != "http" && s.Scheme != "https":
		return fmt.Errorf("api_proto is %+.20q", s.Scheme)
	}
	versions := strings.Split(strings.ReplaceAll(txt["api_ver"], " ", ""), ",")
	if !slices.Contains(versions, version) {
		return fmt.Errorf("api_ver %+.60q lacks %s", txt["api_ver"], version)
	}
	pri, err := strconv.ParseUint(txt["pri"], 10, 16)
	if err != nil {
		return fmt.Errorf("pri %+.20q is not a number", txt["pri"])
	}
	if pri >= 100 && !development {
		return fmt.Errorf("pri %d is for development only", pri)
	}
	s.Pri = int(pri)
	if s.Selector = strings.Trim(txt["api_selector"], "/"); !plausibleSelector(s.Selector) {
		return fmt.Errorf("api_selector %+.60q is not a path", s.Selector)
	}
	return nil
}

// complete returns an error if a TXT record lacks what every server must state (IS-10 Discovery).
func complete(strs []string, txt map[string]string) error {
	var lacks []string
	for _, name := range []string{"api_proto", "api_ver", "pri"} {
		if txt[name] == "" {
			lacks = append(lacks, "no "+name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	for _, s := range strs {
		if i := strings.IndexAny(s, " ,;"); i >= 0 && strings.Contains(s[i:], "=") { // as one writes it for a shell
			lacks = append(lacks, "each name=value needs a string of its own")
			break
		}
	}
	return errors.New(strings.Join(lacks, "; "))
}

// parseTXT reads the strings of a TXT record: names in lower case, the first of a name counts (RFC 6763 §6.4).
func parseTXT(strs []string) map[string]string {
	values := make(map[string]string)
	for _, s := range strs {
		name, value, _ := strings.Cut(s, "=")
		name = strings.ToLower(name)
		if _, twice := values[name]; !twice && name != "" {
			values[name] = value
		}
	}
	return values
}

// plausibleHost refuses what cannot be the host of a URL. The certificate must confirm the rest.
func plausibleHost(host string) error {
	if host == "" || len(host) > 253 {
		return errors.New("the host name is empty or too long")
	}
	for _, c := range []byte(host) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return fmt.Errorf("the host name %+.60q holds %+q", host, c)
		}
	}
	return nil
}

// plausibleSelector reports whether a selector consists of plain path segments, which every server reads alike.
func plausibleSelector(selector string) bool {
	if selector == "" {
		return true
	}
	for segment := range strings.SplitSeq(selector, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for _, c := range []byte(segment) {
			if !ascii.Unreserved(rune(c)) {
				return false
			}
		}
	}
	return true
}

// Order puts servers into the order in which to try them: by pri, then by SRV priority, and among equals at random in
// proportion to their weights (DIS-3; RFC 2782), so that many devices spread over many servers. intn returns a random
// number in [0, n), as rand.IntN does.
func Order(servers []Server, intn func(n int) int) {
	sort.SliceStable(servers, func(i, j int) bool { return compare(servers[i], servers[j]) < 0 })
	for len(servers) > 0 {
		equal := 1
		for equal < len(servers) && compare(servers[0], servers[equal]) == 0 {
			equal++
		}
		spread(servers[:equal], intn)
		servers = servers[equal:]
	}
}

func compare(a, b Server) int {
	return cmp.Or(cmp.Compare(a.Pri, b.Pri), cmp.Compare(a.Priority, b.Priority))
}

// spread draws the servers one by one, each with a chance in proportion to its weight among those
// left. One is added to each weight, so that a server of weight 0 is drawn occasionally: "a very small chance", says
// RFC 2782. Without weights all are equally likely.
func spread(servers []Server, intn func(n int) int) {
	for ; len(servers) > 1; servers = servers[1:] {
		total := 0
		for _, s := range servers {
			total += int(s.Weight) + 1
		}
		drawn := intn(total)
		for i, s := range servers {
			if drawn -= int(s.Weight) + 1; drawn < 0 {
				servers[0], servers[i] = servers[i], servers[0]
				break
			}
		}
	}
}
