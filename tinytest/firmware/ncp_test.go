package firmware

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/devicemodel"
	"nmosauthd/tinytest/spec"
)

// openNCP starts a device with this daemon, and opens IS-12's WebSocket.
func openNCP(t *testing.T, answer func(string) string, query string) (*Device, *daemon, *websocket.Conn) {
	t.Helper()
	d, fake := startDevice(t, answer)
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(d.URL(), "http")+ncpSocket+query, d.URL())
	if err != nil {
		t.Fatal(err)
	}
	if query == "" {
		config.Header.Set("Authorization", "Bearer abc")
	}
	c, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return d, fake, c
}

func tell(t *testing.T, c *websocket.Conn, message string) string {
	t.Helper()
	if err := websocket.Message.Send(c, message); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(receive(t, c))
}

// asControl answers control 1 as said, and everything else with allow.
func asControl(answer func(packet string) string) func(string) string {
	return func(packet string) string {
		if strings.HasPrefix(packet, "control 1\n") {
			return answer(packet)
		}
		return allow(packet)
	}
}

const threeCommands = `{"messageType":0,"commands":[
	{"handle":7,"oid":41,"methodId":{"level":1,"index":2},"arguments":{"id":{"level":3,"index":1},"value":-6}},
	{"handle":7,"oid":99,"methodId":{"level":1,"index":1}},
	{"handle":8,"oid":41,"methodId":{"level":1,"index":1},"arguments":{"id":{"level":3,"index":1}}}]}`

// What is asked: the handshake, which is left standing, and each command, with handles of the device's own and the
// token of the handshake wherever it came. An unknown oid is not asked about.
func TestNCPQuestions(t *testing.T) {
	spec.Rules(t, "CTL-21", "CTL-26", "CTL-29")
	for query, handshake := range map[string][]string{
		"":                    {"target=" + ncpSocket, "authorization=Bearer abc"},
		"?access_token=a%62c": {"target=" + ncpSocket + "?access_token=a%62c"},
	} {
		_, fake, c := openNCP(t, allow, query)
		want := append([]string{"watch-token 1", "method=GET"}, append(handshake, "upgrade=websocket", "id=1")...)
		if got := fake.last(); !slices.Equal(got, want) {
			t.Errorf("%s: asked %q, want %q", query, got, want)
		}
		const answer = `{"messageType":1,"responses":[{"handle":7,"result":{"status":200}},` +
			`{"handle":7,"result":{"errorMessage":"there is no such object","status":404}},` +
			`{"handle":8,"result":{"status":200,"value":-6}}]}`
		if got := tell(t, c, threeCommands); got != answer {
			t.Errorf("got %s, want %s", got, answer)
		}
		want = []string{"control 1", "api=control", "authorization=Bearer abc", "command=1 1.2.0.1 1m2 root.mic-1.gain",
			"command=2 1.2.0.1 1m1 root.mic-1.gain", "id=2"}
		if got := fake.last(); !slices.Equal(got, want) {
			t.Errorf("%s: asked %q, want %q", query, got, want)
		}
		before := fake.asked()
		tell(t, c, `{"messageType":0,"commands":[{"handle":1,"oid":99,"methodId":{"level":1,"index":1}}]}`)
		if got := tell(t, c, `{"messageType":3,"subscriptions":[99]}`); got != `{"messageType":4,"subscriptions":[]}` {
			t.Errorf("got %s, want none", got)
		}
		if fake.asked() != before {
			t.Errorf("asked %q about what there is not", fake.last())
		}
	}
}

