package fleet

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

var (
	devices = flag.Int("devices", 400, "how many devices are simulated")
	out     = flag.String("out", "", "folder that the table and the plot are written to")
)

// If devices hold keys no server gets 5 times the steady rate, and no second brings many of them, but when all see a
// new key or get the time; if they hold none that is so from the moment that they do. And devices that came together,
// at the start, for a new key or with the time, do not come together again an hour later.
//
// A window has 167 fetches at the steady rate whatever the number of devices. At the bound these are 833, and chance
// alone (26, one standard deviation) does not lead there from the 670 of the worst scenario, nor from 167 to the 292 of
// a wave.
func TestPowerCut(t *testing.T) {
	spec.Rules(t, "KEY-1", "KEY-2", "KEY-3")
	var runs []*Record
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := s.Run(*devices, Span)
				runs = append(runs, r)
				r.check(t)
			})
		})
	}
	if *out != "" {
		write(t, "fleet.txt", runs, WriteTable)
		write(t, "fleet.svg", runs, WritePlot)
	}
}

func (r *Record) check(t *testing.T) {
	after, all := r.LastDecides()
	if !all {
		t.Fatalf("%d of %d devices can decide after %v", r.deciding, r.Devices, Span)
	}
	from, to := time.Duration(0), Span
	if len(r.Scenario.Held) == 0 {
		from = switchOn + after + 2*time.Second // the first back-off, begun before
	} else if after != 0 {
		t.Errorf("with keys, and a device could not decide for %v", after)
	}
	for _, at := range []time.Duration{r.Scenario.NewKey, r.Scenario.ClockSet} {
		if at > 0 {
			to = at
		}
	}
	for n, server := range r.Scenario.Servers {
		if busiest := Busiest(between(r.At(n), from, to), r.Window()) / r.Steady(); busiest >= bound {
			t.Errorf("%s gets up to %.1f times the steady rate", server.Issuer, busiest)
		}
	}
	if most := slices.Max(between(r.All(), from, to)); most > max(10, r.Devices*3/100) {
		t.Errorf("%d fetches come in one second", most)
	}
	rest := between(r.All(), later, Span)
	if busiest, mean := Busiest(rest, r.Window()), Mean(rest); busiest > 1.75*mean {
		t.Errorf("after %v there are waves of %.1f times the mean", later, busiest/mean)
	}
	if last := Mean(rest) / r.Steady(); last < 0.95 {
		t.Errorf("after %v each device fetches %.2f times an hour", later, last)
	}
}

func write(t *testing.T, name string, runs []*Record, form func(w io.Writer, runs []*Record) error) {
	f, err := os.Create(filepath.Join(*out, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := form(f, runs); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
