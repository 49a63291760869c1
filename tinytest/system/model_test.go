package system_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/devicemodel"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

const (
	ncp           = "/x-nmos/ncp/v1.0"
	configuration = "/x-nmos/configuration/v1.0"
)

// startModel starts a device and a daemon that is asked about each command.
func startModel(t *testing.T, more string) (*authserver.Server, *box, client) {
	t.Helper()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "[control]\ncommands = \"asked\"\n" + more
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	d, err := firmware.Start(firmware.Options{Socket: b.Authz(), Timeout: patience, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, b, client{t, d}
}

// granting is a token with one claim.
func granting(s *authserver.Server, api string, read, write []string) string {
	return s.Token(mint.Options{Permissions: map[string]mint.Permission{api: {Read: read, Write: write}}}).Sign()
}

// modelSocket is a controller's end of IS-12's WebSocket.
type modelSocket struct {
	t *testing.T
	*websocket.Conn
	notifications []notification // that came before what was waited for
}

type notification struct {
	OID       int `json:"oid"`
	EventID   devicemodel.ID
	EventData struct {
		PropertyID devicemodel.ID
		Value      any
	}
}

// ncMessage is whatever the device sends.
type ncMessage struct {
	MessageType int
	Responses   []struct {
		Handle int
		Result struct {
			Status       int
			Value        json.RawMessage
			ErrorMessage string
		}
	}
	Subscriptions []int
	Notifications []notification
	Status        int
}

// openModel opens the WebSocket, with the token in the header or in the query (ANS-9).
func (c client) openModel(token string, inQuery bool) (*modelSocket, error) {
	at := "ws" + strings.TrimPrefix(c.device.URL(), "http") + ncp
	if inQuery {
		at += "?access_token=" + url.QueryEscape(token)
	}
	config, err := websocket.NewConfig(at, c.device.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	if !inQuery && token != "" {
		config.Header.Set("Authorization", "Bearer "+token)
	}
	conn, err := websocket.DialConfig(config)
	if err != nil {
		return nil, err
	}
	c.t.Cleanup(func() { conn.Close() })
	return &modelSocket{t: c.t, Conn: conn}, nil
}

func (c client) mustOpenModel(token string) *modelSocket {
	c.t.Helper()
	s, err := c.openModel(token, false)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// exchange sends a message and waits for the answer; notifications that come first are kept.
func (s *modelSocket) exchange(message any) ncMessage {
	s.t.Helper()
	s.SetDeadline(time.Now().Add(patience))
	if err := websocket.JSON.Send(s.Conn, message); err != nil {
		s.t.Fatal(err)
	}
	for {
		m := s.receive()
		if m.MessageType != 2 {
			return m
		}
	}
}

// receive waits for the next message.
func (s *modelSocket) receive() ncMessage {
	s.t.Helper()
	var m ncMessage
	if err := websocket.JSON.Receive(s.Conn, &m); err != nil {
		s.t.Fatal(err)
	}
	s.notifications = append(s.notifications, m.Notifications...)
	return m
}

// ncCommand is a command as IS-12 has it.
type ncCommand struct {
	Handle    int            `json:"handle"`
	OID       int            `json:"oid"`
	MethodID  devicemodel.ID `json:"methodId"`
	Arguments any            `json:"arguments,omitempty"`
}

func (s *modelSocket) commands(list ...ncCommand) ncMessage {
	s.t.Helper()
	m := s.exchange(map[string]any{"messageType": 0, "commands": list})
	if m.MessageType != 1 || len(m.Responses) != len(list) {
		s.t.Fatalf("got a message of type %d with %d responses, want 1 with %d",
			m.MessageType, len(m.Responses), len(list))
	}
	return m
}

// subscribe returns which were accepted.
func (s *modelSocket) subscribe(oids ...int) []int {
	s.t.Helper()
	m := s.exchange(map[string]any{"messageType": 3, "subscriptions": oids})
	if m.MessageType != 4 {
		s.t.Fatalf("got a message of type %d, want 4", m.MessageType)
	}
	return m.Subscriptions
}

// reads are the methods that change nothing, written from the table of methods by hand, by the class that defines them.
// The bulk properties manager's 3m2 changes nothing either, but needs write.
var reads = map[string][]string{
	"1": {"1m1", "1m3", "1m7"}, "1.1": {"2m1", "2m2", "2m3", "2m4"}, "1.3.2": {"3m1", "3m2"}, "1.3.3": {"3m1"},
	"1.2.2.1": {"4m1", "4m2"}, "1.2.2.2": {"4m1"},
}

// readOnly reports whether a token that may only read may call a method: whether one of the object's classes has it.
func readOnly(class, method string) bool {
	for ancestor, list := range reads {
		if (class == ancestor || strings.HasPrefix(class, ancestor+".")) && slices.Contains(list, method) {
			return true
		}
	}
	return false
}

// randomCommand makes a command of any kind: mostly of methods and properties that there are, some that there are not.
func randomCommand(r *rand.Rand, m *devicemodel.Model, handle int) ncCommand {
	all := m.Objects()
	o := all[r.IntN(len(all))]
	known := m.Methods(o)
	c := ncCommand{Handle: handle, OID: o.OID, MethodID: known[r.IntN(len(known))]}
	switch r.IntN(20) {
	case 0:
		c.OID = 1000 + r.IntN(1000) // not there
	case 1:
		c.MethodID = devicemodel.ID{Level: 1 + r.IntN(6), Index: 1 + r.IntN(9)}
	}
	values := []any{nil, true, false, -3.5, 0.0, 7.0, "Lead vocal", []any{1.0, 2.0}, map[string]any{"a": 1}}
	properties := m.Properties(o)
	path := strings.Split(all[r.IntN(len(all))].Path, ".")
	arguments := map[string]any{"id": properties[r.IntN(len(properties))], "index": r.IntN(4),
		"value": values[r.IntN(len(values))]}
	if o.ClassID() == "1.3.3" && c.MethodID.Level == 3 {
		arguments = map[string]any{"path": path, "recurse": r.IntN(2) == 0}
		if c.MethodID.Index > 1 {
			arguments["restoreMode"] = 0
			arguments["dataSet"] = map[string]any{"validationFingerprint": nil, "values": []any{map[string]any{
				"path": path, "values": []any{
					map[string]any{"id": devicemodel.ID{Level: 1, Index: 6}, "value": "Drums"}},
			}}}
		}
	} else if c.MethodID.Level > 1 {
		arguments = map[string]any{}
	}
	c.Arguments = arguments
	if r.IntN(30) == 0 {
		c.Arguments = "nonsense"
	}
	return c
}

// With a token that may only read, every Set, Add, Remove and Reset is answered 401 in its place, the others go on, and
// the model is as before after 10,000 commands of random kinds. NMOS_SEED repeats one run.
func TestModelIsReadOnly(t *testing.T) {
	spec.Rules(t, "CTL-11", "CTL-25", "CTL-26", "CTL-40", "CTL-43")
	t.Parallel()
	server, _, c := startModel(t, "")
	model := c.device.Objects()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NMOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("NMOS_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := c.mustOpenModel(granting(server, "control", []string{"root.*"}, nil))
	before := model.Snapshot()
	const total, batch = 10_000, 200
	refused, went, unknown := 0, 0, 0
	for range total / batch {
		var list []ncCommand
		for range batch {
			list = append(list, randomCommand(r, model, 1+r.IntN(65535))) // handles may be there twice
		}
		for i, got := range s.commands(list...).Responses {
			of := list[i]
			o := model.Find(of.OID)
			if got.Handle != of.Handle {
				t.Fatalf("response %d has the handle %d, want %d", i, got.Handle, of.Handle)
			}
			switch {
			case o == nil:
				unknown++
				if got.Result.Status != 404 {
					t.Errorf("%+v: got %d, want 404", of, got.Result.Status)
				}
			case readOnly(o.ClassID(), of.MethodID.Method()):
				went++
				if got.Result.Status == 401 || got.Result.Status == 503 {
					t.Errorf("%s %+v: got %d, want it carried out", o.Path, of, got.Result.Status)
				}
			default:
				refused++
				if got.Result.Status != 401 || got.Result.ErrorMessage == "" || got.Result.Value != nil {
					t.Errorf("%s %+v: got %+v, want 401", o.Path, of, got.Result)
				}
			}
		}
	}
	if after := model.Snapshot(); after != before {
		t.Errorf("the model has changed:\n%s\nwas\n%s", after, before)
	}
	t.Logf("%d refused, %d carried out, %d of unknown objects", refused, went, unknown)
	if min(refused, went, unknown) < total/100 {
		t.Errorf("%d refused, %d carried out, %d of unknown objects: want some hundreds of each",
			refused, went, unknown)
	}

	// The same commands change the model with a token that may write: it was the token that protected it.
	s = c.mustOpenModel(granting(server, "control", []string{"root.*"}, []string{"root.*"}))
	statuses := map[int]int{}
	for range total / batch {
		var list []ncCommand
		for i := range batch {
			list = append(list, randomCommand(r, model, i+1))
		}
		for _, got := range s.commands(list...).Responses {
			statuses[got.Result.Status]++
		}
	}
	if model.Snapshot() == before || statuses[401] > 0 || statuses[503] > 0 {
		t.Errorf("the model has not changed, or not all was permitted: %v", statuses)
	}
}

// A command that reaches several objects needs the permission on each of them.
func TestModelBulkCommands(t *testing.T) {
	spec.Rules(t, "CTL-43", "CTL-82")
	t.Parallel()
	server, _, c := startModel(t, "")
	model := c.device.Objects()
	s := c.mustOpenModel(granting(server, "control", []string{"root.mic-1.*"}, []string{"root.mic-1.*"}))
	const manager = 4
	label := devicemodel.ID{Level: 1, Index: 6}
	restore := func(target string, recurse bool, paths ...string) map[string]any {
		var values []any
		for _, path := range paths {
			values = append(values, map[string]any{"path": strings.Split(path, "."),
				"values": []any{map[string]any{"id": label, "value": "Drums"}}})
		}
		return map[string]any{"path": strings.Split(target, "."), "recurse": recurse, "restoreMode": 0,
			"dataSet": map[string]any{"validationFingerprint": nil, "values": values}}
	}
	for _, row := range []struct {
		what      string
		method    devicemodel.ID
		arguments any
		want      int
	}{
		{"a backup of what may be read", devicemodel.GetBulk,
			map[string]any{"path": []string{"root", "mic-1"}, "recurse": true}, 200},
		{"a backup of all", devicemodel.GetBulk, map[string]any{"path": []string{"root"}, "recurse": true}, 401},
		{"of one that may not be read", devicemodel.GetBulk,
			map[string]any{"path": []string{"root"}, "recurse": false}, 401},
		{"recurse is true if it is left out", devicemodel.GetBulk, map[string]any{"path": []string{"root"}}, 401},
		{"of nothing", devicemodel.GetBulk, map[string]any{"path": []string{"root", "nobody"}}, 401},
		{"a restore beyond the permission", devicemodel.SetBulk,
			restore("root", true, "root.mic-1.gain", "root.mic-2.gain"), 401},
		{"the same, to validate", devicemodel.ValidateBulk,
			restore("root", true, "root.mic-1.gain", "root.mic-2.gain"), 401},
		{"a restore of nothing", devicemodel.SetBulk, restore("root", true), 401},
		{"validate what may be written", devicemodel.ValidateBulk, restore("root", true, "root.mic-1.gain"), 200},
	} {
		before := model.Snapshot()
		got := s.commands(ncCommand{1, manager, row.method, row.arguments},
			ncCommand{2, 41, devicemodel.MethodGet, map[string]any{"id": label}})
		if got.Responses[0].Result.Status != row.want || got.Responses[1].Result.Status != 200 {
			t.Errorf("%s: got %+v, want %d, and 200 for the other", row.what, got.Responses, row.want)
		}
		if model.Snapshot() != before {
			t.Errorf("%s: the model has changed", row.what)
		}
	}
	got := s.commands(ncCommand{1, manager, devicemodel.SetBulk, restore("root", true, "root.mic-1.gain")})
	if got.Responses[0].Result.Status != 200 {
		t.Errorf("got %+v, want it carried out", got.Responses)
	}
	for path, want := range map[string]any{"root.mic-1.gain": "Drums", "root.mic-2.gain": nil, "root": nil} {
		r := model.Invoke(model.FindPath(path), devicemodel.MethodGet, json.RawMessage(`{"id":{"level":1,"index":6}}`))
		if r.Value != want {
			t.Errorf("%s has the label %v, want %v", path, r.Value, want)
		}
	}
}

// Subscriptions without read are left out, without an error; changes are told to accepted subscriptions only.
func TestModelSubscriptions(t *testing.T) {
	spec.Rules(t, "CTL-14", "CTL-27", "CTL-28")
	t.Parallel()
	server, _, c := startModel(t, "")
	model := c.device.Objects()
	const meter1, meter2, gain1, gain2 = 31, 32, 41, 51
	level := func(n notification) string {
		return fmt.Sprintf("%d %s %v", n.OID, n.EventData.PropertyID.Property(), n.EventData.Value)
	}
	viewer := c.mustOpenModel(granting(server, "control", []string{"root.meters.mic-1", "root.mic-2.*"},
		[]string{"root.mic-1.gain"}))
	if got := viewer.subscribe(meter1, meter2, gain1, gain2, 30, 4711); !slices.Equal(got, []int{meter1, gain2}) {
		t.Errorf("accepted are %v, want %d and %d", got, meter1, gain2)
	}
	operator := c.mustOpenModel(granting(server, "control", []string{"root.*"}, []string{"root.*"}))
	set := func(oid int, value any) {
		t.Helper()
		got := operator.commands(ncCommand{1, oid, devicemodel.MethodSet,
			map[string]any{"id": devicemodel.PropertyGain, "value": value}})
		if got.Responses[0].Result.Status != 200 {
			t.Errorf("%d: got %+v", oid, got)
		}
	}
	model.SetLevel("mic-2", -7)
	set(gain1, -3.0)
	model.SetLevel("mic-1", -20)
	set(gain2, -6.0)
	viewer.SetDeadline(time.Now().Add(patience))
	for len(viewer.notifications) < 2 {
		viewer.receive()
	}
	if got := []string{level(viewer.notifications[0]), level(viewer.notifications[1])}; !slices.Equal(got,
		[]string{"31 3p1 -20", "51 3p1 -6"}) {
		t.Errorf("told %q, want the meter at -20 and the gain at -6", got)
	}
	if len(operator.notifications) != 0 {
		t.Errorf("told %+v, who has not subscribed", operator.notifications)
	}

	// A subscription takes the place of those before.
	viewer.notifications = nil
	if got := viewer.subscribe(gain2); !slices.Equal(got, []int{gain2}) {
		t.Errorf("accepted are %v", got)
	}
	model.SetLevel("mic-1", -21)
	set(gain2, -9.0)
	for len(viewer.notifications) < 1 {
		viewer.receive()
	}
	if got := level(viewer.notifications[0]); got != "51 3p1 -9" || len(viewer.notifications) != 1 {
		t.Errorf("told %+v, want the gain alone", viewer.notifications)
	}
	if got := viewer.commands(ncCommand{5, gain1, devicemodel.MethodGet,
		map[string]any{"id": devicemodel.PropertyGain}},
		ncCommand{6, gain1, devicemodel.MethodSet, map[string]any{"id": devicemodel.PropertyGain,
			"value": -1.0}}).Responses; //
	got[0].Result.Status != 401 || got[1].Result.Status != 200 {
		t.Errorf("with write alone: got %+v, want 401 for Get and 200 for Set", got)
	}
}

// What a handshake needs, and that the socket ends with its permission.
func TestModelSocket(t *testing.T) {
	spec.Rules(t, "CTL-21", "CTL-22", "CTL-29", "ANS-8", "ANS-9")
	t.Parallel()
	server, b, c := startModel(t, "")
	one := granting(server, "control", []string{"root.meters.mic-1"}, nil)
	for name, token := range map[string]string{
		"no token": "", "another API's": granting(server, "events", []string{"*"}, nil),
		"another device's": server.Token(mint.Options{Device: "node-2.example.com"}).Sign()} {
		if _, err := c.openModel(token, false); err == nil {
			t.Errorf("%s: the socket was opened", name)
		}
	}
	inQuery, err := c.openModel(one, true)
	if err != nil {
		t.Fatal(err)
	}
	// the token of the query stands in the questions
	if got := inQuery.subscribe(31, 32); !slices.Equal(got, []int{31}) {
		t.Errorf("accepted are %v, want 31", got)
	}

	first := 0 // had ended already: a machine may be busy
	for life := 3 * time.Second; ; life *= 3 {
		short := server.Token(mint.Options{Life: life, Permissions: map[string]mint.Permission{
			"control": {Read: []string{"root.*"}}}}).Sign()
		s, err := c.openModel(short, false)
		if err == nil {
			s.SetDeadline(time.Now().Add(life + patience))
			var m ncMessage
			if err := websocket.JSON.Receive(s.Conn, &m); err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("got %+v, %v; want the socket closed when its token ends", m, err)
			}
			break
		}
		if first++; life > time.Minute {
			t.Fatalf("the socket is not opened: %v", err)
		}
	}

	// Long before a token's end, the answer turns with the configuration.
	s := c.mustOpenModel(one)
	config := b.config
	config.More = strings.Replace(config.More, `"asked"`, `"handshake"`, 1)
	b.reload(config)
	s.SetDeadline(time.Now().Add(patience))
	var m ncMessage
	if err := websocket.JSON.Receive(s.Conn, &m); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %+v, %v; want the socket closed when it may no longer be open", m, err)
	}
	if _, err := c.openModel(one, false); err == nil {
		t.Error("with commands = \"handshake\" the socket was opened by a token for one meter")
	}
}
