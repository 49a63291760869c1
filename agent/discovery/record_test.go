package discovery

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// txt is a good TXT record with some of its strings replaced: "name=value", or "name" to leave one out.
func txt(changes ...string) []string {
	strs := []string{"api_proto=https", "api_ver=v1.0", "pri=10"}
	for _, c := range changes {
		name, _, keep := strings.Cut(c, "=")
		strs = slices.DeleteFunc(strs, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		if keep {
			strs = append(strs, c)
		}
	}
	return strs
}

func TestRecord(t *testing.T) {
	spec.Rules(t, "DIS-3")
	for _, c := range []struct {
		name        string
		record      Record
		development bool
		want        string // metadata URL, or the error
	}{
		{"plain", Record{Host: "Auth.Example.com.", Port: 443, TXT: txt()}, false,
			"https://auth.example.com:443/.well-known/oauth-authorization-server"},
		{"many versions", Record{Host: "a", Port: 1, TXT: txt("api_ver=v0.9, v1.0,v2.0")}, false,
			"https://a:1/.well-known/oauth-authorization-server"},
		{"first of a name counts, in any case",
			Record{Host: "a", Port: 1, TXT: append(txt("pri"), "=x", "noise", "PRI=0", "pri=200")}, false,
			"https://a:1/.well-known/oauth-authorization-server"},
		{"http", Record{Host: "a", Port: 80, TXT: txt("api_proto=http")}, false,
			"api_proto is http, which counts in development only"},
		{"http in development", Record{Host: "a", Port: 80, TXT: txt("api_proto=http")}, true,
			"http://a:80/.well-known/oauth-authorization-server"},
		{"no api_proto", Record{Host: "a", Port: 1, TXT: txt("api_proto")}, true, "no api_proto"},
		{"other api_proto", Record{Host: "a", Port: 1, TXT: txt("api_proto=HTTPS")}, true, `api_proto is "HTTPS"`},
		{"no api_ver", Record{Host: "a", Port: 1, TXT: txt("api_ver")}, false, "no api_ver"},
		{"other api_ver", Record{Host: "a", Port: 1, TXT: txt("api_ver=v1.01,v2.0")}, false,
			`api_ver "v1.01,v2.0" lacks v1.0`},
		{"pri 99", Record{Host: "a", Port: 1, TXT: txt("pri=99")}, false,
			"https://a:1/.well-known/oauth-authorization-server"},
		{"pri 100", Record{Host: "a", Port: 1, TXT: txt("pri=100")}, false, "pri 100 is for development only"},
		{"pri 100 in development", Record{Host: "a", Port: 1, TXT: txt("pri=100")}, true,
			"https://a:1/.well-known/oauth-authorization-server"},
		{"pri negative", Record{Host: "a", Port: 1, TXT: txt("pri=-1")}, true, `pri "-1" is not a number`},
		{"pri missing", Record{Host: "a", Port: 1, TXT: txt("pri")}, true, "no pri"},
		{"nothing", Record{Host: "a", Port: 1, TXT: []string{"txtvers=1", "a b"}}, true,
			"no api_proto; no api_ver; no pri"},
		{"all in one string", Record{Host: "a", Port: 1, TXT: []string{"api_proto=https api_ver=v1.0 pri=10"}}, true,
			"no api_ver; no pri; each name=value needs a string of its own"},
		{"pri a word", Record{Host: "a", Port: 1, TXT: txt("pri=high")}, true, `pri "high" is not a number`},
		{"port 0", Record{Host: "a", TXT: txt()}, true, "port 0: the service is not offered"},
		{"no host", Record{Host: ".", Port: 1, TXT: txt()}, true, "the host name is empty or too long"},
		{"host with a path", Record{Host: "a/b.", Port: 1, TXT: txt()}, true, `the host name "a/b" holds '/'`},
		{"host with a user", Record{Host: "a@b.", Port: 1, TXT: txt()}, true, `the host name "a@b" holds '@'`},
	} {
		s, err := ParseRecord(c.record, c.development)
		got := s.MetadataURL()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestRecordURLs(t *testing.T) {
	spec.Rules(t, "DIS-4")
	for _, c := range []struct{ scheme, port, selector, metadata, issuer string }{
		{"https", "443", "", "https://auth.example.com:443/.well-known/oauth-authorization-server",
			"https://auth.example.com"},
		{"https", "8443", "", "https://auth.example.com:8443/.well-known/oauth-authorization-server",
			"https://auth.example.com:8443"},
		{"https", "80", "realm", "https://auth.example.com:80/.well-known/oauth-authorization-server/realm",
			"https://auth.example.com:80/realm"},
		{"http", "80", "/realms/nmos/", "http://auth.example.com:80/.well-known/oauth-authorization-server/realms/nmos",
			"http://auth.example.com/realms/nmos"},
	} {
		port := map[string]uint16{"443": 443, "8443": 8443, "80": 80}[c.port]
		s, err := ParseRecord(Record{Host: "auth.example.com.", Port: port,
			TXT: txt("api_proto="+c.scheme, "api_selector="+c.selector)}, true)
		if err != nil || s.MetadataURL() != c.metadata || s.IssuerURL() != c.issuer {
			t.Errorf("%v: %s, %s, %v", c, s.MetadataURL(), s.IssuerURL(), err)
			continue
		}
		// The client finds the same metadata by the issuer.
		u, err := New(Options{AllowHTTP: true}).parseIssuer(s.IssuerURL())
		if err != nil ||
			strings.Replace(metadataURL(u).String(), "example.com/", "example.com:"+c.port+"/", 1) != c.metadata {
			t.Errorf("%v: by its issuer %s: %v, %v", c, s.IssuerURL(), metadataURL(u), err)
		}
	}
	for _, selector := range []string{"a//b", "..", "a/../b", ".", "a?b", "a#b", "a%2fb", "a b", "a\\b", "ä", "a\nb"} {
		if s, err := ParseRecord(Record{Host: "a", Port: 1, TXT: txt("api_selector=" + selector)}, true); err == nil {
			t.Errorf("api_selector %q: %s", selector, s.MetadataURL())
		}
	}
}

func TestOrder(t *testing.T) {
	spec.Rules(t, "DIS-3")
	servers := []Server{
		{Instance: "g", Pri: 100}, {Instance: "b", Pri: 0, Priority: 5}, {Instance: "c", Pri: 1},
		{Instance: "a", Pri: 0, Priority: 2, Weight: 7},
		{Instance: "f", Pri: 99, Priority: 1, Weight: 65535}, {Instance: "e", Pri: 99},
	}
	Order(servers, rand.IntN)
	var got strings.Builder
	for _, s := range servers {
		got.WriteString(s.Instance)
	}
	if got.String() != "abcefg" {
		t.Errorf("got %s", got.String())
	}
	Order(nil, rand.IntN)
}

// Among equals the weight is the chance to be first, and weight 0 has one too.
func TestOrderWeight(t *testing.T) {
	spec.Rules(t, "DIS-3")
	random := rand.New(rand.NewPCG(1, 2))
	first := map[string]int{}
	const rounds = 11000
	for range rounds {
		servers := []Server{{Instance: "zero"}, {Instance: "one", Weight: 29}, {Instance: "two", Weight: 79}}
		Order(servers, random.IntN)
		first[servers[0].Instance]++
		if len(servers) != 3 || servers[0].Instance == servers[1].Instance ||
			servers[1].Instance == servers[2].Instance {
			t.Fatalf("a server was lost: %v", servers)
		}
	}
	for name, share := range map[string]int{"zero": 1, "one": 30, "two": 80} { // of 111
		if want := rounds * share / 111; first[name] < want*8/10 || first[name] > want*12/10 {
			t.Errorf("%s came first %d times, about %d expected", name, first[name], want)
		}
	}
}

// Whatever was advertised, it leads to the host and port of its SRV record and to the well-known place there.
func FuzzParseRecord(f *testing.F) {
	f.Add("auth.example.com.", uint16(443), "api_proto=https", "api_ver=v1.0", "pri=0",
		"api_selector=realms/nmos", false)
	f.Add("a", uint16(80), "API_PROTO=http", "api_ver=v0.1,v1.0", "pri=100", "api_selector=/..", true)
	f.Add("a@b", uint16(0), "=", "api_ver", "pri=-1", "api_selector=%2f?x#y", true)
	f.Fuzz(func(t *testing.T, host string, port uint16, a, b, c, d string, development bool) {
		s, err := ParseRecord(Record{Host: host, Port: port, TXT: []string{a, b, c, d}}, development)
		if err != nil {
			return
		}
		u, err := url.Parse(s.MetadataURL())
		if err != nil || u.Hostname() != s.Host || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			!strings.HasPrefix(u.Path, wellKnown) || u.Scheme != "https" && !development {
			t.Errorf("%q: %v", s.MetadataURL(), err)
		}
		client := New(Options{AllowHTTP: development})
		issuer, err := client.parseIssuer(s.IssuerURL())
		if err != nil || issuer.Hostname() != s.Host {
			t.Errorf("%q: %v", s.IssuerURL(), err)
		}
	})
}
