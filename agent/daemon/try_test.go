package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// facility is a network with two authorization servers, one of them called by the issuer's path, and a name server.
type facility struct {
	t            *testing.T
	dns          *dnsserver.Server
	first, other *authserver.Server
}

func newFacility(t *testing.T) *facility {
	t.Helper()
	ca, err := authserver.NewCA("facility")
	if err != nil {
		t.Fatal(err)
	}
	start := func(host, path string) *authserver.Server {
		s, err := authserver.Start(authserver.Options{Host: host, IssuerPath: path, CA: ca})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	f := &facility{t: t, first: start("auth-1.example.com", ""), other: start("auth-2.example.com", "/realms/studio")}
	f.dns, err = dnsserver.Start(dnsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.dns.Close() })
	f.zone("")
	return f
}

// zone sets the records of the facility, some of them replaced: "old", "new", …
func (f *facility) zone(changes ...string) {
	f.t.Helper()
	text := `
		$ORIGIN example.com.
		_nmos-auth._tcp                 PTR auth-2._nmos-auth._tcp
		_nmos-auth._tcp                 PTR Studio\032Auth._nmos-auth._tcp
		Studio\032Auth._nmos-auth._tcp  SRV 0 0 PORT1 auth-1
		Studio\032Auth._nmos-auth._tcp  TXT "api_proto=https" "api_ver=v1.0" "pri=10"
		auth-2._nmos-auth._tcp          SRV 0 0 PORT2 auth-2
		auth-2._nmos-auth._tcp          TXT "api_proto=https" "api_ver=v1.0" "pri=20" "api_selector=realms/studio"
		auth-1                          A 127.0.0.1
		auth-2                          A 127.0.0.1`
	if len(changes) > 1 {
		text = strings.NewReplacer(changes...).Replace(text)
	}
	text = strings.NewReplacer("PORT1", f.first.Port(), "PORT2", f.other.Port()).Replace(text)
	if err := f.dns.SetZone(text); err != nil {
		f.t.Fatal(err)
	}
}

// config writes a configuration file and returns its path.
func (f *facility) config(mode, servers string) string {
	f.t.Helper()
	dir := f.t.TempDir()
	ca, file := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "nmos-authd.toml")
	text := fmt.Sprintf("[device]\nnames = [\"node-1.example.com\"]\n[authorization]\nca_file = %q\nservers = [%s]\n"+
		"[discovery]\nmode = %q\ndomains = [\"example.com\"]\ndns_servers = [%q]\n", ca, servers, mode, f.dns.Addr())
	for path, content := range map[string][]byte{ca: f.first.CAPEM(), file: []byte(text)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	return file
}

// discover runs the command and returns what it printed, with the ports by name.
func (f *facility) discover(file string) (printed string, usable bool) {
	f.t.Helper()
	c, _, err := LoadConfig(file)
	if err != nil {
		f.t.Fatal(err)
	}
	var b strings.Builder
	usable = TryServers(f.t.Context(), &b, c)
	_, port, _ := strings.Cut(f.dns.Addr(), ":")
	printed = strings.NewReplacer(f.first.Port(), "PORT1", f.other.Port(), "PORT2", port, "DNS").Replace(b.String())
	f.t.Log("\n" + printed)
	return printed, usable
}

// holds looks for texts in their order.
func holds(t *testing.T, printed string, texts ...string) {
	t.Helper()
	rest := printed
	for _, want := range texts {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Errorf("it does not say, at its place: %s\n%s", want, printed)
			return
		}
		rest = after
	}
}

func TestDiscover(t *testing.T) {
	spec.Rules(t, "DIS-1")
	f := newFacility(t)
	printed, usable := f.discover(f.config("unicast", ""))
	if !usable {
		t.Error("not usable")
	}
	holds(t, printed,
		`Looking (mode "unicast")`,
		"name servers: 127.0.0.1:DNS (of the configuration)",
		"domains: example.com (configuration)",
		"PTR _nmos-auth._tcp.example.com ?",
		"127.0.0.1:DNS (udp, ", "): answered",
		"answer  _nmos-auth._tcp.example.com.", "120 s  PTR  auth-2._nmos-auth._tcp.example.com.",
		`beside  studio\ auth._nmos-auth._tcp.example.com.  120 s  SRV  0 0 PORT1 auth-1.example.com.`,
		"found     Studio Auth: https://auth-1.example.com:PORT1 at 127.0.0.1",
		"found     auth-2: https://auth-2.example.com:PORT2/realms/studio at 127.0.0.1",
		"Trying, in this order",
		"1  https://auth-1.example.com:PORT1", `"Studio Auth", found in example.com: pri 10, priority 0, weight 0`,
		"metadata from https://auth-1.example.com:PORT1/.well-known/oauth-authorization-server",
		"keys from https://auth-1.example.com:PORT1/jwks: 1 that can verify RS512",
		"can be used",
		"2  https://auth-2.example.com:PORT2/realms/studio",
		"metadata from https://auth-2.example.com:PORT2/.well-known/oauth-authorization-server/realms/studio",
		"can be used",
		"Outcome",
		"what was found holds for 2m0s",
		"the server that would be used: https://auth-1.example.com:PORT1",
	)
}

