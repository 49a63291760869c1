package config

import (
	"strings"
	"time"

	"nmosauthd/agent/decide"
)

// Mode says what the daemon does with a decision (OPS-3). The zero value is invalid; a Config from Parse or
// Default always holds one of the constants.
type Mode string

// The modes, as the configuration spells them.
const (
	ModeEnforce Mode = "enforce" // answer what was decided
	ModeObserve Mode = "observe" // allow everything, log what enforce would answer
	ModeOff     Mode = "off"     // allow everything
)

// DiscoveryMode says where authorization servers are looked for, in addition to the configured ones (DIS-1, DIS-2).
type DiscoveryMode string

// The discovery modes, as the configuration spells them.
const (
	DiscoveryAuto    DiscoveryMode = "auto"    // both, or off if servers are configured
	DiscoveryBoth    DiscoveryMode = "both"    // unicast DNS-SD; mDNS only if every domain answers that it has none
	DiscoveryUnicast DiscoveryMode = "unicast" // unicast DNS-SD alone
	DiscoveryMDNS    DiscoveryMode = "mdns"    // mDNS alone
	DiscoveryOff     DiscoveryMode = "off"     // configured servers alone
)

// ClockAnswer says how a device with an unsynchronised clock answers tokens (OPS-1).
type ClockAnswer string

// The answers, as the configuration spells them.
const (
	ClockJudge ClockAnswer = "judge" // judge the token by that clock
	ClockDeny  ClockAnswer = "deny"  // 503
)

// Config is the daemon's configuration, checked and complete: every field holds either what the file says or the
// default. configs/nmos-authd.toml describes it, and it has one struct a section. It is not changed once made, so it
// may be shared.
type Config struct {
	Mode          Mode
	Enforce       Enforce
	Device        Device
	Authorization Authorization
	Discovery     Discovery
	Sockets       Sockets
	Clock         Clock
	State         State
	Limits        Limits
	Log           Log
	Paths         Paths
	Control       Control
	Inventory     Inventory
	Audit         Audit
	Metrics       Metrics
	Client        Client
	Certificates  Certificates
	Sandbox       Sandbox
}

// Stage says which accesses to an API are enforced while the mode is enforce: the others are observed (OPS-3).
type Stage string

// The stages, as the configuration spells them.
const (
	StageAll   Stage = "all"   // reading and writing
	StageWrite Stage = "write" // writing; reading is observed
	StageNone  Stage = "none"  // nothing: both are observed
)

// observes reports whether reading, or writing, is observed.
func (s Stage) observes(write bool) bool { return s == StageNone || s == StageWrite && !write }

// Enforce is [enforce]: the stage of each API, in the order of decide.APIs.
type Enforce [decide.APIs]Stage

// NotEnforced is an access to an API, as [enforce] calls it, that is observed though the mode is enforce.
type NotEnforced struct {
	API    string `json:"api"`
	Access string `json:"access"`
}

// NotEnforced returns what [enforce] leaves open; nothing unless the mode is enforce.
//
//go:noinline // for flash
func (c *Config) NotEnforced() (open []NotEnforced) {
	if c.Mode != ModeEnforce {
		return nil
	}
	for api, stage := range c.Enforce {
		for i, access := range [...]string{"read", "write"} {
			if stage.observes(i == 1) {
				open = append(open, NotEnforced{decide.API(api).String(), access})
			}
		}
	}
	return open
}

// Device is [device].
type Device struct {
	// Names are the host names by which a token's aud may name this device (CLM-4): lower case, no trailing dot, each
	// once. Empty: the caller asks the device (package hal).
	Names []string
	// Realm is the realm of WWW-Authenticate (ANS-1), fit for a quoted string as it stands. Empty: see RealmFor.
	Realm string
}

// RealmFor returns the realm of the challenge for a device with these names: the configured one, else the first name,
// else "nmos".
func (d Device) RealmFor(names []string) string {
	switch {
	case d.Realm != "":
		return d.Realm
	case len(names) > 0:
		return names[0]
	default:
		return "nmos"
	}
}

