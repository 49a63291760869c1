package clients_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	live "nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// socketsProgram compiles the pretend nmos-cpp node with the guards of its open WebSockets, against stubs of nmos-cpp
// and the real C++ REST SDK: what a message is and how JSON is read is the SDK's.
func socketsProgram(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/usr/include/cpprest/ws_msg.h"); err != nil {
		const why = "the C++ REST SDK (libcpprest-dev) is not installed"
		fmt.Printf("%s skipped: %s\n", t.Name(), why)
		t.Skip(why)
	}
	cxx := compiler(t, "CXX", "g++")
	client := compile(t, "node-plain.o", "-c", clientDir+"/nmos_authz.c")
	program := filepath.Join(buildDir, "sockets")
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(program); err != nil {
		output(t, cxx, "-std=c++11", "-Wall", "-Wextra", "-Werror", "-I"+clientDir, "-I"+adapterDir,
			"-Itestdata/nmos-cpp", "testdata/nmos_sockets.cpp", adapterDir+"/nmos_authz_nmos_cpp.cpp",
			adapterDir+"/nmos_authz_nmos_cpp_sockets.cpp", client,
			"-pthread", "-lcpprest", "-lssl", "-lcrypto", "-o", program)
	}
	return program
}

// The ports of the pretend node.
const (
	eventsPort  = "3217"
	controlPort = "3218"
	ncpTarget   = "/x-nmos/ncp/v1.0"
)

func (n *node) shake(port, target, authorization string) map[string]string {
	n.t.Helper()
	return n.tell("shake", port, value(target), optional(authorization))
}

// connect opens a WebSocket and returns its number.
func (n *node) connect(port, target, authorization string) string {
	n.t.Helper()
	if got := n.shake(port, target, authorization); got["opens"] != "1" {
		n.t.Fatalf("%s: the handshake got %v", target, got)
	}
	return n.tell("open", port, value(target))["id"]
}

// answers says which status each handle of a message has got, or which subscriptions were accepted, and how many
// methods were carried out.
func (n *node) answers(id, message string) (statuses []string, executed string) {
	n.t.Helper()
	got := n.tell("message", id, value(message))
	var said struct {
		MessageType   int
		Subscriptions []int
		Responses     []struct {
			Handle int
			Result struct{ Status int }
		}
	}
	if err := json.Unmarshal([]byte(got["said"]), &said); err != nil {
		n.t.Fatalf("%s: got %v: %v", message, got, err)
	}
	for _, r := range said.Responses {
		statuses = append(statuses, fmt.Sprintf("%d:%d", r.Handle, r.Result.Status))
	}
	for _, oid := range said.Subscriptions {
		statuses = append(statuses, strconv.Itoa(oid))
	}
	if said.MessageType == 5 {
		statuses = append(statuses, "error")
	}
	return statuses, got["executed"]
}

// commandsOn is a message of commands: object, level and index each; handles count from 1.
func commandsOn(commands ...[3]int) string {
	var list []string
	for i, c := range commands {
		list = append(list, fmt.Sprintf(`{"handle":%d,"oid":%d,"methodId":{"level":%d,"index":%d},"arguments":{"a":1.5}}`, i+1, c[0], c[1], c[2]))
	}
	return `{"messageType":0,"commands":[` + strings.Join(list, ",") + "]}"
}

// bulk is a message of one command on the bulk properties manager, with arguments.
func bulk(index int, arguments string) string {
	return fmt.Sprintf(`{"messageType":0,"commands":[{"handle":9,"oid":7,"methodId":{"level":3,"index":%d},"arguments":{%s}}]}`, index, arguments)
}

