package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/hal/models"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// foreignEST is globalsign's estserver.
func foreignEST(t *testing.T) string {
	t.Helper()
	needFetched(t)
	found, err := filepath.Glob(filepath.Join(fetched, "est", "estserver-*"))
	if err != nil || len(found) != 1 {
		t.Skip("make interop could not fetch estserver")
	}
	return found[0]
}

// An EST server that others wrote gives the daemon a certificate by the maker's, and renews it by the certificate that
// it gave. Its certificates are certificates of the device in every way: key, names, uses, chain.
func TestForeignESTServer(t *testing.T) {
	spec.Rules(t, "CERT-4", "CERT-15", "CERT-26", "CERT-41")
	t.Parallel()
	program := foreignEST(t)
	const host = "stagebox-1.example.com"
	now := time.Now()
	facility, makers := estserver.NewCA("Facility Example", now), estserver.NewCA("Maker Example", now)
	own := facility.Server(now.Add(-time.Hour), now.Add(24*time.Hour), "localhost", "127.0.0.1")
	model, err := models.Detect("/")
	if err != nil {
		t.Fatal(err)
	}
	id, err := model.Identify("/")
	if err != nil {
		t.Fatal(err)
	}
	maker := makers.Device(id.Serial, now.Add(-time.Hour), now.AddDate(30, 0, 0))
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Remove() })
	text, err := json.Marshal(object{
		"mock_ca": object{"certificates": dir.File("ca.pem"), "private_key": dir.File("ca.key")},
		"tls": object{
			"listen_address": fmt.Sprintf("127.0.0.1:%d", port), "certificates": dir.File("est.pem"),
			"private_key": dir.File("est.key"), "client_cas": []string{dir.File("makers.pem"),
				dir.File("facility.pem")},
		},
		"allowed_hosts": []string{fmt.Sprintf("127.0.0.1:%d", port), "127.0.0.1"}, "rate_limit": 150, "timeout": 30,
		"healthcheck_password": "xyzzy",
	})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"ca.pem": estserver.PEM(facility.Intermediate, facility.Root), "ca.key": facility.IssuerKeyPEM(),
		"est.pem": own.ChainPEM, "est.key": own.KeyPEM, "makers.pem": estserver.PEM(makers.Root, makers.Intermediate),
		"facility.pem": facility.PEM(), "maker.pem": maker.ChainPEM, "maker.key": maker.KeyPEM, "est.json": text,
	}
	for name, content := range files {
		if err := os.WriteFile(dir.File(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := fmt.Sprintf("https://127.0.0.1:%d", port)
	server := &process{ended: make(chan struct{})}
	server.command = exec.Command(program, "-config", dir.File("est.json"))
	server.command.Stdout, server.command.Stderr = server, server
	if err := server.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		server.command.Wait()
		close(server.ended)
	}()
	t.Cleanup(func() {
		server.command.Process.Kill()
		<-server.ended
		if t.Failed() {
			t.Logf("estserver wrote:\n%s", server.said())
		}
	})
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: facility.Pool()}, DisableKeepAlives: true,
	}}
	eventually(t, "estserver answers", func() bool {
		resp, err := client.Get(base + "/.well-known/est/cacerts")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})

	if err := os.Mkdir(dir.File("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	err = dir.Write(daemon.Config{Names: []string{host}, Admin: true, State: dir.File("state"), More: fmt.Sprintf(
		"[certificates]\nest = %q\nfingerprint = %q\nfolder = %q\nmaker_certificate = %q\nmaker_key = %q\n"+
			"keys = [\"ecdsa\", \"rsa\"]\n",
		base, facility.Fingerprint(), dir.File("certs"), dir.File("maker.pem"), dir.File("maker.key"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := daemon.Start(ctx, shared.program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			t.Logf("the daemon wrote:\n%s", d.Log())
		}
	})
	var before []*x509.Certificate
	for _, what := range []string{"enrol", "renew"} {
		out, err := exec.CommandContext(ctx, shared.program, "certs", what, "--config",
			dir.ConfigFile()).CombinedOutput()
		if err != nil {
			t.Fatalf("certs %s: %v\n%s", what, err, out)
		}
		var leaves []*x509.Certificate
		for _, kind := range []string{"ecdsa", "rsa"} {
			leaf, err := estPair(dir.File("certs/"+kind+".pem"), facility, host)
			if err != nil {
				t.Fatalf("after %s: %s: %v", what, kind, err)
			}
			if slices.ContainsFunc(before, leaf.Equal) || leaf.Subject.SerialNumber != id.Serial {
				t.Errorf("after %s: %s is that of before, or not for this device: %v", what, kind, leaf.Subject)
			}
			leaves = append(leaves, leaf)
		}
		before = leaves
	}
	said := server.said()
	for _, operation := range []string{"cacerts", "simpleenroll", "simplereenroll"} {
		if !strings.Contains(said, operation) {
			t.Errorf("estserver was not asked for %s:\n%s", operation, said)
		}
	}
}

// estPair reads a pair, and checks that it is good for servers and clients of that name.
func estPair(path string, facility *estserver.CA, host string) (*x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, err
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		between.AddCert(c)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, failed := pair.Leaf.Verify(x509.VerifyOptions{
			DNSName: host, Roots: facility.Pool(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		err = errors.Join(err, failed)
	}
	return pair.Leaf, err
}
