package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// key is one key of the file: where it stands and how its value reaches the Config.
type key struct {
	section string // "" above all sections
	name    string
	set     setter
}

// setter checks a TOML value and puts it into the Config. It reports what is wrong through bad and then leaves the default.
type setter func(c *Config, value any, bad badFunc)

// badFunc reports one mistake of the value at hand.
type badFunc func(format string, args ...any)

// String names the key as messages do.
func (k *key) String() string {
	if k.section == "" {
		return k.name
	}
	return "[" + k.section + "] " + k.name
}

// allKeys is every key there is; configs/nmos-authd.toml shows them all. A key that judges by another one stands after
// it: the values are set in this order, whatever the order of the file.
var allKeys = []key{
	{"", "mode", choice(func(c *Config) *Mode { return &c.Mode }, ModeEnforce, ModeObserve, ModeOff)},

	{"device", "names", list(func(c *Config) *[]string { return &c.Device.Names }, deviceName)},
	{"device", "realm", text(func(c *Config) *string { return &c.Device.Realm }, realm)},

	{"authorization", "allow_http", boolean(func(c *Config) *bool { return &c.Authorization.AllowHTTP })},
	{"authorization", "servers", list(func(c *Config) *[]string { return &c.Authorization.Servers }, serverURL)},
	{"authorization", "trusted_issuers", list(func(c *Config) *[]string { return &c.Authorization.TrustedIssuers }, issuerPattern)},
	{"authorization", "ca_file", text(func(c *Config) *string { return &c.Authorization.CAFile }, absolutePath)},
	{"authorization", "refresh", duration(func(c *Config) *time.Duration { return &c.Authorization.Refresh }, 5*time.Second, 24*time.Hour)},
	{"authorization", "leeway", duration(func(c *Config) *time.Duration { return &c.Authorization.Leeway }, 0, time.Minute)},
	{"authorization", "retry", duration(func(c *Config) *time.Duration { return &c.Authorization.Retry }, time.Second, time.Hour)},

	{"discovery", "mode", choice(func(c *Config) *DiscoveryMode { return &c.Discovery.Mode },
		DiscoveryAuto, DiscoveryBoth, DiscoveryUnicast, DiscoveryMDNS, DiscoveryOff)},
	{"discovery", "hosts", list(func(c *Config) *[]string { return &c.Discovery.Hosts }, hostPattern)},
	{"discovery", "domains", list(func(c *Config) *[]string { return &c.Discovery.Domains }, hostName)},
	{"discovery", "dns_servers", list(func(c *Config) *[]string { return &c.Discovery.DNSServers }, nameServer)},

	{"sockets", "authz", text(func(c *Config) *string { return &c.Sockets.Authz }, neededSocketPath)},
	{"sockets", "http", text(func(c *Config) *string { return &c.Sockets.HTTP }, socketPath)},
	{"sockets", "admin", text(func(c *Config) *string { return &c.Sockets.Admin }, socketPath)},
	{"sockets", "group", text(func(c *Config) *string { return &c.Sockets.Group }, groupName)},
	{"sockets", "allow_uids", userIDs},
	{"sockets", "admin_group", text(func(c *Config) *string { return &c.Sockets.AdminGroup }, groupName)},

	{"clock", "unsynchronised", choice(func(c *Config) *ClockAnswer { return &c.Clock.Unsynchronised }, ClockJudge, ClockDeny)},
	{"clock", "synchronised_file", text(func(c *Config) *string { return &c.Clock.SynchronisedFile }, filePath)},

	{"state", "dir", text(func(c *Config) *string { return &c.State.Dir }, absolutePath)},

	{"limits", "token_bytes", number(func(c *Config) *int { return &c.Limits.TokenBytes }, 1024, 16384)},
	{"limits", "path_bytes", number(func(c *Config) *int { return &c.Limits.PathBytes }, 256, 4096)},
	{"limits", "packet_bytes", number(func(c *Config) *int { return &c.Limits.PacketBytes }, 1024, 65536)},
	{"limits", "cached_tokens", number(func(c *Config) *int { return &c.Limits.CachedTokens }, 1, 4096)},
	{"limits", "connections", number(func(c *Config) *int { return &c.Limits.Connections }, 1, 4096)},
	{"limits", "memory_bytes", memoryLimit},

	{"log", "level", choice(func(c *Config) *string { return &c.Log.Level }, "debug", "info", "warn", "error")},

	{"paths", "public", list(func(c *Config) *[]string { return &c.Paths.Public }, publicPrefix)},
	{"paths", "claims", list(func(c *Config) *[]string { return &c.Paths.Claims }, claimPrefix)},
	{"paths", "control", list(func(c *Config) *[]string { return &c.Paths.Control }, controlPath)},

	{"inventory", "file", text(func(c *Config) *string { return &c.Inventory.File }, filePath)},

	{"audit", "sinks", auditSinks},
	{"audit", "full", choice(func(c *Config) *AuditFull { return &c.Audit.Full }, AuditDrop, AuditWait)},
	{"audit", "queue_bytes", number(func(c *Config) *int { return &c.Audit.QueueBytes }, 4<<10, 16<<20)},
	{"audit", "repeat", duration(func(c *Config) *time.Duration { return &c.Audit.Repeat }, 0, time.Hour)},
	{"audit", "deny_rate", number(func(c *Config) *int { return &c.Audit.DenyRate }, 0, 100_000)},
	{"audit", "allow_rate", number(func(c *Config) *int { return &c.Audit.AllowRate }, 0, 100_000)},
	{"audit", "file", text(func(c *Config) *string { return &c.Audit.File }, filePath)},
	{"audit", "file_bytes", number(func(c *Config) *int { return &c.Audit.FileBytes }, 64<<10, 1<<30)},
	{"audit", "files", number(func(c *Config) *int { return &c.Audit.Files }, 1, 100)},
	{"audit", "syslog", text(func(c *Config) *string { return &c.Audit.Syslog }, syslogURL)},
	{"audit", "ring_bytes", number(func(c *Config) *int { return &c.Audit.RingBytes }, 4<<10, 16<<20)},

	{"metrics", "file", text(func(c *Config) *string { return &c.Metrics.File }, filePath)},

	{"sandbox", "landlock", boolean(func(c *Config) *bool { return &c.Sandbox.Landlock })},
}

