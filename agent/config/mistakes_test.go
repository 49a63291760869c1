package config

import (
	"errors"
	"strings"
	"testing"
)

// One mistake a case. The message is compared whole: it is what an operator has to work with.
func TestConfigMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"misspelt key", "\n[authorization]\nsevrers = []\n",
			`:3: unknown key "sevrers" in [authorization] (servers?)`},
		{"misspelt key above", "moed = \"off\"\n", `:1: unknown key "moed" (mode?)`},
		{"wrong case", "Mode = \"off\"\n", `:1: unknown key "Mode" (mode?)`},
		{"unknown key", "[device]\ncolour = 3\n", `:2: unknown key "colour" in [device]`},
		{"misspelt section", "\n[sokets]\nauthz=\"/a\"\nhttp=\"/a\"\n", `:2: unknown section [sokets] ([sockets]?)`},
		{"unknown section", "[proxies]\n", `:1: unknown section [proxies]`},
		{"unknown section by dots", "\nproxy.port = 1\nproxy.host = 2\n", `:2: unknown section [proxy]`},
		{"unknown section list", "[[devices]]\n[[devices]]\n", `:1: unknown section [devices] ([device]?)`},
		{"unknown sub-section", "[paths]\n[paths.maps]\n\"/meters\" = \"levels\"\n",
			`:2: unknown key "maps" in [paths]`},
		{"key above its section", "servers = []\n", `:1: unknown key "servers" (it belongs in [authorization])`},
		{"key below its place", "[device]\nmode = \"off\"\n",
			`:2: unknown key "mode" in [device] (it belongs above all sections)`},
		{"key in another section", "[device]\ngroup = \"x\"\n",
			`:2: unknown key "group" in [device] (it belongs in [sockets])`},
		{"long unknown key", strings.Repeat("k", 500) + " = 1\n", `:1: unknown key "` + strings.Repeat("k", 80) + `…"`},
		{"section as a value", "device = \"x\"\n", `:1: [device] must be a section, not a string`},
		{"section as a list", "[[device]]\n", `:1: [device] must be a section, not a list of sections`},
		{"key as a section", "[device.names]\na = 1\nb = 2\n", `:1: [device] names: must be a list, not a section`},
		{"inline section", "device = { realm = 1 }\n", `:1: [device] realm: must be a string, not a whole number`},

		{"section twice", "[log]\n\n[device]\n[log]\n", `:4: [log] is in line 1 already`},
		{"key twice in a section", "log.level = \"warn\"\n[log]\nlevel = \"warn\"\n",
			`:3: [log] level is set in line 1 already`},
		{"inline section and header", "log = {}\n[log]\n", `:2: [log] is in line 1 already`},
		{"inline section and dots", "log = {}\nlog.level = \"info\"\n", `:2: [log] is in line 1 already`},
		{"dots and inline section", "log.level = \"info\"\nlog = {}\n", `:2: [log] is in line 1 already`},
		{"key as an inline section", "mode = { a = 1 }\n",
			`:1: mode: must be one of enforce, observe, off, not a section`},
		{"key by dots", "[device]\nrealm.a = 1\n", `:2: [device] realm: must be a string, not a section`},
		{"list of sections with a key", "[[enforce.connection]]\nread = \"none\"\n[[enforce.connection]]\n",
			`:1: [enforce] connection: must be one of all, write, none, not a list of sections`},
		{"key as a list of sections", "[[log.level]]\n",
			`:1: [log] level: must be one of debug, info, warn, error, not a list of sections`},
		{"empty name", "\"\" = 1\n", `:1: unknown key ""`},
		{"syntax", "mode = \"off\"\n\n[device\n", `:3: expected ']' to close table name`},
		{"syntax over a line end", "mode = \"a\\\n\"\n", `:1: invalid escape character U+000A`},
		{"twice", "mode = \"off\"\nmode = \"off\"\n", `:2: mode is set in line 1 already`},
		{"not UTF-8", "# a\n# b\xff\n", `:2: the file is not UTF-8 text`},
		{"too long", strings.Repeat("# padding\n", 30000), `:1: the file is over 256 KiB`},
		{"too deep", "x = " + strings.Repeat("[", 100000),
			`:1: arrays and inline tables are nested more than the maximum of 10000 levels deep`},
		{"strings before it", "device.realm = \"[\\\"\"\nmode = '''\n'''''\nx = {{",
			`:4: invalid character at start of key: U+007B '{'`},
		{"section long", "[" + strings.Repeat("k", 1025) + "]\n",
			`:1: the name "` + strings.Repeat("k", 80) + `…" is over 1024 bytes`},
		{"key long", "[device]\n\n" + strings.Repeat("k", 1025) + " = 1\n",
			`:3: the name "` + strings.Repeat("k", 80) + `…" is over 1024 bytes`},
		{"twice in a table", "x = {a=1,b=2,a.b=1}\n", `:1: "a" is set twice in a table`},
		{"number", "x = 99999999999999999999\n", `:1: the number "99999999999999999999" is out of range`},
		{"many statements", "[x]\n" + strings.Repeat("a=1\n", 20000),
			":1: unknown section [x]\n" + file + `:1001: the file holds over 1000 keys and sections`},
		{"mark in the middle", "mode = \"off\"\n\ufefflog.level = \"info\"\n",
			`:2: the character '\ufeff' cannot stand here`},
		{"quotes of a word processor", "mode = “off”\n", `:1: the character '“' cannot stand here`},
		{"a key with an accent", "[log]\nlével = \"info\"\n", `:2: the character 'é' cannot stand here`},
		{"a blank of a web page", "mode\u00a0= \"off\"\n", `:1: the character '\u00a0' cannot stand here`},
		{"behind a value", "mode = \"off\" – closed\n", `:1: the character '–' cannot stand here`},
		{"long list of users", "[sockets]\nallow_uids = [" + strings.Repeat("1,", 257) + "]\n",
			`:2: [sockets] allow_uids: holds 257 entries; at most 256 are allowed`},
		{"key too long", "x" + strings.Repeat(".x", 100000) + " = 1", `:1: the key has too many parts`},

		{"mode", "mode = \"observ\"\n", `:1: mode: "observ" must be one of enforce, observe, off (observe?)`},
		{"mode type", "mode = true\n", `:1: mode: must be one of enforce, observe, off, not true or false`},
		{"name", "[device]\nnames = [\"no de\"]\n",
			`:2: [device] names: "no de" is not a host name: the name contains ' '`},
		{"name with zone", "[device]\nnames = [\"fe80::1%eth0\"]\n",
			`:2: [device] names: "fe80::1%eth0" holds a zone, which means nothing on another device`},
		{"name half an address", "[device]\nnames = [\"2001:db8::g\"]\n",
			`:2: [device] names: "2001:db8::g" is not a host name: the name contains ':'`},
		{"name with port", "[device]\nnames = [\"[2001:db8::1]:80\"]\n",
			`:2: [device] names: "[2001:db8::1]:80" is not a host name: the name contains '['`},
		{"name wildcard", "[device]\nnames = [\"*.a\"]\n",
			`:2: [device] names: "*.a" is not a host name: the name contains '*'`},
		{"name empty", "[device]\nnames = [\"\"]\n", `:2: [device] names: "" is not a host name: the name is empty`},
		{"name dots", "[device]\nnames = [\"a..b\"]\n",
			`:2: [device] names: "a..b" is not a host name: a part between two dots is empty`},
		{"name hyphen", "[device]\nnames = [\"a-.b\"]\n",
			`:2: [device] names: "a-.b" is not a host name: a part between dots starts or ends with a hyphen`},
		{"name IDN", "[device]\nnames = [\"köln.example\"]\n",
			`:2: [device] names: "köln.example" is not a host name: write characters outside ASCII in their xn-- form`},
		{"name type", "[device]\nnames = \"a\"\n", `:2: [device] names: must be a list, not a string`},
		{"name entry type", "[device]\nnames = [1.5]\n",
			`:2: [device] names: each entry must be a string, not a number with a fraction`},
		{"realm comma", "[device]\nrealm = \"a,b\"\n",
			`:2: [device] realm: "a,b" holds ','; only printable ASCII without quote, backslash and comma is allowed`},
		{"realm lines", "[device]\nrealm = \"\"\"\na\nb\"\"\"\n",
			`:2: [device] realm: "a\nb" holds '\n'; only printable ASCII without quote, backslash and comma is allowed`},

		{"http", "[authorization]\nservers = [\"http://a\"]\n",
			`:2: [authorization] servers: "http://a" must be https; http needs allow_http = true, for development only`},
		{"ftp", "[authorization]\nservers = [\"ftp://a\"]\n", `:2: [authorization] servers: "ftp://a" must be https`},
		{"no URL", "[authorization]\nservers = [\"auth.example.com\"]\n",
			`:2: [authorization] servers: "auth.example.com" is not a URL of the form https://host`},
		{"no host", "[authorization]\nservers = [\"https:///x\"]\n",
			`:2: [authorization] servers: "https:///x" has a bad host: the name is empty`},
		{"bad port", "[authorization]\nservers = [\"https://a:99999\"]\n",
			`:2: [authorization] servers: "https://a:99999" has a bad port`},
		{"query", "[authorization]\nservers = [\"https://a/?key=secret\"]\n",
			`:2: [authorization] servers: "https://a/?…" holds a query; an issuer has none`},
		{"fragment", "[authorization]\nservers = [\"https://a/#\"]\n",
			`:2: [authorization] servers: "https://a/#…" holds a fragment; an issuer has none`},
		{"user", "[authorization]\nservers = [\"https://me:secret@a/b\"]\n",
			`:2: [authorization] servers: "https://…@a/b" holds a user name; remove it`},
		{"pattern in servers", "[authorization]\nservers = [\"https://*.a\"]\n",
			`:2: [authorization] servers: "https://*.a" holds a *; patterns belong in trusted_issuers`},
		{"pattern path", "[authorization]\ntrusted_issuers = [\"https://a/*\"]\n",
			`:2: [authorization] trusted_issuers: "https://a/*" holds a * outside the host`},
		{"pattern scheme", "[authorization]\ntrusted_issuers = [\"*.a\"]\n",
			`:2: [authorization] trusted_issuers: "*.a" is not a URL of the form https://host`},
		{"ca_file", "[authorization]\nca_file = \"ca.pem\"\n",
			`:2: [authorization] ca_file: "ca.pem" is not an absolute path`},
		{"refresh number", "[authorization]\nrefresh = 3600\n",
			`:2: [authorization] refresh: must be a string such as "90s" or "1h", not a whole number`},
		{"refresh word", "[authorization]\nrefresh = \"hourly\"\n",
			`:2: [authorization] refresh: "hourly" is not a duration; write it as "90s", "10m" or "1h"`},
		{"refresh short", "[authorization]\nrefresh = \"4s\"\n",
			`:2: [authorization] refresh: 4s is out of range; it must be 5s to 24h`},
		{"leeway long", "[authorization]\nleeway = \"61s\"\n",
			`:2: [authorization] leeway: 61s is out of range; it must be 0s to 1m`},
		{"leeway negative", "[authorization]\nleeway = \"-1s\"\n",
			`:2: [authorization] leeway: -1s is out of range; it must be 0s to 1m`},
		{"retry short", "[authorization]\nretry = \"0s\"\n",
			`:2: [authorization] retry: 0s is out of range; it must be 1s to 1h`},
		{"hosts", "[discovery]\nhosts = [\"https://a.example.com\"]\n",
			`:2: [discovery] hosts: "https://a.example.com" is not a pattern for host names such as "auth.example.com" or "*.example.com"`},
		{"dns no port", "[discovery]\ndns_servers = [\"192.0.2.1\"]\n",
			`:2: [discovery] dns_servers: "192.0.2.1" lacks the port; write "192.0.2.1:53"`},
		{"dns name", "[discovery]\ndns_servers = [\"ns.a:53\"]\n",
			`:2: [discovery] dns_servers: "ns.a:53" is not an address and port such as "192.0.2.53:53"`},
		{"socket relative", "[sockets]\nhttp = \"http.sock\"\n",
			`:2: [sockets] http: "http.sock" is not an absolute path`},
		{"socket long", "[sockets]\nhttp = \"/" + strings.Repeat("x", 107) + "\"\n",
			`:2: [sockets] http: the path is 108 bytes long; a socket's path has at most 107`},
		{"socket missing", "[sockets]\nauthz = \"\"\n", `:2: [sockets] authz: the decision socket needs a path`},
		{"socket shared", "[sockets]\nauthz = \"/run/nmos-authd/http.sock\"\n",
			`:2: [sockets] authz and [sockets] http are both "/run/nmos-authd/http.sock"`},
		{"group", "[sockets]\ngroup = \"a b\"\n", `:2: [sockets] group: "a b" is not a group name`},
		{"uid", "[sockets]\nallow_uids = [-1]\n", `:2: [sockets] allow_uids: -1 is not a user number`},
		{"uid nobody", "[sockets]\nallow_uids = [4294967295]\n",
			`:2: [sockets] allow_uids: 4294967295 is not a user number`},
		{"uid name", "[sockets]\nallow_uids = [\"root\"]\n",
			`:2: [sockets] allow_uids: each entry must be a user number, not a string`},
		{"clock", "[clock]\nunsynchronised = \"trust\"\n",
			`:2: [clock] unsynchronised: "trust" must be one of judge, deny`},
		{"clock unset", "[clock]\nunset = \"judge\"\n", `:2: unknown key "unset" in [clock]`},
		{"limit", "[limits]\ntoken_bytes = 16385\n",
			`:2: [limits] token_bytes: 16385 is out of range; it must be 1024 to 16384`},
		{"memory", "[limits]\nmemory_bytes = 1000000\n",
			`:2: [limits] memory_bytes: 1000000 is out of range; it must be 8388608 to 1073741824`},
		{"memory type", "[limits]\nmemory_bytes = \"8MiB\"\n",
			`:2: [limits] memory_bytes: must be a whole number, not a string`},
		{"inventory", "[inventory]\nfile = \"a.json\"\n", `:2: [inventory] file: "a.json" is not an absolute path`},
		{"inventory root", "[inventory]\nfile = \"/\"\n", `:2: [inventory] file: the path does not name a file`},
		{"drafted", "[control]\nas_drafted = [\"CTL-13\", \"CTL.14\"]\n",
			`:2: [control] as_drafted: "CTL.14" must be one of CTL-13, CTL-14, CTL-64 (CTL-14?)`},
		{"drafted case", "[control]\nas_drafted = [\"ctl-13\"]\n",
			`:2: [control] as_drafted: "ctl-13" must be one of CTL-13, CTL-14, CTL-64 (CTL-13?)`},
		{"drafted type", "[control]\nas_drafted = [13]\n",
			`:2: [control] as_drafted: each entry must be one of CTL-13, CTL-14, CTL-64, not a whole number`},
		{"gets", "[control]\ngets = \"leter\"\n",
			`:2: [control] gets: "leter" must be one of read, write, letter (letter?)`},
		{"sink", "[audit]\nsinks = [\"sysolg\"]\n",
			`:2: [audit] sinks: "sysolg" must be one of log, file, syslog (syslog?)`},
		{"sink type", "[audit]\nsinks = \"log\"\n", `:2: [audit] sinks: must be a list, not a string`},
		{"sink entry", "[audit]\nsinks = [1]\n",
			`:2: [audit] sinks: each entry must be one of log, file, syslog, not a whole number`},
		{"sink without file", "[audit]\nfile = \"\"\nsinks = [\"file\"]\n",
			`:3: [audit] sinks holds "file", which needs [audit] file`},
		{"sink without server", "[audit]\nsinks = [\"log\", \"syslog\"]\n",
			`:2: [audit] sinks holds "syslog", which needs [audit] syslog`},
		{"syslog scheme", "[audit]\nsyslog = \"https://a\"\n",
			`:2: [audit] syslog: "https://a" must be one of udp://host:514, tcp://host:601, tls://host:6514`},
		{"syslog secret", "[audit]\nsyslog = \"tls://me:secret@a\"\n",
			`:2: [audit] syslog: "tls://…@a" must be one of udp://host:514, tcp://host:601, tls://host:6514`},
		{"syslog path", "[audit]\nsyslog = \"udp://a/b\"\n",
			`:2: [audit] syslog: "udp://a/b" must be one of udp://host:514, tcp://host:601, tls://host:6514`},
		{"syslog host", "[audit]\nsyslog = \"udp://:514\"\n",
			`:2: [audit] syslog: "udp://:514" has a bad host: the name is empty`},
		{"syslog port", "[audit]\nsyslog = \"udp://a:0\"\n", `:2: [audit] syslog: "udp://a:0" has a bad port`},
		{"landlock", "[sandbox]\nlandlock = \"on\"\n", `:2: [sandbox] landlock: must be true or false, not a string`},
		{"level", "[log]\nlevel = \"verbose\"\n", `:2: [log] level: "verbose" must be one of debug, info, warn, error`},
		{"public root", "[paths]\npublic = [\"/\"]\n",
			`:2: [paths] public: "/" would open every path; name the prefixes one by one`},
		{"public nmos", "[paths]\npublic = [\"/x-nmos/node\"]\n",
			`:2: [paths] public: "/x-nmos/node" is an NMOS path; all but /x-nmos/system need a token`},
		{"public dots", "[paths]\npublic = [\"/a/../x-nmos\"]\n",
			`:2: [paths] public: "/a/../x-nmos" holds an empty, . or .. part`},
		{"public encoded", "[paths]\npublic = [\"/a%2fb\"]\n",
			`:2: [paths] public: "/a%2fb" holds '%'; write the path plain and normalised, without query or pattern`},
		{"claims", "[paths]\nclaims = [\"/meters\"]\n",
			`:2: [paths] claims: "/meters" is not of the form "/prefix=api", the api in lower case as in x-nmos-<api>`},
		{"claims API", "[paths]\nclaims = [\"/a=B\"]\n",
			`:2: [paths] claims: "/a=B" is not of the form "/prefix=api", the api in lower case as in x-nmos-<api>`},
		{"claims nmos", "[paths]\nclaims = [\"/x-nmos/a=b\"]\n",
			`:2: [paths] claims: "/x-nmos/a" is an NMOS path; the claim of its own API rules it`},
		{"public parameter", "[paths]\npublic = [\"/a;b\"]\n",
			`:2: [paths] public: "/a;b" holds ';'; write the path plain and normalised, without query or pattern`},
		{"public nearly system", "[paths]\npublic = [\"/x-nmos/systems\"]\n",
			`:2: [paths] public: "/x-nmos/systems" is an NMOS path; all but /x-nmos/system need a token`},
		{"claims system", "[paths]\nclaims = [\"/x-nmos/system=system\"]\n",
			`:2: [paths] claims: "/x-nmos/system" is an NMOS path; the claim of its own API rules it`},
		{"control root", "[paths]\ncontrol = [\"/\"]\n",
			`:2: [paths] control: "/" would open every path; name the prefixes one by one`},
		{"control nmos", "[paths]\ncontrol = [\"/x-nmos/\"]\n",
			`:2: [paths] control: "/x-nmos/" is what all may read; name the socket's own path`},
		{"control dots", "[paths]\ncontrol = [\"/a/../b\"]\n",
			`:2: [paths] control: "/a/../b" holds an empty, . or .. part`},
		{"control commands", "[control]\ncommands = \"ask\"\n",
			`:2: [control] commands: "ask" must be one of handshake, asked`},
		{"control claim", "[control]\nclaims = [\"x-nmos-control\"]\n",
			`:2: [control] claims: "x-nmos-control" must be one of control, ncp, nc`},
		{"control method form", "[control]\nread_methods = [\"1.2.0.1 3m1\"]\n",
			`:2: [control] read_methods: "1.2.0.1 3m1" is not of the form "1.2.0.1:3m1", a class and a method that it defines`},
		{"control method level", "[control]\nread_methods = [\"1.2.0.1:4m1\"]\n",
			`:2: [control] read_methods: "1.2.0.1:4m1" names a method of level 4, which a class of 3 levels does not define`},
		{"control method key", "[control]\nread_methods = [\"1.2.0:2m1\"]\n",
			`:2: [control] read_methods: "1.2.0:2m1": the class ends in an authority key, behind which its own index is missing`},
		{"control method standard", "[control]\nread_methods = [\"1.2.2.2:4m2\"]\n",
			`:2: [control] read_methods: "1.2.2.2:4m2" is a standard method; only those of other classes can be listed`},
		{"control model form", "[control]\nmodels = [\"slot2B\"]\n",
			`:2: [control] models: "slot2B" is not of the form "name=prefix", the prefix of letters, digits, - and _`},
		{"control model prefix", "[control]\nmodels = [\"slot2B=a:\"]\n",
			`:2: [control] models: "slot2B=a:" is not of the form "name=prefix", the prefix of letters, digits, - and _`},
		{"control model name", "[control]\nmodels = [\"slot 2=a\"]\n",
			`:2: [control] models: "slot 2=a" names neither a selector, of letters, digits, - and _, nor the path of a socket`},
		{"control model path", "[control]\nmodels = [\"/a//b=a\"]\n",
			`:2: [control] models: "/a//b" holds an empty, . or .. part`},
		{"control model twice", "[control]\n\nmodels = [\"a=b\", \"a=c\"]\n",
			`:3: [control] models gives "a" two prefixes, in "a=b" and "a=c"`},
		{"claims twice", "[paths]\nclaims = [\"/a=events\", \"/a/=node\"]\n",
			`:2: [paths] claims gives "/a" two claims, in "/a=events" and "/a=node"`},
		{"socket folder", "[sockets]\nhttp = \"/run/x/\"\n", `:2: [sockets] http: the path does not name a file`},
		{"metrics folder", "[metrics]\nfile = \"/run/x/\"\n", `:2: [metrics] file: the path does not name a file`},
		{"metrics in a socket's place", "[metrics]\nfile = \"/run/nmos-authd//authz.sock\"\n",
			`:2: [sockets] authz and [metrics] file are both "/run/nmos-authd/authz.sock"`},
		{"metrics in place of roots", "[metrics]\nfile = \"/etc/nmos-authd/ca.pem\"\n",
			`:2: [authorization] ca_file and [metrics] file are both "/etc/nmos-authd/ca.pem"`},
		{"metrics in place of the inventory", "[inventory]\nfile = \"/run/i\"\n[metrics]\nfile = \"/run/i\"\n",
			`:4: [inventory] file and [metrics] file are both "/run/i"`},
		{"audit in place of metrics", "[metrics]\nfile = \"/run/m\"\n\n[audit]\nfile = \"/run/m\"\n",
			`:5: [audit] file and [metrics] file are both "/run/m"`},
		{"audit in place of the state", "[audit]\nfile = \"/var/lib/nmos-authd\"\n",
			`:2: [state] dir and [audit] file are both "/var/lib/nmos-authd"`},
		{"metrics in place of a secret", "[client]\nclient_id = \"a\"\nissuer = \"https://a\"\n" +
			"client_secret_file = \"/etc/s\"\n[metrics]\nfile = \"/etc/s\"\n",
			`:6: [metrics] file and [client] client_secret_file are both "/etc/s"`},
		{"audit in place of the configuration", "[audit]\nfile = \"" + file + "\"\n",
			`:2: [audit] file is this configuration`},
		{"path bytes low", "[limits]\npath_bytes = 255\n",
			":2: [limits] path_bytes: 255 is out of range; it must be 256 to 4096"},
		{"path bytes high", "[limits]\npath_bytes = 4097\n",
			":2: [limits] path_bytes: 4097 is out of range; it must be 256 to 4096"},
		{"public relative", "[paths]\npublic = [\"a\"]\n", `:2: [paths] public: "a" does not start with a slash`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := Parse(file, []byte(c.text))
			if err == nil || cfg != nil {
				t.Fatalf("got %+v, %v", cfg, err)
			}
			if got := err.Error(); got != file+c.want {
				t.Errorf("got  %s\nwant %s%s", got, file, c.want)
			}
		})
	}
}

