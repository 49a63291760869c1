package system_test

import (
	"slices"
	"testing"

	"nmosauthd/tinytest/controller"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/spec"
	"nmosauthd/tinytest/studio"
)

// A whole facility: who may read follows the meter and the gain and is refused at the gain, on a socket that goes on;
// who may write turns it, and the other sees that.
func TestStudioGain(t *testing.T) {
	spec.Rules(t, "CTL-11", "CTL-25", "CTL-27", "CTL-28")
	t.Parallel()
	s := newSite(t)
	s.register()
	open := func(name string, person controller.Person) *controller.Desk {
		t.Helper()
		panel := s.signIn(name, person)
		devices, err := panel.Query(s.ctx, "devices")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(devices, func(r controller.Resource) bool { return r.ID == firmware.DeviceID })
		if i < 0 {
			t.Fatalf("the registry does not have the stage box: %v", devices)
		}
		desk, err := panel.Control(s.ctx, devices[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { desk.Close() })
		return desk
	}
	mona, sven := open("Meter bridge", studio.Mona), open("Gain panel", studio.Sven)
	gain, err := mona.Find("mic-1", "gain")
	if err != nil {
		t.Fatal(err)
	}
	meter, err := mona.Find("meters", "mic-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := mona.Subscribe(meter, gain); err != nil || !slices.Equal(got, []int{meter, gain}) {
		t.Errorf("accepted are %v, %v; want both", got, err)
	}
	sees := func(want int, dB float64) {
		t.Helper()
		if oid, got, err := mona.Next(); err != nil || oid != want || got != dB {
			t.Errorf("sees %v of %d, %v; want %v of %d", got, oid, err, dB, want)
		}
	}
	s.Device.SetLevel(-30)
	sees(meter, -30)
	if status, _ := controller.Refused(mona.Turn(gain, 12)); status != 401 {
		t.Errorf("Turn: got %d, want 401", status)
	}
	if got, err := mona.Read(gain); err != nil || got != 0 {
		t.Errorf("the gain is %v, %v; want 0", got, err)
	}
	if err := sven.Turn(gain, 12); err != nil {
		t.Error(err)
	}
	sees(gain, 12)
	if status, _ := controller.Refused(sven.Turn(meter, 0)); status != 401 {
		t.Errorf("Sven sets a meter: got %d, want 401", status)
	}
	vito := s.signIn("Panel 2", studio.Vito)
	mixer := controller.Resource{Label: "Stage box"}
	if _, err := vito.Control(s.ctx, mixer); err == nil {
		t.Error("a device without a control socket has one")
	}
	mixer.Controls = []struct{ Type, Href string }{
		{"urn:x-nmos:control:ncp/v1.0", "wss" + s.Device.URL()[len("https"):] + ncp}}
	if _, err := vito.Control(s.ctx, mixer); err == nil {
		t.Error("the socket was opened by a token for connections")
	} else if status, _ := controller.Refused(err); status != 403 {
		t.Errorf("got %v, want 403", err)
	}
}
