package certs_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// virtual runs a test in virtual time, with a device that is on until the test ends.
func virtual(t *testing.T, test func(t *testing.T, r *rig, e *est)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEST("est.example.com")
		test(t, newRig(t, e), e)
	})
}

// run has the device work for a time.
func (r *rig) run(d time.Duration) {
	ctx, off := context.WithTimeout(r.t.Context(), d)
	defer off()
	r.Run(ctx)
	synctest.Wait()
}

// Renewals come at the device's own place between 50 % and 80 % of the life, with the certificate that is renewed, a
// new key, and the same names; the firmware always has a valid one.
func TestRenewal(t *testing.T) {
	spec.Rules(t, "CERT-40", "CERT-41", "CERT-44")
	for _, c := range []struct {
		place uint16
		share float64
	}{{0, .5}, {1 << 15, .65}, {65535, .8}} {
		t.Run(fmt.Sprint("CERT-40/", c.place), func(t *testing.T) {
			virtual(t, func(t *testing.T, r *rig, e *est) {
				r.Place(c.place)
				for range 36 {
					r.run(10 * day)
					if leaf := r.must(); time.Now().After(leaf.NotAfter) {
						t.Fatal("the certificate has ended")
					}
				}
				all := e.enrolments()
				// the last may be just over the end
				if n := int(359.5 / (90 * c.share)); len(all) != n+1 && len(all) != n+2 {
					t.Errorf("got %d requests, want %d", len(all), n+1)
				}
				keys := map[string]bool{}
				for i, a := range all {
					keys[fmt.Sprint(a.csr.PublicKey)] = true
					if i == 0 {
						continue
					}
					share := a.at.Sub(all[i-1].at).Hours() / (90 * 24)
					if share < c.share-.01 || share > c.share+.01 {
						t.Errorf("renewal %d at %.3f of the life, want %.3f", i, share, c.share)
					}
					if !strings.HasSuffix(a.what, "/simplereenroll") || a.client != name {
						t.Errorf("renewal %d: %s with %q", i, a.what, a.client)
					}
					if string(a.csr.RawSubject) != string(all[0].csr.RawSubject) || a.csr.DNSNames[0] != name {
						t.Errorf("renewal %d: for %v", i, a.csr.Subject)
					}
				}
				if len(keys) != len(all) {
					t.Errorf("got %d keys in %d requests", len(keys), len(all))
				}
			})
		})
	}
}

// Places are spread evenly, and each device keeps its own.
func TestPlaces(t *testing.T) {
	spec.Rules(t, "CERT-40")
	var counts [8]int
	for range 4000 {
		f := &flash{}
		c := certs.New(certs.Options{
			Storage: f, Clock: func() (time.Time, bool) { return time.Now(), true }, Report: func(certs.Event) {},
		})
		if err := c.Load(); err != nil {
			t.Fatal(err)
		}
		counts[c.PlaceNow()>>13]++
	}
	for i, n := range counts {
		if n < 400 || n > 600 { // five standard deviations are 105
			t.Errorf("place %d of 8 has %d of 4,000 devices", i, n)
		}
	}
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.run(day)
		before := r.PlaceNow()
		r.power()
		r.run(day)
		if r.PlaceNow() != before {
			t.Error("the place is another after a restart")
		}
	})
}

// A server that is away for a month is asked again when half of the time left has passed, and the device serves on.
func TestMonthAway(t *testing.T) {
	spec.Rules(t, "CERT-42")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Place(0)
		r.run(40 * day)
		first := r.must()
		begin := first.NotBefore
		e.away = true
		dials := r.dials
		r.run(30 * day)
		if r.held() != first || r.Status().Phase != certs.Held {
			t.Errorf("after a month: phase %v", r.Status().Phase)
		}
		if n := r.dials - dials; n < 2 || n > 8 {
			t.Errorf("got %d connections in a month, want a few", n)
		}
		if s := r.Status().Certificates[0]; s.Err == nil || s.Tries == 0 {
			t.Errorf("the status does not say so: %+v", s)
		}
		e.away = false
		r.run(15 * day)
		if r.must() == first {
			t.Fatalf("it was not renewed: %s", r.said())
		}
		all := e.enrolments()
		if at := all[1].at.Sub(begin).Hours() / 24; at < 78 || at > 79.5 { // 45, then 67.5, then 78.75
			t.Errorf("renewed on day %.2f, want 78.75", at)
		}
	})
}

