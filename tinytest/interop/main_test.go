// Package interop_test tests nmos-authd against servers that others wrote: Keycloak, set up by
// configs/keycloak/setup.sh, oidc-provider, and an EST server, with real TLS. "make interop" fetches them and runs
// these tests; without it they are skipped.
//
// What is awaited is polled for, with a deadline that only a failure reaches. The servers end with the tests, however
// these end.
package interop_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
)

// patience is how long anything is waited for that should come: a device spreads its start over 20 s. Keycloak, which
// starts in 5 s on an idle machine, took 100 s on one with seven jobs for each processor.
const (
	patience      = 3 * time.Minute
	startPatience = 6 * time.Minute
)

// fetched is the folder into which "make interop" has put the servers; "" without it.
var fetched = os.Getenv("NMOS_INTEROP")

// shared is what the tests have together.
var shared struct {
	program       string // the daemon
	dir           string
	ca, cert, key string // PEM files: the root, and what the servers have
	roots         *x509.CertPool
	http          *http.Client // of an administrator, who trusts the root
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait more than they compute
		panic(err)
	}
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		if fetched == "" {
			return nil
		}
		shared.dir = dir
		if err := makeCertificates(); err != nil {
			return err
		}
		shared.program, err = daemon.Build(dir)
		return err
	}))
}

func makeCertificates() error {
	ca, err := authserver.NewCA("nmos-authd interop test CA")
	if err != nil {
		return err
	}
	now := time.Now()
	cert, err := ca.Issue(now.Add(-time.Hour), now.Add(24*time.Hour), "localhost", "auth.example.com", "127.0.0.1")
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	shared.roots = ca.Pool()
	shared.http = &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: shared.roots, MinVersion: tls.VersionTLS12}},
	}
	write := func(to *string, name string, data []byte) error {
		*to = filepath.Join(shared.dir, name)
		return os.WriteFile(*to, data, 0o600)
	}
	return errors.Join(
		write(&shared.ca, "ca.pem", ca.PEM()),
		write(&shared.cert, "cert.pem",
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		write(&shared.key, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	)
}

// needFetched skips a test unless "make interop" runs it.
func needFetched(t *testing.T) {
	t.Helper()
	if fetched == "" {
		t.Skip("only by make interop, which fetches the servers")
	}
}

// eventually waits until done is true. What it waits for is named for the failure.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	daemon.Eventually(t, patience, what, done)
}

// freePort is a port that nobody listens on, which the servers must be told: they put it into their issuer.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// process is a server that runs.
type process struct {
	command *exec.Cmd
	ended   chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// said is the end of what it has written.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.log.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// launch starts a server at low priority, in a process group of its own, and waits until a URL of it answers. It ends
// with this process.
func launch(url string, environment []string, program string, args ...string) (*process, error) {
	p := &process{ended: make(chan struct{})}
	p.command = exec.Command("nice", append([]string{program}, args...)...)
	p.command.Dir = shared.dir
	p.command.Env = append(os.Environ(), environment...)
	p.command.Stdout, p.command.Stderr = p, p
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.command.WaitDelay = time.Second
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.command.Wait()
		close(p.ended)
	}()
	for deadline := time.Now().Add(startPatience); ; {
		if res, err := shared.http.Get(url); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended: %v\n%s", program, p.command.ProcessState, p.said())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.kill()
			return nil, fmt.Errorf("%s does not answer within %v\n%s", program, startPatience, p.said())
		}
	}
}

// kill ends the server, and waits.
func (p *process) kill() {
	syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}
