package certificates_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

const day = 24 * time.Hour

// virtual is a device's client alone, in a bubble: what it keeps and hands over outlives its restarts and power cuts.
type virtual struct {
	t      *testing.T
	pipe   *estserver.Pipe
	server *estserver.Server
	maker  *tls.Certificate
	clock  func() (time.Time, bool)

	noRenewal bool

	mu     sync.Mutex
	kept   []byte
	bundle certs.Bundle // with the firmware
	gone   int          // times that the firmware was left without what it had
	events []string
	cut    int  // the write at which the power is cut; 0: none
	before bool // and it is lost
	writes int
	off    func()
	end    func()
}

func newVirtual(t *testing.T, o estserver.Options) *virtual {
	t.Helper()
	pipe := estserver.NewPipe()
	o.Listener, o.Host, o.Domain = pipe, "est."+domain, domain
	v := &virtual{t: t, pipe: pipe, server: newServer(t, o), clock: func() (time.Time, bool) {
		return time.Now(), true
	}}
	v.server.Forget()
	now := time.Now()
	maker := v.server.Maker().Device("SN-1", now.Add(-time.Hour), now.AddDate(30, 0, 0))
	v.maker = &maker.Certificate
	return v
}

var errPower = errors.New("the power is cut")

// write counts what reaches flash. It reports whether this write does, and whether the device lives on.
func (v *virtual) write() (done, alive bool) {
	v.writes++
	if v.cut == 0 || v.writes < v.cut {
		return true, true
	}
	if v.writes == v.cut {
		v.off()
		return !v.before, false
	}
	return false, false
}

// Load and Save are the state on flash.
func (v *virtual) Load() ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.kept), nil
}

func (v *virtual) Save(data []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	done, alive := v.write()
	if done {
		v.kept = slices.Clone(data)
	}
	if !alive {
		return errPower
	}
	return nil
}

// handOver is the folder of the firmware, written as a whole.
func (v *virtual) handOver(b certs.Bundle) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if same(b, v.bundle) {
		return nil
	}
	for _, p := range b.Pairs {
		if _, err := tls.X509KeyPair(p.Chain, p.Key); err != nil {
			v.t.Errorf("handed over: %v", err)
		}
	}
	done, alive := v.write()
	if done {
		if len(b.Pairs) < len(v.bundle.Pairs) {
			v.gone++
		}
		v.bundle = b
	}
	if !alive {
		return errPower
	}
	return nil
}

func same(a, b certs.Bundle) bool {
	return string(a.Roots) == string(b.Roots) && slices.EqualFunc(a.Pairs, b.Pairs, func(x, y certs.Pair) bool {
		return string(x.Key) == string(y.Key) && string(x.Chain) == string(y.Chain)
	})
}

// boot starts the client, shutDown stops it.
func (v *virtual) boot() *certs.Client {
	v.t.Helper()
	ctx, cancel := context.WithCancel(v.t.Context())
	c := certs.New(certs.Options{
		Dial: v.pipe.Dial,
		Servers: func(context.Context) ([]certs.Server, error) {
			return []certs.Server{{Host: v.server.Host()}}, nil
		},
		Maker:     func() (*tls.Certificate, error) { return v.maker, nil },
		Installed: func() ([]*x509.Certificate, error) { return nil, nil },
		Storage:   v, HandOver: v.handOver, Clock: v.clock, Report: v.report,
	})
	v.mu.Lock()
	v.off = cancel
	v.mu.Unlock()
	if err := c.Load(); err != nil && !errors.Is(err, errPower) {
		v.t.Errorf("load: %v", err)
	}
	c.Configure(certs.Config{
		Enabled: true, Names: []string{name}, Serial: "SN-1", TrustFirst: true, NoRenewal: v.noRenewal,
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	v.end = func() {
		cancel()
		<-done
	}
	return c
}

func (v *virtual) report(e certs.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, fmt.Sprintf("%d %s %v", e.Kind, e.Text, e.Err))
}

// leaf is the certificate that the firmware has, nil if it has none.
func (v *virtual) leaf() *x509.Certificate {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.bundle.Pairs) == 0 {
		return nil
	}
	return v.bundle.Pairs[0].Leaf
}

func (v *virtual) said(kind certs.EventKind) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.events, func(e string) bool { return strings.HasPrefix(e, fmt.Sprintf("%d ", kind)) })
}

