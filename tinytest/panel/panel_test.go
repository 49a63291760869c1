// Package panel_test opens the page of platform/panel in a headless Chromium, behind nginx with the shipped lines, in
// front of the real daemon.
package panel_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

const (
	root     = "../.."
	patience = 2 * time.Minute // for anything, on a machine that is busy

	receiver = "/x-nmos/connection/v1.1/single/receivers/8b7b6a3a-1b0e-4b4e-9d2f-6a5f6c2b9d11/staged"
	// markup is a client id that must stay text.
	markup = `<img src=x onerror=alert(1)>`
)

const inventory = `{"kinds":{"receiver":{"read":"/x-nmos/connection/v1.1/single/receivers/{id}","write":"/x-nmos/connection/v1.1/single/receivers/{id}"}},` +
	`"resources":[{"kind":"receiver","name":"in-1","id":"8b7b6a3a-1b0e-4b4e-9d2f-6a5f6c2b9d11"}]}`

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nmos-panel-")
	if err == nil {
		program, err = daemon.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// rig is a daemon with a view socket, and the server that signs its tokens.
type rig struct {
	*daemon.Daemon
	t      *testing.T
	server *authserver.Server
}

func newRig(t *testing.T, sockets ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	server, err := authserver.Start(authserver.Options{Key: mint.CachedKey("key-1", 2048)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Remove() })
	r := &rig{t: t, server: server}
	err = dir.Write(daemon.Config{
		Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(), Admin: true,
		Sockets: fmt.Sprintf("view = %q\n%s", dir.View(), strings.Join(sockets, "\n")),
		More:    "[audit]\nrepeat = \"0s\"\ndeny_rate = 0\n", // each denial is a record of its own
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Daemon, err = daemon.Start(ctx, program, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.State() == nil {
			r.Stop()
		}
	})
	if err := r.WaitLog(ctx, 0, "keys fetched"); err != nil {
		t.Fatal(err)
	}
	if status, body := r.send(r.Admin(), http.MethodPut, "/inventory", inventory, nil); status != 204 {
		t.Fatalf("the inventory: %d %s", status, body)
	}
	return r
}

// over is a client of a Unix socket.
func over(socket string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
}

// send makes one request of a socket.
func (r *rig) send(socket, method, path, body string, header http.Header) (int, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := over(socket).Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// ask asks the daemon as a web server does, and returns the token that it asked with.
func (r *rig) ask(client, method, target string, want int) (token string) {
	r.t.Helper()
	token = r.server.Token(mint.Options{
		Client: client, Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}},
	}).Sign()
	status, body := r.send(r.HTTP(), http.MethodGet, "/authorize", "", http.Header{
		"X-Original-Method": {method}, "X-Original-Uri": {target}, "Authorization": {"Bearer " + token},
	})
	if status != want {
		r.t.Fatalf("%s %s: got %d %s, want %d", method, target, status, body, want)
	}
	return token
}

// A recipe is what configs has for one web server.
type recipe struct {
	server, install string // the program, and how to get it
	file            string
	listen          string   // in the file: the port
	whole           string   // of the server's configuration, DIR and LINES and LISTEN in it
	users           []string // a file beside it: its name in the recipe, and what it holds
	run             []string // arguments
}

var recipes = []recipe{
	{
		"nginx", "nginx-light", "nginx/nmos-authd-panel.conf", "",
		"USERdaemon off;\nworker_processes 1;\npid DIR/nginx.pid;\nerror_log DIR/error.log;\nevents { " +
			"worker_connections 256; }\n" +
			"http {\n\taccess_log DIR/access.log;\n\tclient_body_temp_path DIR/body;\n\tproxy_temp_path DIR/proxy;\n" +
			"\tfastcgi_temp_path DIR/fastcgi;\n\tuwsgi_temp_path DIR/uwsgi;\n\tscgi_temp_path DIR/scgi;\n" +
			"\tserver {\n\t\tlisten LISTEN;\nLINES\n\t}\n}\n",
		[]string{"/etc/nginx/nmos-authd.htpasswd", "operator:{PLAIN}at the desk\n"},
		[]string{"-e", "DIR/error.log", "-p", "DIR", "-c", "DIR/conf"},
	},
	{
		"lighttpd", "lighttpd", "lighttpd/nmos-authd-panel.conf", `":8088"`,
		"server.document-root = \"DIR\"\nserver.bind = \"127.0.0.1\"\nserver.port = 0\n" +
			"server.errorlog = \"DIR/error.log\"\nserver.modules = ( \"mod_magnet\" )\nLINES\n",
		[]string{"/etc/lighttpd/nmos-authd.htpasswd", "operator:$apr1$abcdefgh$Wd.S7pWoBUXZqZweaHk/y/\n"},
		[]string{"-D", "-f", "DIR/conf"},
	},
	{
		"caddy", "caddy", "caddy/nmos-authd-panel.caddyfile", ":8088",
		"{\n\tadmin off\n\tauto_https off\n}\nLINES\n",
		[]string{"/etc/caddy/nmos-authd.users",
			"operator $2b$05$xDv68xSj740dY.F65ZAePekwkZQHNlgOPf5.Ne5ysegFCK6Iin9X.\n"},
		[]string{"run", "--adapter", "caddyfile", "--config", "DIR/conf"},
	},
}

// serve runs a web server with the shipped lines, and returns the page's address. The test is skipped without the
// server.
func (r *rig) serve(t *testing.T, w recipe) string {
	t.Helper()
	program, err := exec.LookPath(w.server)
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + w.server)
	}
	if err != nil {
		t.Skipf("%s is missing: apt-get install %s", w.server, w.install)
	}
	panel, err := filepath.Abs(filepath.Join(root, "platform/panel"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(root, "configs", w.file))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr := freeAddress(t)
	listen := addr
	if w.server == "lighttpd" {
		listen = strconv.Quote(addr)
	}
	if w.server == "caddy" {
		listen = "http://" + addr
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root root;\n" // the checkout may be root's own
	}
	edit := []string{"/usr/share/nmos-authd/panel", panel, "/run/nmos-authd/view.sock",
		r.View(), w.users[0], dir + "/users"}
	if w.listen != "" {
		edit = append(edit, w.listen, listen)
	}
	text := strings.NewReplacer(edit...).Replace(string(lines))
	text = strings.NewReplacer("USER", user, "DIR", dir, "LISTEN", listen, "LINES", text).Replace(w.whole)
	if w.server == "lighttpd" {
		text = strings.Replace(text, "server.port = 0", "server.port = "+freeAddress(t)[len("127.0.0.1:"):], 1)
	}
	for name, text := range map[string]string{"users": w.users[1], "conf": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for _, a := range w.run {
		args = append(args, strings.ReplaceAll(a, "DIR", dir))
	}
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		command.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return "http://" + addr + "/nmos-authd/"
		}
		select {
		case <-ended:
			deadline = time.Time{}
		default:
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(dir, "said"))
			more, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Fatalf("%s does not serve: %v\n%s%s", w.server, err, said, more)
		}
	}
}