// A certificate that ends while the server is away stays with the firmware, and the status says so; when the server is
// back the device begins with the maker's certificate, soon.
func TestEnds(t *testing.T) {
	spec.Rules(t, "CERT-41", "CERT-42")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.run(40 * day)
		first := r.must()
		e.away = true
		r.run(49 * day)
		dials := r.dials
		r.run(day) // the last one
		if n := r.dials - dials; n < 100 || n > 1000 {
			t.Errorf("got %d connections on the last day, want one every few minutes", n)
		}
		r.run(10 * day)
		s := r.Status()
		if r.held() != first || s.Phase != certs.Expired || !s.Certificates[0].Expired ||
			r.count(certs.EventExpired) != 1 {
			t.Errorf("after the end: %+v", s)
		}
		e.away = false
		r.run(10 * time.Minute)
		if leaf := r.must(); leaf == first || r.Status().Phase != certs.Held {
			t.Errorf("not enrolled again: %s", r.Status().Err)
		}
		last := e.enrolments()[1]
		if !strings.HasSuffix(last.what, "/simpleenroll") || last.client != "AX-8 SN0012" {
			t.Errorf("got %s by %q", last.what, last.client)
		}
	})
}

// Renewal can be switched off, and asked for by hand all the same.
func TestNoRenewal(t *testing.T) {
	spec.Rules(t, "CERT-6")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.config.NoRenewal = true
		r.Configure(r.config)
		r.run(200 * day)
		if n := len(e.enrolments()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
		if s := r.Status(); !s.Certificates[0].Renewal.IsZero() || s.Phase != certs.Expired {
			t.Errorf("got %+v", s)
		}
		r.Renew()
		r.run(time.Minute)
		if n := len(e.enrolments()); n != 2 || r.Status().Phase != certs.Held {
			t.Errorf("by hand: got %d requests, want 2", n)
		}
	})
}

// Nothing is sent while it is switched off; what is held stays with the firmware.
func TestDisabled(t *testing.T) {
	spec.Rules(t, "CERT-5")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		on := r.config
		r.Configure(certs.Config{})
		r.run(day)
		if r.dials != 0 || r.Status().Phase != certs.Disabled {
			t.Errorf("got %d connections, phase %v", r.dials, r.Status().Phase)
		}
		r.Configure(on)
		r.run(day)
		leaf, dials := r.must(), r.dials
		r.Configure(certs.Config{})
		r.run(100 * day)
		if r.dials != dials || r.held() != leaf || r.Status().Phase != certs.Disabled {
			t.Errorf("got %d connections, want %d", r.dials, dials)
		}
	})
}

// Without a certificate failures are followed by a back-off that begins at a second.
func TestBackOff(t *testing.T) {
	spec.Rules(t, "CERT-7")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		var times []time.Time
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr == nil {
				return false
			}
			times = append(times, time.Now())
			w.WriteHeader(500)
			return true
		}
		r.run(day)
		for i := 1; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			want := min(time.Second<<min(i-1, 20), 5*time.Minute)
			if gap < want/2 || gap > want*3/2+time.Second {
				t.Errorf("wait %d took %v, want about %v", i, gap, want)
			}
		}
		if len(times) < 200 {
			t.Errorf("got %d requests in a day", len(times))
		}
	})
}

// A server that wants a person to agree is asked again when it said, with the same key, also after a restart; an
// operator does not hurry it.
func TestWaiting(t *testing.T) {
	spec.Rules(t, "CERT-27")
	for _, status := range []int{202, 503} {
		t.Run(fmt.Sprint("CERT-27/", status), func(t *testing.T) {
			virtual(t, func(t *testing.T, r *rig, e *est) {
				n := 0
				e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
					if a.csr == nil || n == 3 {
						return false
					}
					n++
					w.Header().Set("Retry-After", "600")
					w.WriteHeader(status)
					return true
				}
				r.run(5 * time.Minute)
				if s := r.Status(); s.Phase != certs.Waiting || s.Certificates[0].Asked != 1 ||
					r.count(certs.EventWaiting) != 1 {
					t.Fatalf("got %+v: %s", s, r.said())
				}
				r.Retry()
				r.Enrol()
				r.Renew()
				r.run(4 * time.Minute)
				r.power()
				r.run(time.Hour)
				r.must()
				all := e.enrolments()
				if len(all) != 4 {
					t.Fatalf("got %d requests, want 4", len(all))
				}
				for i := 1; i < len(all); i++ {
					if gap := all[i].at.Sub(all[i-1].at); gap < 600*time.Second-time.Second {
						t.Errorf("asked again after %v", gap)
					}
					if fmt.Sprint(all[i].csr.PublicKey) != fmt.Sprint(all[0].csr.PublicKey) {
						t.Error("asked with another key")
					}
				}
			})
		})
	}
}

// Tied to its session, a request that waited has another key. Without a header it waits a few minutes.
func TestWaitingTied(t *testing.T) {
	spec.Rules(t, "CERT-24", "CERT-27")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.attrs = sequence(challenge)
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr == nil || len(e.enrolments()) > 1 {
				return false
			}
			w.WriteHeader(202)
			return true
		}
		r.run(time.Hour)
		r.must()
		all := e.enrolments()
		if len(all) != 2 || fmt.Sprint(all[0].csr.PublicKey) == fmt.Sprint(all[1].csr.PublicKey) {
			t.Errorf("got %d requests, want 2 with two keys", len(all))
		}
		if gap := all[1].at.Sub(all[0].at); gap < time.Minute {
			t.Errorf("asked again after %v", gap)
		}
	})
}

