package status_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/config"
	"nmosauthd/agent/status"
)

// family is what a reader makes of the lines about one metric.
type family struct {
	help, kind string
	samples    map[string]float64 // by the labels as they were written, sorted
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// parseMetrics reads the text format of Prometheus, version 0.0.4, and bears with nothing: a family is HELP, TYPE and
// samples, in one piece; names and labels are well formed, values are numbers, and none comes twice.
func parseMetrics(text string) (map[string]*family, error) {
	all := map[string]*family{}
	var f *family
	var name string
	if !utf8.ValidString(text) || !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("not UTF-8 that ends in a line")
	}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		wrong := func(why string) error { return fmt.Errorf("line %d: %s: %q", n+1, why, line) }
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			if f != nil && f.kind == "" {
				return nil, wrong("the family before has no type")
			}
			var told string
			name, told, ok = strings.Cut(help, " ")
			if !ok || told == "" || !metricName.MatchString(name) || all[name] != nil || strings.Contains(told, `\`) {
				return nil, wrong("bad help")
			}
			f = &family{help: told, samples: map[string]float64{}}
			all[name] = f
			continue
		}
		if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			kind, ok = strings.CutPrefix(kind, name+" ")
			if !ok || f.kind != "" || kind != "counter" && kind != "gauge" {
				return nil, wrong("bad type")
			}
			f.kind = kind
			continue
		}
		rest, ok := strings.CutPrefix(line, name)
		if f == nil || !ok || f.kind == "" {
			return nil, wrong("a sample of another family")
		}
		labels := map[string]string{}
		if strings.HasPrefix(rest, "{") {
			rest = rest[1:]
			for {
				label, after, ok := strings.Cut(rest, `="`)
				if !ok || !labelName.MatchString(label) || strings.HasPrefix(label, "__") {
					return nil, wrong("a bad label")
				}
				if _, twice := labels[label]; twice {
					return nil, wrong("a label twice")
				}
				value, after, err := labelValue(after)
				if err != nil {
					return nil, wrong(err.Error())
				}
				labels[label], rest = value, after
				if after, ok := strings.CutPrefix(rest, ","); ok {
					rest = after
					continue
				}
				if rest, ok = strings.CutPrefix(rest, "}"); !ok {
					return nil, wrong("labels without end")
				}
				break
			}
		}
		number, ok := strings.CutPrefix(rest, " ")
		value, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || value < 0 {
			return nil, wrong("a bad value")
		}
		key := ""
		for _, label := range slices.Sorted(maps.Keys(labels)) {
			key += fmt.Sprintf("%s=%q ", label, labels[label])
		}
		if _, twice := f.samples[key]; twice {
			return nil, wrong("a sample twice")
		}
		f.samples[key] = value
	}
	return all, nil
}

// labelValue reads up to the closing quote.
func labelValue(text string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			i++
			if i == len(text) {
				return "", "", fmt.Errorf("a half escape")
			}
			plain, ok := map[byte]byte{'\\': '\\', '"': '"', 'n': '\n'}[text[i]]
			if !ok {
				return "", "", fmt.Errorf("an escape that is none")
			}
			b.WriteByte(plain)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("a label without end")
}

// The reader must refuse what is wrong, or the test below says nothing.
func TestMetricsReaderIsStrict(t *testing.T) {
	const head = "# HELP a b.\n# TYPE a gauge\n"
	if _, err := parseMetrics(head + "a{x=\"\\\\\\\"\\n,}\",y=\"\"} 1\na 2\n"); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"", head + "a 1", "a 1\n", "# TYPE a gauge\na 1\n", "# HELP a b.\na 1\n",
		head + "b 1\n", head + "a\n", head + "a x\n", head + "a 1\na 1\n",
		head + "a{x=\"1\"} 1\na{x=\"1\"} 2\n", head + "a{x=\"1\",x=\"2\"} 1\n", head + "a{x=\"1} 1\n",
		head + "a{x=\"\\q\"} 1\n", head + "a{1=\"\"} 1\n",
		head + "a{x=\"\n\"} 1\n", head + head, head + "a{x=\"\xff\"} 1\n", head + "a 1\n\n",
		"# HELP a b.\n# TYPE a histogram\n", "# HELP a b.\n# HELP c d.\n",
		head + "a{x=\"1\"\n", head + "a -1\n",
	} {
		if _, err := parseMetrics(text); err == nil {
			t.Errorf("nothing wrong with %q", text)
		}
	}
}

