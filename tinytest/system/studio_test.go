package system_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/controller"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/registry"
	"nmosauthd/tinytest/spec"
	"nmosauthd/tinytest/studio"
)

// site is a whole facility under test.
type site struct {
	*studio.Studio
	t         *testing.T
	ctx       context.Context
	announced chan struct{} // once for each time that the device has announced everything
	replaced  chan struct{} // once for each token that the registry refused and the device replaced
}

func newSite(t *testing.T) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, announced: make(chan struct{}, 100), replaced: make(chan struct{}, 100)}
	var err error
	s.Studio, err = studio.Start(ctx, program, studio.Options{
		Timeout: patience, Logf: func(format string, a ...any) { t.Logf(format, a...) },
		Announced: func() { notify(s.announced) }, Replaced: func() { notify(s.replaced) },
	})
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		err = errors.Join(s.AnnounceServer(), s.StartRegistry(ctx), s.StartDevice(ctx))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) await(what string, c <-chan struct{}) {
	s.t.Helper()
	select {
	case <-c:
	case <-s.ctx.Done():
		s.t.Fatalf("waited to no effect: %s\nthe device's daemon:\n%s\nthe registry's daemon:\n%s",
			what, s.DeviceDaemon.Log(), s.RegistryDaemon.Log())
	}
}

