package certificates_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// refused are the answers of an EST server with which a device must not replace what it holds. All others may lead to
// another certificate, if that is right in every way.
var refused = map[string][]estserver.Fault{
	estserver.CACerts: {
		estserver.Hang, estserver.Half, estserver.HalfBody, estserver.Endless, estserver.Huge, estserver.HTML,
		estserver.Empty, estserver.BadBase64, estserver.Garbage, estserver.NoCertificates, estserver.NotFound,
		estserver.Unauthorized, estserver.Forbidden, estserver.ServerError, estserver.Unavailable,
		estserver.RedirectHTTP, estserver.RedirectLoop, estserver.Reset, estserver.OtherRoot, estserver.NoRoot,
		estserver.LeafAsRoot, estserver.WeakRoot, estserver.TooMany, estserver.EndedRoot,
	},
	estserver.Reenrol: {
		estserver.Hang, estserver.Half, estserver.HalfBody, estserver.Endless, estserver.Huge, estserver.HTML,
		estserver.Empty, estserver.BadBase64, estserver.Garbage, estserver.NoCertificates, estserver.NotFound,
		estserver.Unauthorized, estserver.Forbidden, estserver.ServerError, estserver.Unavailable,
		estserver.UnavailableUntil, estserver.RedirectHTTP, estserver.RedirectLoop, estserver.Reset,
		estserver.WrongCA, estserver.ForgedCA, estserver.WrongNames, estserver.WrongCN, estserver.MoreNames,
		estserver.Wildcard, estserver.OtherKey, estserver.NoServerUse, estserver.NoClientUse, estserver.NoUse,
		estserver.CAInstead, estserver.Ended, estserver.NotYet, estserver.Deferred, estserver.DeferredDate,
		estserver.DeferredBare, estserver.DeferredForAge, estserver.Lost,
	},
	"": estserver.HandshakeFaults,
}

// Whatever the EST server does, the device keeps what it holds and says why, or has another certificate that is right:
// key and chain are a pair at every moment (CERT-7, CERT-27, CERT-28, CERT-29, CERT-42).
func TestEveryFault(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-12", "CERT-15", "CERT-16", "CERT-27", "CERT-28", "CERT-42", "CERT-60", "CERT-62")
	t.Parallel()
	faults := map[string][]estserver.Fault{
		estserver.CACerts: slices.Concat(estserver.AnyFaults, estserver.CACertsFaults),
		estserver.Reenrol: slices.Concat(estserver.AnyFaults, estserver.EnrolFaults),
		"":                estserver.HandshakeFaults,
	}
	for operation, all := range faults {
		for part := range 3 { // each a device of its own, so that what one waits for does not hold up the rest
			t.Run(operation+"/"+string('a'+rune(part)), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, estserver.Options{FirstContact: true, Drip: time.Millisecond})
				d := newDevice(t, s, "").start()
				d.enrol()
				for i, f := range all {
					if i%3 == part {
						t.Logf("%s %s", operation, f)
						d.meet(operation, f)
					}
				}
			})
		}
	}
}

// meet has the device ask for its certificate while the server has a fault, and again when it has none.
func (d *device) meet(operation string, f estserver.Fault) {
	d.t.Helper()
	before, err := os.ReadFile(d.pairFile())
	if err != nil {
		d.t.Fatal(err)
	}
	held, err := d.pair()
	if err != nil {
		d.t.Fatal(err)
	}
	what := "renew"
	if operation == estserver.CACerts {
		what = "enrol" // begins with the roots
	}
	after := len(d.Log())
	d.server.Misbehave(operation, f)
	r := d.run("certs", what)
	now, err := os.ReadFile(d.pairFile())
	if err != nil {
		d.t.Fatal(err)
	}
	if slices.Contains(refused[operation], f) {
		if r.status == 0 || !bytes.Equal(before, now) {
			d.t.Errorf("%s %s: certs %s: %v; the pair has changed: %v",
				operation, f, what, r, !bytes.Equal(before, now))
		}
		if strings.TrimSpace(r.errors) == "" {
			d.t.Errorf("%s %s: the command does not say why", operation, f)
		}
	} else if r.status == 0 && bytes.Equal(before, now) {
		d.t.Errorf("%s %s: certs %s reports success, and the pair is that of before", operation, f, what)
	}
	if _, err := d.pair(); err != nil {
		d.t.Errorf("%s %s: the pair that is left: %v", operation, f, err)
	}
	for line := range strings.Lines(d.Log()[after:]) {
		if strings.Contains(line, `"level":"`) && !json.Valid([]byte(line)) {
			d.t.Errorf("%s %s: a broken line in the log: %.200s", operation, f, line)
		}
	}
	d.server.Behave()
	switch waits := operation == estserver.Reenrol; {
	case waits && (f == estserver.Deferred || f == estserver.DeferredDate || f == estserver.UnavailableUntil):
		now := estserver.Fingerprint(d.awaitPair(held)) // it asks again by itself, with the key of before (CERT-27)
		daemon.Eventually(d.t, patience, "certs status shows what is in the folder", func() bool {
			return shown(d.run("certs", "status").out, now) > 0
		})
	case waits && (f == estserver.DeferredBare || f == estserver.DeferredForAge):
		if r := d.run("certs", "renew"); r.status == 0 { // an operator is impatient, and that makes no difference
			d.t.Errorf("after %s: certs renew: %v", f, r)
		}
		d.afresh()
	default:
		if f == estserver.Hang || f == estserver.HangConnect || strings.Contains(r.errors, "not done yet") {
			d.restart() // what is under way ends, and what was wished for is forgotten
		}
		if r := d.run("certs", "renew"); r.status != 0 {
			d.t.Errorf("after %s %s: certs renew: %v", operation, f, r)
		}
	}
}

