package agent_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Tokens are told apart by whether they were remembered; questions without one count for neither, nor do those of the
// daemon.
func TestTokensCounted(t *testing.T) {
	base := mint.New(mint.Options{})
	d := newDevice(t, func(c *config.Config) { c.Limits.CachedTokens = 7 }, base.Key.JWK())
	s := d.NewSessionOf(agent.Peer{})
	ask := func(s *agent.Session, token string) {
		t.Helper()
		if token != "" {
			token = "authorization=Bearer " + token + "\n"
		}
		s.Packet(nil, []byte("decide 1\nmethod=GET\ntarget="+senders+"\n"+token), 32<<10)
	}
	want := func(when string, held int, remembered, judged uint64) {
		t.Helper()
		h, limit, r, j := d.Tokens()
		if h != held || limit != 7 || r != remembered || j != judged {
			t.Errorf("%s: %d of %d held, %d remembered, %d judged; want %d, %d, %d",
				when, h, limit, r, j, held, remembered, judged)
		}
	}
	want("at first", 0, 0, 0)
	ask(s, "")
	want("without a token", 0, 0, 0)
	good := base.Sign()
	ask(s, good)
	want("once", 1, 0, 1)
	ask(s, good)
	ask(s, good)
	want("again", 1, 2, 1)
	ask(s, "x.y.z")
	want("one that is none", 1, 2, 2)
	ask(d.NewSession(), good)
	want("the daemon itself", 1, 2, 2)
}

// What discovery found last, and what went wrong.
func TestFound(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{silent: true}
		s, _ := n.start(t, keys.Policy{Refresh: time.Hour, Retry: time.Second})
		synctest.Wait()
		if f := s.Found(); len(f.Servers) > 0 || f.Err == nil || !f.Looked.Equal(time.Now()) {
			t.Errorf("nothing is advertised: %+v", f)
		}
		n.list("https://a.example.com")
		n.set(func() { n.silent = false })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if f := s.Found(); len(f.Servers) != 1 ||
			!slices.Equal(f.Servers[0].Issuers, []string{"https://a.example.com"}) || !f.Servers[0].Advertised ||
			f.Err != nil || f.Looked.IsZero() {
			t.Errorf("one is: %+v", f)
		}
	})
}
