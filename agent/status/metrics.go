package status

import (
	"fmt"
	"strconv"
	"strings"
)

// Metrics returns the snapshot in the text format of Prometheus, version 0.0.4.
func (s *Status) Metrics() []byte {
	m := &metrics{}
	m.family("info", gauge, "The daemon and the device; always 1.")
	m.sample(1, "version", s.Version, "model", s.Model, "mode", s.Mode)
	for _, g := range []struct {
		name, help string
		value      int64
	}{
		{"healthy", "Whether the daemon is as it should be.", one(s.Healthy)},
		{"start_time_seconds", "When it was started, by the clock of now.", int64(s.Since)},
		{"clock_trusted", "Whether tokens are judged by the clock.", one(s.Clock.Trusted)},
		{"config_refused", "Whether the configuration in the file is refused and not in force.", one(s.Refused != "")},
		{"discovered_servers", "Authorization servers that discovery has found.", int64(len(s.Discovery.Found))},
		{"tokens_held", "Verified tokens that are remembered.", int64(s.Tokens.Held)},
		{"tokens_limit", "Verified tokens that can be remembered.", int64(s.Tokens.Limit)},
		{"audit_pending_decisions", "Decisions that are not yet with the sinks.", int64(s.Audit.Pending)},
		{"inventory_resources", "Resources of the inventory in force.", int64(s.Inventory.Resources)},
		{"inventory_refused", "Whether another inventory was refused since.", one(s.Inventory.Error != "")},
		{"state_kept", "Whether what is to outlive a restart is written.", one(s.State.Kept)},
		{"client_enabled", "Whether the device is to be an OAuth client.", one(s.Client.Enabled)},
		{"client_registered", "Whether it is one.", one(s.Client.Registered)},
		{"client_registered_timestamp_seconds", "When it was registered; 0 if unknown.", s.Client.since()},
		{"client_failing", "Whether the last attempt to register it, or to look after that, failed.",
			one(s.Client.Enabled && s.Client.Error != "")},
		{"client_trouble", "Whether it has been without a registration or a token for minutes.",
			one(s.Client.Trouble != "")},
		{"certs_enabled", "Whether the device gets certificates by EST.", one(s.Certs.Enabled)},
		{"certs_trouble", "Whether it has been without one for minutes.", one(s.Certs.Trouble != "")},
		{"landlock_abi", "Version of Landlock in force, 0 for none.", int64(s.Sandbox.Landlock)},
		{"resident_memory_bytes", "Memory that the process occupies.", int64(s.Memory.Resident)},
		{"heap_bytes", "Memory of Go's objects.", int64(s.Memory.Heap)},
	} {
		m.family(g.name, gauge, g.help)
		m.sample(g.value)
	}
	m.family("observe_ends_timestamp_seconds", gauge, "When an observe mode ends that an administrator has begun, "+
		"and who.")
	if o := s.Observe; o != nil {
		m.sample(int64(o.Until), "uid", strconv.FormatInt(o.UID, 10))
	}
	m.family("not_enforced", gauge, "What [enforce] leaves open; always 1.")
	for _, n := range s.NotEnforced {
		m.sample(1, "api", n.API, "access", n.Access)
	}
	m.family("decisions_total", counter, "Answers by reason.")
	for i := range s.Decisions {
		c := &s.Decisions[i]
		m.sample(int64(c.Answered), "reason", c.Reason, "status", strconv.Itoa(c.Status))
	}
	m.family("would_decisions_total", counter, "In observe mode, what enforce would have answered, by reason.")
	for i := range s.Decisions {
		c := &s.Decisions[i]
		m.sample(int64(c.Would), "reason", c.Reason, "status", strconv.Itoa(c.Status))
	}
	m.family("token_lookups_total", counter, "Questions with a token, by whether it was remembered.")
	m.sample(int64(s.Tokens.Remembered), "result", "hit")
	m.sample(int64(s.Tokens.Judged), "result", "miss")
	m.family("audit_decisions_total", counter, "Decisions to be recorded.")
	m.sample(int64(s.Audit.Recorded))
	m.family("log_lines_dropped_total", counter, "Lines of the log dropped because standard error was too slow.")
	m.sample(int64(s.Unlogged))
	for _, f := range []struct {
		name, help string
		value      uint64
	}{
		{"client_registrations_total", "Registrations of the device as an OAuth client.", s.Client.Registrations},
		{"client_tokens_total", "Tokens that it fetched.", s.Client.Fetched},
		{"client_failures_total", "Attempts at the authorization server that failed.", s.Client.Failures},
		{"certs_issued_total", "Certificates that it got by EST.", s.Certs.Issued},
		{"certs_failures_total", "Attempts at the EST server that failed.", s.Certs.Failures},
	} {
		m.family(f.name, counter, f.help)
		m.sample(int64(f.value))
	}
	m.family("client_token_ends_timestamp_seconds", gauge, "When the device's own token ends; 0 without one.")
	for i := range s.Client.Tokens {
		m.sample(int64(s.Client.Tokens[i].Ends), "scope", s.Client.Tokens[i].Scope)
	}
	m.family("client_token_failing", gauge, "Whether the last attempt to fetch it failed.")
	for i := range s.Client.Tokens {
		m.sample(one(s.Client.Tokens[i].Error != ""), "scope", s.Client.Tokens[i].Scope)
	}
	s.Certs.metrics(m)
	for f := range len(serverFamilies) {
		m.family(serverFamilies[f][0], gauge, serverFamilies[f][1])
		for i := range s.Servers {
			v := &s.Servers[i]
			if v.Origin != Configured && len(v.KIDs) == 0 {
				continue // so that whoever names or advertises server after server makes no series of them
			}
			m.sample([...]int64{one(v.Used), int64(len(v.KIDs)), int64(v.Fetched), one(v.Failing)}[f], "issuer",
				v.Issuer)
		}
	}
	m.family("server_clock_ahead_seconds", gauge,
		"How far the device's clock is ahead of a server's, by the Date that came with its keys.")
	for i := range s.Servers {
		if v := &s.Servers[i]; v.Date != 0 && (v.Origin == Configured || len(v.KIDs) > 0) {
			m.sample(v.Ahead, "issuer", v.Issuer)
		}
	}
	for f := range len(socketFamilies) {
		m.family(socketFamilies[f][0], gauge, socketFamilies[f][1])
		for i := range s.Sockets {
			v := &s.Sockets[i]
			m.sample([...]int64{int64(v.Open), int64(v.Limit), int64(v.Waiting)}[f], "socket", v.Name)
		}
	}
	for f := range len(sinkFamilies) {
		kind := gauge
		if strings.HasSuffix(sinkFamilies[f][0], "_total") {
			kind = counter
		}
		m.family(sinkFamilies[f][0], kind, sinkFamilies[f][1])
		for i := range s.Audit.Sinks {
			k := &s.Audit.Sinks[i]
			m.sample([...]int64{
				int64(k.Kept), int64(k.Dropped), int64(k.Queued), int64(k.QueuedBytes), one(k.Error != ""),
			}[f], "sink", k.Name)
		}
	}
	return m.text
}

