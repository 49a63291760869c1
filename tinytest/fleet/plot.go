package fleet

import (
	"fmt"
	"io"
	"strings"
	"time"

	"nmosauthd/tinytest/svg"
)

// The plot has a panel for each run, in two columns. Lengths are in pixels.
const (
	columns     = 2
	panelWidth  = 520
	panelHeight = 210
	plotLeft    = 52 // of the axes inside a panel
	plotTop     = 34
	plotWidth   = 440
	plotHeight  = 138
	headHeight  = 84
)

const (
	bound  = 5.0 // times the steady rate: what the peak must stay under where keys are held
	calmY  = 6.0 // top of the axis, times the steady rate, where nothing is above it
	roughY = 15.0
)

// series is one kind of fetches in a panel.
type series struct{ name, colour string }

var (
	answers = []series{{"first server answers", "#1f5fa8"}, {"second server answers", "#2a8f5b"}}
	refuses = []series{{"first server refuses", "#d9622b"}, {"second server refuses", "#b8860b"}}
)

// WritePlot writes the fetches per second of all runs as SVG.
func WritePlot(out io.Writer, runs []*Record) error {
	var b strings.Builder
	rows := (len(runs) + columns - 1) / columns
	width, height := columns*panelWidth+16, headHeight+rows*panelHeight+8
	svg.Open(&b, width, height)
	svg.Text(&b, 16, 26, "start", `font-size="16" font-weight="bold"`,
		fmt.Sprintf("%d devices after a power cut: %s per second at each server", runs[0].Devices, runs[0].what))
	svg.Text(&b, 16, 44, "start", `fill="#555"`,
		"hours since the power came back; each point is the mean over "+clock(runs[0].Window()))
	legend(&b, runs[0].bound)
	for i, r := range runs {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%columns*panelWidth, headHeight+i/columns*panelHeight)
		panel(&b, r)
		b.WriteString("</g>\n")
	}
	svg.Close(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

func legend(b *strings.Builder, bound float64) {
	x := 16
	for _, s := range []series{answers[0], refuses[0], answers[1], refuses[1]} {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="64" y2="64" stroke="%s" stroke-width="3"/>`+"\n", x, x+22, s.colour)
		svg.Text(b, x+28, 68, "start", "", s.name)
		x += 180
	}
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="64" y2="64" %s/>`+"\n", x, x+22, boundStroke)
	svg.Text(b, x+28, 68, "start", "", fmt.Sprintf("%g × steady", bound))
	x += 130
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="64" y2="64" %s/>`+"\n", x, x+22, steadyStroke)
	svg.Text(b, x+28, 68, "start", "", "steady")
}

const (
	boundStroke  = `stroke="#c00" stroke-width="1.2" stroke-dasharray="6 4"`
	steadyStroke = `stroke="#555" stroke-width="1" stroke-dasharray="2 3"`
)

// panel draws one run.
func panel(b *strings.Builder, r *Record) {
	top, peak := calmY, 0.0
	for n := range r.Scenario.Servers {
		peak = max(peak, Busiest(r.At(n), r.Window())/r.Steady())
	}
	if peak > calmY {
		top = roughY
	}
	x := func(at time.Duration) float64 { return plotLeft + plotWidth*at.Hours()/r.span().Hours() }
	y := func(times float64) float64 { return plotTop + plotHeight*(1-min(times, top)/top) }

	svg.Text(b, plotLeft, plotTop-12, "start", `font-size="12" font-weight="bold"`, r.Scenario.Name)
	for rate := 0.0; rate <= top*r.Steady(); rate += svg.Tick(top * r.Steady()) {
		at := y(rate / r.Steady())
		svg.Line(b, plotLeft, at, plotLeft+plotWidth, at, svg.Grid)
		svg.Text(b, plotLeft-6, at+4, "end", "", fmt.Sprintf("%g/s", rate))
	}
	for hour := time.Duration(0); hour <= r.span(); hour += time.Hour {
		svg.Line(b, x(hour), plotTop, x(hour), plotTop+plotHeight, svg.Grid)
		svg.Text(b, x(hour), plotTop+plotHeight+15, "middle", "", fmt.Sprintf("%g h", hour.Hours()))
	}
	for n := range r.Scenario.Servers {
		curve(b, r, r.failed[n], refuses[n].colour, x, y)
		curve(b, r, r.answered[n], answers[n].colour, x, y)
	}
	for _, line := range []struct {
		times  float64
		stroke string
	}{{1, steadyStroke}, {r.bound, boundStroke}} {
		svg.Line(b, plotLeft, y(line.times), plotLeft+plotWidth, y(line.times), line.stroke)
		svg.Text(b, plotLeft+plotWidth+4, y(line.times)+4, "start", "", fmt.Sprintf("%g×", line.times))
	}
	if peak > top {
		at, rate := r.busiestMoment()
		svg.Text(b, min(x(at)+8, plotLeft+plotWidth-150), plotTop+11, "start",
			`font-weight="bold" stroke="#fff" stroke-width="3" paint-order="stroke"`,
			fmt.Sprintf("▲ to %.0f/s (%.0f×)", rate, rate/r.Steady()))
	}
	svg.Frame(b, plotLeft, plotTop, plotWidth, plotHeight)
}

// curve draws one kind of fetches, where there are any.
func curve(
	b *strings.Builder,
	r *Record,
	seconds []int,
	colour string,
	x func(time.Duration) float64,
	y func(float64) float64,
) {
	if sumOf(seconds) == 0 {
		return
	}
	var points strings.Builder
	window := r.Window()
	before := 0.0
	for at := time.Duration(0); at+window <= r.span(); at += window {
		rate := Mean(between(seconds, at, at+window))
		if rate > 0 || before > 0 {
			command := 'L'
			if before == 0 {
				command = 'M' // nothing is drawn along the axis
			}
			fmt.Fprintf(&points, "%c%.1f %.1f", command, x(at+window/2), y(rate/r.Steady()))
		}
		before = rate
	}
	svg.Curve(b, points.String(), colour)
}

func (r *Record) span() time.Duration { return time.Duration(len(r.answered[0])) * time.Second }

// busiestMoment returns when the most fetches came to one server, and their rate.
func (r *Record) busiestMoment() (at time.Duration, rate float64) {
	for n := range r.Scenario.Servers {
		for from := time.Duration(0); from+r.Window() <= r.span(); from += r.Window() {
			if now := Mean(between(r.At(n), from, from+r.Window())); now > rate {
				at, rate = from, now
			}
		}
	}
	return at, rate
}
