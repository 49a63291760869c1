package agent_test

import (
	"fmt"
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Every fault and every variant that the mint knows gets its answer, twice the same: the first is worked out, the
// second mostly remembered.
func TestEveryTokenOfTheMint(t *testing.T) {
	if len(mint.Faults) < 50 || len(mint.Variants) < 20 {
		t.Fatalf("the mint has %d faults and %d variants: its tables are not there",
			len(mint.Faults), len(mint.Variants))
	}
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
				base := mint.New(mint.Options{})
				published := []mint.JWK{base.Key.JWK()}
				if c.Publish != nil {
					published = append(published, c.Publish()...)
				}
				d := newDevice(t, nil, published...)
				method, target := c.Request()
				tok := c.Make(base)
				packet := fmt.Sprintf("decide 1\nmethod=%s\ntarget=%s\nauthorization=Bearer %s\n", method, target, tok)
				want, status := c.Want, c.Status
				if c.Packet != "" {
					want, status = c.Packet, 400
				}
				generation := d.store.Set().Generation
				check := func(want string, status int) {
					t.Helper()
					got := d.ask(t, packet)
					if got.reason() != want || got.first[len(got.first)-3:] != fmt.Sprint(status) {
						t.Fatalf("got %v, want %s %d (%s)", got, want, status, c.Note)
					}
				}
				check(want, status)
				if c.Then == "" {
					check(want, status)
					return
				}
				d.waitForKeys(t, generation)
				check(c.Then, c.ThenStatus)
				check(c.Then, c.ThenStatus)
			})
		}
	}
}

// A token is judged again at each use: the one that was good a moment ago expires while it is remembered.
func TestRememberedTokenExpires(t *testing.T) {
	spec.Rules(t, "CLM-7", "CLM-8")
	base := mint.New(mint.Options{Life: time.Minute})
	d := newDevice(t, nil, base.Key.JWK())
	packet := get(senders, base.Sign())
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "ok"}, {59 * time.Second, "ok"}, {time.Minute, "token-expired"}, {time.Hour, "token-expired"},
		{-time.Second, "token-issued-later"}, {30 * time.Second, "ok"},
	} {
		now := base.Now.Add(step.after)
		d.clock.Store(&now)
		if got := d.ask(t, packet); got.reason() != step.want {
			t.Errorf("after %v: %v, want %s", step.after, got, step.want)
		}
	}
}
