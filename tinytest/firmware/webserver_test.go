package firmware

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// What the web server has asked about is not asked again, and routed on the path that was judged, never on the target.
func TestBehindAWebServer(t *testing.T) {
	spec.Rules(t, "PATH-12")
	d, fake := startDevice(t, func(packet string) string {
		id := packet[strings.Index(packet, "id="):]
		return "deny 401\n" + id + "reason=no-token\nwww-authenticate=Bearer realm=\"x\"\n"
	})
	for _, c := range []struct {
		method, target, reason, path string
		status                       int
		asked                        int // the first line of what was asked: 0 nothing, 1 decide, 2 decide-all
	}{
		{"GET", nodeAPI + "/self", "ok", nodeAPI + "/self", 200, 0},
		{"GET", nodeAPI + "/nothing", "ok", nodeAPI + "/self", 200, 0},
		{"GET", nodeAPI + "/self", "ok", nodeAPI + "/nothing", 404, 0},
		{"GET", nodeAPI + "/self", "observe", "", 400, 0},
		{"OPTIONS", "/x//y", "public", "", 200, 0},
		{"GET", nodeAPI + "/self", "", nodeAPI + "/self", 401, 1},
		{"GET", socketPath, "ok", socketPath, 426, 0},
		{"UPGRADE", socketPath, "ok", socketPath, 401, 2},
		{"UPGRADE", socketPath, "", "", 401, 2},
	} {
		r := httptest.NewRequest(strings.Replace(c.method, "UPGRADE", "GET", 1), c.target, nil)
		if c.method == "UPGRADE" {
			r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}}
		}
		if c.reason != "" {
			r.Header.Set("X-Auth-Reason", c.reason)
		}
		r.Header.Set("X-Auth-Path", c.path)
		before := fake.asked()
		w := httptest.NewRecorder()
		d.Behind().ServeHTTP(w, r)
		asked := 0
		if fake.asked() > before {
			fake.mu.Lock()
			asked = 1 + strings.Count(fake.packets[before], "decide-all 1")
			fake.mu.Unlock()
		}
		if w.Code != c.status || asked != c.asked {
			t.Errorf("%s %s judged as %q: %d, asked %d; want %d, %d",
				c.method, c.target, c.path, w.Code, asked, c.status, c.asked)
		}
	}
}
