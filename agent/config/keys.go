package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"nmosauthd/agent/decide"
)

// Key is one key of the file: all that is known of it but the words that configs/nmos-authd.toml has for it.
type Key struct {
	Section string // "" above all sections
	Name    string
	Traits  Traits
	field   any // a pointer into a Config: to one value, or to a list of values, each once
	def     any // the default; nil for an empty list
	parser      // of one value
}

// Traits is what else the daemon has to know of a key.
type Traits uint8

// A key has at most one of the places: they say what the sandbox opens for its value.
const (
	Restart      Traits = 1 << iota // a change takes effect after a restart
	SocketPlace                     // the path of a socket, whose folder the daemon makes
	RootsPlace                      // certificates, a file or a folder, or the system's
	ReadPlace                       // a file that is read
	WritePlace                      // a file that is written
	PrivatePlace                    // a folder of the daemon's own
	SharedPlace                     // such a folder into which others look
)

// String names the key as messages do.
//
//go:noinline
func (k *Key) String() string {
	if k.Section == "" {
		return k.Name
	}
	return "[" + k.Section + "] " + k.Name
}

// Path returns the value of a key that holds a path.
//
//go:noinline
func (k *Key) Path() string { return k.Get().(string) }

// Get returns the value.
func (k *Key) Get() any { return k.value().Interface() }

func (k *Key) value() reflect.Value { return reflect.ValueOf(k.field).Elem() }

func (k *Key) reset() {
	if v := k.value(); k.def == nil {
		v.SetZero()
	} else {
		v.Set(reflect.ValueOf(k.def).Convert(v.Type()))
	}
}

// maxEntries is how many entries a list has at most.
const maxEntries = 256

// set takes the value from TOML. On error the value stays as it is, or holds what of a list is good; every bad entry is
// an error of its own.
func (k *Key) set(value any) error {
	v := k.value()
	if v.Kind() != reflect.Slice {
		one, err := k.convert(value)
		if err == nil {
			v.Set(reflect.ValueOf(one))
		}
		return err
	}
	entries, ok := value.([]any)
	if !ok {
		return &typeError{"a list", value}
	}
	if len(entries) > maxEntries {
		return fmt.Errorf("holds %d entries; at most %d are allowed", len(entries), maxEntries)
	}
	v.SetZero()
	var kept []any
	var errs []error
	for _, entry := range entries {
		one, err := k.convert(entry)
		if wrong := (*typeError)(nil); errors.As(err, &wrong) {
			err = fmt.Errorf("each entry %w", err)
		}
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(kept, one) {
			kept = append(kept, one)
			v.Set(reflect.Append(v, reflect.ValueOf(one)))
		}
	}
	return errors.Join(errs...)
}

