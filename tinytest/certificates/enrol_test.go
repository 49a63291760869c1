package certificates_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// A device that holds nothing but its maker's certificate gets one of the facility: from a server that DNS-SD names, by
// one unchecked question for the root, whose fingerprint is logged and shown, and then by its maker's certificate. The
// server is asked under the name that is announced, and only if that is in its certificate.
func TestFirstCertificate(t *testing.T) {
	spec.Rules(t, "CERT-1", "CERT-3", "CERT-4", "CERT-11", "CERT-22", "CERT-23", "CERT-26", "CERT-31", "CERT-63")
	t.Parallel()
	const host = "est." + domain
	s := newServer(t, estserver.Options{Host: host, Label: "stageboxes", FirstContact: true})
	names, err := dnsserver.Start(dnsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	const service = "_nmos-certs._tcp"
	err = names.SetZone(fmt.Sprintf("$ORIGIN %s.\n%s PTR 1.%[2]s\n1.%[2]s SRV 0 0 %s %s.\n"+
		"1.%[2]s TXT \"pri=10\" \"api_selector=stageboxes\"\n%[4]s. A 127.0.0.1\n", domain, service, s.Port(), host))
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, s, "")
	d.discovery = fmt.Sprintf("mode = \"unicast\"\ndomains = [%q]\ndns_servers = [%q]", domain, names.Addr())
	d.configure()
	d.start()
	leaf := d.awaitPair(nil)
	if leaf.Subject.SerialNumber != serial() {
		t.Errorf("serialNumber is %q, want %q", leaf.Subject.SerialNumber, serial())
	}
	all := s.Requests()
	if first := all[0]; first.Operation != estserver.CACerts || first.Client != nil || len(all) < 3 ||
		all[len(all)-1].Operation != estserver.Enrol || all[len(all)-1].Client == nil || s.Connections() < 2 {
		t.Errorf("got %d requests on %d connections, the first for %s", len(all), s.Connections(), first.Operation)
	}
	if n := shown(d.Log(), s.Facility().Fingerprint()); n == 0 {
		t.Error("the log does not show the root's fingerprint")
	}
	daemon.Eventually(t, patience, "certs status is good", func() bool { return d.run("certs", "status").status == 0 })
	if r := d.run("certs", "status"); shown(r.out, s.Facility().Fingerprint()) == 0 || !strings.Contains(r.out, name) {
		t.Errorf("certs status shows neither fingerprint nor name: %v", r)
	}
	s.Misbehave("", estserver.CertOtherHost)
	if r := d.run("certs", "renew"); r.status == 0 || len(s.Requests()) != len(all) {
		t.Errorf("certs renew at a server of another name: %v", r)
	}
	roots, err := os.ReadFile(d.dir.File("certs/roots.pem"))
	if err != nil || !strings.Contains(string(roots), string(s.Facility().PEM())) {
		t.Errorf("roots.pem: %v %s", err, roots)
	}
}

// shown counts a fingerprint in a text, written in whichever way.
func shown(text, fingerprint string) int {
	plain := strings.NewReplacer(":", "", " ", "", "\n", "").Replace(strings.ToLower(text))
	return strings.Count(plain, fingerprint)
}

// Trust on first contact is for a device that holds no root. One that does asks nobody else, whatever that one shows:
// not after a restart, and not if an operator has it enrol from the beginning.
func TestTrustOnlyOnce(t *testing.T) {
	spec.Rules(t, "CERT-10", "CERT-11", "CERT-12")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "").start()
	leaf := d.enrol()
	if n := strings.Count(d.Log(), "on first contact"); n != 1 {
		t.Errorf("the log speaks of first contact %d times, want once", n)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	before, connections := len(s.Requests()), s.Connections()
	s.Misbehave("", estserver.CertOtherCA)
	d.start()
	if r := d.run("certs", "enrol"); r.status == 0 {
		t.Errorf("certs enrol against a stranger: %v", r)
	}
	if s.Connections() == connections || len(s.Requests()) != before {
		t.Errorf("got %d connections and %d requests more, want some and none", s.Connections()-connections,
			len(s.Requests())-before)
	}
	if now, err := d.pair(); err != nil || !now.Equal(leaf) {
		t.Errorf("the certificate has changed: %v", err)
	}
	s.Behave()
	if r := d.run("certs", "enrol"); r.status != 0 {
		t.Errorf("certs enrol: %v", r)
	}
	d.awaitPair(leaf)
	if strings.Contains(d.Log(), "on first contact") {
		t.Error("a root was trusted on first contact again")
	}
}

