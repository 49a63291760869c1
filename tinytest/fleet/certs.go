package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/estserver"
)

// CertScenario is what devices meet that have certificates. All of them got one within the same hour, so all end in the
// same hour.
type CertScenario struct {
	Name  string
	Life  time.Duration
	Span  time.Duration // how long a run takes
	Bound float64       // how many times the steady rate the busiest hour may have
}

// CertScenarios are those of the table. A device renews once in 65 % of a life, as a mean, and has 30 % of it for that:
// if all begin together the rate is 2.2 times the steady one for that while, and chance adds to it in the busiest hour.
// Nothing in this depends on the life but chance: the shorter it is, the more come in an hour. Half a day is short.
var CertScenarios = []CertScenario{{Name: "server well", Life: 12 * time.Hour, Span: 11 * time.Hour, Bound: 5}}

// certFleet is the devices of one run, and their server.
type certFleet struct {
	CertScenario
	pipe   *estserver.Pipe
	server *estserver.Server

	mu      sync.Mutex
	issued  map[int]int
	renewed []time.Time
	failed  []string
	ended   int
}

// CertRecord is what came of a run.
type CertRecord struct {
	Scenario CertScenario
	Devices  int
	Renewed  []time.Duration // since the first device was switched on
	Held     int             // devices that hold a certificate at the end
	Ended    int             // times that a certificate ended before its successor came
	Failures []string        // what devices reported, the first few
	Strange  []string        // violations
}

// Steady is how many renewals an hour has if the devices are spread evenly.
func (r *CertRecord) Steady() float64 { return float64(r.Devices) / (0.65 * r.Scenario.Life.Hours()) }

// Window is an hour, and longer if there are so few devices that chance would count more than the schedule.
func (r *CertRecord) Window() time.Duration {
	return max(time.Hour, time.Duration(30/r.Steady()*float64(time.Hour)))
}

// Busiest is how many times the steady rate the busiest window has.
func (r *CertRecord) Busiest() float64 {
	most, from := 0, 0
	for to := range r.Renewed { // in order
		for r.Renewed[to]-r.Renewed[from] >= r.Window() {
			from++
		}
		most = max(most, to-from+1)
	}
	return float64(most) / r.Window().Hours() / r.Steady()
}

// Run simulates so many devices. The caller is in a bubble.
func (s CertScenario) Run(devices int) (*CertRecord, error) {
	f := &certFleet{CertScenario: s, pipe: estserver.NewPipe(), issued: map[int]int{}}
	var err error
	f.server, err = estserver.Start(estserver.Options{
		Listener: f.pipe, Life: s.Life, Host: "est.example.com",
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	begin := time.Now()
	for n := range devices {
		running.Go(func() { f.device(ctx, n) })
	}
	time.Sleep(s.Span)
	cancel()
	running.Wait()
	r := &CertRecord{
		Scenario: s, Devices: devices, Held: len(f.issued), Ended: f.ended, Failures: f.failed,
		Strange: f.server.Violations(),
	}
	for _, at := range f.renewed {
		r.Renewed = append(r.Renewed, at.Sub(begin))
	}
	return r, f.server.Close()
}

// device is one device: it has its first certificate within an hour, and runs until ctx ends.
func (f *certFleet) device(ctx context.Context, n int) {
	select {
	case <-time.After(rand.N(time.Hour)):
	case <-ctx.Done():
		return
	}
	now := time.Now()
	serial := fmt.Sprintf("SN-%05d", n)
	maker := f.server.Maker().Device(serial, now.Add(-time.Hour), now.AddDate(30, 0, 0)).Certificate
	c := certs.New(certs.Options{
		Dial: f.pipe.Dial,
		Servers: func(context.Context) ([]certs.Server, error) {
			return []certs.Server{{Host: f.server.Host()}},
				nil
		},
		Maker:     func() (*tls.Certificate, error) { return &maker, nil },
		Installed: func() ([]*x509.Certificate, error) { return nil, nil },
		Storage:   &storage{},
		HandOver:  func(certs.Bundle) error { return nil },
		Clock:     func() (time.Time, bool) { return time.Now(), true },
		Report:    func(e certs.Event) { f.report(n, e) },
	})
	if err := c.Load(); err != nil {
		f.report(n, certs.Event{Kind: certs.EventFailure, Err: err})
	}
	c.Configure(certs.Config{
		Enabled: true, Names: []string{fmt.Sprintf("device-%d.example.com", n)}, Serial: serial, TrustFirst: true,
	})
	c.Run(ctx)
}

func (f *certFleet) report(n int, e certs.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Kind {
	case certs.EventIssued:
		if f.issued[n]++; f.issued[n] > 1 {
			f.renewed = append(f.renewed, time.Now())
		}
	case certs.EventExpired:
		f.ended++
	case certs.EventFailure:
		if len(f.failed) < 10 {
			f.failed = append(f.failed, fmt.Sprintf("device %d: %v", n, e.Err))
		}
	}
}

// WriteCerts prints a line for each run.
func WriteCerts(out io.Writer, runs []*CertRecord) error {
	fmt.Fprintf(out, "%d devices whose certificates end in the same hour.\n\n", runs[0].Devices)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	wide := 0
	for _, r := range runs {
		wide = max(wide, len(r.Scenario.Name))
	}
	name := func(s string) string { return s + strings.Repeat(" ", wide-len(s)) }
	fmt.Fprintf(t, "%s\tlife\tsteady\tbusiest hour\t\trenewed\tended before\t\n", name(""))
	for _, r := range runs {
		fmt.Fprintf(t, "%s\t%.0f h\t%.0f/h\t%.0f/h\t%.1f×\t%d\t%d\t\n", name(r.Scenario.Name), r.Scenario.Life.Hours(),
			r.Steady(), r.Busiest()*r.Steady(), r.Busiest(), len(r.Renewed), r.Ended)
	}
	return t.Flush()
}
