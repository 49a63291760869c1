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
	*row
	value reflect.Value // the field of a Config: one value, or a list of values, each once
}

// row is what does not depend on a Config.
type row struct {
	Section string // "" above all sections
	Name    string
	Traits  Traits
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
//go:noinline // for flash
func (k *row) String() string {
	if k.Section == "" {
		return k.Name
	}
	return "[" + k.Section + "] " + k.Name
}

// Path returns the value of a key that holds a path.
//
//go:noinline // for flash
func (k *Key) Path() string { return k.value.String() }

// Get returns the value.
func (k *Key) Get() any { return k.value.Interface() }

func (k *Key) reset() {
	v := k.value
	v.SetZero()
	switch {
	case k.def == nil:
	case v.Kind() == reflect.Slice: // a copy: rows are not the caller's to change
		v.Set(reflect.AppendSlice(v, as(v.Type(), k.def)))
	default:
		v.Set(as(v.Type(), k.def))
	}
}

// as returns a value as one of a field's type.
func as(t reflect.Type, value any) reflect.Value { return reflect.ValueOf(value).Convert(t) }

// maxEntries is how many entries a list has at most.
const maxEntries = 256

// set takes the value from TOML. On error the value stays as it is, or holds what of a list is good; every bad entry is
// an error of its own.
func (k *Key) set(c *Config, value any) error {
	v := k.value
	if v.Kind() != reflect.Slice {
		one, err := k.convert(c, value)
		if err == nil {
			v.Set(as(v.Type(), one))
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
		one, err := k.convert(c, entry)
		if wrong := (*typeError)(nil); errors.As(err, &wrong) {
			err = fmt.Errorf("each entry %w", err)
		}
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(kept, one) {
			kept = append(kept, one)
			v.Set(reflect.Append(v, as(v.Type().Elem(), one)))
		}
	}
	return errors.Join(errs...)
}

// rows are all keys but those of [enforce], which has one for each API.
//
// To add a key: give it a field of its name in config.go, a row here, and its words and default in
// configs/nmos-authd.toml, which shows them all; then run "go run ./scripts/manual", which makes the manual page of
// that. The tests here and in scripts/manual name what was forgotten. What the sandbox opens, which folders an init
// script makes, and what needs a restart follow from the row.
//
// A key that judges by another one stands after it: values are set in this order, whatever the order of the file.
var rows = []row{
	{"", "mode", 0, ModeEnforce, words(ModeEnforce + or + ModeObserve + or + ModeOff)},

	{"device", "names", 0, nil, text(deviceName)},
	{"device", "realm", 0, "", text(realm)},

	{"authorization", "allow_http", 0, false, boolean{}},
	{"authorization", "servers", 0, nil, issuer((*Authorization).serverURL)},
	{"authorization", "trusted_issuers", 0, nil, issuer((*Authorization).issuerPattern)},
	{"authorization", "ca_file", RootsPlace, "/etc/nmos-authd/ca.pem", text(absolutePath)},
	{"authorization", "refresh", 0, time.Hour, duration{5 * time.Second, 24 * time.Hour}},
	{"authorization", "leeway", 0, 0, duration{0, time.Minute}},
	{"authorization", "retry", 0, 30 * time.Second, duration{time.Second, time.Hour}},

	{"discovery", "mode", 0, DiscoveryAuto,
		words(DiscoveryAuto + or + DiscoveryBoth + or + DiscoveryUnicast + or + DiscoveryMDNS + or + DiscoveryOff)},
	{"discovery", "hosts", 0, nil, text(hostPattern)},
	{"discovery", "domains", 0, nil, text(hostName)},
	{"discovery", "dns_servers", 0, nil, text(nameServer)},

	{"sockets", "authz", Restart | SocketPlace, "/run/nmos-authd/authz.sock", text(neededSocketPath)},
	{"sockets", "http", Restart | SocketPlace, "/run/nmos-authd/http.sock", text(socketPath)},
	{"sockets", "admin", Restart | SocketPlace, "/run/nmos-authd/admin.sock", text(socketPath)},
	{"sockets", "view", Restart | SocketPlace, "", text(socketPath)},
	{"sockets", "group", Restart, "", text(groupName)},
	{"sockets", "allow_uids", 0, nil, userID{}},
	{"sockets", "admin_group", Restart, "", text(groupName)},
	{"sockets", "view_group", Restart, "", text(groupName)},
	{"sockets", "view_actions", 0, nil, words("observe, refresh")},
	{"sockets", "view_claim", 0, "", text(viewClaim)},

	{"clock", "unsynchronised", 0, ClockJudge, words(ClockJudge + or + ClockDeny)},
	{"clock", "synchronised_file", 0, "", text(filePath)},

	{"state", "dir", Restart | PrivatePlace, "/var/lib/nmos-authd", text(absolutePath)},

	{"limits", "token_bytes", 0, 16384, number{1024, 16384}},
	{"limits", "path_bytes", 0, decide.DefaultPathBytes, number{256, 4096}},
	{"limits", "packet_bytes", 0, 32768, number{1024, 65536}},
	{"limits", "cached_tokens", 0, 64, number{1, 4096}},
	{"limits", "connections", Restart, 64, number{1, 4096}},
	// Under the least the collector would run without end.
	{"limits", "memory_bytes", 0, 0, orZero{number{8 << 20, 1 << 30}}},

	{"log", "level", 0, "info", words("debug" + or + "info" + or + "warn" + or + "error")},

	{"paths", "public", 0, nil, text(publicPrefix)},
	{"paths", "claims", 0, nil, text(claimPrefix)},
	{"paths", "control", 0, nil, text(controlPath)},

	{"control", "commands", 0, CommandsHandshake, words(CommandsHandshake + or + CommandsAsked)},
	{"control", "claims", 0, []ControlClaim{ClaimControl, ClaimNCP},
		words(ClaimControl + or + ClaimNCP + or + ClaimNC)},
	{"control", "gets", 0, GetsRead, words(GetsRead + or + GetsWrite + or + GetsLetter)},
	{"control", "read_methods", 0, nil, text(readMethod)},
	{"control", "models", 0, nil, text(deviceModel)},
	{"control", "configuration_specifiers", 0, SpecifiersRole,
		words(SpecifiersRole + or + SpecifiersURL + or + SpecifiersBoth)},
	{"control", "as_drafted", 0, nil, words(DraftedRoot + or + DraftedBelow + or + DraftedTarget)},
	{"control", "record", 0, RecordDenied, words(RecordDenied + or + RecordAll)},

	{"inventory", "file", ReadPlace, "", text(filePath)},

	{"audit", "sinks", 0, []AuditSink{AuditLog}, words(AuditLog + or + AuditFile + or + AuditSyslog)},
	{"audit", "full", 0, AuditDrop, words(AuditDrop + or + AuditWait)},
	{"audit", "queue_bytes", 0, 64 << 10, number{4 << 10, 16 << 20}},
	{"audit", "repeat", 0, 10 * time.Second, duration{0, time.Hour}},
	{"audit", "deny_rate", 0, 2, number{0, 100_000}},
	{"audit", "allow_rate", 0, 20, number{0, 100_000}},
	{"audit", "file", WritePlace, "", text(filePath)},
	{"audit", "file_bytes", 0, 1 << 20, number{64 << 10, 1 << 30}},
	{"audit", "files", 0, 4, number{1, 100}},
	{"audit", "syslog", 0, "", text(syslogURL)},
	{"audit", "ring_bytes", 0, 64 << 10, number{4 << 10, 16 << 20}},

	{"metrics", "file", WritePlace, "", text(filePath)},

	{"client", "scopes", 0, nil, text(scopeName)},
	{"client", "issuer", 0, "", issuer((*Authorization).optionalServerURL)},
	{"client", "initial_access_token_file", ReadPlace, "", text(filePath)},
	{"client", "client_id", 0, "", text(clientID)},
	{"client", "client_secret_file", ReadPlace, "", text(filePath)},
	{"client", "auth_method", 0, ClientAuthAuto, words(ClientAuthAuto + or + ClientAuthKey + or + ClientAuthSecret)},
	{"client", "keys", 0, ClientKeysAuto, words(ClientKeysAuto + or + ClientKeysInline + or + ClientKeysByURI)},
	{"client", "jwks_uri", 0, "", issuer((*Authorization).endpointURL)},
	{"client", "software_id", 0, "", text(uuid)},
	{"client", "allow_uids", 0, nil, userID{}},
	{"client", "group", 0, "", text(groupName)},

	{"certificates", "est", 0, ESTOff, text(estServer)},
	{"certificates", "fingerprint", 0, "", text(fingerprint)},
	{"certificates", "ca_file", ReadPlace, "", text(filePath)},
	{"certificates", "trust_first", 0, false, boolean{}},
	{"certificates", "names", 0, nil, text(certificateName)},
	{"certificates", "keys", 0, []KeyKind{KeyECDSA}, words(KeyECDSA + or + KeyRSA)},
	{"certificates", "maker_certificate", ReadPlace, "", text(filePath)},
	{"certificates", "maker_key", ReadPlace, "", text(filePath)},
	{"certificates", "folder", Restart | SharedPlace, "/run/nmos-authd/certs", text(folderPath)},
	{"certificates", "mode", 0, "0640", text(keyFileMode)},
	{"certificates", "group", 0, "", text(groupName)},
	{"certificates", "renew", 0, true, boolean{}},

	{"sandbox", "landlock", Restart, true, boolean{}},
}

// Keys returns every key there is, with the values of c.
func Keys(c *Config) []Key {
	all := make([]Key, 0, len(rows)+len(c.Enforce))
	whole := finder{Value: reflect.ValueOf(c).Elem()}
	section, name := whole, ""
	for i := range rows {
		r := &rows[i]
		in := &whole
		if r.Section != "" {
			if r.Section != name {
				section, name = finder{Value: whole.field(r.Section)}, r.Section
			}
			in = &section
		}
		all = append(all, Key{r, in.field(r.Name)})
	}
	for api := range c.Enforce {
		r := &row{"enforce", decide.API(api).String(), 0, StageAll, words(StageAll + or + StageWrite + or + StageNone)}
		all = append(all, Key{r, reflect.ValueOf(&c.Enforce[api]).Elem()})
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
	// What the daemon makes in a place destroys what else is there, so only files that it reads may be the same.
	const made = SocketPlace | WritePlace
	const place = made | ReadPlace | RootsPlace | PrivatePlace | SharedPlace
	for i := range r.keys {
		a := &r.keys[i]
		if a.Traits&place == 0 || a.Path() == "" {
			continue
		}
		if a.Traits&made != 0 && a.Path() == r.mistakes.file {
			r.mistakes.add(r.set[a.String()].line, "%s is this configuration", a)
		}
		for j := range r.keys[i+1:] {
			b := &r.keys[i+1+j]
			if b.Traits&place != 0 && (a.Traits|b.Traits)&made != 0 && a.Path() == b.Path() {
				line := max(r.set[a.String()].line, r.set[b.String()].line)
				r.mistakes.add(line, "%s and %s are both %s", a, b, shown(a.Path()))
			}
		}
	}
	r.checkTwice("[control] models", "prefixes", r.cfg.Control.Models)
	r.checkTwice("[paths] claims", "claims", r.cfg.Paths.Claims)
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
	r.mistaken("client", []mistake{
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
	})
}

// mistake is what may be wrong with a key beside others of its section.
type mistake struct {
	is  bool
	key string
	why string
}

// mistaken reports those mistakes in a section that were made.
func (r *reader) mistaken(section string, all []mistake) {
	for _, m := range all {
		if m.is {
			key := "[" + section + "] " + m.key
			r.mistakes.add(r.set[key].line, "%s %s", key, m.why)
		}
	}
}

// parser checks one value of TOML and returns what its field is to hold, be it of a plainer type: a string for a Mode.
type parser interface {
	Bounds() string                            // "5s to 24h", or the words to choose from; "" if there are none
	convert(c *Config, value any) (any, error) // c has the values of the keys before it
}

// typeError says that a value is of another type.
type typeError struct {
	want string
	got  any
}

func (e *typeError) Error() string { return "must be " + e.want + ", not " + kind(e.got) }

// text accepts a string that passes the check, which returns it normalised, or says what is wrong with it.
type text func(string) (string, error)

func (text) Bounds() string { return "" }

func (check text) convert(_ *Config, value any) (any, error) {
	s, ok := value.(string)
	if !ok {
		return nil, &typeError{"a string", value}
	}
	return check(s)
}

// issuer is text that is checked by what [authorization] says.
type issuer func(*Authorization, string) (string, error)

func (issuer) Bounds() string { return "" }

func (check issuer) convert(c *Config, value any) (any, error) {
	return text(func(s string) (string, error) { return check(&c.Authorization, s) }).convert(c, value)
}

// words accepts one of a few words, which it lists with or between them.
type words string

const or = ", "

func (w words) Bounds() string { return string(w) }

func (w words) convert(_ *Config, value any) (any, error) {
	s, ok := value.(string)
	if !ok {
		return nil, &typeError{"one of " + string(w), value}
	}
	if all := strings.Split(string(w), or); !slices.Contains(all, s) {
		return nil, fmt.Errorf("%s must be one of %s%s", shown(s), string(w), meant(s, all))
	}
	return s, nil
}

type boolean struct{}

func (boolean) Bounds() string { return "" }

func (boolean) convert(_ *Config, value any) (any, error) {
	if _, ok := value.(bool); !ok {
		return nil, &typeError{"true or false", value}
	}
	return value, nil
}

// number accepts a whole number within bounds.
type number struct{ least, most int64 }

func (n number) Bounds() string { return fmt.Sprintf("%d to %d", n.least, n.most) }

func (n number) convert(_ *Config, value any) (any, error) {
	i, ok := value.(int64)
	if !ok {
		return nil, &typeError{"a whole number", value}
	}
	if i < n.least || i > n.most {
		return nil, fmt.Errorf("%d is out of range; it must be %s", i, n.Bounds())
	}
	return i, nil
}

// orZero accepts 0, too.
type orZero struct{ number }

func (o orZero) convert(c *Config, value any) (any, error) {
	if value == int64(0) {
		return value, nil
	}
	return o.number.convert(c, value)
}

// duration accepts a duration within bounds.
type duration struct{ least, most time.Duration }

func (d duration) Bounds() string { return brief(d.least) + " to " + brief(d.most) }

func (d duration) convert(_ *Config, value any) (any, error) {
	s, ok := value.(string)
	if !ok {
		return nil, &typeError{`a string such as "90s" or "1h"`, value}
	}
	long, err := time.ParseDuration(s)
	if err != nil {
		return nil, fmt.Errorf(`%s is not a duration; write it as "90s", "10m" or "1h"`, shown(s))
	}
	if long < d.least || long > d.most {
		return nil, fmt.Errorf("%s is out of range; it must be %s", s, d.Bounds())
	}
	return long, nil
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

// userID accepts the number of a user.
type userID struct{}

func (userID) Bounds() string { return "" }

func (userID) convert(_ *Config, value any) (any, error) {
	const nobody = 1<<32 - 1 // the kernel's "no user": never a peer's
	n, ok := value.(int64)
	if !ok {
		return nil, &typeError{"a user number", value}
	}
	if n < 0 || n >= nobody {
		return nil, fmt.Errorf("%d is not a user number", n)
	}
	return n, nil
}