// Forever is too long: after a number of times the request is given up, and another is made, with another key.
func TestWaitingForEver(t *testing.T) {
	spec.Rules(t, "CERT-27")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr != nil {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(202)
			}
			return a.csr != nil
		}
		r.run(2 * day)
		first := fmt.Sprint(e.enrolments()[0].csr.PublicKey)
		same := 0
		for _, a := range e.enrolments() {
			if fmt.Sprint(a.csr.PublicKey) == first {
				same++
			}
		}
		if same != certs.MostAsked+1 || len(e.enrolments()) == same {
			t.Errorf("asked %d of %d times with the first key, want %d", same, len(e.enrolments()), certs.MostAsked+1)
		}
		if !strings.Contains(r.said(), "given up") {
			t.Error("nothing says so")
		}
	})
}

// While a renewal waits, the firmware keeps what it has.
func TestWaitingRenewal(t *testing.T) {
	spec.Rules(t, "CERT-27", "CERT-44")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.run(day)
		first := r.must()
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr != nil {
				w.Header().Set("Retry-After", "86400")
				w.WriteHeader(202)
			}
			return a.csr != nil
		}
		r.run(85 * day)
		if s := r.Status(); r.held() != first || s.Phase != certs.Held || s.Certificates[0].Asked == 0 {
			t.Errorf("got %+v", s)
		}
	})
}

// Roots are asked for again before they end, and what is under the old one is renewed with them.
func TestRoots(t *testing.T) {
	spec.Rules(t, "CERT-43")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.ca = newCA("Facility Root", 1000*day)
		e.cert = e.ca.serve(e.host, 999*day)
		e.life = 990 * day
		old := e.ca
		r.Place(0)
		r.run(day)
		first := r.must()
		looks := len(e.all("cacerts"))
		r.run(480 * day)
		if n := len(e.all("cacerts")) - looks; n != 0 {
			t.Errorf("asked for roots %d times before their time", n)
		}
		next := newCA("Facility Root 2", 1000*day)
		e.ca = next
		e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{next.cert, old.cert} }
		r.config.NoRenewal = true // what follows is on account of the root alone
		r.Configure(r.config)
		r.run(30 * day)
		leaf := r.must()
		if leaf == first || leaf.CheckSignatureFrom(next.cert) != nil {
			t.Errorf("not renewed under the new root: %s", r.said())
		}
		if s := r.Status(); len(s.Roots) != 2 {
			t.Errorf("got the roots %+v", s.Roots)
		}
	})
}

// The same root again: half of the time left, each time.
func TestSameRoot(t *testing.T) {
	spec.Rules(t, "CERT-43")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.ca = newCA("Facility Root", 1000*day)
		e.cert = e.ca.serve(e.host, 999*day)
		e.life = 990 * day
		r.config.NoRenewal = true
		r.Configure(r.config)
		r.Place(0)
		begin := time.Now()
		r.run(900 * day)
		var got []string
		for _, a := range e.all("cacerts")[2:] {
			got = append(got, fmt.Sprintf("%.0f", a.at.Sub(begin).Hours()/24))
		}
		if want := "500 750 875"; strings.Join(got, " ") != want {
			t.Errorf("asked on days %q, want %s", got, want)
		}
	})
}

// Devices that lost their power together do not come together: one that holds a certificate takes its time.
func TestStart(t *testing.T) {
	spec.Rules(t, "CERT-40")
	var times []time.Duration
	for range 20 {
		virtual(t, func(t *testing.T, r *rig, e *est) {
			r.run(day)
			n := len(e.all(""))
			r.power()
			begin := time.Now()
			r.run(6 * time.Minute)
			all := e.all("")
			if len(all) != n+1 {
				t.Fatalf("got %d requests after a restart, want 1", len(all)-n)
			}
			times = append(times, all[n].at.Sub(begin))
		})
	}
	early := 0
	for _, d := range times {
		if d > 5*time.Minute {
			t.Errorf("waited %v", d)
		}
		if d < time.Minute {
			early++
		}
	}
	if early > 14 {
		t.Errorf("%d of 20 came in the first minute", early)
	}
}

// A certificate that is short-lived, or dated back by far, does not have the device ask without end.
func TestShortLife(t *testing.T) {
	spec.Rules(t, "CERT-40")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.life = 40 * time.Second
		r.run(time.Hour)
		if n := len(e.enrolments()); n < 30 || n > 61 {
			t.Errorf("got %d requests in an hour, want one a minute", n)
		}
	})
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.NotBefore = e.ca.cert.NotBefore.Add(-900 * day)
		}
		e.life = 10 * day
		r.run(10 * day)
		if n := len(e.enrolments()); n != 2 && n != 3 {
			t.Errorf("dated back: got %d requests in ten days, want 2", n)
		}
	})
}