// sectionNames are the sections of allKeys, each once.
var sectionNames = func() (names []string) {
	for i := range allKeys {
		if s := allKeys[i].section; s != "" && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return names
}()

func isSection(name string) bool { return slices.Contains(sectionNames, name) }

// keyOf returns the key of that exact name, nil where there is none.
func keyOf(section, name string) *key {
	for i := range allKeys {
		if k := &allKeys[i]; k.section == section && k.name == name {
			return k
		}
	}
	return nil
}

// crossChecks reports values that are good alone and not together.
func (r *reader) crossChecks() {
	sockets := []struct{ key, path string }{
		{"[sockets] authz", r.cfg.Sockets.Authz},
		{"[sockets] http", r.cfg.Sockets.HTTP},
		{"[sockets] admin", r.cfg.Sockets.Admin},
	}
	r.auditChecks()
	for i, a := range sockets {
		for _, b := range sockets[i+1:] {
			if a.path == b.path && a.path != "" {
				r.mistakes.add(max(r.lines[a.key], r.lines[b.key]), "%s and %s are both %s", a.key, b.key, shown(a.path))
			}
		}
	}
}

// auditChecks reports sinks that lack what they need.
func (r *reader) auditChecks() {
	for _, need := range []struct {
		sink AuditSink
		key  string
		has  string
	}{{AuditFile, "[audit] file", r.cfg.Audit.File}, {AuditSyslog, "[audit] syslog", r.cfg.Audit.Syslog}} {
		if slices.Contains(r.cfg.Audit.Sinks, need.sink) && need.has == "" {
			r.mistakes.add(r.lines["[audit] sinks"], "[audit] sinks holds %q, which needs %s", need.sink, need.key)
		}
	}
}

// check judges one string and returns it normalised; the error says what is wrong with it.
type check func(c *Config, s string) (string, error)

// text sets a string that passes the check. The empty string always passes: checks that need one say so themselves.
func text(field func(*Config) *string, good check) setter {
	return func(c *Config, value any, bad badFunc) {
		s, ok := value.(string)
		if !ok {
			bad("must be a string, not %s", kind(value))
			return
		}
		s, err := good(c, s)
		if err != nil {
			bad("%v", err)
			return
		}
		*field(c) = s
	}
}

// list sets a list of strings that pass the check, each once. It reports every one that does not.
func list(field func(*Config) *[]string, good check) setter {
	const most = 256
	return func(c *Config, value any, bad badFunc) {
		values, ok := value.([]any)
		if !ok {
			bad("must be a list of strings, not %s", kind(value))
			return
		}
		if len(values) > most {
			bad("holds %d entries; at most %d are allowed", len(values), most)
			return
		}
		var kept []string
		for _, v := range values {
			s, ok := v.(string)
			if !ok {
				bad("must be a list of strings; it holds %s", kind(v))
				continue
			}
			s, err := good(c, s)
			if err != nil {
				bad("%v", err)
			} else if !slices.Contains(kept, s) {
				kept = append(kept, s)
			}
		}
		*field(c) = kept
	}
}

func boolean(field func(*Config) *bool) setter {
	return func(c *Config, value any, bad badFunc) {
		b, ok := value.(bool)
		if !ok {
			bad("must be true or false, not %s", kind(value))
			return
		}
		*field(c) = b
	}
}

func number(field func(*Config) *int, least, most int) setter {
	return func(c *Config, value any, bad badFunc) {
		n, ok := value.(int64)
		switch {
		case !ok:
			bad("must be a whole number, not %s", kind(value))
		case n < int64(least) || n > int64(most):
			bad("%d is out of range; it must be %d to %d", n, least, most)
		default:
			*field(c) = int(n)
		}
	}
}

func duration(field func(*Config) *time.Duration, least, most time.Duration) setter {
	return func(c *Config, value any, bad badFunc) {
		s, ok := value.(string)
		if !ok {
			bad(`must be a string such as "90s" or "1h", not %s`, kind(value))
			return
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			bad(`%s is no duration; write it as "90s", "10m" or "1h"`, shown(s))
		case d < least || d > most:
			bad("%s is out of range; it must be %s to %s", s, brief(least), brief(most))
		default:
			*field(c) = d
		}
	}
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

// choice sets one of a few words.
func choice[T ~string](field func(*Config) *T, words ...T) setter {
	return func(c *Config, value any, bad badFunc) {
		names := make([]string, len(words))
		for i, w := range words {
			names[i] = string(w)
		}
		s, ok := value.(string)
		if !ok {
			bad("must be one of %s, not %s", strings.Join(names, ", "), kind(value))
			return
		}
		if !slices.Contains(names, s) {
			meant := ""
			if near := nearest(s, names); near != "" {
				meant = " (" + near + "?)"
			}
			bad("%s is none of %s%s", shown(s), strings.Join(names, ", "), meant)
			return
		}
		*field(c) = T(s)
	}
}

// auditSinks sets [audit] sinks.
func auditSinks(c *Config, value any, bad badFunc) {
	values, ok := value.([]any)
	if !ok {
		bad("must be a list of strings, not %s", kind(value))
		return
	}
	var kept []AuditSink
	one := choice(func(*Config) *AuditSink { return &kept[len(kept)-1] }, AuditLog, AuditFile, AuditSyslog)
	for _, v := range values {
		kept = append(kept, "")
		one(c, v, bad)
		if sink := kept[len(kept)-1]; sink == "" || slices.Contains(kept[:len(kept)-1], sink) {
			kept = kept[:len(kept)-1]
		}
	}
	c.Audit.Sinks = kept
}

// memoryLimit sets [limits] memory_bytes. Under the least the collector would run without end.
func memoryLimit(c *Config, value any, bad badFunc) {
	if value == int64(0) {
		c.Limits.MemoryBytes = 0
		return
	}
	number(func(c *Config) *int { return &c.Limits.MemoryBytes }, 8<<20, 1<<30)(c, value, bad)
}

// userIDs sets [sockets] allow_uids.
func userIDs(c *Config, value any, bad badFunc) {
	const nobody = math.MaxUint32 // the kernel's "no user": never a peer's
	values, ok := value.([]any)
	if !ok {
		bad("must be a list of user numbers, not %s", kind(value))
		return
	}
	var kept []uint32
	for _, v := range values {
		n, ok := v.(int64)
		switch {
		case !ok:
			bad("must be a list of user numbers; it holds %s", fmt.Sprint(kind(v)))
		case n < 0 || n >= nobody:
			bad("%d is no user number", n)
		case !slices.Contains(kept, uint32(n)):
			kept = append(kept, uint32(n))
		}
	}
	c.Sockets.AllowUIDs = kept
}