// Keys returns every key there is, with the values of c.
//
// To add a key: give it a field in config.go, a row here, and its words and default in configs/nmos-authd.toml, which
// shows them all; then run "go run ./scripts/manual", which makes the manual page of that. The tests here and in
// scripts/manual name what was forgotten. What the sandbox opens, which folders an init script makes, and what needs a
// restart follow from the row.
//
// A key that judges by another one stands after it: values are set in this order, whatever the order of the file.
func Keys(c *Config) []Key {
	a, x := &c.Authorization, &c.Certificates
	all := []Key{
		{"", "mode", 0, &c.Mode, ModeEnforce, word(ModeEnforce, ModeObserve, ModeOff)},

		{"device", "names", 0, &c.Device.Names, nil, text(deviceName)},
		{"device", "realm", 0, &c.Device.Realm, "", text(realm)},

		{"authorization", "allow_http", 0, &a.AllowHTTP, false, boolean},
		{"authorization", "servers", 0, &a.Servers, nil, text(a.serverURL)},
		{"authorization", "trusted_issuers", 0, &a.TrustedIssuers, nil, text(a.issuerPattern)},
		{"authorization", "ca_file", RootsPlace, &a.CAFile, "/etc/nmos-authd/ca.pem", text(absolutePath)},
		{"authorization", "refresh", 0, &a.Refresh, time.Hour, duration(5*time.Second, 24*time.Hour)},
		{"authorization", "leeway", 0, &a.Leeway, 0, duration(0, time.Minute)},
		{"authorization", "retry", 0, &a.Retry, 30 * time.Second, duration(time.Second, time.Hour)},

		{"discovery", "mode", 0, &c.Discovery.Mode, DiscoveryAuto,
			word(DiscoveryAuto, DiscoveryBoth, DiscoveryUnicast, DiscoveryMDNS, DiscoveryOff)},
		{"discovery", "hosts", 0, &c.Discovery.Hosts, nil, text(hostPattern)},
		{"discovery", "domains", 0, &c.Discovery.Domains, nil, text(hostName)},
		{"discovery", "dns_servers", 0, &c.Discovery.DNSServers, nil, text(nameServer)},

		{"sockets", "authz", Restart | SocketPlace,
			&c.Sockets.Authz, "/run/nmos-authd/authz.sock", text(neededSocketPath)},
		{"sockets", "http", Restart | SocketPlace, &c.Sockets.HTTP, "/run/nmos-authd/http.sock", text(socketPath)},
		{"sockets", "admin", Restart | SocketPlace, &c.Sockets.Admin, "/run/nmos-authd/admin.sock", text(socketPath)},
		{"sockets", "view", Restart | SocketPlace, &c.Sockets.View, "", text(socketPath)},
		{"sockets", "group", Restart, &c.Sockets.Group, "", text(groupName)},
		{"sockets", "allow_uids", 0, &c.Sockets.AllowUIDs, nil, userID},
		{"sockets", "admin_group", Restart, &c.Sockets.AdminGroup, "", text(groupName)},
		{"sockets", "view_group", Restart, &c.Sockets.ViewGroup, "", text(groupName)},
		{"sockets", "view_actions", 0, &c.Sockets.ViewActions, nil, word("observe", "refresh")},
		{"sockets", "view_claim", 0, &c.Sockets.ViewClaim, "", text(viewClaim)},

		{"clock", "unsynchronised", 0, &c.Clock.Unsynchronised, ClockJudge, word(ClockJudge, ClockDeny)},
		{"clock", "synchronised_file", 0, &c.Clock.SynchronisedFile, "", text(filePath)},

		{"state", "dir", Restart | PrivatePlace, &c.State.Dir, "/var/lib/nmos-authd", text(absolutePath)},

		{"limits", "token_bytes", 0, &c.Limits.TokenBytes, 16384, number(1024, 16384)},
		{"limits", "path_bytes", 0, &c.Limits.PathBytes, decide.DefaultPathBytes, number(256, 4096)},
		{"limits", "packet_bytes", 0, &c.Limits.PacketBytes, 32768, number(1024, 65536)},
		{"limits", "cached_tokens", 0, &c.Limits.CachedTokens, 64, number(1, 4096)},
		{"limits", "connections", Restart, &c.Limits.Connections, 64, number(1, 4096)},
		// Under the least the collector would run without end.
		{"limits", "memory_bytes", 0, &c.Limits.MemoryBytes, 0, orZero{number(8<<20, 1<<30)}},

		{"log", "level", 0, &c.Log.Level, "info", word("debug", "info", "warn", "error")},

		{"paths", "public", 0, &c.Paths.Public, nil, text(publicPrefix)},
		{"paths", "claims", 0, &c.Paths.Claims, nil, text(claimPrefix)},
		{"paths", "control", 0, &c.Paths.Control, nil, text(controlPath)},

		{"control", "commands", 0, &c.Control.Commands, CommandsHandshake, word(CommandsHandshake, CommandsAsked)},
		{"control", "claims", 0, &c.Control.Claims, []ControlClaim{ClaimControl, ClaimNCP},
			word(ClaimControl, ClaimNCP, ClaimNC)},
		{"control", "gets", 0, &c.Control.Gets, GetsRead, word(GetsRead, GetsWrite, GetsLetter)},
		{"control", "read_methods", 0, &c.Control.ReadMethods, nil, text(readMethod)},
		{"control", "models", 0, &c.Control.Models, nil, text(deviceModel)},
		{"control", "configuration_specifiers", 0, &c.Control.ConfigurationSpecifiers, SpecifiersRole,
			word(SpecifiersRole, SpecifiersURL, SpecifiersBoth)},
		{"control", "as_drafted", 0, &c.Control.AsDrafted, nil, word(DraftedRoot, DraftedBelow, DraftedTarget)},
		{"control", "record", 0, &c.Control.Record, RecordDenied, word(RecordDenied, RecordAll)},

		{"inventory", "file", ReadPlace, &c.Inventory.File, "", text(filePath)},

		{"audit", "sinks", 0, &c.Audit.Sinks, []AuditSink{AuditLog}, word(AuditLog, AuditFile, AuditSyslog)},
		{"audit", "full", 0, &c.Audit.Full, AuditDrop, word(AuditDrop, AuditWait)},
		{"audit", "queue_bytes", 0, &c.Audit.QueueBytes, 64 << 10, number(4<<10, 16<<20)},
		{"audit", "repeat", 0, &c.Audit.Repeat, 10 * time.Second, duration(0, time.Hour)},
		{"audit", "deny_rate", 0, &c.Audit.DenyRate, 2, number(0, 100_000)},
		{"audit", "allow_rate", 0, &c.Audit.AllowRate, 20, number(0, 100_000)},
		{"audit", "file", WritePlace, &c.Audit.File, "", text(filePath)},
		{"audit", "file_bytes", 0, &c.Audit.FileBytes, 1 << 20, number(64<<10, 1<<30)},
		{"audit", "files", 0, &c.Audit.Files, 4, number(1, 100)},
		{"audit", "syslog", 0, &c.Audit.Syslog, "", text(syslogURL)},
		{"audit", "ring_bytes", 0, &c.Audit.RingBytes, 64 << 10, number(4<<10, 16<<20)},

		{"metrics", "file", WritePlace, &c.Metrics.File, "", text(filePath)},

		{"client", "scopes", 0, &c.Client.Scopes, nil, text(scopeName)},
		{"client", "issuer", 0, &c.Client.Issuer, "", text(a.optionalServerURL)},
		{"client", "initial_access_token_file", ReadPlace, &c.Client.InitialAccessTokenFile, "", text(filePath)},
		{"client", "client_id", 0, &c.Client.ClientID, "", text(clientID)},
		{"client", "client_secret_file", ReadPlace, &c.Client.ClientSecretFile, "", text(filePath)},
		{"client", "auth_method", 0,
			&c.Client.AuthMethod, ClientAuthAuto, word(ClientAuthAuto, ClientAuthKey, ClientAuthSecret)},
		{"client", "keys", 0,
			&c.Client.Keys, ClientKeysAuto, word(ClientKeysAuto, ClientKeysInline, ClientKeysByURI)},
		{"client", "jwks_uri", 0, &c.Client.JWKSURI, "", text(a.endpointURL)},
		{"client", "software_id", 0, &c.Client.SoftwareID, "", text(uuid)},
		{"client", "allow_uids", 0, &c.Client.AllowUIDs, nil, userID},
		{"client", "group", 0, &c.Client.Group, "", text(groupName)},

		{"certificates", "est", 0, &x.EST, ESTOff, text(estServer)},
		{"certificates", "fingerprint", 0, &x.Fingerprint, "", text(fingerprint)},
		{"certificates", "ca_file", ReadPlace, &x.CAFile, "", text(filePath)},
		{"certificates", "trust_first", 0, &x.TrustFirst, false, boolean},
		{"certificates", "names", 0, &x.Names, nil, text(certificateName)},
		{"certificates", "keys", 0, &x.Keys, []KeyKind{KeyECDSA}, word(KeyECDSA, KeyRSA)},
		{"certificates", "maker_certificate", ReadPlace, &x.MakerCertificate, "", text(filePath)},
		{"certificates", "maker_key", ReadPlace, &x.MakerKey, "", text(filePath)},
		{"certificates", "folder", Restart | SharedPlace, &x.Folder, "/run/nmos-authd/certs", text(folderPath)},
		{"certificates", "mode", 0, &x.Mode, "0640", text(keyFileMode)},
		{"certificates", "group", 0, &x.Group, "", text(groupName)},
		{"certificates", "renew", 0, &x.Renew, true, boolean},

		{"sandbox", "landlock", Restart, &c.Sandbox.Landlock, true, boolean},
	}
	for api := range c.Enforce {
		all = append(all,
			Key{"enforce", decide.API(api).String(), 0, &c.Enforce[api], StageAll,
				word(StageAll, StageWrite, StageNone)})
	}
	return all
}