// freeAddress is one that the kernel gives to nobody else soon.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The view socket only shows, refuses what a page from elsewhere asks, and shows no token.
func TestViewSocketOnlyShows(t *testing.T) {
	r := newRig(t)
	token := r.ask("a client", "PATCH", receiver, 403)
	for _, path := range []string{"/status", "/inventory", "/records?last=9", "/observe", "/explain?seq=1", "/events",
		"/keys", "/metrics", "/watch", "/servers", "/client", "/client/key", "/"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} {
			if status, body := r.send(r.View(), method, path, "", nil); status != 405 && status != 404 {
				t.Errorf("%s %s: got %d %s, want 405 or 404", method, path, status, body)
			}
		}
		for _, site := range []string{"cross-site", "same-site"} {
			if status, body := r.send(r.View(), "GET", path, "", http.Header{"Sec-Fetch-Site": {site}}); status != 403 {
				t.Errorf("GET %s for a %s page: got %d %s, want 403", path, site, status, body)
			}
		}
	}
	for _, path := range []string{"/keys", "/metrics", "/watch", "/servers", "/client", "/"} {
		if status, _ := r.send(r.View(), "GET", path, "", nil); status != 404 {
			t.Errorf("GET %s: got %d, want 404", path, status)
		}
	}
	signature := token[strings.LastIndexByte(token, '.')+1:]
	for path, want := range map[string]string{
		"/status": `"healthy"`, "/inventory": `"in-1"`, "/records?last=9": `"path-not-granted"`,
		"/observe":       `"controllers"`,
		"/explain?seq=1": `Missing: {"x-nmos-connection":{"write":[`,
	} {
		var status int
		var body string
		r.until(path+" to say "+want, func() bool { // a record is there a few milliseconds after the answer
			status, body = r.send(r.View(), "GET", path, "", http.Header{"Sec-Fetch-Site": {"same-origin"}})
			return status == 200 && strings.Contains(body, want)
		})
		if strings.Contains(body, signature) || strings.Contains(body, token[:40]) {
			t.Errorf("GET %s shows the token:\n%s", path, body)
		}
	}
}