// In a node of nmos-cpp each command is answered in its place, by the token of its own socket, and a WebSocket ends
// when its permission does.
func TestNmosCppCommands(t *testing.T) {
	spec.Rules(t, "CTL-2", "CTL-21", "CTL-25", "CTL-26", "CTL-27", "CTL-29", "CTL-30", "CTL-43", "CTL-65")
	program := socketsProgram(t)
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sign := func(read, write []string) string {
		permission := mint.Permission{Read: read, Write: write}
		return server.Token(mint.Options{Device: "node-1.example.com", Life: time.Hour,
			Permissions: map[string]mint.Permission{
				"control": permission, "configuration": permission, "events": {Read: []string{"sources/1"}},
				"node": {Read: []string{"*"}},
			}}).Sign()
	}
	reads := sign([]string{"root.*"}, nil)
	gains := sign([]string{"root.tx-3.*"}, []string{"root.tx-3.gain"})
	writes := sign([]string{"root.*"}, []string{"root.*"})
	l := newLiveDaemon(t, "enforce", server)
	config := live.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(),
		More: "\n[control]\ncommands = \"asked\"\n"}
	if err := l.dir.Write(config); err != nil {
		t.Fatal(err)
	}
	l.start()
	n := startNode(t, program, l.socket, plenty, 4)
	n.keysThere(reads)

	reader, gainer := n.connect(controlPort, ncpTarget, "Bearer "+reads),
		n.connect(controlPort, ncpTarget, "Bearer "+gains)
	writer := n.connect(controlPort, ncpTarget+"?access_token="+writes, "")
	const monitor, gain = 3, 5
	for _, c := range []struct {
		name, id, message string
		want              []string
		executed          string
	}{
		{"a reader reads and does not write", reader, commandsOn([3]int{monitor, 4, 1}, [3]int{gain, 1, 2},
			[3]int{monitor, 4, 3}, [3]int{1, 2, 1}), []string{"1:200", "2:401", "3:401", "4:200"}, "2"},
		{"a writer", writer, commandsOn([3]int{gain, 1, 2}, [3]int{monitor, 4, 3}), []string{"1:200", "2:200"}, "2"},
		{"one gain", gainer, commandsOn([3]int{gain, 1, 2}, [3]int{6, 1, 2}, [3]int{4, 1, 1}, [3]int{monitor, 1, 1}),
			[]string{"1:200", "2:401", "3:200", "4:401"}, "2"},
		{"an object that there is not", reader, commandsOn([3]int{99, 1, 2}, [3]int{gain, 1, 2}),
			[]string{"1:404", "2:401"}, "0"},
		{"a method of that number only to nmos-cpp",
			reader, commandsOn([3]int{gain, 65537, 65538}), []string{"1:401"}, "0"},
		{"the method that refuses", writer, commandsOn([3]int{gain, 65535, 401}), []string{"1:401"}, "0"},
		{"a handle twice", reader, `{"messageType":0,"commands":[{"handle":7,"oid":5,"methodId":{"level":1,"index":2}},{"handle":7,"oid":5,"methodId":{"level":1,"index":1}}]}`,
			[]string{"7:401", "7:200"}, "1"},
		{"subscriptions", gainer, `{"messageType":3,"subscriptions":[1,5,3,6,99]}`, []string{"5", "6"}, "0"},
		{"all subscriptions", reader, `{"messageType":3,"subscriptions":[1,5]}`, []string{"1", "5"}, "0"},
		{"no JSON", writer, `{"messageType":0`, []string{"error"}, "0"},
		{"no number", writer, `{"messageType":"0","commands":[]}`, []string{"error"}, "0"},
		{"no method", writer, `{"messageType":0,"commands":[{"handle":1,"oid":5}]}`, []string{"error"}, "0"},
		{"backup of all", reader, bulk(1, `"path":["root"],"recurse":true`), []string{"9:200"}, "1"},
		{"backup of more than it may", gainer, bulk(1, `"path":["root"]`), []string{"9:401"}, "0"},
		{"backup of its block", gainer, bulk(1, `"path":["root","tx-3"],"recurse":true`), []string{"9:200"}, "1"},
		{"restore of one", gainer, bulk(3, `"path":["root","tx-3","gain"],"recurse":false,"restoreMode":0,"dataSet":{"values":[]}`), []string{"9:200"}, "1"},
		{"restore of its block, of it alone", gainer,
			bulk(3, `"path":["root","tx-3"],"restoreMode":0,"dataSet":{"values":[{"path":["root","tx-3","gain"]}]}`),
			[]string{"9:200"}, "1"},
		{"restore of its block, of another, too", gainer,
			bulk(3, `"path":["root","tx-3"],"recurse":true,"restoreMode":0,"dataSet":{"values":[{"path":["root","tx-3","gain"]},{"path":["root","tx-3","left mute"]}]}`),
			[]string{"9:401"}, "0"},
		{"restore of nothing", gainer, bulk(2, `"path":["root","tx-3"],"restoreMode":0,"dataSet":{"values":[]}`),
			[]string{"9:401"}, "0"},
		{"rebuilt, and so all below", gainer,
			bulk(3, `"path":["root","tx-3"],"restoreMode":1,"dataSet":{"values":[{"path":["root","tx-3","gain"]}]}`),
			[]string{"9:401"}, "0"},
		{"rebuilt below", writer, bulk(3, `"path":["root","tx-3"],"recurse":true,"restoreMode":1,"dataSet":{"values":[{"path":["root","tx-3","new"]}]}`),
			[]string{"9:200"}, "1"},
		{"a restore without its arguments", writer, bulk(3, ``), []string{"error"}, "0"},
	} {
		if got, executed := n.answers(c.id, c.message); !reflect.DeepEqual(got, c.want) || executed != c.executed {
			t.Errorf("%s: got %q, %s carried out; want %q, %s", c.name, got, executed, c.want, c.executed)
		}
	}
	var many [][3]int // more than a question holds
	for i := range 900 {
		many = append(many, [3]int{gain, 1, 1 + i%2})
	}
	if got, executed := n.answers(reader, commandsOn(many...)); len(got) != 900 || got[898] != "899:200" ||
		got[899] != "900:401" || executed != "450" {
		t.Errorf("900 commands: got %d answers, %s carried out", len(got), executed)
	}

	// What is judged at the handshake is the API's own path, whatever the client wrote.
	for _, path := range []string{"/x-nmos/node/v1.3/v1.0", "/", "/x-nmos/ncp/v1.0/v1.0", "/x-nmos/ncp/../node/v1.0"} {
		stranger := server.Token(mint.Options{Device: "node-1.example.com", Life: time.Hour,
			Permissions: map[string]mint.Permission{"node": {Read: []string{"*"}}}}).Sign()
		if got := n.shake(controlPort, path, "Bearer "+stranger); got["opens"] != "0" {
			t.Errorf("a control socket at %s: got %v", path, got)
		}
	}
	if got := n.shake(controlPort, ncpTarget, ""); got["opens"] != "0" || got["status"] != "401" {
		t.Errorf("no token: got %v", got)
	}

	// Two handshakes at a time for one URI, with different tokens: the second waits, so that neither gets the other's.
	if got := n.shake(controlPort, ncpTarget, "Bearer "+reads); got["opens"] != "1" {
		t.Fatalf("got %v", got)
	}
	if got := n.shake(controlPort, ncpTarget, "Bearer "+writes); got["opens"] != "0" || got["status"] != "503" {
		t.Errorf("another token meanwhile: got %v, want 503", got)
	}
	late := n.tell("open", controlPort, value(ncpTarget))["id"]
	if got, _ := n.answers(late, commandsOn([3]int{gain, 1, 2})); !reflect.DeepEqual(got, []string{"1:401"}) {
		t.Errorf("the first one's token counts: got %q", got)
	}
	unknown := n.tell("open", controlPort, value(ncpTarget))["id"] // which none has shaken hands for
	if got := n.tell("wait", unknown); got["closed"] != "1" {
		t.Errorf("a connection without a handshake: got %v, want it closed", got)
	}
	if got, _ := n.answers(unknown, commandsOn([3]int{gain, 1, 1})); !reflect.DeepEqual(got, []string{"1:401"}) {
		t.Errorf("and its commands: got %q", got)
	}

	for _, c := range []struct {
		name, method, target, token string
		status                      string
	}{
		{"all below", "PUT", rolePathsTarget + "/root/bulkProperties", writes, "200"},
		{"one object", "PUT", rolePathsTarget + "/root.tx-3.gain/bulkProperties", gains, "200"},
		{"its block, whatever the body says", "PATCH", rolePathsTarget + "/root.tx-3/bulkProperties", gains, "403"},
		{"reading", "GET", rolePathsTarget + "/root/bulkProperties", reads, "200"},
		{"reading only", "PUT", rolePathsTarget + "/root.tx-3.gain/bulkProperties", reads, "403"},
	} {
		if got := n.http(c.method, c.target, "Bearer "+c.token); got["status"] != c.status {
			t.Errorf("restore, %s: got %v, want %s", c.name, got, c.status)
		} else if c.status == "403" && got["body"] == "" {
			t.Errorf("restore, %s: no body", c.name)
		}
	}
	block := sign(nil, []string{"root.tx-3", "root.tx-3.gain"}) // and not its mute
	if got := n.http("PUT", rolePathsTarget+"/root.tx-3/bulkProperties", "Bearer "+block); got["status"] != "403" ||
		!strings.Contains(got["body"], `"status":401`) {
		t.Errorf("restore of a block of which one object is not granted: got %v, want 403 with IS-14's body", got)
	}

	// The permission ends: by the configuration, for every socket.
	events := n.connect(eventsPort, "/x-nmos/events/v1.0/devices/1", "Bearer "+reads)
	if got := n.tell("gone", gainer); got["closed"] != "0" {
		t.Errorf("closed by the client: got %v", got)
	}
	config.Names = []string{"node-2.example.com"}
	if err := l.dir.Write(config); err != nil {
		t.Fatal(err)
	}
	if err := l.running.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"commands": reader, "token in the query": writer, "events": events} {
		if got := n.tell("wait", id); got["closed"] != "1" {
			t.Errorf("%s: got %v, want it closed", name, got)
		}
	}
	if got, executed := n.answers(writer, commandsOn([3]int{gain, 1, 2})); !reflect.DeepEqual(got, []string{"1:401"}) ||
		executed != "0" {
		t.Errorf("a command after the end: got %q", got)
	}

	// Without the daemon nothing is carried out.
	if err := l.running.Stop(); err != nil {
		t.Error(err)
	}
	for _, token := range []string{reads, writes, gains} {
		if strings.Contains(l.running.Log(), token) {
			t.Error("the daemon logged a token")
		}
	}
	impatient := startNode(t, program, l.socket, patience, 4)
	if got := impatient.shake(controlPort, ncpTarget, "Bearer "+writes); got["opens"] != "0" || got["status"] != "503" {
		t.Errorf("a handshake without the daemon: got %v, want 503", got)
	}
}

const rolePathsTarget = "/x-nmos/configuration/v1.0/rolePaths"

// keysThere waits until the daemon has the keys of a token.
func (n *node) keysThere(token string) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got := n.shake(controlPort, ncpTarget+"?access_token="+token, "")
		if got["opens"] == "1" {
			return
		}
		if got["status"] != "503" || time.Now().After(end) {
			n.t.Fatalf("the daemon has no keys: %v", got)
		}
	}
}
