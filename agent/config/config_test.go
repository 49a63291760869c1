package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

const file = "/etc/nmos-authd/nmos-authd.toml"

// The example that ships is the documentation of the defaults, so it must hold all of them and nothing else.
func TestConfigExampleIsDefault(t *testing.T) {
	data, err := os.ReadFile("../../configs/nmos-authd.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("example:\n%+v\ndefault:\n%+v", got, want)
	}
	section := ""
	have := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
		} else if name, _, is := strings.Cut(line, " = "); is && !strings.HasPrefix(line, "#") {
			have[section+"."+name] = true
		}
	}
	for _, k := range Keys(new(Config)) {
		if !have[k.Section+"."+k.Name] {
			t.Errorf("the example lacks %s", &k)
		}
	}
}

func TestConfigEmptyIsDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "\xef\xbb\xbf[device]\n"} {
		got, err := Parse(file, []byte(text))
		if err != nil || !reflect.DeepEqual(got, Default()) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestConfigFull(t *testing.T) {
	got, err := Parse(file, []byte(`
		mode = "observe"
		log.level = "debug"
		[device]
		names = ["Node-1.Example.COM.", "node-1.example.com", "192.0.2.7"]
		realm = "studio 3"
		[authorization]
		servers = ["http://auth.example.com:8080/realms/nmos", "https://[2001:db8::1]/"]
		allow_http = true
		trusted_issuers = ["https://*.example.com", "https://node-*.example.org:8443/a"]
		ca_file = ""
		refresh = "5s"
		leeway = "1m"
		retry = "1s"
		[discovery]
		mode = "off"
		hosts = ["Auth.Example.COM.", "*.media.example.com", "auth.example.com"]
		domains = ["Example.com."]
		dns_servers = ["127.0.0.1:5300", "[2001:db8::53]:53"]
		[sockets]
		authz = "/tmp/x/../a.sock"
		http = ""
		admin = ""
		group = "audio"
		allow_uids = [0, 1000, 1000]
		admin_group = "wheel"
		view = "/tmp/view.sock"
		view_group = "www"
		view_actions = ["refresh", "observe", "refresh"]
		view_claim = "x-nmos-status"
		[clock]
		unsynchronised = "deny"
		synchronised_file = "/run/clock"
		[state]
		dir = ""
		[limits]
		token_bytes = 8192
		path_bytes = 512
		packet_bytes = 65536
		cached_tokens = 4096
		connections = 1
		memory_bytes = 16777216
		[enforce]
		node = "write"
		connection = "none"
		channelmapping = "write"
		events = "none"
		control = "write"
		configuration = "none"
		streamcompatibility = "write"
		query = "none"
		registration = "write"
		other = "none"
		[inventory]
		file = "/run/firmware//inventory.json"
		[audit]
		sinks = ["syslog", "file", "syslog"]
		full = "wait"
		queue_bytes = 4096
		repeat = "0s"
		deny_rate = 0
		allow_rate = 100000
		file = "/var/log/audit"
		file_bytes = 65536
		files = 1
		syslog = "tls://log.example.com"
		ring_bytes = 4096
		[metrics]
		file = "/run/metrics.prom"
		[client]
		scopes = ["registration", "events", "events"]
		issuer = "https://auth.example.com"
		initial_access_token_file = "/etc/nmos-authd//initial"
		auth_method = "private_key_jwt"
		keys = "jwks_uri"
		jwks_uri = "https://node-1.example.com/jwks?x"
		software_id = "4E2B7A10-0000-4000-8000-00000000000a"
		allow_uids = [33]
		group = "audio"
		[certificates]
		est = "https://est.example.com:8443/label/"
		fingerprint = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
		ca_file = "/etc/nmos-authd/est.pem"
		trust_first = true
		names = ["Node-1.example.com."]
		keys = ["rsa", "ecdsa"]
		maker_certificate = "/etc/maker/cert.pem"
		maker_key = "/etc/maker/key.pem"
		folder = "/etc/nmos-authd/tls/"
		mode = "0600"
		group = "www"
		renew = false
		[sandbox]
		landlock = false
		[paths]
		public = ["/meters/", "/api/v1", "/x-nmos/system/"]
		claims = ["/levels/=events"]
		control = ["/slot/2/", "/x-nmos/ncp/v1.0/b"]
		[control]
		commands = "asked"
		claims = ["nc", "control", "nc"]
		gets = "write"
		read_methods = ["1.2.0.1:3m1", "1.2.2.1.-132131.1:5m2"]
		models = ["slot2B=b", "/slot/2/=b"]
		record = "all"
configuration_specifiers = "both"
as_drafted = ["CTL-14", "CTL-13"]
	`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Mode: ModeObserve,
		Enforce: Enforce{StageNone, StageWrite, StageNone, StageWrite, StageNone, StageWrite, StageNone, StageWrite,
			StageNone, StageWrite},
		Device: Device{Names: []string{"node-1.example.com", "192.0.2.7"}, Realm: "studio 3"},
		Authorization: Authorization{
			Servers:        []string{"http://auth.example.com:8080/realms/nmos", "https://[2001:db8::1]/"},
			TrustedIssuers: []string{"https://*.example.com", "https://node-*.example.org:8443/a"},
			AllowHTTP:      true, Refresh: 5 * time.Second, Leeway: time.Minute, Retry: time.Second,
		},
		Discovery: Discovery{DiscoveryOff, []string{"auth.example.com", "*.media.example.com"}, []string{"example.com"},
			[]string{"127.0.0.1:5300", "[2001:db8::53]:53"}},
		Sockets: Sockets{Authz: "/tmp/a.sock", Group: "audio", AllowUIDs: []uint32{0, 1000}, AdminGroup: "wheel",
			View: "/tmp/view.sock", ViewGroup: "www", ViewActions: []string{"refresh", "observe"},
			ViewClaim: "x-nmos-status"},
		Clock: Clock{ClockDeny, "/run/clock"},
		Limits: Limits{TokenBytes: 8192, PathBytes: 512, PacketBytes: 65536, CachedTokens: 4096, Connections: 1,
			MemoryBytes: 16 << 20},
		Log: Log{Level: "debug"},
		Paths: Paths{Public: []string{"/meters", "/api/v1", "/x-nmos/system"}, Claims: []string{"/levels=events"},
			Control: []string{"/slot/2", "/x-nmos/ncp/v1.0/b"}},
		Control: Control{
			CommandsAsked, []ControlClaim{ClaimNC, ClaimControl}, GetsWrite,
			[]string{"1.2.0.1:3m1", "1.2.2.1.-132131.1:5m2"}, []string{"slot2B=b", "/slot/2=b"}, SpecifiersBoth,
			[]DraftedRule{DraftedBelow, DraftedRoot}, RecordAll,
		},
		Inventory: Inventory{File: "/run/firmware/inventory.json"},
		Audit: Audit{
			Sinks: []AuditSink{AuditSyslog, AuditFile}, Full: AuditWait, QueueBytes: 4096, AllowRate: 100000,
			File: "/var/log/audit", FileBytes: 65536, Files: 1, Syslog: "tls://log.example.com:6514", RingBytes: 4096,
		},
		Metrics: Metrics{File: "/run/metrics.prom"},
		Client: Client{
			Scopes: []string{"registration", "events"}, Issuer: "https://auth.example.com",
			InitialAccessTokenFile: "/etc/nmos-authd/initial", AuthMethod: ClientAuthKey, Keys: ClientKeysByURI,
			JWKSURI: "https://node-1.example.com/jwks?x", SoftwareID: "4e2b7a10-0000-4000-8000-00000000000a",
			AllowUIDs: []uint32{33}, Group: "audio",
		},
		Certificates: Certificates{
			EST: "https://est.example.com:8443/label", TrustFirst: true,
			Fingerprint: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
			CAFile:      "/etc/nmos-authd/est.pem", Keys: []KeyKind{KeyRSA, KeyECDSA},
			Names: []string{"node-1.example.com"}, Folder: "/etc/nmos-authd/tls", Mode: "0600", Group: "www",
			MakerCertificate: "/etc/maker/cert.pem", MakerKey: "/etc/maker/key.pem",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	byDefault := Keys(Default())
	for i, k := range Keys(got) {
		if k.String() == "[client] client_id" || k.String() == "[client] client_secret_file" {
			continue // these take the place of others; TestConfigGivenClient has them
		}
		if reflect.DeepEqual(k.Get(), byDefault[i].Get()) {
			t.Errorf("%s has its default %v here: give it another value", &k, k.Get())
		}
	}
}

// What is wrong with what a key refers to is a mistake in the key's line.
func TestAt(t *testing.T) {
	text := "mode = \"off\"\n[client]\nscopes = [\"events\"]\ngroup = \"nobody-here\"\n\nclient_id = \"x\"\n"
	err := At("x.toml", []byte(text), errors.Join(
		&KeyError{"[client] client_id", errors.New("a")}, &KeyError{"[client] group", errors.New("b")},
		errors.New("c")))
	const want = "x.toml:1: c\nx.toml:4: [client] group: b\nx.toml:6: [client] client_id: a"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := At("x.toml", nil, nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestConfigRealm(t *testing.T) {
	spec.Rules(t, "ANS-1")
	for _, c := range []struct {
		realm string
		names []string
		want  string
	}{
		{"studio", []string{"a.example"}, "studio"},
		{"", []string{"a.example", "b.example"}, "a.example"},
		{"", nil, "nmos"},
	} {
		if got := (Device{Realm: c.realm}).RealmFor(c.names); got != c.want {
			t.Errorf("RealmFor(%q, %q) = %q, want %q", c.realm, c.names, got, c.want)
		}
	}
}

// An example with a value of every kind.
func TestConfigOfProtocol(t *testing.T) {
	got, err := Parse(file, []byte(`
    mode = "enforce"                       # enforce | observe | off

    [device]
    names = ["node-1.example.com"]         # what aud may name; empty: from the device itself
    
    [authorization]
    servers = []                           # issuer URLs given by hand, tried before discovery
    trusted_issuers = []
    ca_file = "/etc/nmos-authd/ca.pem"
    allow_http = false                     # development only
    refresh = "1h"                         # 5s to 24h
    leeway = "0s"

    [discovery]
    mode = "auto"                          # auto (both, or off where servers are given) | both (unicast, else mDNS) | unicast | mdns | off
    hosts = []                             # patterns of host names that may be found; empty: any
    domains = []
    dns_servers = []

    [sockets]
    authz = "/run/nmos-authd/authz.sock"
    http = "/run/nmos-authd/http.sock"     # "" = not opened
    admin = "/run/nmos-authd/admin.sock"
    group = ""                             # group that may connect; mode 0660
    allow_uids = []                        # empty: whoever the file mode lets in

    [state]
    dir = "/var/lib/nmos-authd"            # "" = keep nothing across restarts
`))
	want := Default()
	want.Device.Names = []string{"node-1.example.com"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// An IPv6 address may be a name as an IPv4 address may; it is held as RFC 5952 writes it.
func TestAddressesAsNames(t *testing.T) {
	spec.Rules(t, "CLM-4")
	c, err := Parse(file, []byte(`device.names = ["192.0.2.7", "[2001:DB8:0::1]", "2001:db8::0:1", "fe80::1"]`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(c.Device.Names, " "), "192.0.2.7 2001:db8::1 fe80::1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