// Authorization is [authorization].
type Authorization struct {
	// Servers are issuer URLs in the order in which to try them, as written, since issuers are compared as text
	// (CLM-1).
	Servers []string
	// TrustedIssuers are further issuers whose keys may be looked up (KEY-5): `https://host[:port][/path]`, where `*`
	// in the host stands for any part of it. The port takes no part in the comparison; the path does.
	TrustedIssuers []string
	// CAFile is the path of the PEM file with the roots for the servers' certificates (DIS-5). Empty: the system's
	// roots.
	CAFile string
	// AllowHTTP lets issuers be http URLs. For development only.
	AllowHTTP bool
	// Refresh is how often the keys are fetched, 5 s to 24 h (KEY-1).
	Refresh time.Duration
	// Leeway is added to the device's clock, either way, for exp, iat and nbf: 0 to 60 s (CLM-8).
	Leeway time.Duration
	// Retry is the least time between two fetches for one issuer that tokens cause: 1 s to 1 h (KEY-6).
	Retry time.Duration
}

// Discovery is [discovery].
type Discovery struct {
	// Mode is what the file says; Config.Discovers what it comes to.
	Mode DiscoveryMode
	// Hosts are patterns (CLM-5) of the host names that may be found (DIS-6), lower case, no trailing dot. Empty: any.
	Hosts []string
	// Domains are the domains to browse, lower case, no trailing dot. Empty: the device's search domains.
	Domains []string
	// DNSServers are name servers, "address:port", in the order in which to ask them, for every look-up that the daemon
	// makes. Empty: the device's resolvers.
	DNSServers []string
}

// Discovers returns where servers are looked for: what the mode comes to beside the configured servers. By mDNS whoever
// is on the link can answer, so it is never used beside a server that the configuration names (DIS-2, DIS-6).
//
//go:noinline // for flash
func (c *Config) Discovers() DiscoveryMode {
	configured := len(c.Authorization.Servers) > 0
	switch mode := c.Discovery.Mode; {
	case configured && (mode == DiscoveryAuto || mode == DiscoveryMDNS):
		return DiscoveryOff
	case configured && mode == DiscoveryBoth:
		return DiscoveryUnicast
	case mode == DiscoveryAuto:
		return DiscoveryBoth
	default:
		return mode
	}
}

// Sockets is [sockets]. The paths are absolute and short enough for a socket address.
type Sockets struct {
	Authz string // decision socket, SOCK_SEQPACKET
	HTTP  string // HTTP socket; "" disables it
	Admin string // administration socket; "" disables it
	View  string // the part of it for a page, which shows and, if ViewActions says so, does; "" disables it
	// Group is the group that may connect, a name or a number; "" for the daemon's own group.
	Group string
	// AllowUIDs are the users that may connect. If empty, the file mode alone decides.
	AllowUIDs []uint32
	// AdminGroup is the group that may connect to the administration socket; "" for the daemon's own group. It is not
	// Group: whoever may ask need not be allowed to administer.
	AdminGroup string
	ViewGroup  string // that may connect to the view socket, likewise
	// ViewActions are what can be done on the view socket, "observe" and "refresh"; if empty, it only shows.
	ViewActions []string
	ViewClaim   string // x-nmos-<api>, which a token needs there; "" if the web server's login is enough
}

// Clock is [clock]. Only the answer for an unsynchronised clock is configurable: an unset clock cannot be used, and a
// synchronised one is trusted.
type Clock struct {
	// Unsynchronised is for a clock that may be right but is not confirmed.
	Unsynchronised ClockAnswer
	// SynchronisedFile is the absolute path of a file whose existence confirms the clock, in addition to the kernel and
	// systemd-timesyncd; "" disables it.
	SynchronisedFile string
}

// State is [state].
type State struct {
	Dir string // absolute path of what is kept across restarts (KEY-3); "" disables it
}

// Limits is [limits]: what bounds the daemon's memory, so that no caller can.
type Limits struct {
	TokenBytes   int // longest token, bytes, 1024 to 16384 (TOK-5)
	PathBytes    int // longest normalised path of a request, bytes, 256 to 4096 (PATH-16)
	PacketBytes  int // longest packet on the decision socket, bytes, 1024 to 65536
	CachedTokens int // verified tokens held, 1 to 4096
	Connections  int // concurrent connections on each socket, 1 to 4096
	MemoryBytes  int // soft limit of the runtime's memory (GOMEMLIMIT), 8388608 to 1073741824; 0 disables it
}

// Log is [log].
type Log struct {
	Level string // debug, info, warn or error
}

// Paths is [paths].
type Paths struct {
	// Public are prefixes that can be read without a token (PATH-11): outside /x-nmos, or /x-nmos/system; normalised,
	// whole segments, no trailing slash. "/meters" opens /meters and /meters/1, not /meters2.
	Public []string
	// Claims have paths outside /x-nmos ruled by a claim (PATH-11), as "prefix=api": with "/meters=events" the path
	// /meters/in-1 needs what in-1 needs in the API events. The prefixes are in the form of Public's.
	Claims []string
	// Control are more paths of IS-12 control sockets than /x-nmos/ncp/<version> (PATH-15), in the form of Public's.
	Control []string
}

