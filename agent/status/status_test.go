package status_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/status"
)

// What JSON says is what encoding/json says, in ASCII; its names stay what they are.
func TestJSON(t *testing.T) {
	for _, s := range []*status.Status{well(), marked(), {}} {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var got, wanted any
		if err := json.Unmarshal(want, &wanted); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, wanted) {
			t.Errorf("%v\ngot  %s\nwant %s", err, text, want)
		}
		if strings.ContainsFunc(string(text), unprintable) {
			t.Errorf("got %q", text)
		}
		parsed, err := status.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parsed.JSON(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%v, read and written again: %s", err, again)
		}
	}
	text, err := marked().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	var names []string
	walk("", members, &names)
	slices.Sort(names)
	if got, want := strings.Join(slices.Compact(names), " "), strings.Join(strings.Fields(stable), " "); got != want {
		t.Errorf("names that others rely on have changed:\n%s", got)
	}
	if _, err := status.Parse([]byte("{")); err == nil {
		t.Error("half a status")
	}
	if _, err := status.Parse([]byte(`{"time":"yesterday"}`)); err == nil {
		t.Error("a time that is none")
	}
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// walk gathers the names of members.
func walk(at string, v any, names *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			*names = append(*names, at+name)
			walk(at+name+".", member, names)
		}
	case []any:
		for _, member := range v {
			walk(at, member, names)
		}
	}
}

// stable are the names of the members that a full snapshot has.
const stable = `
audit audit.dropped_at audit.pending audit.recorded audit.sinks audit.sinks.dropped audit.sinks.error audit.sinks.head
audit.sinks.kept audit.sinks.name audit.sinks.queued audit.sinks.queued_bytes audit.sinks.since
certs certs.certificates certs.certificates.begins certs.certificates.ends certs.certificates.error
certs.certificates.expired certs.certificates.failed certs.certificates.fingerprint certs.certificates.held
certs.certificates.installed certs.certificates.issuer certs.certificates.key certs.certificates.names
certs.certificates.renewal certs.certificates.revoked certs.certificates.serial certs.certificates.subject
certs.certificates.waiting certs.enabled certs.error certs.failed certs.failures certs.folder certs.issued certs.maker
certs.maker.ends certs.maker.error certs.maker.held certs.maker.subject certs.next certs.phase certs.roots certs.roots.ends
certs.roots.fingerprint certs.roots.server certs.roots.since certs.roots.subject certs.roots.trust certs.server
certs.tags certs.tags.urn:x-nmos:tag:certprov certs.trouble certs.unwritten
client client.clients client.clients.attempted client.clients.auth_method client.clients.client_id client.clients.given
client.clients.issuer client.clients.keys client.clients.kids client.clients.manageable client.clients.old_key_ends
client.clients.rotation client.clients.scope client.clients.secret_expires client.clients.since client.enabled client.error client.failed client.failures
client.issuer client.phase client.registered client.registrations client.tokens client.tokens.ends client.tokens.error
client.tokens.failed client.tokens.granted client.tokens.next client.tokens.scope client.tokens_fetched client.trouble
clock clock.state clock.trusted clock.why config_refused decisions decisions.answered decisions.reason decisions.status decisions.would
degraded discovery discovery.error discovery.found discovery.hosts discovery.looked discovery.mode healthy inventory inventory.error
inventory.resources inventory.since inventory.source last_errors last_errors.level last_errors.text last_errors.time
last_errors.times log_lines_dropped memory memory.heap_bytes memory.resident_bytes mode model names not_enforced not_enforced.access not_enforced.api
observe observe.for observe.left_seconds observe.since observe.uid observe.until refresh_seconds sandbox sandbox.denied
sandbox.landlock sandbox.not_denied sandbox.why servers servers.at servers.clock_ahead_seconds
servers.clock_difference servers.date servers.domain servers.error servers.failed servers.failing servers.fetched
servers.issuer servers.kids servers.missing_seconds servers.next servers.origin servers.used since sockets sockets.limit sockets.name
sockets.open sockets.path sockets.waiting state state.dir state.error state.kept time tokens tokens.held tokens.judged tokens.limit
tokens.remembered version
`

// A time is a distance from now, and none stays none.
func TestAt(t *testing.T) {
	began := time.Now()
	if got := status.At(began.Add(-time.Minute), began); got != status.Time(began.Unix()-60) {
		t.Errorf("got %v, want a minute before %v", got, began)
	}
	if status.At(time.Time{}, began) != 0 {
		t.Error("none is none")
	}
	text, err := status.Time(0).MarshalText()
	if err != nil || string(text) != "1970-01-01T00:00:00Z" {
		t.Errorf("got %q, error %v", text, err)
	}
}