// Each record that is wrong is named.
func TestDiscoverWrongRecords(t *testing.T) {
	spec.Rules(t, "DIS-3")
	f := newFacility(t)
	file := f.config("unicast", "")
	for name, c := range map[string]struct {
		changes []string
		want    []string
	}{
		"pri": {[]string{"pri=10", "pri=100"},
			[]string{"left out  Studio Auth: pri 100 is for development only"}},
		"api_proto": {[]string{"api_proto=https", "api_proto=http"},
			[]string{"left out  ", ": api_proto is http, which counts in development only",
				"NO authorization server can be used"}},
		"api_ver": {[]string{"v1.0", "v1.1"},
			[]string{`api_ver "v1.1" lacks v1.0`, "there is no server to try", "NO authorization server"}},
		"host": {[]string{"PORT1 auth-1", "PORT1 auth-9"}, []string{"A auth-9.example.com ?",
			"): no such name (NXDOMAIN)", "left out  Studio Auth: the host auth-9.example.com has no address"}},
		"no SRV": {[]string{"SRV 0 0 PORT1", "SRV 0 0 0"}, []string{"left out  Studio Auth: port 0"}},
		"wrong host": {[]string{"PORT1 auth-1", "PORT1 auth-2"}, []string{"1  https://auth-2.example.com:PORT1",
			"CANNOT be used: https://auth-2.example.com:PORT1: the certificate is for another host: ", "2  https",
			"the server that would be used: https://auth-2.example.com:PORT2/realms/studio"}},
		"api_selector": {[]string{"api_selector=realms/studio", "api_selector=realms/other"},
			[]string{"2  https://auth-2.example.com:PORT2/realms/other", "CANNOT be used: metadata from " +
				"https://auth-2.example.com:PORT2/.well-known/oauth-authorization-server/realms/other: " +
				"HTTP 404 Not Found; from "}},
		"no PTR": {[]string{"_nmos-auth._tcp  ", "nmos-auth._tcp  "}, []string{"PTR _nmos-auth._tcp.example.com ?",
			"): no such name (NXDOMAIN)", "there is no server to try", "NO authorization server can be used"}},
	} {
		t.Run(name, func(t *testing.T) {
			f.zone(c.changes...)
			printed, usable := f.discover(file)
			holds(t, printed, c.want...)
			if said := !strings.Contains(printed, "NO authorization server can be used"); said != usable {
				t.Errorf("it says %v and means %v", said, usable)
			}
		})
	}
}

func TestDiscoverNameServer(t *testing.T) {
	spec.Rules(t, "DIS-1")
	f := newFacility(t)
	file := f.config("unicast", "")
	for fault, want := range map[dnsserver.Fault][]string{
		dnsserver.ServFail: {"SERVFAIL: the server could not find out",
			"! discovery: unicast DNS-SD: PTR _nmos-auth._tcp.example.com: name server 127.0.0.1:DNS: SERVFAIL", "NO"},
		dnsserver.NXDomain:  {"no such name (NXDOMAIN)", "NO"},
		dnsserver.Truncated: {"(tcp, ", "): answered", "the server that would be used"},
	} {
		f.dns.Misbehave("", "", fault)
		printed, _ := f.discover(file)
		holds(t, printed, want...)
	}
}

// Servers given by hand come first, and need no discovery; their host names resolve through dns_servers too.
func TestDiscoverConfigured(t *testing.T) {
	spec.Rules(t, "DIS-6")
	f := newFacility(t)
	for _, mode := range []string{"off", "unicast"} {
		printed, usable := f.discover(f.config(mode, strconv.Quote(f.other.Issuer())))
		if !usable {
			t.Error("not usable")
		}
		holds(t, printed, "1  https://auth-2.example.com:PORT2/realms/studio", "configured", "can be used",
			"the server that would be used: https://auth-2.example.com:PORT2/realms/studio")
		if strings.Contains(printed, "auth-1") != (mode == "unicast") {
			t.Errorf("mode %s:\n%s", mode, printed)
		}
	}
	f.other.Misbehave(authserver.PathJWKS, authserver.KeysOfRS256)
	printed, usable := f.discover(f.config("off", strconv.Quote(f.other.Issuer())))
	if usable {
		t.Error("usable without a key")
	}
	holds(t, printed, "discovery is off, so only issuers that [authorization] names are trusted",
		"key 1 left out: alg is \"RS256\", not RS512", "CANNOT be used: keys from "+
			"https://auth-2.example.com:PORT2/jwks: the key set holds no RSA key that can verify RS512", "NO")
}

// Records that nobody asked this name server for are shown, with the reason why they do not count.
func TestDiscoverPoison(t *testing.T) {
	spec.Rules(t, "DIS-1")
	f := newFacility(t)
	f.dns.Misbehave("", "PTR", dnsserver.Poison)
	printed, usable := f.discover(f.config("unicast", ""))
	if !usable {
		t.Error("not usable")
	}
	holds(t, printed, "unused  auth.example.net.",
		dnsserver.Attacker+"  (the name is outside example.com, which was asked about)", "can be used")
}

// What a network sends cannot write to the terminal of whoever looks at it.
func TestDiscoverPrintsSafely(t *testing.T) {
	f := newFacility(t)
	f.zone(`Studio\032Auth`, `\027[31mred\010x`, "pri=10", `pri=\027[31m\010`)
	printed, _ := f.discover(f.config("unicast", ""))
	if strings.ContainsAny(printed, "\x1b\r\x07") || strings.Contains(printed, "\nx") {
		t.Errorf("got %q, want nothing that writes to a terminal", printed)
	}
	holds(t, printed, `left out  "\x1b[31mred\nx": pri `)
}