// notify does not wait.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// register has the device be registered now, as a technician does.
func (s *site) register() {
	s.t.Helper()
	if _, err := s.RegisterDevice(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.AnnounceDevice()
	s.await("the device's announcement", s.announced)
}

func (s *site) signIn(name string, person controller.Person) *controller.Controller {
	s.t.Helper()
	c := s.Controller(name, person)
	if person.Name != "" {
		if err := c.SignIn(s.ctx); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

func (s *site) query(c *controller.Controller, kind string) []controller.Resource {
	s.t.Helper()
	list, err := c.Query(s.ctx, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func find(t *testing.T, list []controller.Resource, id string) controller.Resource {
	t.Helper()
	i := slices.IndexFunc(list, func(r controller.Resource) bool { return r.ID == id })
	if i < 0 {
		t.Fatalf("no %s in %v", id, list)
	}
	return list[i]
}

// refused compares a refusal.
func refused(t *testing.T, what string, err error, status int, reason string) {
	t.Helper()
	if gotStatus, gotReason := controller.Refused(err); gotStatus != status || gotReason != reason {
		t.Errorf("%s: got %v, want %d %s", what, err, status, reason)
	}
}

// watch follows the meter over three levels.
func (s *site) watch(c *controller.Controller, meter controller.Resource) error {
	var seen []float64
	s.Device.SetLevel(-30)
	err := c.Watch(s.ctx, meter, func(dBFS float64) bool {
		seen = append(seen, dBFS)
		s.Device.SetLevel(dBFS + 6)
		return len(seen) < 3
	})
	if err == nil && fmt.Sprint(seen) != "[-30 -24 -18]" {
		err = fmt.Errorf("saw %v, want -30, -24 and -18", seen)
	}
	return err
}

// The whole story: from DNS-SD to a level meter, every token by a real flow.
func TestStudio(t *testing.T) {
	spec.Rules(t, "CLI-10", "CLI-12", "CLI-13", "CLI-69")
	t.Parallel()
	s := newSite(t)
	s.register()
	clients := s.Server.Registered()
	if len(clients) != 1 || clients[0].Scope != "registration" ||
		fmt.Sprint(clients[0].Grants) != "[client_credentials]" || clients[0].AuthMethod != "private_key_jwt" {
		t.Fatalf("got %+v, want the device alone, for registration alone", clients)
	}

	panel, guest := s.signIn("Panel 1", studio.Anna), s.signIn("Panel 2", studio.Vito)
	senders, receivers := s.query(panel, "senders"), s.query(panel, "receivers")
	if len(s.query(panel, "nodes")) != 1 || len(senders) != 3 || len(receivers) != 2 {
		t.Errorf("got %v and %v, want what the device has", senders, receivers)
	}
	_, err := guest.Query(s.ctx, "senders")
	refused(t, "a query of the guest", err, 403, "api-not-granted")

	sender, receiver := find(t, senders, firmware.Sender1ID), find(t, receivers, firmware.Receiver1ID)
	following, shown := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(shown)
		err := panel.Follow(s.ctx, "receivers", func(r controller.Resource) bool {
			notify(following)
			return r.ID != receiver.ID || !r.Subscription.Active || r.Subscription.SenderID != sender.ID
		})
		if err != nil {
			t.Error(err)
		}
	}()
	s.await("the receivers by a subscription", following)
	if err := panel.Connect(s.ctx, sender, receiver); err != nil {
		t.Fatal(err)
	}
	s.await("the connection in the registry", shown)
	err = guest.Follow(s.ctx, "receivers", func(controller.Resource) bool { return false })
	refused(t, "a subscription of the guest", err, 403, "api-not-granted")
	refused(t, "what anna may not", panel.Mute(s.ctx, sender), 403, "path-not-granted")
	meter := find(t, senders, firmware.MeterSenderID)
	if err := s.watch(panel, meter); err != nil {
		t.Error(err)
	}
	_, err = guest.Get(s.ctx, s.Device.URL()+"/x-nmos/events/v1.0/sources/"+firmware.MeterSourceID+"/state")
	refused(t, "the guest at the meter", err, 403, "api-not-granted")
	_, err = panel.Get(s.ctx, s.Registry.URL()+registry.RegistrationAPI+"/resource/nodes/"+firmware.NodeID)
	refused(t, "a panel at the Registration API", err, 403, "api-not-granted")

	if v := s.Server.Violations(); len(v) != 0 {
		t.Errorf("the authorization server notes: %q", v)
	}
	if err := s.StopAnnouncing(); err != nil {
		t.Error(err)
	}
	for _, g := range []*studio.Guarded{s.DeviceDaemon, s.RegistryDaemon} {
		if strings.Contains(g.Log(), "eyJ") {
			t.Errorf("a token in the log:\n%s", g.Log())
		}
	}
}

// Another device, which has a good token of its own, cannot touch what the first one registered.
func TestRegistryBinding(t *testing.T) {
	spec.Rules(t, "CLI-11")
	t.Parallel()
	s := newSite(t)
	s.register()
	if err := s.Server.GiveClient("other-box", "registration", "a secret", nil); err != nil {
		t.Fatal(err)
	}
	own, err := s.Device.OwnToken(s.ctx, "registration", "")
	if err != nil {
		t.Fatal(err)
	}
	other := s.Server.Token(mint.Options{
		Client: "other-box", Device: studio.RegistryHost, Scope: "registration",
	}).Sign()
	for path, method := range map[string]string{
		"/health/nodes/" + firmware.NodeID: "POST", "/resource/nodes/" + firmware.NodeID: "DELETE",
		"/resource/receivers/" + firmware.Receiver1ID: "DELETE",
	} {
		if got := s.send(method, path, other); got != 403 {
			t.Errorf("another client: %s %s: got %d, want 403", method, path, got)
		}
	}
	if got := s.send("POST", "/health/nodes/"+firmware.NodeID, own.AccessToken); got != 200 {
		t.Errorf("the device itself: got %d, want 200", got)
	}
}

// send makes a request of the Registration API.
func (s *site) send(method, path, token string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.ctx, method, s.Registry.URL()+registry.RegistrationAPI+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := s.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// Keys that are lost are replaced, and everybody gets new tokens: the panel when it is refused, the device when the
// registry refuses it. Access that is withdrawn ends with the token.
func TestStudioChanges(t *testing.T) {
	spec.Rules(t, "KEY-7", "CLI-14", "ANS-8")
	t.Parallel()
	s := newSite(t)
	s.register()
	panel := s.signIn("Panel 1", studio.Anna)
	before, err := s.Device.OwnToken(s.ctx, "registration", "")
	if err != nil {
		t.Fatal(err)
	}
	s.query(panel, "nodes")
	meter := find(t, s.query(panel, "senders"), firmware.MeterSenderID)
	dark, seen := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(dark)
		_ = panel.Watch(s.ctx, meter, func(float64) bool { notify(seen); return true })
	}()
	s.await("a level", seen)
	for len(s.replaced) > 0 {
		<-s.replaced
	}
	s.Server.Replace()
	if err := panel.Refresh(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.query(panel, "nodes")                       // by the new key, which the registry's daemon fetches for it
	if err := s.watch(panel, meter); err != nil { // and the device's
		t.Error(err)
	}
	s.await("the end of the WebSocket that was opened under the old key", dark)
	s.await("another token of the device", s.replaced)
	if after, err := s.Device.OwnToken(s.ctx, "registration", ""); err != nil || after.TokenID == before.TokenID {
		t.Errorf("got %v, want another token", err)
	}
	if n := s.Server.Registrations(); n != 2 {
		t.Errorf("got %d registrations, want the device and the panel", n)
	}

	s.Server.SetLife(8 * time.Second)
	if err := panel.Refresh(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.Server.SetLife(time.Hour)
	for _, c := range s.Server.Registered() {
		if c.AuthMethod == "none" {
			s.Server.Withdraw(c.ID)
		}
	}
	if _, why := controller.Refused(panel.Refresh(s.ctx)); why != "invalid_grant" {
		t.Errorf("after access was withdrawn: got %q, want invalid_grant", why)
	}
	// until the permission ends, if it has not ended already
	_ = panel.Watch(s.ctx, meter, func(float64) bool { return true })
	eventually(t, "the end of the token", func() bool {
		_, err = panel.Query(s.ctx, "nodes")
		return err != nil
	})
	refused(t, "when the token has ended", err, 401, "token-expired")
}

// Without tokens everything goes in observe mode, and the report's claims are what enforce needs.
func TestStudioObserves(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	s := newSite(t)
	s.register()
	for _, g := range []*studio.Guarded{s.DeviceDaemon, s.RegistryDaemon} {
		if err := g.SetMode(s.ctx, "observe"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Command(s.ctx, g, "observe", "reset"); err != nil {
			t.Fatal(err)
		}
	}
	use := func(c *controller.Controller) error {
		senders, err := c.Query(s.ctx, "senders")
		if err != nil {
			return err
		}
		receivers, err := c.Query(s.ctx, "receivers")
		if err != nil {
			return err
		}
		err = c.Connect(s.ctx, find(t, senders, firmware.Sender1ID), find(t, receivers, firmware.Receiver1ID))
		return errors.Join(err, s.watch(c, find(t, senders, firmware.MeterSenderID)))
	}
	if err := use(s.signIn("Old panel", controller.Person{})); err != nil {
		t.Fatal(err)
	}
	if err := s.Controller("Old panel", controller.Person{}).Mute(s.ctx,
		find(t, s.query(s.signIn("Panel 1", studio.Anna), "senders"), firmware.Sender2ID)); err != nil {
		t.Errorf("observe mode: %v", err)
	}
	given := studio.Claims{}
	for g, specifiers := range map[*studio.Guarded]int{s.DeviceDaemon: 6, s.RegistryDaemon: 3} {
		claims, err := s.Missing(s.ctx, g, specifiers)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(given, claims)
		if err := g.SetMode(s.ctx, "enforce"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Controller("Old panel", controller.Person{}).Query(s.ctx, "senders")
	refused(t, "without a token", err, 401, "no-token")
	s.Permit(studio.Vito.Name, given)
	panel := s.signIn("New panel", studio.Vito)
	if err := use(panel); err != nil {
		t.Errorf("by the claims of the report %v: %v", given, err)
	}
	_, err = panel.Query(s.ctx, "nodes")
	refused(t, "what was not seen", err, 403, "path-not-granted")
}