// Rules returns what the configuration says about paths, as the decision takes it.
func (c *Config) Rules() decide.Rules {
	rules := decide.Rules{
		Public: c.Paths.Public, Control: c.Paths.Control, PathBytes: c.Limits.PathBytes,
		Forms: c.Control.ConfigurationSpecifiers.forms(),
		Controls: decide.Controls{
			Asked:  c.Control.Commands == CommandsAsked,
			Letter: c.Control.Gets != GetsRead, NoGets: c.Control.Gets == GetsLetter,
		},
	}
	for _, rule := range c.Control.AsDrafted {
		rules.Controls.Drafted |= rule.drafted()
	}
	for api, stage := range c.Enforce {
		rules.Observed[api] = [2]bool{stage.observes(false), stage.observes(true)}
	}
	for _, api := range c.Control.Claims {
		rules.Controls.Claims = append(rules.Controls.Claims, []byte(api))
	}
	for _, text := range c.Control.ReadMethods {
		if m, ok := decide.ParseMethod(text); ok {
			rules.Controls.Reading = append(rules.Controls.Reading, m)
		}
	}
	for _, model := range c.Control.Models {
		name, prefix, _ := strings.Cut(model, "=")
		rules.Controls.Models = append(rules.Controls.Models, decide.Model{Name: []byte(name), Prefix: []byte(prefix)})
	}
	for _, claim := range c.Paths.Claims {
		prefix, api, _ := strings.Cut(claim, "=")
		rules.Claims = append(rules.Claims, decide.Mapping{Prefix: prefix, API: []byte(api)})
	}
	return rules
}

// Commands says who decides about the commands on an IS-12 socket (CTL-22).
type Commands string

// Who decides, as the configuration spells it.
const (
	CommandsHandshake Commands = "handshake" // nobody: the handshake needs the whole model
	CommandsAsked     Commands = "asked"     // the daemon, which the stack asks about each
)

// ControlClaim is a name of IS-12's claim, without "x-nmos-" (CTL-15).
type ControlClaim string

// The names, as the configuration spells them.
const (
	ClaimControl ControlClaim = "control" // of BCP-003-02
	ClaimNCP     ControlClaim = "ncp"     // of nmos-cpp and nmos-testing
	ClaimNC      ControlClaim = "nc"      // of TR-10-SEC
)

// Gets is the access that commands need which change nothing (CTL-40).
type Gets string

// The accesses, as the configuration spells them.
const (
	GetsRead   Gets = "read"
	GetsWrite  Gets = "write"  // the letter of BCP-003-02 v1.1-dev, but for the three without which nothing can be read
	GetsLetter Gets = "letter" // and for those, too
)

// DraftedRule is a rule of ours that can be switched off, in favour of what BCP-003-02 v1.1-dev has in its place.
type DraftedRule string

// The rules, as the configuration spells them. Those with a key of their own are not among them.
const (
	DraftedRoot   DraftedRule = "CTL-13" // "root.*" does not match "root"
	DraftedBelow  DraftedRule = "CTL-14" // a specifier without "*" matches what is below its object, too
	DraftedTarget DraftedRule = "CTL-64" // bulkProperties are judged by the object in the path alone
)

// drafted is what decide calls the rule.
func (r DraftedRule) drafted() decide.Drafted {
	switch r {
	case DraftedRoot:
		return decide.DraftedRoot
	case DraftedBelow:
		return decide.DraftedBelow
	case DraftedTarget:
		return decide.DraftedTarget
	}
	return 0
}

// Specifiers says how specifiers of x-nmos-configuration are written (CTL-66).
type Specifiers string

// How, as the configuration spells it.
const (
	SpecifiersRole Specifiers = "role" // as role paths
	SpecifiersURL  Specifiers = "url"  // as paths in the URL, "rolePaths/root*", as before v0.2.0
	SpecifiersBoth Specifiers = "both"
)

// forms is what decide calls them.
func (s Specifiers) forms() decide.Forms {
	switch s {
	case SpecifiersURL:
		return decide.URLForm
	case SpecifiersBoth:
		return decide.BothForms
	}
	return decide.RoleForm
}

// Recorded says which commands the audit lists one by one (CTL-87).
type Recorded string

// Which, as the configuration spells it.
const (
	RecordDenied Recorded = "denied" // the others are counted
	RecordAll    Recorded = "all"
)