// Default returns the configuration of an empty file. The caller may change it.
func Default() *Config {
	c := new(Config)
	for _, k := range Keys(c) {
		k.reset()
	}
	return c
}

// NeedRestart returns the keys by which c differs from before and which take effect after a restart.
func (c *Config) NeedRestart(before *Config) (names []string) {
	old := Keys(before)
	for i, k := range Keys(c) {
		if k.Traits&Restart != 0 && !reflect.DeepEqual(k.Get(), old[i].Get()) {
			names = append(names, k.String())
		}
	}
	return names
}

// crossChecks reports values that are good alone and not together.
func (r *reader) crossChecks() {
	for i, a := range r.keys {
		if a.Traits&SocketPlace == 0 || a.Path() == "" {
			continue
		}
		for _, b := range r.keys[i+1:] {
			if b.Traits&SocketPlace != 0 && a.Path() == b.Path() {
				line := max(r.set[a.String()].line, r.set[b.String()].line)
				r.mistakes.add(line, "%s and %s are both %s", &a, &b, shown(a.Path()))
			}
		}
	}
	r.checkModels()
	for _, need := range []struct {
		sink AuditSink
		key  string
		has  string
	}{{AuditFile, "[audit] file", r.cfg.Audit.File}, {AuditSyslog, "[audit] syslog", r.cfg.Audit.Syslog}} {
		if slices.Contains(r.cfg.Audit.Sinks, need.sink) && need.has == "" {
			r.mistakes.add(r.set["[audit] sinks"].line, "[audit] sinks holds %q, which needs %s", need.sink, need.key)
		}
	}
	r.crossCheckClient()
	r.crossCheckCertificates()
}

