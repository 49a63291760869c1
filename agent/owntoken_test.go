package agent_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/oauth"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// purse is an agent.OwnTokens that has these tokens.
type purse struct {
	tokens   map[string]oauth.Token
	refuses  error // the caller
	asked    int
	reported []string
	renewed  *oauth.Token // replaces the token that is reported; nil if none comes yet
}

func (p *purse) MayHaveTokens() error { return p.refuses }

func (p *purse) OwnToken(scope string) oauth.Token {
	p.asked++
	if t, ok := p.tokens[scope]; ok {
		return t
	}
	return oauth.Token{Err: fmt.Errorf("scope %s is %w", scope, oauth.ErrScope), Retry: time.Hour}
}

func (p *purse) RefusedToken(tok string) bool {
	p.reported = append(p.reported, tok)
	for scope, t := range p.tokens {
		if t.Token == tok && p.renewed != nil {
			p.tokens[scope] = *p.renewed
		}
	}
	return true
}

func nameOf(tok string) string {
	sum := token.DigestOf([]byte(tok))
	return hex.EncodeToString(sum[:])
}

const (
	ownToken   = "own.first.token"
	freshToken = "own.second.token"
	admitted   = 1000
)

func newPurse() *purse {
	return &purse{tokens: map[string]oauth.Token{
		"registration": {
			Token: ownToken, Scope: "registration", Left: 284*time.Second + 900*time.Millisecond,
			Next: 1500 * time.Millisecond,
		},
		"registration events": {Token: ownToken, Scope: "registration", Left: time.Second},
		"events":              {Err: errors.New("the token is being fetched\n\"é\""), Retry: 2100 * time.Millisecond},
		"never":               {Err: errors.New("x"), Retry: 0},
	}}
}

// A token question has its answer: the token and how long it is good, for those who may have it; else why not, and
// when to ask again (CLI-69). The mode is about what others may do here, and makes no difference.
func TestOwnToken(t *testing.T) {
	spec.Rules(t, "CLI-69", "CLI-56")
	other := errors.New("user 1001 is given no tokens")
	for _, row := range []struct {
		name, lines string
		refuses     error
		first       string
		want        string // lines without the id, in the order of their names
	}{
		{"CLI-69/token", "scope=registration\n", nil, "allow 200",
			"access-token=" + ownToken + " expires-in=284 reason=own-token scope=registration token-id=" +
				nameOf(ownToken)},
		{"CLI-69/for-a-resource", "resource=https://registry.example.com/\nscope=registration\n", nil, "allow 200",
			"access-token=" + ownToken + " expires-in=284 reason=own-token scope=registration token-id=" +
				nameOf(ownToken)},
		{"CLI-56/less-than-asked", "scope=registration events\n", nil, "allow 200",
			"access-token=" + ownToken + " expires-in=1 reason=own-token scope=registration token-id=" +
				nameOf(ownToken)},
		{"CLI-69/pending", "scope=events\n", nil, "deny 503",
			`detail=the token is being fetched\u000a"\u00e9" reason=own-token-pending retry-after=3`},
		{"CLI-69/pending-without-a-time", "scope=never\n", nil, "deny 503",
			"detail=x reason=own-token-pending retry-after=1"},
		{"CLI-10/scope-not-configured", "scope=node\n", nil, "deny 403",
			"detail=scope node is not configured for this device reason=own-token-scope"},
		{"CLI-69/another-user", "scope=registration\n", other, "deny 403",
			"detail=user 1001 is given no tokens reason=own-token-caller"},
		{"CLI-69/another-user-learns-no-scopes", "scope=node\n", other, "deny 403",
			"detail=user 1001 is given no tokens reason=own-token-caller"},
		{"CLI-69/malformed", "scope=\n", nil, "error 400", "detail=scope reason=packet-value"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve, config.ModeOff} {
				d := newDevice(t, func(c *config.Config) { c.Mode = mode }, mint.New(mint.Options{}).Key.JWK())
				p := newPurse()
				p.refuses = row.refuses
				s := d.NewSessionOf(agent.Peer{UID: admitted})
				s.HandOut(p)
				got := parseAnswer(t, s.Packet(nil, []byte("token 1\nid=7\n"+row.lines), 32<<10))
				if got.lines["id"] != "7" {
					t.Errorf("%s: the id is %q, want 7", mode, got.lines["id"])
				}
				delete(got.lines, "id")
				delete(got.lines, "error") // what the reason means
				lines := fmt.Sprint(got.lines)
				lines = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(lines, "map["), "]"), ":", "=")
				if got.first != row.first || lines != row.want {
					t.Errorf("%s: got %s %s, want %s %s", mode, got.first, lines, row.first, row.want)
				}
			}
		})
	}
}

