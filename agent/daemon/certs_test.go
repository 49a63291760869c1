package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/certs"
	"nmosauthd/agent/discovery"
	"nmosauthd/agent/status"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// pinned is a fingerprint: how a server is trusted matters to no test that has it.
var pinned = `fingerprint = "` + strings.Repeat("0f", 32) + `"`

// certRig is a daemon's parts with an EST server, a state folder, and a folder for the web server.
type certRig struct {
	*daemon
	server      *estserver.Server
	dir, folder string
	log         *bytes.Buffer
}

// startCertRig makes the parts as newDaemon does. config is what [certificates] has in addition to server, names and
// folder.
func startCertRig(t *testing.T, dir string, server *estserver.Server, config string) *certRig {
	t.Helper()
	r := &certRig{server: server, dir: dir, folder: filepath.Join(dir, "certs"), log: &bytes.Buffer{}}
	file := filepath.Join(dir, "a.toml")
	text := fmt.Sprintf("[device]\nnames = [\"meter.example.com\", \"meter\", \"192.0.2.7\"]\n[discovery]\n"+
		"mode = \"off\"\n[authorization]\nca_file = %q\n[audit]\nsinks = []\n[state]\ndir = %q\n"+
		"[certificates]\nest = %q\nfolder = %q\n%s",
		filepath.Join(r.folder, "roots.pem"), filepath.Join(dir, "state"), server.URL(), r.folder, config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	queue := NewLogQueue(r.log)
	d, err := newDaemon(file, "test", queue, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.startAudit()
	t.Cleanup(d.closeAudit)
	r.daemon = d
	d.startCerts()
	return r
}

// running runs the client until the returned function is called.
func (r *certRig) running(t *testing.T) (stop func()) {
	ctx, off := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.certs.Run(ctx) })
	return func() { off(); running.Wait() }
}

func startEST(t *testing.T, o estserver.Options) *estserver.Server {
	t.Helper()
	s, err := estserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("the EST server objects: %s", v)
		}
	})
	return s
}

