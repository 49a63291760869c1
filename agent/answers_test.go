package agent_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

const challenge = `Bearer realm="node-1.example.com"`

// answerRows are what is asked here and through every client.
var answerRows = rows.Answers

func TestAnswers(t *testing.T) {
	tok := mint.New(rows.AnswersToken)
	d := newDevice(t, nil, tok.Key.JWK())
	for _, row := range answerRows {
		t.Run(row.Name, func(t *testing.T) {
			got := d.ask(t, rows.Answer("id=a=7\n"+row.Lines, tok.Sign()))
			www, carried := got.lines["www-authenticate"]
			if got.first != row.First || got.reason() != row.Reason || carried != (row.WWW != "-") {
				t.Fatalf("got %v", got)
			}
			if carried && www != challenge+row.WWW {
				t.Errorf("the challenge is\n%s, want\n%s", www, challenge+row.WWW)
			}
			if got.lines["id"] != "a=7" {
				t.Errorf("the id is %q", got.lines["id"])
			}
			if _, has := got.lines["retry-after"]; has {
				t.Errorf("a retry-after with %s", got.first)
			}
		})
	}
}

// What else a reply carries (ANS-8): of a good token everything, of one that is good and not enough who it was, of one
// that nobody verified nothing.
func TestRepliesSay(t *testing.T) {
	spec.Rules(t, "ANS-8")
	tok := mint.New(mint.Options{Life: 5 * time.Minute, Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"*"}}}})
	d := newDevice(t, func(c *config.Config) { c.Authorization.Leeway = 2 * time.Second }, tok.Key.JWK())
	now := tok.Now.Add(16*time.Second + 300*time.Millisecond)
	d.clock.Store(&now)
	who := map[string]string{"client-id": mint.DefaultClient, "subject": mint.DefaultSubject,
		"issuer": mint.DefaultIssuer}
	check := func(name, packet, first, expires string, who map[string]string) {
		t.Helper()
		got := d.ask(t, packet)
		if got.first != first || got.lines["expires-in"] != expires {
			t.Errorf("%s: %v", name, got)
		}
		for _, line := range []string{"client-id", "subject", "issuer"} {
			if got.lines[line] != who[line] {
				t.Errorf("%s: %s is %q", name, line, got.lines[line])
			}
		}
	}
	check("good", get(senders, tok.Sign()), "allow 200", "285", who) // 300 + 2 - 16.3, the part of a second cut off
	check("again", get(senders, tok.Sign()), "allow 200", "285", who)
	check("verify", "verify 1\nauthorization=Bearer "+tok.Sign()+"\n", "allow 200", "285", who)
	check("not granted", strings.Replace(get(senders, tok.Sign()), "GET", "PUT", 1), "deny 403", "", who)
	check("forged", get(senders, forged(tok.Sign())), "deny 401", "", nil)
	check("public", get("/x-nmos", tok.Sign()), "allow 200", "", nil)
	last := tok.Now.Add(5*time.Minute + 1500*time.Millisecond) // within the leeway
	d.clock.Store(&last)
	check("about to end", get(senders, tok.Sign()), "allow 200", "0", who)
	over := tok.Now.Add(5*time.Minute + 2*time.Second)
	d.clock.Store(&over)
	check("over", get(senders, tok.Sign()), "deny 401", "", who)
}

// A question with a token of an issuer whose keys are not there is answered immediately, with a wait, while they are
// fetched.
func TestKeysNotThereYet(t *testing.T) {
	spec.Rules(t, "ANS-5", "KEY-5")
	tok := mint.New(mint.Options{})
	fetch := make(chan []byte)
	store := keys.NewStore(func(ctx context.Context, _ string) ([]byte, error) {
		select {
		case document := <-fetch:
			return document, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func(keys.Event) {})
	config := config.Default()
	config.Authorization.Servers = []string{mint.DefaultIssuer}
	store.Configure(agent.KeyPolicy(config))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { store.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	d := &device{Agent: agent.New(config, []string{mint.DefaultDevice}, store,
		func() agent.Time { return agent.Time{Now: time.Now(), Trusted: true} }), store: store}

	for range 3 {
		got := d.ask(t, get(senders, tok.Sign()))
		wait, err := strconv.Atoi(got.lines["retry-after"])
		if got.first != "deny 503" || got.reason() != "keys-pending" || err != nil || wait < 1 || wait > 60 {
			t.Fatalf("got %v", got)
		}
		if _, has := got.lines["www-authenticate"]; has {
			t.Errorf("a challenge with 503: %v", got)
		}
	}
	fetch <- mint.JWKS(tok.Key)
	d.waitForKeys(t, 0)
	if got := d.ask(t, get(senders, tok.Sign())); got.first != "allow 200" {
		t.Errorf("with the keys there: %v", got)
	}
}

// verify looks at the token and at nothing else.
func TestVerify(t *testing.T) {
	spec.Rules(t, "ANS-2", "CLM-6")
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{}})
	elsewhere := mint.New(mint.Options{Device: "other.example.org"})
	d := newDevice(t, nil, tok.Key.JWK())
	for _, c := range []struct{ lines, want string }{
		{"authorization=Bearer " + tok.Sign() + "\n", "allow 200 ok"},
		{"authorization=Bearer " + elsewhere.Sign() + "\n", "deny 403 audience"},
		{"authorization=Bearer " + forged(tok.Sign()) + "\n", "deny 401 signature"},
		{"authorization=Bearer\n", "deny 400 token-empty"},
		{"", "deny 401 no-token"},
		{"id=7\n", "deny 401 no-token"},
		{"upgrade=websocket\n", "error 400 packet-name"},
		{"target=/\n", "error 400 packet-name"},
	} {
		got := d.ask(t, "verify 1\n"+c.lines)
		if got.first+" "+got.reason() != c.want || got.lines["path"] != "" {
			t.Errorf("%.40q: %v, want %s", c.lines, got, c.want)
		}
	}
}