// Control is [control].
type Control struct {
	Commands Commands
	Claims   []ControlClaim // those that count; their permissions are combined
	Gets     Gets
	// ReadMethods are more methods that change nothing, as "1.2.0.1:3m1": the class that defines the method, and the
	// method (CTL-41).
	ReadMethods []string
	// Models are the device models if there are several, as "name=prefix": the name is an IS-14 selector or the path of
	// an IS-12 socket; the prefix stands, with a colon, before the role paths in specifiers (CTL-19).
	Models []string
	// ConfigurationSpecifiers is how specifiers for IS-14 are written.
	ConfigurationSpecifiers Specifiers
	// AsDrafted are the rules to be judged as the draft has them.
	AsDrafted []DraftedRule
	Record    Recorded
}

// Inventory is [inventory].
type Inventory struct {
	// File is the path of the device's resources, which its firmware writes. If empty, the model of the device lists
	// them, until an inventory is pushed.
	File string
}

// AuditSink is a place to which the audit's records go.
type AuditSink string

// The sinks, as the configuration spells them.
const (
	AuditLog    AuditSink = "log"    // standard error: the journal
	AuditFile   AuditSink = "file"   // a file with rotation
	AuditSyslog AuditSink = "syslog" // RFC 5424
)

// AuditFull says what happens to a record for which a sink has no room.
type AuditFull string

// What happens, as the configuration spells it.
const (
	AuditDrop AuditFull = "drop" // it is counted as dropped
	AuditWait AuditFull = "wait" // the decision waits
)

// Audit is [audit] (OPS-2).
type Audit struct {
	Sinks      []AuditSink   // each once; if empty, no record leaves the ring
	Full       AuditFull     // for each sink
	QueueBytes int           // held for each sink until it has taken them, 4096 to 16777216
	Repeat     time.Duration // equal denials within it are counted into one record, 0 (never) to 1 h
	DenyRate   int           // denials of a caller with records of their own, each second, 0 (any number) to 100000
	AllowRate  int           // of what tokens permit to read, likewise
	File       string        // absolute path
	FileBytes  int           // at which a file is rotated, 65536 to 1073741824
	Files      int           // files kept with the current one, 1 to 100
	Syslog     string        // "udp://host:514", "tcp://host:601", "tls://host:6514"; the port may be left out
	RingBytes  int           // kept in memory, 4096 to 16777216
}

// Metrics is [metrics].
type Metrics struct {
	// absolute path to which the metrics are written every 15 s, in the Prometheus text format; "" disables it
	File string
}

// ClientAuth says how the device proves to the authorization server who it is (CLI-23).
type ClientAuth string

// The methods, as the configuration spells them.
const (
	ClientAuthAuto   ClientAuth = "auto"
	ClientAuthKey    ClientAuth = "private_key_jwt"
	ClientAuthSecret ClientAuth = "client_secret_basic"
)

// ClientKeys says how the authorization server gets the device's public keys (CLI-33).
type ClientKeys string

// The ways, as the configuration spells them.
const (
	ClientKeysAuto   ClientKeys = "auto"
	ClientKeysInline ClientKeys = "jwks"
	ClientKeysByURI  ClientKeys = "jwks_uri"
)

// Client is [client]: the device as an OAuth client, which gets tokens of its own.
type Client struct {
	// Scopes are what tokens may be asked for, "registration" and "events" by rights (CLI-10). Empty: the device is no
	// client.
	Scopes []string
	// Issuer is the server at which the device is a client. Empty: the one that it is registered at or whose keys it
	// uses.
	Issuer string
	// ClientID is a client that an operator made by hand, in place of a registration. Empty: the device registers.
	ClientID string
	// ClientSecretFile holds that client's secret. Empty: it authenticates by the device's key.
	ClientSecretFile string
	// InitialAccessTokenFile holds what lets the device register (CLI-30). Empty: it registers without.
	InitialAccessTokenFile string
	AuthMethod             ClientAuth
	Keys                   ClientKeys
	// JWKSURI is where the device's web server publishes the daemon's public keys; "" if it does not (CLI-67).
	JWKSURI string
	// SoftwareID is the UUID of the product (CLI-37); "" is not sent.
	SoftwareID string
	// AllowUIDs and Group may be handed tokens on the decision socket, as root and the daemon's own user may (CLI-69).
	AllowUIDs []uint32
	Group     string
}

// Enabled reports whether the device is an OAuth client.
func (c *Client) Enabled() bool { return len(c.Scopes) > 0 }

// Sandbox is [sandbox].
type Sandbox struct {
	Landlock bool // after its start the daemon reaches no file but its own
}