// Every figure of the snapshot, well formed, in base units, counters named as counters are.
func TestMetrics(t *testing.T) {
	for _, s := range []*status.Status{{}, well(), marked()} {
		all, err := parseMetrics(string(s.Metrics()))
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range all {
			if !strings.HasPrefix(name, "nmos_authd_") || strings.HasSuffix(name, "_total") != (f.kind == "counter") ||
				!strings.HasSuffix(f.help, ".") || strings.Contains(name, "_ms") || strings.Contains(name, "_kib") {
				t.Errorf("%s: %s, %s", name, f.kind, f.help)
			}
		}
	}
	more := well()
	more.Observe = &status.Observe{UID: 1000, Since: now, Until: now + 1800, Left: 1800}
	more.NotEnforced = []config.NotEnforced{{API: "node", Access: "read"}}
	more.Servers = append(more.Servers, // whose labels would have no bound
		status.Server{Issuer: "https://named.example.com:1", Origin: status.Learned, Failing: true},
		status.Server{Issuer: "https://advertised.example.com", Origin: status.Discovered, Failing: true})
	more.Servers[1].Origin = status.Configured
	all, err := parseMetrics(string(more.Metrics()))
	if err != nil {
		t.Fatal(err)
	}
	const a, b, log, syslog = `issuer="https://a.example.com" `, `issuer="https://b.example.com/realms/nmos" `,
		`sink="log" `, `sink="syslog" `
	for name, samples := range map[string]map[string]float64{
		"info":                           {`mode="enforce" model="level meter" version="1.2.3" `: 1},
		"healthy":                        {"": 1},
		"observe_ends_timestamp_seconds": {`uid="1000" `: float64(now + 1800)},
		"not_enforced":                   {`access="read" api="node" `: 1},
		"start_time_seconds":             {"": float64(now - 3*3600)}, "clock_trusted": {"": 1},
		"config_refused":     {"": 0},
		"discovered_servers": {"": 1}, "tokens_held": {"": 2}, "tokens_limit": {"": 64}, "audit_pending_decisions": {
			"": 0},
		"inventory_resources": {"": 12}, "inventory_refused": {"": 0}, "state_kept": {"": 1}, "landlock_abi": {"": 6},
		"resident_memory_bytes": {"": 9 << 20}, "heap_bytes": {"": 3 << 20},
		"decisions_total": {
			`reason="ok" status="200" `: 40, `reason="public" status="200" `: 0, `reason="no-token" status="401" `: 2,
			`reason="own-token" status="200" `: 9, `reason="own-token-pending" status="503" `: 7,
		},
		"would_decisions_total": {
			`reason="ok" status="200" `: 0, `reason="public" status="200" `: 0, `reason="no-token" status="401" `: 3,
			`reason="own-token" status="200" `: 0, `reason="own-token-pending" status="503" `: 0,
		},
		"token_lookups_total":   {`result="hit" `: 38, `result="miss" `: 2},
		"audit_decisions_total": {"": 42}, "log_lines_dropped_total": {"": 0},
		"server_used": {a: 1, b: 0}, "server_keys": {a: 2, b: 0}, "server_failing": {a: 0, b: 0},
		"server_keys_fetched_timestamp_seconds": {a: float64(now - 720), b: 0},
		"server_clock_ahead_seconds":            {a: 37},
		"connections":                           {`socket="authz" `: 3}, "connections_limit": {`socket="authz" `: 64},
		"connections_waiting": {`socket="authz" `: 5},
		"audit_kept_total":    {log: 42, syslog: 40}, "audit_dropped_total": {log: 0, syslog: 0},
		"client_enabled": {"": 1}, "client_registered": {"": 1}, "client_failing": {"": 0}, "client_trouble": {"": 0},
		"client_registered_timestamp_seconds": {"": float64(now - 86400)},
		"client_registrations_total":          {"": 1}, "client_tokens_total": {"": 7}, "client_failures_total": {
			"": 2},
		"client_token_ends_timestamp_seconds": {`scope="events" `: 0, `scope="registration" `: float64(now + 200)},
		"client_token_failing":                {`scope="events" `: 1, `scope="registration" `: 0},
		"certs_enabled":                       {"": 1}, "certs_trouble": {"": 0},
		"certs_issued_total": {"": 1}, "certs_failures_total": {"": 2},
		"certificate_ends_timestamp_seconds":    {`key="ecdsa" `: float64(now + 50*86400)},
		"certificate_renewal_timestamp_seconds": {`key="ecdsa" `: float64(now + 3*86400)},
		"certificate_failing":                   {`key="ecdsa" `: 0},
		"audit_queued_decisions":                {log: 0, syslog: 2},
		"audit_queued_bytes":                    {log: 0, syslog: 900}, "audit_failing": {log: 0, syslog: 0},
	} {
		f := all["nmos_authd_"+name]
		if f == nil || !maps.Equal(f.samples, samples) {
			t.Errorf("%s: %+v, want %v", name, f, samples)
		}
		delete(all, "nmos_authd_"+name)
	}
	if len(all) > 0 {
		t.Errorf("nobody looks at %v", slices.Sorted(maps.Keys(all)))
	}
	// What came from outside is in a label as it came, except what is not text.
	all, err = parseMetrics(string(marked().Metrics()))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("issuer=%q ", "https://a.example.com"+strings.ToValidUTF8(hostile, "\uFFFD"))
	if _, ok := all["nmos_authd_server_keys"].samples[want]; !ok {
		t.Errorf("%v, want %s", all["nmos_authd_server_keys"].samples, want)
	}
}