func TestConfigAllMistakesAtOnce(t *testing.T) {
	_, err := Parse("f", []byte(`mode = "on"
[paths]
public = ["/", "x"]
[authorization]
leeway = "2m"
sevrers = []
`))
	want := `f:1: mode: "on" must be one of enforce, observe, off
f:3: [paths] public: "/" would open every path; name the prefixes one by one
f:3: [paths] public: "x" does not start with a slash
f:5: [authorization] leeway: 2m is out of range; it must be 0s to 1m
f:6: unknown key "sevrers" in [authorization] (servers?)`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var one *Error
	if !errors.As(err, &one) || one.Line != 1 || one.File != "f" {
		t.Errorf("no *Error: %#v", one)
	}
}

// A file of nothing but mistakes is answered soon and in bounded length.
func TestConfigTooManyMistakes(t *testing.T) {
	var text strings.Builder
	for i := range 20000 {
		text.WriteString("k")
		text.WriteString(strings.Repeat("x", i%7))
		text.WriteString(strings.Repeat("y", i/7%50))
		text.WriteString(strings.Repeat("z", i/350))
		text.WriteString("=1\n")
		if text.Len() > maxConfigBytes-200 {
			break
		}
	}
	_, err := Parse("f", []byte(text.String()))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxMistakes+1 || lines[maxMistakes] != "f:50: too many mistakes to list the rest" {
		t.Errorf("%d lines, the last: %s", len(lines), lines[len(lines)-1])
	}
}