// since is when the device was registered at the issuer at which it is a client; 0 if unknown.
func (c *Client) since() int64 {
	for i := range c.Clients {
		if c.Clients[i].Issuer == c.Issuer {
			return int64(c.Clients[i].Since)
		}
	}
	return 0
}

// The families that have a sample for each server, socket and sink: name and help.
var (
	serverFamilies = [...][2]string{
		{"server_used", "Whether it is the server whose keys are fetched on schedule."},
		{"server_keys", "Keys held of a server."},
		{
			"server_keys_fetched_timestamp_seconds",
			"When they were fetched, before the start or since; 0 if unknown or without keys.",
		},
		{"server_failing", "Whether the last attempt to fetch them failed."},
	}
	socketFamilies = [...][2]string{
		{"connections", "Connections that are served."},
		{"connections_limit", "Connections that may be served concurrently."},
		{"connections_waiting", "Connections with a question that waits for others to be served."},
	}
	sinkFamilies = [...][2]string{
		{"audit_kept_total", "Decisions recorded in a sink."},
		{"audit_dropped_total", "Decisions not recorded in a sink."},
		{"audit_queued_decisions", "Decisions that wait for a sink."},
		{"audit_queued_bytes", "Their records."},
		{"audit_failing", "Whether a sink does not take records."},
	}
)

const (
	gauge   = "gauge"
	counter = "counter"
)

// metrics is the text so far.
type metrics struct {
	text []byte
	name string // of the family
}

//go:noinline // for flash
func (m *metrics) family(name, kind, help string) {
	m.name = "nmos_authd_" + name
	m.text = fmt.Appendf(m.text, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", m.name, help, kind)
}

// labelText escapes a label's value. The format is UTF-8.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample writes a value with pairs of label and text.
func (m *metrics) sample(value int64, labels ...string) {
	m.text = append(m.text, m.name...)
	sep := "{"
	for i := 0; i < len(labels); i += 2 {
		m.text = fmt.Appendf(m.text, `%s%s="%s"`, sep, labels[i],
			labelText.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")))
		sep = ","
	}
	if len(labels) > 0 {
		m.text = append(m.text, '}')
	}
	m.text = fmt.Appendf(m.text, " %d\n", value)
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}
