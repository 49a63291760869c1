package discovery

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// The three places of metadata, for an issuer with the path /realms/nmos.
const (
	inserted = wellKnown + "/realms/nmos"
	appended = "/realms/nmos" + wellKnown
	openID   = "/realms/nmos" + wellKnownOpenID
)

// keycloak is a server with a realm, that has metadata only at some places and remembers where it was asked.
type keycloak struct {
	*httptest.Server
	issuer string
	mu     sync.Mutex
	asked  []string
	conns  map[net.Conn]bool
}

func newKeycloak(t *testing.T, ca *authority, answers map[string]http.HandlerFunc) *keycloak {
	t.Helper()
	k := &keycloak{conns: map[net.Conn]bool{}}
	k.Server = serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1", "auth.nmos.test"),
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k.mu.Lock()
			k.asked = append(k.asked, r.URL.EscapedPath())
			k.mu.Unlock()
			switch answer := answers[r.URL.EscapedPath()]; {
			case r.URL.Path == "/jwks":
				io.WriteString(w, someKeys)
			case answer != nil:
				answer(w, r)
			default:
				http.NotFound(w, r)
			}
		}), func(s *httptest.Server) {
			s.Config.ConnState = func(c net.Conn, state http.ConnState) {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.conns[c] = true
			}
		})
	k.issuer = k.URL + "/realms/nmos"
	return k
}

// seen returns where it was asked, and by how many connections.
func (k *keycloak) seen() (asked []string, connections int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.asked), len(k.conns)
}

// good answers with the metadata of the server.
func (k *keycloak) good(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, k.issuer, k.URL+"/jwks")
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestKeySetPlaces(t *testing.T) {
	spec.Rules(t, "KEY-8")
	ca := newAuthority(t)
	lie := func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"issuer":"https://evil.example.com","jwks_uri":"https://evil.example.com/"}`)
	}
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			to := strings.NewReplacer("INSERTED", inserted, "APPENDED", appended, "ADDRESS", r.Host).Replace(to)
			http.Redirect(w, r, to, http.StatusFound)
		}
	}
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<p>Please log in")
	}
	noIssuer := func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"jwks_uri":"https://evil.example.com/"}`)
	}
	for _, c := range []struct {
		name                       string
		inserted, appended, openID http.HandlerFunc // nil if good; without a word: 404
		asked                      string
		err                        string // what the error ends with; "" if none
		from                       byte   // whose metadata it is; 0: the last that was asked
	}{
		{"the first", nil, nil, nil, "i", "", 0},
		{"the second", status(404), nil, nil, "ia", "", 0},
		{"the third", status(404), status(404), nil, "iao", "", 0},
		{"405 and 410", status(405), status(410), nil, "iao", "", 0},
		{"400 and 501", status(400), status(501), nil, "iao", "", 0},
		{"403 and a page", status(403), page, nil, "iao", "", 0},
		{"a document without issuer", noIssuer, nil, nil, "ia", "", 0},
		{"none", status(404), status(405), status(404), "iao",
			"metadata from INSERTED: HTTP 404 Not Found; from APPENDED: HTTP 405 Method Not Allowed; from OPENID: " +
				"HTTP 404 Not Found", 0},
		{"the first fails", status(500), nil, nil, "i", "metadata from INSERTED: HTTP 500 Internal Server Error", 0},
		{"the first lies", lie, nil, nil, "ia", "", 0},
		{"all lie", lie, lie, lie, "iao", `metadata from INSERTED: the document names another issuer, "https://evil.example.com"; ` +
			`from APPENDED: the document names another issuer, "https://evil.example.com"; from OPENID: the document names another issuer, "https://evil.example.com"`, 0},
		{"the first hangs up", hangUp, nil, nil, "i", "metadata from INSERTED: the server closed the connection", 0},
		{"the first leads to another place of the server", redirect("APPENDED"), nil, nil, "ia", "", 'i'},
		{"the first leads in a circle", redirect("INSERTED"), nil, nil, "iia", "", 0},
		{"all lead elsewhere", redirect("https://portal.example.com/"), redirect("http://ADDRESS/"),
			redirect("https://user@ADDRESS/"), "iao",
			`metadata from INSERTED: a redirect to "portal.example.com" (HTTP 302), which is not followed; ` +
				`from APPENDED: a redirect to ADDRESS (HTTP 302), which is not followed; from OPENID: a redirect to ADDRESS (HTTP 302), which is not followed`, 0},
		{"the second fails", status(404), status(503), nil, "ia",
			"metadata from INSERTED: HTTP 404 Not Found; from APPENDED: HTTP 503 Service Unavailable", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := map[string]http.HandlerFunc{inserted: c.inserted, appended: c.appended, openID: c.openID}
			k := newKeycloak(t, ca, answers)
			for path, answer := range answers {
				if answer == nil {
					answers[path] = k.good
				}
			}
			doc, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), k.issuer)
			paths, connections := k.seen()
			asked := strings.NewReplacer(inserted, "i", appended, "a", openID, "o", "/jwks",
				"").Replace(strings.Join(paths, ""))
			// a request that was hung up on is sent again
			expect(t, "asked", strings.ReplaceAll(asked, c.asked+c.asked, c.asked), c.asked)
			if c.err == "" {
				last := map[byte]string{'i': inserted, 'a': appended,
					'o': openID}[cmp.Or(c.from, c.asked[len(c.asked)-1])]
				if err != nil || doc.Issuer != k.issuer || doc.MetadataURL != k.URL+last ||
					string(doc.JWKS) != someKeys {
					t.Errorf("got %+v, error %v", doc, err)
				}
				if connections != 1 {
					t.Errorf("%d connections", connections)
				}
				return
			}
			want := strings.NewReplacer("INSERTED", k.URL+inserted, "APPENDED", k.URL+appended, "OPENID", k.URL+openID,
				"ADDRESS", strconv.Quote(k.Listener.Addr().String())).Replace(c.err)
			expect(t, "error", err, "discovery: "+want)
		})
	}
}