// What a denial comes to: 401 for those listed, 503 if that is the status; and nothing but 503 without an answer that
// can be read.
func TestNCPAnswers(t *testing.T) {
	spec.Rules(t, "CTL-25", "CTL-27", "CTL-30", "CTL-84")
	const challenge = `www-authenticate=Bearer realm="a"`
	for name, row := range map[string]struct {
		answer      func(string) string
		set, get    int
		subscribing string
	}{
		"one": {always("deny 403", "reason=path-not-granted", "expires-in=60", "denied=command 1 403 path-not-granted",
			"denied=subscribe root.meters.mic-1 403 path-not-granted", challenge), 401, 200, "[32]"},
		"all":                 {always("deny 401", "reason=token-expired", "denied=*", challenge), 401, 401, "[]"},
		"all, without a list": {always("deny 403", "reason=mode", challenge), 401, 401, "[]"},
		"keys are fetched": {always("deny 503", "reason=keys-pending", "retry-after=1", "denied=*"),
			503, 503, "[]"},
		"a list with 503": {always("deny 503", "reason=keys-pending", "retry-after=1",
			"denied=command 2 503 keys-pending"), 200, 503, "[31,32]"},
		"our question is refused": {always("error 400", "reason=packet-value"), 503, 503, "[]"},
		"nonsense":                {func(string) string { return "nonsense" }, 503, 503, "[]"},
		"another's answer":        {func(string) string { return "allow 200\nid=no\nreason=ok\n" }, 503, 503, "[]"},
		"observe": {always("allow 200", "reason=observe", "would=command 1 403 path-not-granted",
			"would=command 2 403 path-not-granted"), 200, 200, "[31,32]"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, c := openNCP(t, asControl(row.answer), "")
			before := d.Objects().Snapshot()
			var got struct {
				Responses []struct{ Result struct{ Status int } }
			}
			if err := json.Unmarshal([]byte(tell(t, c, threeCommands)), &got); err != nil || len(got.Responses) != 3 {
				t.Fatalf("got %+v, %v", got, err)
			}
			for i, want := range []int{row.set, 404, row.get} {
				if status := got.Responses[i].Result.Status; status != want {
					t.Errorf("command %d: got %d, want %d", i+1, status, want)
				}
			}
			if changed := d.Objects().Snapshot() != before; changed != (row.set == 200) {
				t.Errorf("changed: %t, with %d", changed, row.set)
			}
			if got := tell(t, c, `{"messageType":3,"subscriptions":[31,32]}`); got != `{"messageType":4,"subscriptions":`+row.subscribing+`}` {
				t.Errorf("got %s, want %s", got, row.subscribing)
			}
		})
	}
}

// With the daemon gone nothing is carried out, neither here nor over HTTP, where the error has the API's body.
func TestModelWithoutDaemon(t *testing.T) {
	spec.Rules(t, "CTL-30", "CTL-67")
	d, fake, c := openNCP(t, allow, "")
	before := d.Objects().Snapshot()
	const restore = `{"arguments":{"recurse":true,"dataSet":{"values":[{"path":["root","mic-1","gain"],"values":[
		{"id":{"level":1,"index":6},"value":"x"}]}]}}}`
	const target = configurationAPI + "/rolePaths/root.mic-1/bulkProperties"
	fake.say(asControl(func(string) string { return "nonsense" })) // the request is allowed, and its objects are not
	for range 2 {
		got := send(t, d, "PUT", target, restore, "Authorization", "Bearer abc")
		if got.status != 503 || !strings.Contains(got.body, `"status":503,"errorMessage":`) {
			t.Errorf("got %d %s, want 503", got.status, got.body)
		}
		if got := tell(t, c, threeCommands); strings.Count(got, `"status":503`) != 2 {
			t.Errorf("got %s, want 503 for both that there are", got)
		}
		fake.say(func(string) string { return "nonsense" })
	}
	if d.Objects().Snapshot() != before {
		t.Error("the model has changed")
	}
}

