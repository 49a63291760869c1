//go:build !noest

package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/platform"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// eventually waits for a condition, with an end that only a failure reaches.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A pair that an administrator installs is in the web server's folder when that is done, with EST and without, and gone
// when it is removed, as all else is with "all". The log says so, without the key.
func TestInstallCertificate(t *testing.T) {
	spec.Rules(t, "CERT-47", "CERT-48")
	server := startEST(t, estserver.Options{})
	dir := t.TempDir()
	r := startCertRig(t, dir, server, fmt.Sprintf("fingerprint = %q\nmaker_certificate = %q\n",
		server.Facility().Fingerprint(), makerFile(t, dir, server)))
	stop := r.running(t)
	defer stop()
	if err := r.ChangeCerts(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	issued := pairIn(t, r.folder)
	now := time.Now()
	hand := estserver.NewCA("By Hand", now).Server(now, now.Add(240*time.Hour), "other.example.com")
	if err := r.InstallCertificate(t.Context(), append(bytes.Clone(hand.KeyPEM), hand.ChainPEM...)); err != nil {
		t.Fatal(err)
	}
	if got := pairIn(t, r.folder); got.Leaf.Equal(issued.Leaf) || got.Leaf.DNSNames[0] != "other.example.com" {
		t.Errorf("the folder has the pair of %v", got.Leaf.DNSNames)
	}
	if s := r.snapshot().Certs; len(s.Certificates) != 1 || !s.Certificates[0].Installed {
		t.Errorf("got %+v", s)
	}
	if err := r.ChangeCerts(t.Context(), false); err != nil { // its time comes
		t.Fatal(err)
	}
	got := pairIn(t, r.folder)
	if got.Leaf.DNSNames[0] != "meter.example.com" || r.snapshot().Certs.Certificates[0].Installed {
		t.Errorf("not renewed by EST: the folder has the pair of %v", got.Leaf.DNSNames)
	}
	for text, want := range map[string]string{
		"": "PEM", string(hand.ChainPEM): "PEM", string(hand.KeyPEM): "PEM",
	} {
		if err := r.InstallCertificate(t.Context(), []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: got %v, want %s", text, err, want)
		}
	}
	if err := r.RemoveCertificates(t.Context(), "rsa"); err == nil {
		t.Error("removed what is not held")
	}
	server.Misbehave("", estserver.CertOtherHost) // or others would come
	if err := r.RemoveCertificates(t.Context(), "ecdsa"); err != nil || !missing(filepath.Join(r.folder, "ecdsa.pem")) {
		t.Errorf("removed: %v", err)
	}
	if err := r.RemoveCertificates(t.Context(), "all"); err != nil || !missing(filepath.Join(r.folder, "roots.pem")) ||
		len(r.certs.Roots()) != 0 {
		t.Errorf("all removed: %v", err)
	}
	r.queue.Flush(time.Minute)
	if log := r.log.String(); !strings.Contains(log, "installing a certificate") ||
		!strings.Contains(log, "forgotten") || strings.Contains(log, "PRIVATE") {
		t.Errorf("got the log %s", log)
	}
}

// Without EST there may be no folder, which the sandbox does not let be made: what to do is said, the pair is kept.
func TestInstallInSandbox(t *testing.T) {
	spec.Rules(t, "CERT-47")
	folder := filepath.Join(t.TempDir(), "tls")
	if err := os.Symlink("nowhere/at/all", folder); err != nil {
		t.Fatal(err)
	}
	d := newHealthy(t, fmt.Sprintf("[certificates]\nfolder = %q\n", folder))
	d.configureCerts()
	d.sandbox = new(platform.Sandbox)
	now := time.Now()
	hand := estserver.NewCA("By Hand", now).Server(now, now.Add(240*time.Hour), "other.example.com")
	if err := d.InstallCertificate(t.Context(), hand.KeyPEM); err == nil || strings.Contains(err.Error(), "sandbox") {
		t.Errorf("no certificate: got %v", err)
	}
	err := d.InstallCertificate(t.Context(), append(bytes.Clone(hand.KeyPEM), hand.ChainPEM...))
	if err == nil || !strings.Contains(err.Error(), "restart the daemon") || len(d.certs.Certificates()) != 1 {
		t.Errorf("got %v, %d kept", err, len(d.certs.Certificates()))
	}
}

// An administrator does not wait longer than others for a request on its way.
func TestInstallWaits(t *testing.T) {
	spec.Rules(t, "CERT-47")
	d := newHealthy(t, "[certificates]\nfolder = \""+t.TempDir()+"\"\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	blocked := make(chan struct{})
	go d.certsTurn(ctx, func(ctx context.Context) error { close(blocked); <-ctx.Done(); return nil })
	<-blocked
	err := d.certsTurn(t.Context(), func(context.Context) error { return context.DeadlineExceeded })
	if err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("got %v", err)
	}
}

// A mode that the files could not be given is given to them once that can be.
func TestModeIsTriedAgain(t *testing.T) {
	spec.Rules(t, "CERT-29")
	server := startEST(t, estserver.Options{})
	dir := t.TempDir()
	r := startCertRig(t, dir, server, fmt.Sprintf("fingerprint = %q\nmaker_certificate = %q\n",
		server.Facility().Fingerprint(), makerFile(t, dir, server)))
	stop := r.running(t)
	defer stop()
	if err := r.ChangeCerts(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.folder, "ecdsa.pem")
	if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	c := *r.inForce.Load().Config
	c.Certificates.Mode = "0600"
	if err := r.apply(&c, r.inForce.Load().names); err != nil {
		t.Fatal(err)
	}
	r.configureCerts()
	eventually(t, "status says that the files are not "+
		"written", func() bool { return r.snapshot().Certs.Unwritten != "" })
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file has the new mode", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Mode() == 0o600
	})
	pairIn(t, r.folder)
}

// A server that asks the daemon for a certificate gets the device's own, the new one after a renewal; before there is
// one it gets none.
func TestShowsItsCertificate(t *testing.T) {
	spec.Rules(t, "CERT-44")
	dir := t.TempDir()
	now := time.Now()
	ca := estserver.NewCA("Servers", now)
	roots := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(roots, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newHealthy(t, fmt.Sprintf("[certificates]\nfolder = %q\n", dir))
	c := *d.inForce.Load().Config
	c.Authorization.CAFile = roots
	if err := d.apply(&c, d.inForce.Load().names); err != nil {
		t.Fatal(err)
	}
	d.configureCerts()
	shown := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		name := "none"
		for _, cert := range r.TLS.PeerCertificates[:min(1, len(r.TLS.PeerCertificates))] {
			name = cert.Subject.CommonName
		}
		shown <- name
	}))
	own := ca.Server(now, now.Add(time.Hour), "127.0.0.1").Certificate
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{own}}
	server.StartTLS()
	defer server.Close()
	for _, want := range []string{"none", "device one", "device two"} {
		if want != "none" {
			pair := ca.Device(strings.TrimPrefix(want, "device "), now, now.Add(time.Hour))
			if err := d.certs.Install(t.Context(), append(pair.KeyPEM, pair.ChainPEM...)); err != nil {
				t.Fatal(err)
			}
		}
		res, err := d.client.Load().HTTPClient("").Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := <-shown; got != want {
			t.Errorf("the server was shown %s, want %s", got, want)
		}
	}
	if certs := d.certs.Certificates(); len(certs) != 1 {
		t.Errorf("got %d certificates", len(certs))
	}
}