// An issuer without a path has two places only.
func TestMetadataPlaces(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://a":  "https://a" + wellKnown + " https://a" + wellKnownOpenID,
		"https://a/": "https://a" + wellKnown + " https://a" + wellKnownOpenID,
		"https://a:8443/r/s/": "https://a:8443" + wellKnown + "/r/s https://a:8443/r/s" + wellKnown +
			" https://a:8443/r/s" + wellKnownOpenID, "https://a/r%2fs": "https://a" + wellKnown +
			"/r%2fs https://a/r%2fs" + wellKnown + " https://a/r%2fs" + wellKnownOpenID,
	} {
		iss, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range metadataPlaces(metadataURL(iss), iss) {
			got = append(got, u.String())
		}
		expect(t, issuer, strings.Join(got, " "), want)
	}
}

// found is a server as Discover returns it, at the address of the test's own.
func found(t *testing.T, s *httptest.Server, selector string, addresses ...string) Server {
	t.Helper()
	a := netip.MustParseAddrPort(s.Listener.Addr().String())
	f := Server{Instance: "a", Scheme: "https", Host: "auth.nmos.test", Port: a.Port(), Selector: selector,
		Domain: "nmos.test"}
	for _, s := range addresses {
		f.Addresses = append(f.Addresses, netip.MustParseAddr(s))
	}
	return f
}

func TestServerKeySet(t *testing.T) {
	spec.Rules(t, "DIS-4")
	ca := newAuthority(t)
	answers := map[string]http.HandlerFunc{}
	k := newKeycloak(t, ca, answers)
	_, port, _ := net.SplitHostPort(k.Listener.Addr().String())
	issuer := "https://auth.nmos.test:" + port + "/realms/nmos"
	metadata := func(issuer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://auth.nmos.test:%s/jwks"}`, issuer, port)
		}
	}
	c := New(Options{Roots: ca.roots})
	s := found(t, k.Server, "realms/nmos", "127.0.0.1")
	for _, place := range []string{inserted, appended, openID} {
		clear(answers)
		answers[place] = metadata(issuer)
		doc, err := c.ServerKeySet(t.Context(), s)
		if err != nil || doc.Issuer != issuer || string(doc.JWKS) != someKeys ||
			doc.MetadataURL != "https://auth.nmos.test:"+port+place {
			t.Errorf("%s: %+v, %v", place, doc, err)
		}
	}
	clear(answers)
	for named, good := range map[string]bool{
		issuer:       true,
		issuer + "/": true,
		"https://AUTH.nmos.test:" + port + "/realms/nmos": true,
		"https://auth.nmos.test/realms/nmos":              false, // another port
		"https://auth.nmos.test:" + port:                  false, // with api_selector there is no choice
		"https://auth.nmos.test:" + port + "/realms/NMOS": false,
		issuer + "?x=1": false,
		issuer + "#x":   false,
		"http" + strings.TrimPrefix(issuer, "https"):         false,
		"https://me@auth.nmos.test:" + port + "/realms/nmos": false,
	} {
		answers[inserted] = metadata(named)
		doc, err := c.ServerKeySet(t.Context(), s)
		if (err == nil) != good || good && doc.Issuer != named {
			t.Errorf("issuer %s: %+v, %v", named, doc, err)
		}
	}
}

