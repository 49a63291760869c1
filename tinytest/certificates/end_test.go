package certificates_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// A certificate that ends while the server is down stays with the firmware, and the device says that it has ended; when
// the server is back the device enrols from the beginning, by its maker's certificate (CERT-41, CERT-42).
func TestEndsWhileTheServerIsDown(t *testing.T) {
	spec.Rules(t, "CERT-41", "CERT-42")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true, Life: 40 * time.Second})
	d := newDevice(t, s, "").start()
	held := d.enrol()
	s.Misbehave("", estserver.ResetConnect)
	if r := d.run("certs", "renew"); r.status == 0 {
		t.Errorf("certs renew: %v", r)
	}
	daemon.Eventually(t, patience, "the certificate ends", func() bool { return time.Now().After(held.NotAfter) })
	daemon.Eventually(t, patience, "certs status says so", func() bool {
		r := d.run("certs", "status")
		return r.status != 0 && strings.Contains(strings.ToLower(r.out), "ended")
	})
	if now, err := d.pair(); err != nil || !now.Equal(held) {
		t.Errorf("the certificate that has ended is not what the firmware has: %v", err)
	}
	after := len(s.Requests())
	s.SetLife(time.Hour)
	s.Behave()
	d.awaitPair(held)
	for _, r := range s.Requests()[after:] {
		if r.Operation == estserver.Reenrol {
			t.Error("renewed by a certificate that has ended")
		}
	}
	daemon.Eventually(t, patience, "certs status is good", func() bool { return d.run("certs", "status").status == 0 })
}

// At its first boot the clock of a device is unset: it enrols all the same, and the dates of the server's certificate
// do not set the clock (CERT-30, OPS-1). To a daemon that is built in two years the clock of this machine looks like
// that.
func TestClockUnsetAtFirstBoot(t *testing.T) {
	spec.Rules(t, "CERT-30", "OPS-1")
	t.Parallel()
	built := time.Now().AddDate(2, 0, 0).UTC().Format(time.RFC3339)
	later, err := daemon.Build(t.TempDir(), "-ldflags=-X nmosauthd/platform.buildTime="+built)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "").startAs(later)
	d.enrol()
	if r := d.run("status"); !strings.Contains(r.out, "clock") {
		t.Errorf("the status does not say that the clock is unset: %v", r)
	}
}

// Power is cut at random moments while the device enrols and renews: what the web server finds is a key with its
// certificate each time, and in the end a good one (CERT-29).
func TestPowerCuts(t *testing.T) {
	spec.Rules(t, "CERT-29")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "")
	seen := map[string]bool{}
	for range 20 {
		d.start()
		asking := make(chan struct{})
		go func() {
			defer close(asking)
			for _, what := range []string{"enrol", "renew", "renew", "renew"} {
				if d.run("certs", what).status == 2 {
					return // the daemon is gone
				}
			}
		}()
		time.Sleep(rand.N(300 * time.Millisecond)) // the moment of the cut, not something to wait for
		d.Kill()
		leaf, err := d.pair()
		switch {
		case err == nil:
			seen[string(leaf.Raw)] = true
		case !errors.Is(err, fs.ErrNotExist):
			t.Errorf("after the cut: %v", err)
		}
		<-asking
	}
	s.Forget()
	d.start()
	d.enrol()
	t.Logf("%d certificates were seen after 20 cuts, %d issued", len(seen), len(s.Issued()))
	left, err := filepath.Glob(d.folder() + "/*")
	if err != nil || len(left) > 4 {
		t.Errorf("the folder holds %v, want no leftovers", left)
	}
}

// No private key is anywhere but in the folder of the firmware and in the state, both of which only the device's own
// users read: not in the log at its most talkative, in what commands print, in status, metrics, audit, or in the last
// words of a daemon that crashes (OPS-2, CERT-48).
func TestNoPrivateKeyIsShown(t *testing.T) {
	spec.Rules(t, "CERT-48", "OPS-2")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true, RetryAfter: time.Second})
	d := newDevice(t, s, "keys = [\"ecdsa\", \"rsa\"]\n")
	audit := d.dir.File("audit.jsonl")
	d.rest = fmt.Sprintf("[log]\nlevel = \"debug\"\n[audit]\nsinks = [\"log\", \"file\"]\nfile = %q\n", audit)
	d.configure()
	d.start()
	d.enrol()
	var secrets []string
	gather := func() {
		t.Helper()
		for _, file := range []string{d.dir.File("maker.key"), d.pairFile(), d.dir.File("certs/rsa.pem")} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			forms, err := secretForms(text)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			secrets = append(secrets, forms...)
		}
	}
	gather()
	var seen strings.Builder
	for _, f := range []estserver.Fault{
		estserver.HTML, estserver.OtherKey, estserver.WrongCA, estserver.Unauthorized, estserver.Lost,
		estserver.Garbage,
	} {
		s.MisbehaveTimes(estserver.Reenrol, f, 1)
		seen.WriteString(d.run("certs", "renew").String())
	}
	s.Behave()
	seen.WriteString(d.run("certs", "renew").String())
	d.awaitPair(nil)
	gather()
	for _, args := range [][]string{
		{"certs", "status"}, {"certs", "status", "--json"}, {"status"}, {"status", "--json"}, {"check-config"},
	} {
		seen.WriteString(d.run(args...).String())
	}
	texts := map[string]string{}
	for _, path := range []string{"/status", "/metrics", "/records?last=100000"} {
		text, err := d.get(path)
		if err != nil {
			t.Fatal(err)
		}
		texts["GET "+path] = text
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.PID(), file))
		if err != nil {
			t.Fatal(err)
		}
		texts["/proc "+file] = string(text)
	}
	d.quit()
	text, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	texts["log"], texts["audit"], texts["commands"] = d.Log(), string(text), seen.String()
	if !strings.Contains(texts["log"], "goroutine ") || !strings.Contains(texts["commands"], name) {
		t.Error("what was searched does not tell of certificates")
	}
	for where, text := range texts {
		if strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("%s: a private key's PEM", where)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: a part of a private key, %.6q", where, secret)
			}
		}
	}
	d.checkModes(secrets)
}

// checkModes finds the keys where they belong, in files that nobody else may read.
func (d *device) checkModes(secrets []string) {
	d.t.Helper()
	found := 0
	err := filepath.WalkDir(d.dir.Path(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				found++
				if info.Mode().Perm()&0o037 != 0 {
					d.t.Errorf("%s holds a key and has mode %v", path, info.Mode())
				}
				break
			}
		}
		return nil
	})
	if err != nil || found < 3 {
		d.t.Errorf("keys are in %d files, want maker's, both pairs: %v", found, err)
	}
}