// A session that was given no tokens, such as that of http.sock and of the daemon's own questions, has none to give,
// and a caller who may not have any learns of none.
func TestNoOwnTokens(t *testing.T) {
	spec.Rules(t, "CLI-69")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	const packet = "token 1\nscope=registration\n"
	if got := d.ask(t, packet); got.first != "deny 403" || got.reason() != "own-token-caller" {
		t.Errorf("without tokens: got %v, want 403 own-token-caller", got)
	}
	p := newPurse()
	p.refuses = errors.New("no")
	s := d.NewSessionOf(agent.Peer{UID: admitted})
	s.HandOut(p)
	if got := parseAnswer(t, s.Packet(nil, []byte(packet), 32<<10)); got.first != "deny 403" || p.asked != 0 {
		t.Errorf("got %v, and %d tokens were looked for; want 403, 0", got, p.asked)
	}
}

// Who may not have a token may still ask for decisions, on the same connection.
func TestOwnTokenRefusalEndsNothing(t *testing.T) {
	spec.Rules(t, "CLI-69")
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}}})
	d := newDevice(t, nil, tok.Key.JWK())
	p := newPurse()
	p.refuses = errors.New("no")
	s := d.NewSessionOf(agent.Peer{UID: admitted})
	s.HandOut(p)
	for range 2 {
		got := parseAnswer(t, s.Packet(nil, []byte("token 1\nscope=registration\n"), 32<<10))
		if got.reason() != "own-token-caller" {
			t.Errorf("got %v, want own-token-caller", got)
		}
		if got := parseAnswer(t, s.Packet(nil, []byte(get(senders, tok.Sign())), 32<<10)); got.first != "allow 200" {
			t.Errorf("got %v, want allow 200", got)
		}
	}
}

// A token that a server refused is reported once by its name, and is not given back to the caller who says so; a name
// of another token, such as the one before, reports nothing.
func TestRefusedOwnToken(t *testing.T) {
	spec.Rules(t, "CLI-14")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	p := newPurse()
	s := d.NewSessionOf(agent.Peer{UID: admitted})
	s.HandOut(p)
	ask := func(refused string) answer {
		t.Helper()
		packet := "token 1\nscope=registration\nrefused=" + refused + "\n"
		return parseAnswer(t, s.Packet(nil, []byte(packet), 32<<10))
	}
	if got := ask(nameOf("another")); got.lines["access-token"] != ownToken || len(p.reported) != 0 {
		t.Errorf("got %v, reported %q; want the token, and nothing reported", got, p.reported)
	}
	got := ask(nameOf(ownToken))
	if got.first != "deny 503" || got.lines["retry-after"] != "2" || got.lines["access-token"] != "" ||
		got.lines["token-id"] != "" || fmt.Sprint(p.reported) != "["+ownToken+"]" {
		t.Errorf("got %v, reported %q; want 503 with retry-after 2, and the token reported", got, p.reported)
	}
	p.renewed = &oauth.Token{Token: freshToken, Scope: "registration", Left: time.Minute}
	if got := ask(nameOf(ownToken)); got.lines["access-token"] != freshToken ||
		got.lines["token-id"] != nameOf(freshToken) {
		t.Errorf("got %v, want the fresh token", got)
	}
	p.reported = nil
	if got := ask(nameOf(ownToken)); got.lines["access-token"] != freshToken || len(p.reported) != 0 {
		t.Errorf("the old name again: got %v, reported %q; want the fresh token, and nothing reported", got, p.reported)
	}
}