// A server that was found without api_selector is asked at its root, and its metadata there may name an issuer with a
// path; nobody else may. What an operator reads then says what to announce.
func TestRootNamesIssuer(t *testing.T) {
	spec.Rules(t, "KEY-8")
	ca := newAuthority(t)
	answers := map[string]http.HandlerFunc{}
	k := newKeycloak(t, ca, answers)
	_, port, _ := net.SplitHostPort(k.Listener.Addr().String())
	at := "https://auth.nmos.test:" + port
	var named, keysAt string
	answers[wellKnown] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, named, keysAt)
	}
	answers[inserted] = answers[wellKnown]
	c := New(Options{Roots: ca.roots})
	root, realm := found(t, k.Server, "", "127.0.0.1"), found(t, k.Server, "realms/nmos", "127.0.0.1")
	for _, x := range []struct {
		server Server
		named  string
		good   bool
		says   string
	}{
		{root, at, true, ""},
		{root, at + "/realms/nmos", true, ""},
		{root, at + "/auth/realms/nmos/", true, ""},
		{root, "https://auth.nmos.test/realms/nmos", false, "the document names another issuer"}, // another port
		{root, "https://other.nmos.test:" + port + "/realms/nmos", false, "the document names another issuer"},
		{root, "http://auth.nmos.test:" + port + "/realms/nmos", false, "the document names another issuer"},
		{root, at + "/realms/nmos?x", false, "the document names another issuer"},
		{realm, at + "/realms/nmos", true, ""},
		{realm, at + "/realms/other", false, `the document names another issuer, "` + at +
			`/realms/other"; announce it with api_selector=realms/other; from`},
		{realm, "https://auth.nmos.test/realms/other", false,
			`the document names another issuer, "https://auth.nmos.test/realms/other"; from`},
	} {
		named, keysAt = x.named, at+"/jwks"
		doc, err := c.ServerKeySet(t.Context(), x.server)
		if (err == nil) != x.good || x.good && doc.Issuer != x.named ||
			!x.good && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s names %s: got %+v, %v, want good %v, %q",
				x.server.IssuerURL(), x.named, doc, err, x.good, x.says)
		}
	}
	// The issuer is known once the metadata was read, even if its keys cannot be had.
	named, keysAt = at+"/realms/nmos", at+"/nothing"
	if doc, err := c.ServerKeySet(t.Context(), root); err == nil || doc.Issuer != named || doc.JWKS != nil {
		t.Errorf("without keys: %+v, %v", doc, err)
	}
	// A client that did not find the server itself goes by its URL.
	named, keysAt = k.URL+"/realms/nmos", k.URL+"/jwks"
	if doc, err := c.FoundKeySet(t.Context(), k.URL); err != nil || doc.Issuer != named {
		t.Errorf("found before: %+v, %v", doc, err)
	}
	// A configured issuer has no such choice.
	for _, issuer := range []string{k.URL, k.URL + "/realms/nmos/x"} {
		_, err := c.KeySet(t.Context(), issuer)
		want := `the document names another issuer, "` + named +
			`"; name that one in [authorization] servers, or announce it with api_selector=realms/nmos`
		if issuer != k.URL {
			want = "HTTP 404 Not Found"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", issuer, err, want)
		}
	}
}