// makerFile writes the certificate of the device's maker and its key, in one file.
func makerFile(t *testing.T, dir string, s *estserver.Server) string {
	t.Helper()
	pair := s.Maker().Device("SN-7", time.Now().Add(-time.Hour), time.Now().AddDate(30, 0, 0))
	file := filepath.Join(dir, "maker.pem")
	if err := os.WriteFile(file, append(bytes.Clone(pair.KeyPEM), pair.ChainPEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func pairIn(t *testing.T, folder string) tls.Certificate {
	t.Helper()
	file := filepath.Join(folder, "ecdsa.pem")
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// A device that holds nothing but its maker's certificate gets the facility's root and a certificate, which its web
// server finds in the folder, renews it when told to, and has it after a restart though the server is gone, before
// anybody could ask. Its status says all of it, and no key is in the log.
func TestCerts(t *testing.T) {
	spec.Rules(t, "CERT-11", "CERT-23", "CERT-26", "CERT-29", "CERT-48")
	dir := t.TempDir()
	server := startEST(t, estserver.Options{Domain: "example.com", FirstContact: true})
	config := fmt.Sprintf("fingerprint = %q\nmaker_certificate = %q\n",
		server.Facility().Fingerprint(), makerFile(t, dir, server))
	r := startCertRig(t, dir, server, config)
	if _, err := ReadRoots(r.certs.files.roots()); err == nil {
		t.Error("there are roots before the first contact")
	}
	stop := r.running(t)
	if err := r.ChangeCerts(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	first := pairIn(t, r.folder)
	options := x509.VerifyOptions{Roots: server.Facility().Pool(), Intermediates: x509.NewCertPool(),
		DNSName: "meter.example.com"}
	for _, der := range first.Certificate[1:] {
		link, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		options.Intermediates.AddCert(link)
	}
	if _, err := first.Leaf.Verify(options); err != nil {
		t.Error(err)
	}
	if got := first.Leaf.DNSNames; !slices.Equal(got, []string{"meter.example.com"}) { // the only one with a domain
		t.Errorf("got the names %q", got)
	}
	if pool, err := ReadRoots(r.inForce.Load().Authorization.CAFile); err != nil ||
		!pool.Equal(server.Facility().Pool()) {
		t.Errorf("the authorization servers are checked by other roots: %v", err)
	}
	taken := func() bool { // the event of it may come a little after the files
		r.certs.mu.Lock()
		defer r.certs.mu.Unlock()
		return !r.certs.news
	}
	for end := time.Now().Add(time.Minute); !taken() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !taken() || r.takeRoots() {
		t.Error("the new roots are still news")
	}

	if err := r.ChangeCerts(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	second := pairIn(t, r.folder)
	if second.Leaf.Equal(first.Leaf) ||
		bytes.Equal(second.Leaf.RawSubjectPublicKeyInfo, first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("renewed, and the certificate or its key is as before")
	}
	s := r.snapshot()
	v := &s.Certs
	if !v.Good(s.Time) || v.Trouble != "" || v.Error != "" || v.Unwritten != "" || v.Phase != "held" || v.Issued != 2 ||
		!v.Maker.Held || len(v.Roots) != 1 || v.Roots[0].Trust != string(certs.TrustPinned) ||
		v.Roots[0].Fingerprint != server.Facility().Fingerprint() {
		t.Errorf("got %+v", v)
	}
	if c := &v.Certificates[0]; c.Ends != status.Time(second.Leaf.NotAfter.Unix()) ||
		c.Renewal <= c.Begins || c.Renewal >= c.Ends {
		t.Errorf("got %+v", c)
	}
	stop()

	// A restart, with the folder gone as /run is, and the server away.
	server.Close()
	if err := os.RemoveAll(r.folder); err != nil {
		t.Fatal(err)
	}
	r2 := startCertRig(t, dir, server, config)
	stop = r2.running(t)
	r2.certs.awaitHandOver()
	if again := pairIn(t, r2.folder); !again.Leaf.Equal(second.Leaf) {
		t.Error("another certificate after the restart")
	}
	if s := r2.snapshot(); !s.Certs.Good(s.Time) {
		t.Errorf("after the restart: %+v", s.Certs)
	}
	stop()
	for _, rig := range []*certRig{r, r2} {
		rig.queue.Flush(time.Minute)
	}
	log := r.log.String() + r2.log.String()
	for _, want := range []string{"a root is trusted from now on",
		server.Facility().Fingerprint(), "a certificate for this device", "servers are checked by the new roots"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "PRIVATE") {
		t.Error("a key is in the log")
	}
}

// What the administrator asks for says why it fails, and what has to be done elsewhere; off, nothing is asked for.
func TestChangeCerts(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-27")
	server := startEST(t, estserver.Options{})
	dir := t.TempDir()
	r := startCertRig(t, dir, server, fmt.Sprintf("fingerprint = %q\nmaker_certificate = %q\n",
		server.Facility().Fingerprint(), makerFile(t, dir, server)))
	stop := r.running(t)
	defer stop()
	for _, c := range []struct {
		fault estserver.Fault
		want  string
	}{{estserver.WrongCA, "the certificate is not used"}, {estserver.Deferred, "somebody has to agree"}} {
		server.Misbehave(estserver.Enrol, c.fault)
		err := r.ChangeCerts(t.Context(), true)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.fault, err, c.want)
		}
		server.Behave()
	}
	s := r.snapshot()
	if s.Certs.Good(s.Time) || s.Certs.Failures == 0 || !s.Certs.Enabled {
		t.Errorf("got %+v", s.Certs)
	}
	if !missing(filepath.Join(r.folder, "ecdsa.pem")) {
		t.Error("there is a certificate")
	}
	off := newHealthy(t, "")
	if err := off.ChangeCerts(t.Context(), true); !errors.Is(err, admin.ErrFixed) {
		t.Errorf("off: got %v, want an error that wraps ErrFixed", err)
	}
	if s := off.snapshot(); s.Certs.Enabled || s.Certs.Phase != "disabled" || s.Certs.Trouble != "" {
		t.Errorf("off: got %+v", s.Certs)
	}
}

// A device without a certificate is a trouble once that has lasted, and says what is missing; one that has one is none.
func TestCertTrouble(t *testing.T) {
	d := newHealthy(t, "[certificates]\nest = \"https://127.0.0.1:1\"\n"+pinned+"\nfolder = \""+t.TempDir()+"\"\n")
	d.startCerts()
	for _, c := range []struct {
		began time.Time
		want  string
	}{{time.Now(), ""}, {time.Now().Add(-troubleAfter), "the device has no certificate"}} {
		d.certs.began = c.began
		if got := d.snapshot().Certs.Trouble; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for phase, want := range map[certs.Phase]string{
		certs.NoServer: "finds no EST server", certs.NoRoot: "no root", certs.Waiting: "somebody has to agree",
		certs.NoCertificate: "no certificate",
	} {
		if got := certTrouble(phase); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", phase, got, want)
		}
	}
}

// The names of a certificate are those configured, else the device's that have a domain: no addresses, no bare names,
// and those of the link only if there is no other.
func TestCertificateNames(t *testing.T) {
	spec.Rules(t, "CERT-22", "CERT-63")
	for _, c := range []struct{ configured, device, want string }{
		{"a.example.com", "b b.example.com", "a.example.com"},
		{"", "b b.example.com b.stage.example.com b.local", "b.example.com b.stage.example.com"},
		{"", "b b.local 192.0.2.1 2001:db8::1", "b.local"},
		{"", "b", ""},
		{"", "", ""},
	} {
		got := certificateNames(strings.Fields(c.configured), strings.Fields(c.device))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.configured, c.device, got, c.want)
		}
	}
}

// The server is that of the configuration: its port and label, if it has them.
func TestESTServers(t *testing.T) {
	spec.Rules(t, "CERT-5")
	for at, want := range map[string]certs.Server{
		"https://est.example.com":               {Host: "est.example.com", Port: 443},
		"https://est.example.com:8443":          {Host: "est.example.com", Port: 8443},
		"https://est.example.com/label":         {Host: "est.example.com", Port: 443, Label: "label"},
		"https://[2001:db8::1]:8443/studio/two": {Host: "2001:db8::1", Port: 8443, Label: "studio/two"},
	} {
		d := newHealthy(t, "[certificates]\nest = \""+at+"\"\n"+pinned+"\nfolder = \""+t.TempDir()+"\"\n")
		if got, err := d.estServers(t.Context()); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %+v, %v; want %+v", at, got, err, want)
		}
	}
}

// A server that discovery found is reached at the addresses that were found with it, whatever its name leads to.
func TestDialEST(t *testing.T) {
	spec.Rules(t, "CERT-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := newHealthy(t, "[certificates]\nest = \"auto\"\n"+pinned+"\nfolder = \""+t.TempDir()+"\"\n")
	c := *d.inForce.Load().Config
	c.Discovery.DNSServers, c.Discovery.Domains = []string{"127.0.0.1:1"}, []string{"example.com"}
	if err := d.apply(&c, d.inForce.Load().names); err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr).AddrPort()
	name := fmt.Sprintf("est.example.com:%d", address.Port())
	if conn, err := d.dialEST(t.Context(), "tcp", name); err == nil {
		conn.Close()
		t.Error("connected before anything was found")
	}
	if all, err := d.estServers(t.Context()); len(all) != 0 || err == nil {
		t.Errorf("without a name server: got %v, %v", all, err)
	}
	d.certs.found = []discovery.Server{{Host: "est.example.com", Port: address.Port(), Selector: "x",
		Addresses: []netip.Addr{address.Addr()}}}
	d.certs.until = time.Now().Add(time.Hour)
	conn, err := d.dialEST(t.Context(), "tcp", name)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	want := certs.Server{Host: "est.example.com", Port: address.Port(), Label: "x"}
	if all, err := d.estServers(t.Context()); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("got %v, %v; want %v, without asking again", all, err, want)
	}
}