// restart stops the daemon and starts it again.
func (d *device) restart() {
	d.t.Helper()
	if err := d.Stop(); err != nil {
		d.t.Fatal(err)
	}
	d.start()
}

// afresh makes a new device of this one, which knows nothing of a request that waits for a long time.
func (d *device) afresh() {
	d.t.Helper()
	if err := d.Stop(); err != nil {
		d.t.Fatal(err)
	}
	for _, folder := range []string{d.folder(), d.dir.File("state")} {
		if err := os.RemoveAll(folder); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := os.Mkdir(d.dir.File("state"), 0o700); err != nil {
		d.t.Fatal(err)
	}
	d.server.Forget()
	d.start()
	d.enrol()
}

// A person has to agree: the device asks again in its time, with its key, and gets it (CERT-27). While it waits it says
// so.
func TestSomebodyHasToAgree(t *testing.T) {
	spec.Rules(t, "CERT-27")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true, RetryAfter: 2 * time.Second})
	s.MisbehaveTimes(estserver.Enrol, estserver.Deferred, 2)
	d := newDevice(t, s, "").start()
	if r := d.run("certs", "enrol"); r.status == 0 || !strings.Contains(r.errors, "agree") {
		t.Errorf("certs enrol: %v", r)
	}
	if r := d.run("certs", "status"); r.status == 0 {
		t.Errorf("certs status: %v", r)
	}
	d.awaitPair(nil)
	if n := s.Count(estserver.Enrol); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	asked := s.Requests()
	asked = slices.DeleteFunc(asked, func(r estserver.Request) bool { return r.CSR == nil })
	for _, r := range asked[1:] {
		if !bytes.Equal(r.CSR.RawSubjectPublicKeyInfo, asked[0].CSR.RawSubjectPublicKeyInfo) {
			t.Error("asked again with another key")
		}
	}
}

// A server that wants the request tied to its session gets that, by TLS 1.2 for this one request (CERT-24, CERT-25).
func TestChallenge(t *testing.T) {
	spec.Rules(t, "CERT-24", "CERT-25")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true, Challenge: true, KeyType: estserver.ECDSA})
	d := newDevice(t, s, "").start()
	held := d.enrol()
	if r := d.run("certs", "renew"); r.status != 0 {
		t.Errorf("certs renew: %v", r)
	}
	d.awaitPair(held)
	for _, r := range s.Requests() {
		if tied := r.TLS == 0x0303; tied != (r.Operation == estserver.Enrol || r.Operation == estserver.Reenrol) {
			t.Errorf("%s by TLS %x", r.Operation, r.TLS)
		}
	}
}

// Both kinds of keys where both are wanted, each a file of its own (CERT-21).
func TestBothKinds(t *testing.T) {
	spec.Rules(t, "CERT-21")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "keys = [\"ecdsa\", \"rsa\"]\n").start()
	d.enrol()
	for _, file := range []string{"ecdsa.pem", "rsa.pem"} {
		if _, err := d.pairIn(d.dir.File("certs/" + file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A maker's certificate that the server refuses, or none, leads to no certificate, and the device says so (CERT-26).
func TestMakerRefused(t *testing.T) {
	spec.Rules(t, "CERT-26")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "")
	now := time.Now()
	ended := s.Maker().Device(serial(), now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0))
	revoked := s.Maker().Device(serial(), now.Add(-time.Hour), now.AddDate(30, 0, 0))
	s.Revoke(revoked.Leaf)
	stranger := estserver.NewCA("Another maker", now).Device(serial(), now.Add(-time.Hour), now.AddDate(30, 0, 0))
	d.start()
	for what, p := range map[string]estserver.Pair{"ended": ended, "revoked": revoked, "stranger": stranger} {
		if err := os.WriteFile(d.dir.File("maker.pem"), p.ChainPEM, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.dir.File("maker.key"), p.KeyPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := d.run("certs", "enrol"); r.status == 0 || strings.TrimSpace(r.errors) == "" {
			t.Errorf("%s: certs enrol: %v", what, r)
		}
	}
	if _, err := os.Stat(d.pairFile()); !os.IsNotExist(err) {
		t.Errorf("there is a certificate: %v", err)
	}
	for _, r := range s.Requests() {
		if r.Client != nil && r.Client.Equal(ended.Leaf) {
			t.Error("the maker's certificate that has ended was shown")
		}
	}
}

// A server that does not take the certificate of before, since it was revoked there, leaves the device with it; from
// the beginning, by the maker's certificate, it gets another (CERT-41, CERT-42).
func TestRenewalRefused(t *testing.T) {
	spec.Rules(t, "CERT-41", "CERT-42")
	t.Parallel()
	s := newServer(t, estserver.Options{FirstContact: true})
	d := newDevice(t, s, "").start()
	held := d.enrol()
	s.Revoke(held)
	if r := d.run("certs", "renew"); r.status == 0 || !strings.Contains(r.errors, "403") {
		t.Errorf("certs renew: %v", r)
	}
	if now, err := d.pair(); err != nil || !now.Equal(held) {
		t.Errorf("the pair has changed: %v", err)
	}
	if r := d.run("certs", "enrol"); r.status != 0 {
		t.Errorf("certs enrol: %v", r)
	}
	d.awaitPair(held)
}