// A server is reached at the addresses that were found with it, and must show a certificate for its name all the same.
func TestServerKeySetAddresses(t *testing.T) {
	spec.Rules(t, "DIS-5")
	ca := newAuthority(t)
	answers := map[string]http.HandlerFunc{}
	k := newKeycloak(t, ca, answers)
	answers[wellKnown] = func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"https://%s/jwks"}`, r.Host, r.Host)
	}
	// The name servers know the name of the one, and that of the other not.
	ns := startDNS(t, dnsserver.Options{Zone: "auth.nmos.test. A 127.0.0.1"})
	c := New(Options{Roots: ca.roots, DNSServers: []string{ns.Addr()}})

	s := found(t, k.Server, "", "127.0.0.1")
	if _, err := c.ServerKeySet(t.Context(), s); err != nil || len(ns.Questions()) != 0 {
		t.Errorf("%v after questions %q", err, questions(ns))
	}
	s.Addresses = nil
	if _, err := c.ServerKeySet(t.Context(), s); err != nil || len(ns.Questions()) == 0 {
		t.Errorf("no address: %v after questions %q", err, questions(ns))
	}
	// nobody listens there any more
	s.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	ns.Forget()
	if _, err := c.ServerKeySet(t.Context(), s); err != nil || len(ns.Questions()) == 0 {
		t.Errorf("old addresses: %v after questions %q", err, questions(ns))
	}
	s.Addresses = append(s.Addresses, netip.MustParseAddr("127.0.0.1"))
	ns.Forget()
	if _, err := c.ServerKeySet(t.Context(), s); err != nil || len(ns.Questions()) != 0 {
		t.Errorf("the third address: %v after questions %q", err, questions(ns))
	}

	s = found(t, k.Server, "", "127.0.0.1")
	s.Host = "other.nmos.test"
	before, _ := k.seen()
	_, err := c.ServerKeySet(t.Context(), s)
	after, _ := k.seen()
	if err == nil || !strings.Contains(err.Error(), "the certificate is for another host") ||
		len(after) != len(before) {
		t.Errorf("a certificate for another host: %v", err)
	}
}

// A host of mDNS is known to no name server, and none is asked (RFC 6762 §3).
func TestServerKeySetMDNS(t *testing.T) {
	spec.Rules(t, "DIS-2")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "auth.local"), mux)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	publish(mux, "https://auth.local:"+port, "")
	ns := startDNS(t, dnsserver.Options{})
	c := New(Options{Roots: ca.roots, DNSServers: []string{ns.Addr()}})
	f := found(t, s, "", "127.0.0.1")
	f.Host, f.Domain = "auth.local", mdnsDomain
	doc, err := c.ServerKeySet(t.Context(), f)
	if err != nil || doc.Issuer != "https://auth.local:"+port {
		t.Errorf("got %+v, error %v", doc, err)
	}
	f.Addresses[0] = netip.MustParseAddr("127.0.0.2")
	address := netip.MustParseAddr("127.0.0.2")
	c.askLink = func(context.Context, string) (resolved, error) {
		return resolved{records: []*resource{{addr: address}}}, nil
	}
	_, err = c.ServerKeySet(t.Context(), f)
	if want := "https://auth.local:" + port + ": connection refused by 127.0.0.2:" + port +
		". Is the server running?"; err == nil || err.Error() != want {
		t.Errorf("nobody there: got %v, want …%s", err, want)
	}
	address = netip.MustParseAddr("127.0.0.1") // the host has another address by now
	if _, err := c.ServerKeySet(t.Context(), f); err != nil {
		t.Errorf("at its new address: %v", err)
	}
	// The next Client, after SIGHUP or a restart, knows the issuer alone.
	next := New(Options{Roots: ca.roots, DNSServers: []string{ns.Addr()}})
	next.askLink = c.askLink
	if _, err := next.KeySet(t.Context(), "https://auth.local:"+port); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	if len(ns.Questions()) != 0 {
		t.Errorf("questions %q", questions(ns))
	}
}

// The issuer of a server that was found leads to the addresses that were found with it, until others are.
func TestKeySetOfFoundServer(t *testing.T) {
	spec.Rules(t, "DIS-6")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "auth.local"), mux)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	issuer := "https://auth.local:" + port
	publish(mux, issuer, "")
	c := New(Options{Roots: ca.roots, DNSServers: []string{startDNS(t, dnsserver.Options{}).Addr()}})
	f := found(t, s, "", "127.0.0.1")
	f.Host, f.Domain = "auth.local", mdnsDomain
	all := Found{Servers: []Server{f}}
	c.browse = func(context.Context, BrowseOptions) (Found, error) { return all, nil }
	c.askLink = func(context.Context, string) (resolved, error) { return resolved{outcome: Silent}, nil }

	if _, err := c.KeySet(t.Context(), issuer); err == nil {
		t.Error("found before it was looked for")
	}
	for range 2 {
		r, err := c.Discover(t.Context(), DiscoverOptions{Mode: config.DiscoveryMDNS}, nil)
		if err != nil {
			t.Fatal(err)
		}
		clear(r.Servers) // what the caller does with its own is its affair
		for _, written := range []string{issuer, issuer + "/"} {
			if doc, err := c.KeySet(t.Context(), written); err != nil || doc.Issuer != issuer {
				t.Errorf("got %+v, error %v", doc, err)
			}
		}
		all.Servers = nil // nothing is found any more, which changes nothing of where it was
	}
	g := f
	g.Host = "other.local"
	all.Servers = []Server{g}
	if _, err := c.Discover(t.Context(), DiscoverOptions{Mode: config.DiscoveryMDNS}, nil); err != nil {
		t.Fatal(err)
	}
	// Keys of a server that is not advertised any more go on being fetched, and no name server knows its host.
	if _, err := c.KeySet(t.Context(), issuer); err != nil {
		t.Errorf("once another took its place: %v", err)
	}
	again := New(Options{Roots: ca.roots, DNSServers: c.options.DNSServers})
	again.Adopt(c)
	if _, err := again.FoundKeySet(t.Context(), issuer); err != nil {
		t.Errorf("by the client of a reread configuration: %v", err)
	}
}

// In production a server is never asked by http, however it was found.
func TestServerKeySetHTTP(t *testing.T) {
	spec.Rules(t, "DIS-3")
	_, err := New(Options{}).ServerKeySet(t.Context(), Server{Scheme: "http", Host: "a.test", Port: 80})
	expect(t, "error", err, `discovery: server "http://a.test": not https`)
}
