package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// flash is a Storage whose power can fail at a write.
type flash struct {
	mu     sync.Mutex
	data   []byte
	saves  int
	fails  error // of Load and Save
	cut    int   // the save at which the power fails; 0: never
	after  bool  // the write was done by then
	failed func()
}

var errPower = errors.New("no power")

func (f *flash) Load() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data, f.fails
}

func (f *flash) Save(data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	f.saves++
	if f.cut != 0 && f.saves > f.cut {
		return errPower
	}
	if f.saves != f.cut || f.after {
		f.data = append([]byte(nil), data...)
	}
	if f.saves == f.cut {
		f.failed()
		return errPower
	}
	return nil
}

// What is stored and cannot be read may be a registration: no other is made.
func TestStorageThatFails(t *testing.T) {
	spec.Rules(t, "CLI-36")
	r := newRig(t, authserver.Options{})
	r.must("registration")
	kept := r.flash.data
	for name, damage := range map[string]func(){
		"unreadable": func() { r.flash.fails = errors.New("input/output error") },
		"cut off":    func() { r.flash.data = kept[:len(kept)/2] },
		"empty":      func() { r.flash.data = []byte{} },
		"other":      func() { r.flash.data = []byte(`{"version":99}`) },
	} {
		damage()
		r.restart()
		if a := r.token("registration"); a.Err == nil || r.Status().Phase != oauth.Unreadable {
			t.Errorf("%s: got %v, %v, want no token", name, a, r.Status().Phase)
		}
		r.silent(name, fmt.Sprint(r.Status().Err))
		r.flash.data, r.flash.fails = kept, nil
	}
	r.registrations(1)
	r.restart()
	r.must("registration")

	// What cannot be stored is not used, and not registered a second time.
	r = newRig(t, authserver.Options{Kind: authserver.BBC})
	r.flash.fails = errors.New("no space left on device")
	r.Client.Step(t.Context())
	r.registrations(0)
	r.flash.fails = nil
	r.flash.cut, r.flash.failed = 2, func() {} // between the answer and the write
	r.work()
	if a := r.token("registration"); a.Err == nil || r.server.Requests(authserver.PathToken) != 0 {
		t.Errorf("got %v after %d requests, want the registration unused", a, r.server.Requests(authserver.PathToken))
	}
	r.flash.cut = 0
	r.must("registration")
	r.registrations(1)
}

// The power fails at each write, before it or after it: at most one registration is left behind, only by a cut between
// the server's answer and the write, and no key is lost.
func TestPowerCut(t *testing.T) {
	spec.Rules(t, "CLI-36")
	for _, kind := range []authserver.Kind{authserver.Keycloak, authserver.BBC} {
		for cut := 1; ; cut++ {
			done := false
			for _, after := range []bool{false, true} {
				name := fmt.Sprintf("CLI-36/%s-%d-%v", kind, cut, after)
				t.Run(name, func(t *testing.T) {
					r := newRig(t, authserver.Options{Kind: kind, Algs: []string{"ES256"}})
					ctx, off := context.WithCancel(t.Context())
					defer off()
					unwritten := false
					r.flash.cut, r.flash.after = cut, after
					r.flash.failed = func() {
						unwritten = r.server.Registrations() == 1 &&
							!strings.Contains(string(r.flash.data), `"client_id"`)
						r.mu.Lock()
						r.off = true
						r.mu.Unlock()
						off()
					}
					life(ctx, r)
					done = r.flash.saves < cut
					r.flash.cut = 0
					r.restart()
					life(t.Context(), r)
					r.must("registration")
					want := 1
					if unwritten {
						want = 2
					}
					r.registrations(want)
					if n := len(r.server.Registered()); n != want {
						t.Errorf("%d clients at the server, want %d", n, want)
					}
					r.strict()
				})
			}
			if done {
				if want := map[authserver.Kind]int{authserver.Keycloak: 6, authserver.BBC: 3}[kind]; cut <= want {
					t.Errorf("%s: only %d writes", kind, cut-1)
				}
				break
			}
		}
	}
}

// life is all that makes a device write: registration, tokens, settings and keys that change.
func life(ctx context.Context, r *rig) {
	step := func() {
		r.Due()
		r.Step(ctx)
	}
	r.Token("registration")
	step()
	r.config.Name = "Acme AX-8 renamed"
	r.configure()
	step()
	if r.RotateKey(ctx) == nil {
		step()
		r.Settle(oauth.KeySettled)
		step()
		r.Settle(oauth.KeyRetired)
		step()
	}
}