// crossCheckClient reports what of [client] does not go together.
func (r *reader) crossCheckClient() {
	c := &r.cfg.Client
	given, secret := c.ClientID != "", c.ClientSecretFile != ""
	for _, wrong := range []struct {
		is  bool
		key string
		why string
	}{
		{secret && !given, "client_secret_file", "is the secret of a client that was made by hand, and client_id is " +
			"missing"},
		{given && c.InitialAccessTokenFile != "", "initial_access_token_file",
			"is for registering, and with client_id nothing is registered"},
		{given && secret && c.AuthMethod == ClientAuthKey, "auth_method",
			"is \"private_key_jwt\", which needs no client_secret_file"},
		{given && !secret && c.AuthMethod == ClientAuthSecret, "auth_method",
			"is \"client_secret_basic\", which needs client_secret_file"},
		{given && c.Keys != ClientKeysAuto, "keys",
			"has no effect with client_id: how the server gets that client's keys is set at the server"},
		{c.Keys == ClientKeysByURI && c.JWKSURI == "", "keys", "is \"jwks_uri\", which needs the key jwks_uri"},
		{c.Keys == ClientKeysInline && c.JWKSURI != "", "keys", "is \"jwks\", by which jwks_uri has no effect"},
		{c.JWKSURI != "" && (c.AuthMethod == ClientAuthSecret || given && secret), "jwks_uri",
			"is for keys, and the client authenticates by a secret"},
		{c.Keys != ClientKeysAuto && c.AuthMethod == ClientAuthSecret, "keys",
			"is for keys, and the client authenticates by a secret"},
		{given && c.Issuer == "" && len(r.cfg.Authorization.Servers) != 1, "client_id",
			"is known to one server only: name that one in issuer"},
	} {
		if wrong.is {
			r.mistakes.add(r.set["[client] "+wrong.key].line, "[client] %s %s", wrong.key, wrong.why)
		}
	}
}