// The server is away for a month in which the certificate should be renewed: the firmware keeps it, the device says
// why, and has another before it ends. The next time it is away for longer than that: the firmware keeps what has
// ended, the device says so, and enrols from the beginning, by its maker's certificate, when the server is back. It is
// restarted every week (CERT-41, CERT-42).
func TestServerAwayForAMonth(t *testing.T) {
	spec.Rules(t, "CERT-40", "CERT-41", "CERT-42")
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t, estserver.Options{FirstContact: true})
		v.boot()
		weeks := func(n int) {
			t.Helper()
			for range n {
				v.end()
				v.boot()
				time.Sleep(7 * day)
			}
		}
		time.Sleep(40 * day)
		first := v.leaf()
		if first == nil || len(v.server.Issued()) != 1 {
			t.Fatalf("got %v and %d certificates after 40 days, want one", first, len(v.server.Issued()))
		}
		v.pipe.SetDown(true)
		weeks(5) // day 75
		if now := v.leaf(); !now.Equal(first) || !v.said(certs.EventFailure) || v.said(certs.EventExpired) {
			t.Errorf("the server is away: holds %v, said %q", now, v.events)
		}
		v.pipe.SetDown(false)
		time.Sleep(14 * day) // day 89, its last
		second := v.leaf()
		if second.Equal(first) || len(v.server.Issued()) != 2 || v.server.Count(estserver.Reenrol) != 1 {
			t.Errorf("the server is back: not renewed, said %q", v.events)
		}
		v.pipe.SetDown(true)
		weeks(14)
		if time.Now().Before(second.NotAfter) {
			t.Fatal("the second certificate has not ended in this test")
		}
		if now := v.leaf(); !now.Equal(second) || !v.said(certs.EventExpired) {
			t.Errorf("the certificate has ended: holds %v, said %q", now, v.events)
		}
		v.pipe.SetDown(false)
		time.Sleep(day)
		enrolled, renewed := v.server.Count(estserver.Enrol), v.server.Count(estserver.Reenrol)
		if now := v.leaf(); now.Equal(second) || enrolled != 2 || renewed != 1 {
			t.Errorf("the server is back: not enrolled from the beginning, said %q", v.events)
		}
		if v.gone > 0 {
			t.Errorf("the firmware was left without a certificate %d times", v.gone)
		}
		v.end()
	})
}

// The power is cut at every write, of the state or of what the firmware has, before it is done and after. What the
// firmware has is a key with its certificate each time, and after the next start it gets a good one (CERT-29).
func TestPowerCutAtEveryWrite(t *testing.T) {
	spec.Rules(t, "CERT-29")
	cuts := 0
	for _, before := range []bool{true, false} {
		for cut := 1; cut <= 40; cut++ {
			done := false
			synctest.Test(t, func(t *testing.T) {
				v := newVirtual(t, estserver.Options{})
				v.cut, v.before = cut, before
				v.boot()
				time.Sleep(80 * day) // an enrolment and a renewal
				v.mu.Lock()
				done = v.writes < cut
				v.cut = 0
				v.mu.Unlock()
				held := v.leaf()
				v.end()
				v.boot()
				time.Sleep(day)
				if v.leaf() == nil || held != nil && v.gone > 0 {
					t.Errorf("cut at write %d: holds %v, taken away %d times, said %q", cut, v.leaf(), v.gone, v.events)
				}
				if leaf := v.leaf(); leaf != nil && time.Now().After(leaf.NotAfter) {
					t.Errorf("cut at write %d: it ended at %v, said %q", cut, leaf.NotAfter, v.events)
				}
				v.end()
			})
			if done {
				break // there are not so many
			}
			cuts++
		}
	}
	if cuts < 6 {
		t.Errorf("%d cuts, want one at each write of an enrolment and a renewal", cuts)
	}
	t.Logf("%d cuts", cuts)
}

// The facility changes its root: the three certificates of the roll-over lead from the old to the new, and the device
// goes on without anybody's help (CERT-13, CERT-14, CERT-43). Another facility's root is taken for a move only if it is
// vouched for, which it is not (CERT-12).
func TestRollOver(t *testing.T) {
	spec.Rules(t, "CERT-12", "CERT-13", "CERT-14")
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t, estserver.Options{FirstContact: true})
		c := v.boot()
		time.Sleep(day)
		old := v.server.Facility()
		next := v.server.RollOver()
		c.NetworkChanged()
		time.Sleep(day)
		c.Renew()
		time.Sleep(day)
		v.server.Retire()
		c.NetworkChanged()
		time.Sleep(day)
		roots := string(c.Roots())
		if !strings.Contains(roots, string(next.PEM())) || strings.Contains(roots, string(old.PEM())) {
			t.Errorf("the roots are not those of after the roll-over, said %q", v.events)
		}
		c.Renew()
		time.Sleep(day)
		if err := v.leaf().CheckSignatureFrom(next.Intermediate); err != nil {
			t.Errorf("the certificate is not of the new root: %v, said %q", err, v.events)
		}
		held, asked := v.leaf(), len(v.server.Requests())
		v.server.Move(estserver.NewCA("Another facility", time.Now()))
		c.NetworkChanged()
		c.Renew()
		time.Sleep(day)
		if !v.leaf().Equal(held) || len(v.server.Requests()) != asked {
			t.Errorf("a stranger was asked %d times, said %q", len(v.server.Requests())-asked, v.events)
		}
		v.end()
	})
}

// Renewal can be switched off: the certificate ends, the device says so, and nothing was asked for in between (CERT-6).
func TestNoRenewal(t *testing.T) {
	spec.Rules(t, "CERT-6")
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t, estserver.Options{FirstContact: true})
		v.noRenewal = true
		v.boot()
		time.Sleep(89 * day)
		if n := v.server.Count(estserver.Reenrol); n > 0 || len(v.server.Issued()) != 1 || v.said(certs.EventExpired) {
			t.Errorf("%d renewals, %d certificates, said %q", n, len(v.server.Issued()), v.events)
		}
		time.Sleep(2 * day)
		if v.leaf() == nil || !v.said(certs.EventExpired) || v.server.Count(estserver.Reenrol) > 0 {
			t.Errorf("holds %v, said %q", v.leaf(), v.events)
		}
		v.end()
	})
}
