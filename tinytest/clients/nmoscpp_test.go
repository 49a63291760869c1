package clients_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/authserver"
	live "nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// adapterDir holds nmos-cpp's handlers over the C client.
const adapterDir = clientDir + "/nmos-cpp"

// nodeProgram compiles the pretend nmos-cpp node with the adapter: against stubs of nmos-cpp, and of the C++ REST SDK
// below it, unless real says that the SDK itself is there.
func nodeProgram(t *testing.T, real bool) string {
	t.Helper()
	cxx := compiler(t, "CXX", "g++")
	includes := []string{"-I" + clientDir, "-I" + adapterDir, "-Itestdata/nmos-cpp"}
	sources := []string{"testdata/nmos_node.cpp", adapterDir + "/nmos_authz_nmos_cpp.cpp"}
	flags := []string{"-std=c++11", "-Wall", "-Wextra", "-Werror"}
	var name string
	var client []string
	if real {
		name = "node-cpprest" // not sanitized: the SDK is a library that is not, and the two do not mix
		client = []string{compile(t, "node-plain.o", "-c", clientDir+"/nmos_authz.c"), "-pthread",
			"-lcpprest", "-lssl", "-lcrypto"}
	} else {
		name = "node"
		client = []string{compile(t, "node-client.o", join(sanitizers, []string{"-c", clientDir + "/nmos_authz.c"})...),
			"-pthread"}
		flags = join(flags, []string{"-pedantic", "-Itestdata/cpprestsdk"}, sanitizers)
	}
	program := filepath.Join(buildDir, name)
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(program); err != nil {
		output(t, cxx, join(flags, includes, sources, client, []string{"-o", program})...)
	}
	return program
}

// eachNode runs a test with the node of the stubs and with that of the real C++ REST SDK.
func eachNode(t *testing.T, test func(t *testing.T, program string)) {
	t.Run("stub", func(t *testing.T) { test(t, nodeProgram(t, false)) })
	t.Run("cpprestsdk", func(t *testing.T) {
		if _, err := os.Stat("/usr/include/cpprest/http_msg.h"); err != nil {
			const why = "the C++ REST SDK (libcpprest-dev) is not installed"
			fmt.Printf("%s skipped: %s\n", t.Name(), why)
			t.Skip(why)
		}
		test(t, nodeProgram(t, true))
	})
}

// Newer standards and other compilers warn of other things.
func TestNmosCppCompiles(t *testing.T) {
	for _, cxx := range []string{compiler(t, "CXX", "g++"), "clang++"} {
		t.Run(filepath.Base(cxx), func(t *testing.T) {
			cxx := compiler(t, "", cxx)
			for _, standard := range []string{"-std=c++11", "-std=c++14", "-std=c++20"} {
				output(t, cxx, standard, "-O2", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I"+clientDir,
					"-Itestdata/nmos-cpp", "-Itestdata/cpprestsdk", "-c", "-o", filepath.Join(t.TempDir(), "o"),
					adapterDir+"/nmos_authz_nmos_cpp.cpp")
			}
		})
	}
}

// node is a running pretend node.
type node struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	invalid string // why there is none
}

func startNode(t *testing.T, program, socket string, timeout time.Duration, connections int) *node {
	t.Helper()
	cmd := exec.Command(program, socket, fmt.Sprint(timeout.Milliseconds()), fmt.Sprint(connections))
	var errors strings.Builder
	cmd.Stderr = &errors
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		in.Close()
		err := cmd.Wait()
		stuck.Stop()
		if err != nil || errors.Len() > 0 {
			t.Errorf("the node ended with %v and said:\n%s", err, errors.String())
		}
	})
	n := &node{t: t, in: in, out: bufio.NewReader(out)}
	n.invalid = n.read()["invalid"]
	return n
}