// A fingerprint decides: a server with another root gets no request but that for the root.
func TestFingerprint(t *testing.T) {
	spec.Rules(t, "CERT-11")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "fingerprint = \""+strings.Repeat("ab", 32)+"\"\n").start()
	if r := d.run("certs", "enrol"); r.status == 0 {
		t.Errorf("certs enrol with another root: %v", r)
	}
	for _, r := range s.Requests() {
		if r.Operation != estserver.CACerts {
			t.Errorf("%s was asked", r.Operation)
		}
	}
	if _, err := os.Stat(d.pairFile()); !os.IsNotExist(err) {
		t.Errorf("there is a certificate: %v", err)
	}
	d.more = "fingerprint = \"" + strings.ToUpper(s.Facility().Fingerprint()) + "\"\n"
	d.configure()
	after := len(d.Log())
	if err := d.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := d.WaitLog(t.Context(), after, "configuration reread"); err != nil {
		t.Fatal(err)
	}
	d.awaitPair(nil)
}

// webServer is what a firmware has in front of its APIs.
type webServer interface {
	addr() string
	reload()
}

// Renewal disturbs nobody: who is connected stays connected, who comes gets the new certificate (CERT-44). The web
// server is nginx if there is one, with a reload as the service manager would do it, else one of Go.
func TestRenewalDisturbsNobody(t *testing.T) {
	spec.Rules(t, "CERT-29", "CERT-41", "CERT-44")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "").start()
	old := d.enrol()
	web := newWebServer(t, d)
	connect := func() *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", web.addr(), &tls.Config{ServerName: name, RootCAs: s.Facility().Pool()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c *tls.Conn) {
		t.Helper()
		if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	open := connect()
	if shows := open.ConnectionState().PeerCertificates[0]; !shows.Equal(old) {
		t.Errorf("the web server shows %v, want what the device got", shows.Subject)
	}
	// A response that is under way when the certificate changes.
	if _, err := fmt.Fprintf(open, "GET / HTTP/1.1\r\nHost: %s\r\n", name); err != nil {
		t.Fatal(err)
	}
	if r := d.run("certs", "renew"); r.status != 0 {
		t.Fatalf("certs renew: %v", r)
	}
	renewed := d.awaitPair(old)
	if string(renewed.RawSubjectPublicKeyInfo) == string(old.RawSubjectPublicKeyInfo) {
		t.Error("the key is that of before")
	}
	web.reload()
	daemon.Eventually(t, patience, "a new connection shows the new certificate", func() bool {
		c := connect()
		defer c.Close()
		ask(c)
		return c.ConnectionState().PeerCertificates[0].Equal(renewed)
	})
	if _, err := fmt.Fprint(open, "\r\n"); err != nil {
		t.Fatalf("the open connection was cut: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(open), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the open connection was cut: %v %v", resp, err)
	}
	last := s.Requests()[len(s.Requests())-1]
	if last.Operation != estserver.Reenrol || !last.Client.Equal(old) {
		t.Errorf("renewed by %s, showing %v", last.Operation, last.Client.Subject)
	}
}