func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("no result while waiting for %s", what)
		}
	}
}

// Few may follow at a time, others still watch on the admin socket, and the daemon's end ends all of it.
func TestViewStreamsAreBoundedAndEnd(t *testing.T) {
	r := newRig(t)
	open := func(socket, path string) *http.Response {
		t.Helper()
		response, err := over(socket).Get("http://daemon" + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	var streams []*http.Response
	for range 4 {
		s := open(r.View(), "/events?last=0&denied=true")
		if got := s.Header.Get("Content-Type"); s.StatusCode != 200 || got != "text/event-stream" {
			t.Fatalf("got %s of %s, want 200 and text/event-stream", s.Status, got)
		}
		streams = append(streams, s)
	}
	if s := open(r.View(), "/events"); s.StatusCode != 503 || s.Header.Get("Retry-After") == "" {
		t.Errorf("a fifth: got %s, want 503 with Retry-After", s.Status)
	}
	if s := open(r.Admin(), "/watch"); s.StatusCode != 200 {
		t.Errorf("the administrator: got %s, want 200", s.Status)
	}
	r.ask("a client", "PATCH", receiver, 403)
	event := make([]byte, 4096)
	var got string
	for !strings.Contains(got, "\n\ndata: {") {
		n, err := streams[0].Body.Read(event)
		if got += string(event[:n]); err != nil {
			t.Fatalf("%v after %q", err, got)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	for _, s := range streams {
		io.Copy(io.Discard, s.Body) // or this test would not end
	}
}

// Each recipe lets nobody in without the maker's login, serves the files with their headers, passes events on as they
// come, and lets nobody out of the folder.
func TestRecipes(t *testing.T) {
	r := newRig(t)
	for _, w := range recipes {
		t.Run(w.server, func(t *testing.T) {
			address := r.serve(t, w)
			get := func(method, path string, login bool) *http.Response {
				t.Helper()
				request, err := http.NewRequest(method, address+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if login {
					request.SetBasicAuth("operator", "at the desk")
				}
				response, err := new(http.Transport).RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { response.Body.Close() })
				return response
			}
			for _, path := range []string{"", "panel.js", "panel.css", "view/status", "view/observe"} {
				if s := get("GET", path, false); s.StatusCode != 401 {
					t.Errorf("%q without a login: got %s, want 401", path, s.Status)
				}
				if s := get("POST", path, true); s.StatusCode < 400 {
					t.Errorf("POST %q: got %s, want a refusal", path, s.Status)
				}
				s := get("GET", path, true)
				policy := s.Header.Get("Content-Security-Policy")
				if s.StatusCode != 200 || !strings.Contains(policy, "default-src 'none'") ||
					s.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%q: got %s with %v, want 200 and a strict policy", path, s.Status, s.Header)
				}
			}
			r.ask("behind "+w.server, "PATCH", receiver, 403)
			events := get("GET", "view/events?last=50&denied=true", true)
			var got string
			for part := make([]byte, 4096); !strings.Contains(got, `"behind `+w.server); {
				n, err := events.Body.Read(part)
				if got += string(part[:n]); err != nil {
					t.Fatalf("%v after %q", err, got)
				}
			}
			for _, path := range []string{"..%2f..%2f..%2fgo.mod", "view/..%2f..%2fadmin", "%2e%2e/%2e%2e/go.mod"} {
				if s := get("GET", path, true); s.StatusCode == 200 {
					t.Errorf("%s: got %s, want nothing", path, s.Status)
				}
			}
		})
	}
}

// The files are few and small, and name nothing from elsewhere.
func TestFilesAreSmallAndTheirOwn(t *testing.T) {
	total := 0
	for _, name := range []string{"index.html", "panel.js", "panel.css"} {
		text, err := os.ReadFile(filepath.Join(root, "platform/panel", name))
		if err != nil {
			t.Fatal(err)
		}
		total += len(text)
		for _, bad := range []string{"http://", "https://", "@import", "innerHTML",
			"insertAdjacent", "document.write", "eval("} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
	if total > 60<<10 {
		t.Errorf("together they have %d bytes, want at most 60 kB", total)
	}
}