func (n *node) read() map[string]string {
	n.t.Helper()
	said := map[string]string{}
	for {
		line, err := n.out.ReadString('\n')
		if err != nil {
			n.t.Fatalf("the node printed no answer: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if name == "" {
			return said
		}
		said[name] = value
	}
}

func (n *node) tell(words ...string) map[string]string {
	n.t.Helper()
	if _, err := io.WriteString(n.in, strings.Join(words, " ")+"\n"); err != nil {
		n.t.Fatal(err)
	}
	return n.read()
}

// absent or a value.
func optional(s string) string {
	if s == "" {
		return "-"
	}
	return value(s)
}

func (n *node) http(method, target, authorization string) map[string]string {
	n.t.Helper()
	return n.tell("http", value(method), value(target), optional(authorization))
}

func (n *node) handshake(scope, target, authorization string, sources ...string) map[string]string {
	n.t.Helper()
	words := []string{"ws", value(scope), value(target), optional(authorization)}
	for _, s := range sources {
		words = append(words, value(s))
	}
	return n.tell(words...)
}

// textOf is what a reason means to people, as error bodies have it; of a denial of the client's own, the status.
func textOf(status int, reason string) string {
	for i := range wire.Reasons {
		if info := wire.Reason(i).Info(); info.Code == reason {
			return info.Text
		}
	}
	return http.StatusText(status)
}

// wantDenied checks the whole response to a request that was denied.
func (n *node) wantDenied(name string, got map[string]string, status int, reason, challenge string) {
	n.t.Helper()
	body := fmt.Sprintf(`{"code":%d,"error":"%s","debug":"%s"}`, status, textOf(status, reason), reason)
	if got["status"] != strconv.Itoa(status) || got["body"] != body ||
		!strings.HasPrefix(got["Content-Type"], "application/json") {
		n.t.Errorf("%s: got %v; want %s", name, got, body)
	}
	if www := got["WWW-Authenticate"]; (www == "") != (challenge == "") || !strings.Contains(www, challenge) {
		n.t.Errorf("%s: challenge %q; want %q", name, www, challenge)
	}
	if retry, _ := strconv.Atoi(got["Retry-After"]); (retry > 0) != (status == 503) {
		n.t.Errorf("%s: Retry-After %q", name, got["Retry-After"])
	}
	if (got["Allow"] != "") != (status == 405) {
		n.t.Errorf("%s: Allow %q", name, got["Allow"])
	}
	if !strings.Contains(got["log"], reason) {
		n.t.Errorf("%s: the node logs %q", name, got["log"])
	}
}

func (n *node) wantServed(name string, got map[string]string) {
	n.t.Helper()
	if got["status"] != "200" || got["body"] != "served" || got["log"] != "" {
		n.t.Errorf("%s: got %v; want it served", name, got)
	}
}

// The values of nmos-cpp's authorization_error::status_t that the check of a token can have.
const (
	tokenGood         = "0"
	tokenInsufficient = "2"
	tokenNoKeys       = "3"
	tokenFailed       = "4"
)

// The handlers answer as the daemon does: every status, challenge, body and Retry-After.
func TestNmosCppAnswers(t *testing.T) {
	spec.Rules(t, "ANS-7", "PATH-12", "PATH-14", "PATH-15")
	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sign := func(o mint.Options) string {
		o.Device, o.Life = "node-1.example.com", time.Hour
		return server.Token(o).Sign()
	}
	token := sign(mint.Options{Permissions: map[string]mint.Permission{
		"node":   {Read: []string{"self", "devices/*"}},
		"events": {Read: []string{"sources/1", "sources/2", "devices/1"}},
		"query":  {Read: []string{"nodes", "subscriptions*"}},
		"ncp":    {Read: []string{"*"}},
	}})
	eventful := sign(mint.Options{Permissions: map[string]mint.Permission{"events": {Read: []string{"sources/1*"}}}})
	elsewhere := server.Token(mint.Options{Device: "node-2.example.com", Life: time.Hour}).Sign()

	eachNode(t, func(t *testing.T, program string) {
		l := newLiveDaemon(t, "enforce", server)
		n := startNode(t, program, l.socket, plenty, 4)
		const self = "/x-nmos/node/v1.3/self"
		bearer := "Bearer " + token

		unreached := n.http("GET", self, bearer)
		n.wantDenied("before the daemon runs", unreached, 503, "the daemon cannot be reached", "")
		if got := n.tell("token", value(token)); got["value"] != tokenNoKeys {
			t.Errorf("a token before the daemon runs: %v", got)
		}
		l.start()
		defer func() {
			if err := l.running.Stop(); err != nil {
				t.Error(err)
			}
			if log := l.running.Log(); strings.Contains(log, token) {
				t.Errorf("the daemon logged a token:\n%s", log)
			}
		}()
		pending := 0
		for got := n.http("GET", self, bearer); got["status"] == "503"; got = n.http("GET", self, bearer) {
			n.wantDenied("keys pending", got, 503, "keys-pending", "")
			if pending++; pending > 1000 {
				t.Fatal("the daemon has no keys after 10 s")
			}
			time.Sleep(10 * time.Millisecond)
		}

		for _, test := range []struct {
			name, method, target, authorization string
		}{
			{"a good token", "GET", self, bearer},
			{"HEAD", "HEAD", self, bearer},
			{"a trailing slash", "GET", self + "/", bearer},
			{"a query", "GET", self + "?a=b/../c", bearer},
			{"preflight", "OPTIONS", self, ""},
			{"the base path", "GET", "/x-nmos/", ""},
		} {
			n.wantServed(test.name, n.http(test.method, test.target, test.authorization))
		}
		for _, test := range []struct {
			name, method, target, authorization string
			status                              int
			reason, challenge                   string
		}{
			{"no token", "GET", self, "", 401, "no-token", "Bearer realm="},
			{"another scheme", "GET", self, "Basic eA==", 401, "no-token", "Bearer realm="},
			{"a token in the query", "GET", self + "?access_token=" + token, "", 401, "no-token", "Bearer realm="},
			{"a broken token", "GET", self, bearer + "x", 401, "token-malformed", "error=invalid_token"},
			{"a forged token", "GET", self, "Bearer " + forgedToken(), 401, "issuer-untrusted", "error=invalid_token"},
			{"another device's token", "GET", self, "Bearer " + elsewhere, 403, "audience", "error=insufficient_scope"},
			{"another method", "PATCH", self, bearer, 403, "path-not-granted", "error=insufficient_scope"},
			{"another API", "GET", "/x-nmos/channelmapping/v1.0/", bearer, 403, "api-not-granted",
				"error=insufficient_scope"},
			{"two tokens", "GET", self, bearer + ", " + bearer, 400, "two-tokens", "error=invalid_request"},
			{"an unknown method", "BREW", self, bearer, 405, "method", ""},
			{"an empty segment", "GET", "/x-nmos//node/v1.3/self", bearer, 400, "path-ambiguous",
				"error=invalid_request"},
			{"an encoded slash", "GET", "/x-nmos/node/v1.3/devices%2F1", bearer, 400, "path-ambiguous",
				"error=invalid_request"},
			// What nmos-cpp would route on is not what was judged.
			{"a dot segment", "GET", "/x-nmos/node/v1.3/devices/../self", bearer, 400, "path-ambiguous",
				"error=invalid_request"},
			{"an escape without need", "GET", "/x-nmos/node/v1.3/%73elf", bearer, 400, "path-ambiguous",
				"error=invalid_request"},
		} {
			n.wantDenied(test.name, n.http(test.method, test.target, test.authorization),
				test.status, test.reason, test.challenge)
		}

		const socket = "/x-nmos/events/v1.0/devices/1"
		var many []string // more than one packet holds
		for i := range 700 {
			many = append(many, fmt.Sprintf("10000000-0000-4000-8000-%012d", i))
		}
		for _, test := range []struct {
			name, target, authorization string
			sources                     []string
			status                      int
			reason                      string
		}{
			{"in the header", socket, bearer, nil, 0, ""},
			{"in the query", socket + "?access_token=" + token, "", nil, 0, ""},
			{"all sources", socket, bearer, []string{"1", "2"}, 0, ""},
			{"all sources, in the query", socket + "?a=b&access_token=" + token, "", []string{"1", "2"}, 0, ""},
			{"no token", socket, "", nil, 401, "no-token"},
			{"no token for the sources", socket, "", []string{"1"}, 401, "no-token"},
			{"a path that all may read", "/", "", nil, 401, "no-token"},
			{"a path of another API", self, bearer, nil, 403, "path-not-granted"},
			{"another socket", "/x-nmos/events/v1.0/devices/2", bearer, nil, 403, "path-not-granted"},
			{"one source too many", socket, bearer, []string{"1", "2", "3"}, 403, "path-not-granted"},
			{"many sources", socket, "Bearer " + eventful, many, 0, ""},
			{"many sources, in the query", socket + "?access_token=" + eventful, "", many, 0, ""},
			{"many sources and one too many", socket, "Bearer " + eventful, append(many[:len(many):len(many)], "2"),
				403, "path-not-granted"},
			{"one too many and many sources",
				socket, "Bearer " + eventful, append([]string{"2"}, many...), 403, "path-not-granted"},
			{"one source too many, in the query",
				socket + "?access_token=" + token, "", []string{"3", "1"}, 403, "path-not-granted"},
			{"twice", socket + "?access_token=" + token, bearer, nil, 400, "two-tokens"},
		} {
			got := n.handshake("events", test.target, test.authorization, test.sources...)
			if opens := got["opens"] == "1"; opens != (test.status == 0) {
				t.Errorf("handshake, %s: got %v", test.name, got)
			} else if !opens {
				n.wantDenied("handshake, "+test.name, got, test.status, test.reason, "Bearer realm=")
			}
		}

		for _, path := range []string{"/x-nmos/ncp/v1.0", self, "/x-nmos/ncp/v1.0/v1.0",
			"/x-nmos/node/v1.3/devices/v1.0"} {
			got := n.handshake("ncp", path, bearer) // PATH-15; nmos-cpp opens one whatever the path is
			n.wantDenied("control handshake at "+path, got, 403, "control-not-granted", "Bearer realm=")
		}

		const query = "/x-nmos/query/v1.3/subscriptions/1"
		everything := "Bearer " + sign(mint.Options{
			Permissions: map[string]mint.Permission{"query": {Read: []string{"*"}}}})
		for _, test := range []struct { // PATH-14
			name, target, authorization, href, resourcePath string
			status                                          int
			reason                                          string
		}{
			{"its nodes", query, bearer, "ws://registry:8011" + query, "/nodes", 0, ""},
			{"its nodes, token in the query",
				query + "?access_token=" + token, "", "ws://registry:8011" + query, "/nodes", 0, ""},
			{"devices", query, bearer, "ws://registry:8011" + query, "/devices", 403, "path-not-granted"},
			{"an empty resource_path", query, bearer, "ws://registry:8011" + query, "", 403, "path-not-granted"},
			{"an unknown subscription", query, bearer, "ws://registry:8011" + query + "2",
				"/nodes", 403, "path-not-granted"},
			{"everything, devices", query, everything, "ws://registry:8011" + query, "/devices", 0, ""},
			{"everything, an empty resource_path", query, everything, "ws://registry:8011" + query, "", 0, ""},
			{"no token", query, "", "ws://registry:8011" + query, "/nodes", 401, "no-token"},
		} {
			got := n.tell("query", value(test.target), optional(test.authorization), value(test.href),
				value(test.resourcePath))
			if opens := got["opens"] == "1"; opens != (test.status == 0) {
				t.Errorf("query handshake, %s: got %v, want status %d", test.name, got, test.status)
			} else if !opens {
				n.wantDenied("query handshake, "+test.name, got, test.status, test.reason, "Bearer realm=")
			}
		}

		for _, test := range []struct{ name, token, value, message string }{
			{"good", token, tokenGood, ""},
			{"another device's", elsewhere, tokenInsufficient, "audience"},
			{"forged", forgedToken(), tokenFailed, "issuer-untrusted"},
			{"broken", "x", tokenFailed, "token-malformed"},
			{"empty", "", tokenFailed, "token-empty"},
			{"control character", "x\ny", tokenFailed, "a value holds a control character"},
		} {
			words := []string{"token", "x"}
			if test.token != "" {
				words[1] = value(test.token)
			}
			if got := n.tell(words...); got["value"] != test.value || got["message"] != test.message {
				t.Errorf("token, %s: got %v; want %s %q", test.name, got, test.value, test.message)
			}
		}
	})
}

// Modes that refuse nothing refuse no spelling of a path either.
func TestNmosCppObserves(t *testing.T) {
	spec.Rules(t, "OPS-3")
	l := newLiveDaemon(t, "observe", nil)
	l.start()
	n := startNode(t, nodeProgram(t, false), l.socket, plenty, 1)
	for _, target := range []string{"/x-nmos/node/v1.3/self", "/x-nmos/node/v1.3/devices/../self", "/x-nmos//node"} {
		n.wantServed(target, n.http("GET", target, ""))
	}
}

// What [enforce] observes of one API opens no other: of a path that is not as it was judged nmos-cpp may read something
// else. The daemon decides, and records, that it is ambiguous.
func TestNmosCppStages(t *testing.T) {
	spec.Rules(t, "OPS-3", "PATH-9")
	l := newLiveDaemonWith(t, live.Config{More: "[enforce]\nnode = \"none\"\n"}, nil)
	l.start()
	n := startNode(t, nodeProgram(t, false), l.socket, plenty, 1)
	n.wantServed("as judged", n.http("GET", "/x-nmos/node/v1.3/self", ""))
	for _, target := range []string{"/x-nmos/connection/../node/v1.3/self", "/x-nmos/node/v1.3/%73elf",
		"/x-nmos//node/v1.3/self"} {
		n.wantDenied(target, n.http("GET", target, ""), 400, "path-ambiguous", "error=invalid_request")
	}
}

// Threads share the connections; a node opens no more of them than it was told to, and waits no longer for one than the
// timeout.
func TestNmosCppThreads(t *testing.T) {
	d := startDaemon(t, socketPath(t), func(c io.Writer, question string) bool {
		target, _, _ := strings.Cut(question[strings.Index(question, "target=")+len("target="):], "\n")
		_, err := fmt.Fprintf(c, "allow 200\nid=%s\nreason=ok\npath=%s\n", idOf(question), target)
		return err == nil
	})
	socket := d.ln.Addr().String()
	n := startNode(t, nodeProgram(t, false), socket, plenty, 3)
	if got := n.tell("threads", "16", "100", value("GET"), value("/x-nmos/node/v1.3/self")); got["unserved"] != "0" {
		t.Errorf("got %v; want every request served", got)
	}
	if questions, accepted := d.asked(); len(questions) != 1600 || accepted > 3 {
		t.Errorf("%d questions over %d connections; want 1600 over 3", len(questions), accepted)
	}

	d.become(silent)
	n = startNode(t, nodeProgram(t, false), socket, patience, 1)
	start := time.Now()
	if got := n.tell("threads", "4", "1", value("GET"), value("/")); got["unserved"] != "4" {
		t.Errorf("got %v; want none served", got)
	}
	if took := time.Since(start); took < patience || took > 2*patience+slack {
		t.Errorf("took %v; want about %v", took, patience)
	}
	d.become(honest)
	if got := n.http("GET", "/", ""); got["status"] != "400" { // the pretend daemon names no path
		t.Errorf("a reply without a path: got %v; want 400", got)
	}
}

func TestNmosCppBadOptions(t *testing.T) {
	for _, c := range []struct {
		socket      string
		timeout     time.Duration
		connections int
	}{{"", time.Second, 1}, {strings.Repeat("p", 200), time.Second, 1}, {"/s", 0, 1}, {"/s", time.Second, 0}} {
		if n := startNode(t, nodeProgram(t, false), c.socket, c.timeout,
			c.connections); !strings.HasPrefix(n.invalid, "nmos_authd: ") {
			t.Errorf("%+v: %q", c, n.invalid)
		}
	}
}

// The stubs name the upstream file and commit that they mirror.
func TestStubsNameTheirOrigin(t *testing.T) {
	stubs, err := filepath.Glob("testdata/nmos-cpp/*/*.h")
	if err != nil || len(stubs) < 6 {
		t.Fatalf("%d stubs, %v", len(stubs), err)
	}
	slices.Sort(stubs)
	for _, path := range stubs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		upstream := "Development/" + strings.TrimPrefix(path, "testdata/nmos-cpp/") + " of sony/nmos-cpp at commit "
		if !strings.Contains(string(text), upstream) {
			t.Errorf("%s does not say %q", path, upstream)
		}
	}
}
