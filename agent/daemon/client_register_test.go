package daemon

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/alarm"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/oauth"
	"nmosauthd/hal"
	"nmosauthd/tinytest/spec"
)

// nothingKept is a state folder with nothing in it.
type nothingKept struct{}

func (nothingKept) Load() ([]byte, error) { return nil, nil }
func (nothingKept) Save([]byte) error     { return nil }

// A client that was forgotten stays so if it is to be registered at a server that is not the device's: it does not
// register at the one that it was to leave, not even in the moment until the answer (CLI-43).
func TestRegisterElsewhere(t *testing.T) {
	spec.Rules(t, "CLI-43")
	const left, other = "https://left.example", "https://other.example"
	cfg := config.Default()
	cfg.Authorization.Servers, cfg.Client.Scopes = []string{left}, []string{"registration"}
	d := &daemon{log: zap.NewNop()}
	d.store = keys.NewStore(nil, func(keys.Event) {})
	d.finder = agent.NewServers(d.store, func([]agent.FoundServer) {}, func(agent.ServerEvent) {})
	d.inForce.Store(&inForceConfig{Config: cfg})
	d.own = &ownClient{look: alarm.New(), failing: map[string]time.Time{}, halted: left,
		identity: func() hal.Identity { return hal.Identity{} }}
	d.own.Client = oauth.New(oauth.Options{ // and nobody runs it
		Storage: nothingKept{}, Report: func(oauth.Event) {}, Clock: func() (time.Time, bool) {
			return time.Now(), true
		},
	})
	d.chooseClient(t.Context())
	err := d.RegisterClient(t.Context(), other)
	if !errors.Is(err, admin.ErrFixed) {
		t.Errorf("got %v, want an error that wraps ErrFixed", err)
	}
	if issuer := d.own.Status().Issuer; issuer != "" || d.own.halted != left {
		t.Errorf("got a client at %q, forgotten at %q; want none, and %q", issuer, d.own.halted, left)
	}
}
