package dnssd

import (
	"strings"
	"testing"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

func start(t *testing.T, zone string) Resolver {
	t.Helper()
	s, err := dnsserver.Start(dnsserver.Options{Zone: "$ORIGIN example.com.\n" + zone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return Resolver{s.Addr()}
}

const good = `
	_nmos-query._tcp     PTR a._nmos-query._tcp
	_nmos-query._tcp     PTR b._nmos-query._tcp
	_nmos-query._tcp     PTR c._nmos-query._tcp
	a._nmos-query._tcp   SRV 5 0 441 a
	a._nmos-query._tcp   TXT "api_proto=https" "api_ver=v1.2,v1.3" "pri=20" "api_auth=true"
	b._nmos-query._tcp   SRV 9 0 442 b
	b._nmos-query._tcp   TXT "API_PROTO=https" "api_proto=http" "api_ver=v1.3" "pri=10" "api_auth=false"
	c._nmos-query._tcp   SRV 1 0 443 c
	c._nmos-query._tcp   TXT "api_proto=https" "api_ver=v1.2" "pri=0"
`

// The best server that speaks the version comes first.
func TestBrowse(t *testing.T) {
	spec.Rules(t, "CLI-12")
	r := start(t, good)
	found, err := r.Browse(t.Context(), "_nmos-query._tcp", "example.com", "v1.3")
	if err != nil || len(found) != 2 || found[0].URL() != "https://b.example.com:442" ||
		found[1].URL() != "https://a.example.com:441" {
		t.Fatalf("got %v, %v, want b and a", found, err)
	}
	if found[0].Authorization() || !found[1].Authorization() {
		t.Errorf("got %v, want api_auth of a alone", found)
	}
}

func TestBrowseIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ zone, want string }{
		"nothing": {"", "no _nmos-query._tcp in example.com"},
		"version": {good[strings.Index(good, "c._nmos-query._tcp   SRV"):] +
			"_nmos-query._tcp PTR c._nmos-query._tcp", "lacks v1.3"},
		"no records": {"_nmos-query._tcp PTR c._nmos-query._tcp", "lacks an SRV"},
		"http": {"_nmos-query._tcp PTR a._nmos-query._tcp\na._nmos-query._tcp SRV 0 0 1 a\n" +
			"a._nmos-query._tcp TXT \"api_proto=http\" \"api_ver=v1.3\" \"pri=1\"", "want https"},
		"pri": {"_nmos-query._tcp PTR a._nmos-query._tcp\na._nmos-query._tcp SRV 0 0 1 a\n" +
			"a._nmos-query._tcp TXT \"api_proto=https\" \"api_ver=v1.3\"", "not a number"},
	} {
		_, err := start(t, c.zone).Browse(t.Context(), "_nmos-query._tcp", "example.com", "v1.3")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := (Resolver{"127.0.0.1:1"}).Browse(t.Context(), "_a._tcp", "example.com", "v1.3"); err == nil {
		t.Error("no name server: want an error")
	}
	if _, err := start(t, "").Dial(t.Context(), "tcp", "a.example.com:1"); err == nil ||
		!strings.Contains(err.Error(), "no address") {
		t.Errorf("a host without an address: got %v", err)
	}
}
