package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

const sources = "/x-nmos/events/v1.0/sources/"

// The sources of one WebSocket, asked in one go (PATH-12, IS-07). TOKEN stands for a token that may read sources 1 and
// 2.
var sourceRows = []struct {
	name   string
	lines  string
	want   string
	denied []string
}{
	{"all-allowed", "target=" + sources + "1\ntarget=" + sources + "2\nauthorization=Bearer TOKEN\n",
		"allow 200 ok", nil},
	{"one-denied", "target=" + sources + "1\ntarget=" + sources + "3\ntarget=" + sources +
		"2\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted", []string{sources + "3"}},
	{"two-denied-in-order", "target=" + sources + "4\ntarget=" + sources + "1\ntarget=" + sources +
		"3\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted", []string{sources + "4", sources + "3"}},
	{"the-same-twice", "target=" + sources + "3\ntarget=" + sources + "3\nauthorization=Bearer TOKEN\n",
		"deny 403 path-not-granted", []string{sources + "3", sources + "3"}},
	{"first-denial-gives-the-reason", "target=/vendor\ntarget=//\nauthorization=Bearer TOKEN\n", "deny 403 path-closed",
		[]string{"/vendor", "//"}},
	{"one-ambiguous", "target=" + sources + "1\ntarget=" + sources + "1/../../x%2f\nauthorization=Bearer TOKEN\n",
		"deny 400 path-ambiguous", []string{sources + "1/../../x%2f"}},
	{"without-token", "target=" + sources + "1\ntarget=/x-nmos\n", "deny 401 no-token", []string{sources + "1"}},
	{"none-needs-a-token", "target=/x-nmos\ntarget=/\n", "allow 200 public", nil},
	{"one-needs-none", "target=/x-nmos\ntarget=" + sources + "1\nauthorization=Bearer TOKEN\n", "allow 200 ok", nil},
	{"method-get", "method=GET\ntarget=" + sources + "1\nauthorization=Bearer TOKEN\n", "allow 200 ok", nil},
	{"method-put", "method=PUT\ntarget=" + sources + "1\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted",
		[]string{sources + "1"}},
	{"method-unknown", "method=READ\ntarget=" + sources + "1\nauthorization=Bearer TOKEN\n", "deny 405 method",
		[]string{sources + "1"}},

	{"token-in-one-query", "upgrade=websocket\ntarget=" + sources + "1\ntarget=" + sources + "2?access_token=TOKEN\n",
		"allow 200 ok", nil},
	{"token-in-all-queries", "upgrade=websocket\ntarget=" + sources + "1?access_token=TOKEN\ntarget=" + sources +
		"2?access_token=TOKEN\n", "allow 200 ok", nil},
	{"tokens-differ", "upgrade=websocket\ntarget=" + sources + "1?access_token=TOKEN\ntarget=" + sources +
		"2?access_token=TOKENx\n", "deny 400 two-tokens", []string{sources + "1", sources + "2"}},
	{"token-in-header-and-query", "upgrade=websocket\nauthorization=Bearer TOKEN\ntarget=" + sources +
		"1?access_token=TOKEN\n", "deny 400 two-tokens", []string{sources + "1"}},
	{"token-in-query-without-handshake", "target=" + sources + "1?access_token=TOKEN\n", "deny 401 no-token",
		[]string{sources + "1"}},
	{"token-in-query-of-a-write", "method=PUT\nupgrade=websocket\ntarget=" + sources + "1?access_token=TOKEN\n",
		"deny 401 no-token", []string{sources + "1"}},
	{"query-is-not-echoed", "upgrade=websocket\ntarget=" + sources + "3?access_token=TOKEN\n",
		"deny 403 path-not-granted", []string{sources + "3"}},
	{"query-of-an-ambiguous-one-is-not-echoed", "upgrade=websocket\ntarget=//?access_token=TOKEN\n",
		"deny 400 path-ambiguous", []string{"//"}},
	{"query-only", "upgrade=websocket\ntarget=?access_token=TOKEN\n", "deny 400 path-ambiguous", []string{""}},
}

func TestSources(t *testing.T) {
	template := mint.New(mint.Options{Permissions: map[string]mint.Permission{
		"events": {Read: []string{"sources/1", "sources/2"}}}})
	tok := template.Sign()
	d := newDevice(t, nil, template.Key.JWK())
	for _, row := range sourceRows {
		t.Run("PATH-12/"+row.name, func(t *testing.T) {
			packet := "decide-all 1\n" + strings.ReplaceAll(row.lines, "TOKEN", tok)
			reply := string(d.NewSession().Packet(nil, []byte(packet), 32<<10))
			got := parseAnswer(t, []byte(reply))
			if got.first+" "+got.reason() != row.want || !slices.Equal(got.many, row.denied) {
				t.Errorf("got %v, want %s, denied %v", got, row.want, row.denied)
			}
			if strings.Contains(reply, tok) || strings.Contains(reply, "access_token") { // ANS-9
				t.Errorf("the reply holds the query: %s", reply)
			}
		})
	}
}

// As many sources as a packet holds are one question with one answer.
func TestManySources(t *testing.T) {
	spec.Rules(t, "PATH-12")
	template := mint.New(mint.Options{Permissions: map[string]mint.Permission{
		"events": {Read: []string{"sources/*0"}}}})
	d := newDevice(t, nil, template.Key.JWK())
	var packet strings.Builder
	packet.WriteString("decide-all 1\nauthorization=Bearer " + template.Sign() + "\n")
	const n = 700
	for i := range n {
		fmt.Fprintf(&packet, "target=%s%d\n", sources, i)
	}
	if got := d.ask(t, packet.String()); got.first != "deny 403" || len(got.many) != n*9/10 ||
		got.lines["expires-in"] != "" {
		t.Errorf("%s with %d denied", got.first, len(got.many))
	}
}