func newWebServer(t *testing.T, d *device) webServer {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Log("no nginx here: a server of Go is used")
		return newGoServer(t, d)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{t: t, at: l.Addr().String()}
	l.Close()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	err = os.WriteFile(conf, fmt.Appendf(nil, `%sdaemon off;
pid %s/nginx.pid;
error_log %[2]s/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[2]s/a;
	proxy_temp_path %[2]s/b;
	fastcgi_temp_path %[2]s/c;
	uwsgi_temp_path %[2]s/d;
	scgi_temp_path %[2]s/e;
	server {
		listen %s ssl;
		ssl_certificate %s;
		ssl_certificate_key %[4]s;
		location / { return 200 "stage box\n"; }
	}
}
`, user, dir, n.at, d.pairFile()), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	n.command = exec.Command(program, "-c", conf, "-e", dir+"/error.log")
	if err := n.command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.command.Wait() }()
	t.Cleanup(func() {
		_ = n.command.Process.Signal(syscall.SIGTERM) // the workers end with it
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("nginx does not end")
		}
		if log, err := os.ReadFile(dir + "/error.log"); t.Failed() {
			t.Logf("nginx wrote: %s %v", log, err)
		}
	})
	daemon.Eventually(t, patience, "nginx answers", func() bool {
		c, err := net.Dial("tcp", n.at)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return n
}

type nginx struct {
	t       *testing.T
	at      string
	command *exec.Cmd
}

func (n *nginx) addr() string { return n.at }

// reload is "nginx -s reload".
func (n *nginx) reload() {
	if err := n.command.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
}

// goServer reads the pair for each new connection.
type goServer struct{ at string }

func newGoServer(t *testing.T, d *device) webServer {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(d.pairFile(), d.pairFile())
			return &pair, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "stage box") }
	s := &http.Server{Handler: http.HandlerFunc(answer)}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return &goServer{l.Addr().String()}
}

func (g *goServer) addr() string { return g.at }
func (g *goServer) reload()      {}

// By hand: a key and its certificate are installed from a file, with EST off and on, and removed; the installed one is
// renewed by EST and goes then, by a maker's certificate that was replaced meanwhile.
func TestByHand(t *testing.T) {
	spec.Rules(t, "CERT-47")
	t.Parallel()
	s := newServer(t, estserver.Options{})
	d := newDevice(t, s, "")
	now := time.Now()
	hand := estserver.NewCA("By Hand", now).Server(now, now.Add(240*time.Hour), "other."+domain)
	file := d.dir.File("hand.pem")
	write := func(file string, mode os.FileMode, text ...[]byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, bytes.Join(text, nil), mode), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	install := func() result { return d.run("certs", "install", "--config", d.dir.ConfigFile(), file) }
	remove := func(what string) result { return d.run("certs", "remove", "--config", d.dir.ConfigFile(), what) }
	d.start()
	leaf := d.enrol()
	write(file, 0o644, hand.KeyPEM, hand.ChainPEM)
	if r := install(); r.status != 2 || !strings.Contains(r.errors, "others must not read it") {
		t.Errorf("a key that all may read: %v", r)
	}
	write(file, 0o600, hand.KeyPEM)
	if r := install(); r.status != 1 || !strings.Contains(r.errors, "not installed") {
		t.Errorf("a key alone: %v", r)
	}
	write(file, 0o600, hand.KeyPEM, hand.ChainPEM)
	if r := install(); r.status != 0 {
		t.Fatalf("certs install: %v", r)
	}
	served, err := os.ReadFile(d.pairFile())
	if err != nil || !bytes.Contains(served, hand.ChainPEM[:60]) {
		t.Errorf("the folder does not have it: %v", err)
	}
	if r := d.run("certs", "status"); r.status != 0 || !strings.Contains(r.out, "other."+domain) {
		t.Errorf("certs status: %v", r)
	}
	maker := s.Maker().Device(serial(), now.Add(-time.Hour), now.AddDate(30, 0, 0)) // another
	write(d.dir.File("maker.pem"), 0o644, maker.ChainPEM)
	write(d.dir.File("maker.key"), 0o600, maker.KeyPEM)
	if r := d.run("certs", "renew"); r.status != 0 {
		t.Fatalf("certs renew: %v", r)
	}
	if next := d.awaitPair(leaf); next.Equal(leaf) {
		t.Error("not renewed")
	}
	all := s.Requests()
	if last := all[len(all)-1]; last.Client == nil || !last.Client.Equal(maker.Leaf) {
		t.Error("renewed by another certificate than the new one of the maker")
	}
	s.Misbehave(estserver.CACerts, estserver.Forbidden) // or others would come
	for _, what := range []string{"ecdsa", "all"} {
		if r := remove(what); r.status != 0 {
			t.Errorf("certs remove %s: %v", what, r)
		}
	}
	for _, file := range []string{d.pairFile(), d.dir.File("certs/roots.pem")} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", file, err)
		}
	}
	if r := remove("ecdsa"); r.status != 1 || !strings.Contains(r.errors, "no certificate") {
		t.Errorf("removed twice: %v", r)
	}
	if strings.Contains(d.Log(), "PRIVATE") {
		t.Error("a key is in the log")
	}
}