// Messages that are none get an error, and nothing of them is carried out; the socket goes on.
func TestNCPMessages(t *testing.T) {
	d, fake, c := openNCP(t, allow, "")
	before, asked := d.Objects().Snapshot(), fake.asked()
	for _, bad := range []string{
		"", "{", "[]", `{"commands":[]}`, `{"messageType":1,"responses":[]}`, `{"messageType":9}`,
		`{"messageType":0,"commands":7}`, strings.Replace(threeCommands, `"handle":8`, `"handle":0`, 1),
		strings.Replace(threeCommands, `"handle":8`, `"handle":65536`, 1),
		strings.Replace(threeCommands, `"handle":8`, `"handle":"8"`, 1),
	} {
		if got := tell(t, c, bad); !strings.Contains(got, `"messageType":5`) || !strings.Contains(got, `"status":400`) {
			t.Errorf("%q: got %s, want an error", bad, got)
		}
	}
	if d.Objects().Snapshot() != before || fake.asked() != asked {
		t.Error("something of them was carried out, or asked about")
	}
	if got := tell(t, c, `{"messageType":0,"commands":[]}`); got != `{"messageType":1,"responses":[]}` {
		t.Errorf("got %s, want no responses", got)
	}
}

// A message that asks for more than fits into a packet is several, and a command is allowed only by all of its lines.
func TestNCPManyPackets(t *testing.T) {
	spec.Rules(t, "CTL-82", "CTL-85")
	packets := 0
	d, fake, c := openNCP(t, asControl(func(packet string) string {
		if packets++; len(packet) > packetLimit {
			return always("error 400", "reason=packet-size")(packet)
		}
		if strings.Contains(packet, "command=1 1.3.3 3m1 root.mic-2.gain\n") {
			return always("deny 403", "reason=path-not-granted", "denied=command 1 403 path-not-granted",
				`www-authenticate=Bearer realm="a"`)(packet)
		}
		return allow(packet)
	}), "")
	list := []string{`{"handle":1,"oid":4,"methodId":{"level":3,"index":1},"arguments":{"path":["root"],"recurse":true}}`}
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"handle":%d,"oid":11,"methodId":{"level":4,"index":1}}`, i+2))
	}
	got := tell(t, c, `{"messageType":0,"commands":[`+strings.Join(list, ",")+`]}`)
	if strings.Count(got, `"status":401`) != 1 || strings.Count(got, `"status":200`) != 1000 {
		t.Errorf("%d are 401 and %d are 200, want 1 and 1000",
			strings.Count(got, `"status":401`), strings.Count(got, `"status":200`))
	}
	if packets < 2 {
		t.Errorf("there was %d packet, want several", packets)
	}

	// One command whose lines are parted.
	objects := d.Objects().Objects()
	var many []*devicemodel.Object
	for len(many) < 2000 {
		many = append(many, d.Objects().FindPath("root.meters.mic-1"))
	}
	many[0] = d.Objects().FindPath("root.mic-2.gain")
	answers, reply := d.permit("control", "",
		[]request{{"1.3.3", devicemodel.GetBulk, many}, {"1.1", devicemodel.MethodGet, objects[:1]}})
	if !slices.Equal(answers, []devicemodel.Status{401, 200}) || reply.Status != 403 {
		t.Errorf("got %v, %+v; want the first refused by its first line, the other allowed", answers, reply)
	}
	fake.say(allow)
}

// Whoever does not take what is told is not kept for.
func TestNCPQueue(t *testing.T) {
	spec.Rules(t, "CTL-28")
	ended := 0
	s := &session{subscribed: map[int]bool{31: true}, more: make(chan struct{}, 1), end: func() { ended++ }}
	for range queueLimit {
		s.changed(devicemodel.Change{OID: 31})
		s.changed(devicemodel.Change{OID: 32})
	}
	if len(s.waiting) != queueLimit || ended != 0 {
		t.Errorf("%d wait, ended %d times", len(s.waiting), ended)
	}
	if s.changed(devicemodel.Change{OID: 31}); len(s.waiting) != queueLimit || ended != 1 {
		t.Errorf("%d wait, ended %d times; want the socket ended at the limit", len(s.waiting), ended)
	}
}
