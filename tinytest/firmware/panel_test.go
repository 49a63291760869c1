package firmware

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// panel sends one command as the front panel does.
func panel(t *testing.T, d *Device, command string) string {
	t.Helper()
	c, err := net.Dial("udp", d.PanelAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err = c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1024)
	n := 0
	if _, err = io.WriteString(c, command); err == nil {
		n, err = c.Read(answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

// allowResource permits everything about resources.
func allowResource(packet string) string {
	return "allow 200\nid=" + field(packet, "id") + "\nreason=ok\npath=/x\n"
}

func TestPanelAsksInItsOwnTerms(t *testing.T) {
	d, fake := startDevice(t, allowResource)
	d.SetLevel(-12.5)
	for _, c := range []struct{ command, want, access, authorization string }{
		{"read meter meter-1 a.b.c", "200 -12.5 dBFS", "read", "authorization=Bearer a.b.c"},
		{"read receiver in-1 a.b.c", "200 off", "read", "authorization=Bearer a.b.c"},
		{"write receiver in-1 on a.b.c", "200 on", "write", "authorization=Bearer a.b.c"},
		{"read receiver in-1", "200 on", "read", ""},
		{"read sender out-2", "200 off", "read", ""},
		{"write sender out-2 loud", "404 there is none, or it cannot be set to that", "write", ""},
		{"write meter meter-1 on", "404 there is none, or it cannot be set to that", "write", ""},
		{"read meter meter-2", "404 there is none", "read", ""},
	} {
		if got := panel(t, d, c.command); got != c.want {
			t.Errorf("%s: %s, want %s", c.command, got, c.want)
		}
		words := strings.Fields(c.command)
		want := []string{"resource 1", "kind=" + words[1], "name=" + words[2], "access=" + c.access}
		if c.authorization != "" {
			want = append(want, c.authorization)
		}
		if got := fake.last(); !reflect.DeepEqual(got[:len(got)-1], want) ||
			!strings.HasPrefix(got[len(got)-1], "id=") {
			t.Errorf("%s: asked %q", c.command, got)
		}
	}
	asked := fake.asked()
	for _, command := range []string{"", "read", "read meter", "read meter meter-1 a b", "write receiver in-1",
		"delete receiver in-1", "\x00"} {
		if got := panel(t, d, command); got != "400 what is that?" {
			t.Errorf("%q: %s", command, got)
		}
	}
	if fake.asked() != asked {
		t.Error("the daemon was asked about nonsense")
	}
}

// What is denied is not done; if nobody can be asked, nothing is.
func TestPanelDenies(t *testing.T) {
	d, fake := startDevice(t, always("deny 403", "reason=path-not-granted", `www-authenticate=Bearer realm="x"`))
	if got := panel(t, d, "write receiver in-1 on a"); got != "403 path-not-granted" {
		t.Errorf("got %s, want 403 path-not-granted", got)
	}
	fake.say(always("deny 503", "reason=inventory-pending", "retry-after=2"))
	if got := panel(t, d, "write receiver in-1 on a"); got != "503 inventory-pending" {
		t.Errorf("got %s, want 503 inventory-pending", got)
	}
	fake.say(func(string) string { return "error 400\nreason=packet-value\n" })
	if got := panel(t, d, "write receiver in-1 on a"); got != "400 packet-value" {
		t.Errorf("got %s, want 400 packet-value", got)
	}
	fake.stop()
	if got := panel(t, d, "write receiver in-1 on a"); got != "503 the authorization daemon cannot be asked" {
		t.Errorf("got %s, want 503 and that the daemon cannot be asked", got)
	}
	if got := d.model.readNamed("receiver", "in-1"); got != "200 off" {
		t.Errorf("it was done: %s", got)
	}
}

// The device tells what it has, by the names that it has at the time.
func TestInventory(t *testing.T) {
	d, _ := startDevice(t, allowResource)
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	status, got := http.StatusNoContent, ""
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "PUT" || r.URL.Path != "/inventory" {
			t.Errorf("%s %s, %v", r.Method, r.URL, err)
		}
		got = string(body)
		w.WriteHeader(status)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	if err := d.PushInventory(t.Context(), socket); err != nil || got != string(d.Inventory()) {
		t.Errorf("%v, pushed %s", err, got)
	}
	for _, part := range []string{`"meter-1"`, `"out-1"`, `"in-1"`, MeterSourceID, Sender1ID, Receiver1ID} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	if err := d.Rename("meter", "meter-1", "stage-left"); err != nil {
		t.Fatal(err)
	}
	if text := string(d.Inventory()); strings.Contains(text, "meter-1") || !strings.Contains(text, "stage-left") {
		t.Errorf("renamed: %s", text)
	}
	if got := panel(t, d, "read meter stage-left"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("got %s, want 200", got)
	}
	if d.Rename("meter", "meter-1", "x") == nil {
		t.Error("renamed what is not there")
	}
	status = http.StatusConflict
	if err := d.PushInventory(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "409") {
		t.Error(err)
	}
	if err := d.PushInventory(t.Context(), "/no/such/socket"); err == nil {
		t.Error("pushed to nobody")
	}
}