// checkModels reports a model that is named twice, since only one prefix could count.
func (r *reader) checkModels() {
	names := map[string]string{}
	for _, model := range r.cfg.Control.Models {
		name, _, _ := strings.Cut(model, "=")
		if first, twice := names[name]; twice {
			r.mistakes.add(r.set["[control] models"].line, "[control] models gives %s two prefixes, in %s and %s",
				shown(name), shown(first), shown(model))
		}
		names[name] = model
	}
}

// parser checks one value of TOML and converts it to the type of its field.
type parser interface {
	Bounds() string // "5s to 24h", or the words to choose from; "" if there are none
	convert(value any) (any, error)
}

// typeError says that a value is of another type.
type typeError struct {
	want string
	got  any
}

func (e *typeError) Error() string { return "must be " + e.want + ", not " + kind(e.got) }

// of is a parser for values of one type of TOML.
type of[V any] struct {
	want, bounds string
	check        func(V) (any, error)
}

func (o *of[V]) Bounds() string { return o.bounds }

func (o *of[V]) convert(value any) (any, error) {
	v, ok := value.(V)
	if !ok {
		return nil, &typeError{o.want, value}
	}
	return o.check(v)
}

// text accepts a string that passes the check, which returns it normalised, or says what is wrong with it.
type text func(string) (string, error)

func (text) Bounds() string { return "" }

func (check text) convert(value any) (any, error) {
	s, ok := value.(string)
	if !ok {
		return nil, &typeError{"a string", value}
	}
	return check(s)
}

var boolean = &of[bool]{"true or false", "", func(b bool) (any, error) { return b, nil }}

func number(least, most int64) parser {
	bounds := fmt.Sprintf("%d to %d", least, most)
	return &of[int64]{"a whole number", bounds, func(n int64) (any, error) {
		if n < least || n > most {
			return nil, fmt.Errorf("%d is out of range; it must be %s", n, bounds)
		}
		return int(n), nil
	}}
}

// orZero accepts 0, too.
type orZero struct{ parser }

func (o orZero) convert(value any) (any, error) {
	if value == int64(0) {
		return 0, nil
	}
	return o.parser.convert(value)
}

func duration(least, most time.Duration) parser {
	bounds := brief(least) + " to " + brief(most)
	return &of[string]{`a string such as "90s" or "1h"`, bounds, func(s string) (any, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf(`%s is not a duration; write it as "90s", "10m" or "1h"`, shown(s))
		}
		if d < least || d > most {
			return nil, fmt.Errorf("%s is out of range; it must be %s", s, bounds)
		}
		return d, nil
	}}
}

// brief writes a duration without the zero units that String adds: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// word accepts one of a few words.
func word[T ~string](words ...T) parser {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	bounds := strings.Join(names, ", ")
	return &of[string]{"one of " + bounds, bounds, func(s string) (any, error) {
		if !slices.Contains(names, s) {
			return nil, fmt.Errorf("%s must be one of %s%s", shown(s), bounds, meant(s, names))
		}
		return T(s), nil
	}}
}

// userID accepts the number of a user.
var userID = &of[int64]{"a user number", "", func(n int64) (any, error) {
	const nobody = 1<<32 - 1 // the kernel's "no user": never a peer's
	if n < 0 || n >= nobody {
		return nil, fmt.Errorf("%d is not a user number", n)
	}
	return uint32(n), nil
}}