// The maker's certificate is that of the configuration, in one file or two, closed to others; else the model's.
func TestMakerCertificate(t *testing.T) {
	spec.Rules(t, "CERT-26", "CERT-47", "CERT-48")
	dir := t.TempDir()
	one, other := estserver.NewCA("Maker", time.Now()).Device("7", time.Now(), time.Now().Add(time.Hour)),
		estserver.NewCA("M", time.Now()).Device("8", time.Now(), time.Now().Add(time.Hour))
	both, chain, key := filepath.Join(dir, "both.pem"), filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	write := func(file string, mode os.FileMode, text ...[]byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, bytes.Join(text, nil), 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		config string
		set    func()
		err    string
	}{
		{"maker_certificate = %q", func() { write(both, 0o600, one.ChainPEM, one.KeyPEM) }, ""},
		{"maker_certificate = %q", func() { write(both, 0o644, one.ChainPEM, one.KeyPEM) }, "others must not read it"},
		{"maker_certificate = %q", func() { write(both, 0o600, one.ChainPEM) }, "both.pem: "},
		{"maker_certificate = %[2]q\nmaker_key = %[3]q",
			func() { write(chain, 0o644, one.ChainPEM); write(key, 0o640, one.KeyPEM) }, ""},
		{"maker_certificate = %[2]q\nmaker_key = %[3]q", func() { write(key, 0o640, other.KeyPEM) }, "chain.pem: "},
		{"maker_certificate = %[2]q\nmaker_key = %[3]q", func() { write(key, 0o604, one.KeyPEM) },
			"key.pem has mode 0604"},
		{"maker_certificate = %[2]q\nmaker_key = %[3]q", func() { os.Remove(key) }, "no such file"},
	} {
		d := newHealthy(t, "[certificates]\nest = \"https://127.0.0.1:1\"\n"+pinned+"\nfolder = \""+dir+"\"\n"+
			fmt.Sprintf(c.config+"\n#%[1]q%[2]q%[3]q\n", both, chain, key))
		c.set()
		got, err := d.makerCertificate()
		switch {
		case c.err == "" && (err != nil || got.Leaf == nil ||
			!bytes.Equal(got.Leaf.Raw, one.Certificate.Certificate[0])):
			t.Errorf("%s: got %v, %v", c.config, got, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) ||
			strings.Contains(err.Error(), "BEGIN")):
			t.Errorf("%s: got %v, want %s", c.config, err, c.err)
		}
	}
	d := newHealthy(t, "")
	if got, err := d.makerCertificate(); got != nil || err != nil {
		t.Errorf("no maker's certificate: got %v, %v", got, err)
	}
	d.device.Maker = func(string) (*tls.Certificate, error) { return &one.Certificate, nil }
	d.log = zap.New(zap.NewNop().Core())
	d.startCerts()
	if got, err := d.makerCertificate(); got != &one.Certificate || err != nil {
		t.Errorf("of the model: got %v, %v", got, err)
	}
	broken := errors.New("the TPM is locked")
	d.device.Maker = func(string) (*tls.Certificate, error) { return nil, broken }
	d.startCerts()
	if got, err := d.makerCertificate(); got != nil || !errors.Is(err, broken) {
		t.Errorf("of a model that fails: got %v, %v", got, err)
	}
}