// A token question is recorded with its caller, scope and outcome, and the token's name in place of the token; equal
// ones are counted together.
func TestOwnTokenRecords(t *testing.T) {
	spec.Rules(t, "OPS-2")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	p := newPurse()
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096,
		Repeat: time.Hour})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: admitted, GID: 100, PID: 7})
	s.HandOut(p)
	for _, scope := range []string{"registration", "events", "registration", "registration"} {
		s.Packet(nil, []byte("token 1\nscope="+scope+"\n"), 32<<10)
	}
	s = d.NewSessionOf(agent.Peer{UID: 5})
	s.HandOut(&purse{refuses: errors.New("no")})
	s.Packet(nil, []byte("token 1\nscope=registration\n"), 32<<10)
	log.Close(t.Context())
	digest := "sha256:" + nameOf(ownToken)
	want := []map[string]any{
		{"question": "token", "uid": 1000.0, "gid": 100.0, "pid": 7.0, "name": "registration", "decision": "allow",
			"status": 200.0,
			"reason": "own-token", "rule": "CLI-69", "digest": digest, "jti": nil, "client": nil, "count": nil},
		{"name": "events", "decision": "deny", "status": 503.0, "reason": "own-token-pending", "digest": nil},
		{"uid": 5.0, "name": "registration", "decision": "deny", "status": 403.0, "reason": "own-token-caller",
			"digest": nil},
		{"name": "registration", "reason": "own-token", "count": 2.0, "digest": nil},
	}
	got := out.records(t)
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d: %s", len(got), len(want), out.b.String())
	}
	for i, members := range want {
		for name, value := range members {
			if got[i][name] != value {
				t.Errorf("record %d: %s is %v, want %v", i, name, got[i][name], value)
			}
		}
	}
	if text := out.b.String(); strings.Contains(text, ownToken) || strings.Contains(text, "own.first") {
		t.Errorf("the records hold the token: %s", text)
	}
	answered, _ := d.Counts()
	if n := answered[wire.OwnToken]; n != 3 {
		t.Errorf("own-token was counted %d times, want 3", n)
	}
}

// kept is a connection that keeps what is written on it as it is, without a copy.
type kept struct {
	net.Conn
	packets [][]byte
	written [][]byte
	seen    []string
}

func (k *kept) Read(b []byte) (int, error) {
	if len(k.packets) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(b, k.packets[0])
	k.packets = k.packets[1:]
	return n, nil
}

func (k *kept) Write(b []byte) (int, error) {
	k.written, k.seen = append(k.written, b[:cap(b)]), append(k.seen, string(b))
	return len(b), nil
}

// Once a reply with a token is written, no buffer of the session holds it.
func TestOwnTokenIsWiped(t *testing.T) {
	spec.Rules(t, "OPS-2")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	p := newPurse()
	long := oauth.Token{Token: strings.Repeat("t", token.MaxBytes), Scope: "events", Left: time.Minute}
	p.tokens["events"] = long
	s := d.NewSessionOf(agent.Peer{UID: admitted})
	s.HandOut(p)
	conn := &kept{packets: [][]byte{[]byte("token 1\nscope=registration\n"), []byte("token 1\nscope=events\n")}}
	if err := s.ServePackets(conn); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if len(conn.seen) != 2 || !strings.Contains(conn.seen[0], ownToken) || !strings.Contains(conn.seen[1], long.Token) {
		t.Fatalf("the replies were %.200q, want both tokens", conn.seen)
	}
	for i, b := range conn.written {
		if bytes.Contains(b, []byte("own.")) || bytes.Contains(b, []byte("tt")) {
			t.Errorf("the buffer of reply %d holds %.200q", i, b)
		}
	}
	// PROTOCOL.md says how long such a reply can be.
	if n := len(conn.seen[1]); n > token.MaxBytes+1024 {
		t.Errorf("the reply has %d bytes, over %d", n, token.MaxBytes+1024)
	}
}
