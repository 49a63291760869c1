package fleet

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

// Devices that lost their power and their tokens do not stampede: no minute has ten times the steady rate, and the last
// has its token within ten minutes, unless both cannot be had (TokenScenarios says why). Nor do they come together
// later.
func TestTokens(t *testing.T) {
	spec.Rules(t, "CLI-58", "CLI-57", "CLI-44")
	var runs []*Record
	for _, s := range TokenScenarios {
		t.Run("CLI-58/"+s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The steady rate is 167 a minute at least: by chance alone their number varies by 8 % (one standard
				// deviation), and that of the bound by less.
				span := TokenSpan
				if *out == "" {
					span = s.possible() + 35*time.Minute
				}
				r := s.Run(max(*devices, int(167*s.Life/2/time.Minute)), span)
				runs = append(runs, r)
				r.checkTokens(t, s)
			})
		})
	}
	if *out != "" {
		write(t, "tokens.txt", runs, WriteTokens)
		write(t, "tokens.svg", runs, WritePlot)
	}
}

func (r *Record) checkTokens(t *testing.T, s TokenScenario) {
	after, all := r.LastDecides()
	if !all {
		t.Fatalf("%d of %d devices have a token after %v", r.deciding, r.Devices, r.span())
	}
	if after > s.Within {
		t.Errorf("the last device has its token after %v, want %v", after, s.Within)
	}
	busiest := Busiest(r.Answered(0), time.Minute) / r.Steady()
	t.Logf("busiest minute %.1f times the steady rate (%.1f while dead), last token after %v", busiest,
		Busiest(r.Failed(0), time.Minute)/r.Steady(), after)
	if busiest >= s.Bound {
		t.Errorf("the server gets up to %.1f times the steady rate in a minute, want under %v", busiest, s.Bound)
	}
	// Once the last has its token they come as they do from then on.
	rest := Busiest(between(r.Answered(0), s.possible()+12*time.Minute, r.span()), time.Minute) / r.Steady()
	if rest > 3 {
		t.Errorf("later a minute has up to %.1f times the steady rate", rest)
	}
	if n := sumOf(r.Answered(0)); n < r.Devices {
		t.Errorf("%d requests were answered, want one for each of %d devices", n, r.Devices)
	}
}

// Every run has its line and its panel.
func TestTokenFigures(t *testing.T) {
	var runs []*Record
	for _, s := range TokenScenarios {
		r := newRecord(Scenario{Name: s.Name, Servers: []Server{{Issuer: first}}}, 10_000, TokenSpan)
		r.each, r.bound, r.what = s.Life/2, s.Bound, "requests"
		r.answered[0][100], r.failed[0][200] = 600, 60
		runs = append(runs, r)
	}
	var table, plot bytes.Buffer
	if err := errors.Join(WriteTokens(&table, runs), WritePlot(&plot, runs)); err != nil {
		t.Fatal(err)
	}
	for _, s := range TokenScenarios {
		if strings.Count(table.String(), s.Name+" ") != 1 || strings.Count(plot.String(), ">"+s.Name+"<") != 1 {
			t.Errorf("%q is missing, or there twice", s.Name)
		}
	}
	if !strings.Contains(table.String(), "10.0/s") || strings.Contains(table.String()+plot.String(), "NaN") ||
		!strings.Contains(plot.String(), "requests per second") {
		t.Errorf("the figures are missing:\n%s", table.String())
	}
}
