package certificates_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/estserver"
)

// program is the daemon, built by TestMain.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they wait more than they compute
		panic(err)
	}
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		program, err = daemon.Build(dir)
		return err
	}))
}

// patience is for what should come; machines that test are slow at times.
const patience = 2 * time.Minute

// device is a daemon with a maker's certificate, and the folder of what it hands over.
type device struct {
	*daemon.Daemon
	t      *testing.T
	dir    daemon.Dir
	server *estserver.Server
	more   string // keys of [certificates]
	// discovery is [discovery], "" for none; config what else there is.
	discovery, rest string
}

// newDevice makes a device that does not run yet, and goes by trust on first contact unless more says otherwise.
func newDevice(t *testing.T, s *estserver.Server, more string) *device {
	t.Helper()
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, dir: dir, server: s, more: more}
	t.Cleanup(func() {
		if d.Daemon != nil {
			d.Kill()
			if log := d.Log(); t.Failed() || strings.Contains(log, "panic: ") {
				t.Errorf("the daemon wrote:\n%s", log)
			}
		}
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	now := time.Now()
	maker := s.Maker().Device(serial(), now.Add(-time.Hour), now.AddDate(30, 0, 0))
	err = errors.Join(os.Mkdir(dir.File("state"), 0o700),
		os.WriteFile(dir.File("maker.pem"), maker.ChainPEM,
			0o644), os.WriteFile(dir.File("maker.key"), maker.KeyPEM, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	d.configure()
	return d
}

// configure writes the configuration.
func (d *device) configure() {
	d.t.Helper()
	est := d.server.URL()
	if label := strings.TrimPrefix(d.server.Base(), est+estserver.WellKnown); label != "" {
		est += label
	}
	keys := fmt.Sprintf("[certificates]\nest = %q\nfolder = %q\nmaker_certificate = %q\nmaker_key = %q\n",
		est, d.folder(), d.dir.File("maker.pem"), d.dir.File("maker.key"))
	if !strings.Contains(d.more, "trust_first") && !strings.Contains(d.more, "fingerprint") {
		keys += "trust_first = true\n"
	}
	if d.discovery != "" {
		keys = strings.Replace(keys, fmt.Sprintf("est = %q", est), `est = "auto"`, 1)
	}
	err := d.dir.Write(daemon.Config{
		Names: []string{name}, Admin: true, State: d.dir.File("state"), Discovery: d.discovery, More: keys + d.more +
			d.rest,
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// start runs the daemon.
func (d *device) start() *device { return d.startAs(program) }

func (d *device) startAs(program string) *device {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	var err error
	if d.Daemon, err = daemon.Start(ctx, program, d.dir); err != nil {
		d.t.Fatal(err)
	}
	return d
}

func (d *device) folder() string   { return d.dir.File("certs") }
func (d *device) pairFile() string { return d.dir.File("certs/ecdsa.pem") }

// pair reads what the web server would, and checks it as a client does: the key is the certificate's, and it leads to
// the facility's root, for servers and clients under the device's name. A difference is an error.
func (d *device) pair() (*x509.Certificate, error) { return d.pairIn(d.pairFile()) }

func (d *device) check(pair tls.Certificate) error {
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(c)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{
			DNSName: name, Roots: d.server.Facility().Pool(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{
				usage}, CurrentTime: pair.Leaf.NotBefore.Add(time.Second), // its end is another matter
		})
		if err != nil {
			return err
		}
	}
	if got := pair.Leaf.DNSNames; !slices.Equal(got, []string{name}) || pair.Leaf.Subject.CommonName != name {
		return fmt.Errorf("CN %q and names %q, want %q", pair.Leaf.Subject.CommonName, got, name)
	}
	return nil
}

// awaitPair waits for a certificate that is not old.
func (d *device) awaitPair(old *x509.Certificate) (leaf *x509.Certificate) {
	d.t.Helper()
	daemon.Eventually(d.t, patience, "a certificate in "+d.folder(), func() bool {
		var err error
		leaf, err = d.pair()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			d.t.Fatal(err)
		}
		return err == nil && (old == nil || !leaf.Equal(old))
	})
	return leaf
}

// result is what a command left behind.
type result struct {
	status      int
	out, errors string
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nprinted:\n%s\ncomplained:\n%s", r.status, r.out, r.errors)
}

// run runs a subcommand for the device, to its end.
func (d *device) run(args ...string) result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if !slices.Contains(args, "--config") {
		args = append(args, "--config", d.dir.ConfigFile())
	}
	c := exec.CommandContext(ctx, program, args...)
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), complaints.String()}
}

// enrol has the device ask now, which it would do a random while after its start.
func (d *device) enrol() *x509.Certificate {
	d.t.Helper()
	if r := d.run("certs", "enrol"); r.status != 0 {
		d.t.Fatalf("certs enrol: %v", r)
	}
	return d.awaitPair(nil)
}
