// Package growth says whether what an answer costs grows as it should with what a device has: not at all, or in
// proportion; and draws it. The test of agent counts instructions, and so does the command growth, on other processors.
package growth

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"nmosauthd/tinytest/svg"
)

// Curve is what one answer costs when there are few or many of something.
type Curve struct {
	Name   string
	Linear bool  // the cost grows in proportion; else not at all
	Points []int // how many there are
	Counts []int // instructions of one answer, for each
}

// What is flat may vary by the place where a hash leads. Of what is linear each further one costs what those before
// did.
const (
	flatBound   = 1.15
	linearBound = 1.25
	least       = 300 // instructions of anything that is worth counting
)

// Check returns what is wrong with a curve, or nil.
func (c *Curve) Check() error {
	if len(c.Counts) != len(c.Points) || len(c.Points) < 2 {
		return fmt.Errorf("%s: got %d counts for %d points", c.Name, len(c.Counts), len(c.Points))
	}
	for i, count := range c.Counts {
		switch {
		case count < least:
			return fmt.Errorf("%s: got %d instructions at %d: nothing was counted", c.Name, count, c.Points[i])
		case !c.Linear && float64(count) > flatBound*float64(c.Counts[0]):
			return fmt.Errorf("%s: got %d instructions at %d and %d at %d, want at most %g times as many",
				c.Name, c.Counts[0], c.Points[0], count, c.Points[i], flatBound)
		case c.Linear && i > 0 && c.slope(i-1, i) > linearBound*c.slope(0, len(c.Points)-1):
			return fmt.Errorf("%s: got %.0f instructions for each from %d to %d, want at most %g "+
				"times the %.0f of the whole",
				c.Name, c.slope(i-1, i), c.Points[i-1], c.Points[i], linearBound, c.slope(0, len(c.Points)-1))
		}
	}
	return nil
}

// slope is what each further one costs between two points.
func (c *Curve) slope(from, to int) float64 {
	return float64(c.Counts[to]-c.Counts[from]) / float64(c.Points[to]-c.Points[from])
}

// Shape is the curve in a sentence.
func (c *Curve) Shape() string {
	last := len(c.Points) - 1
	if c.Linear {
		return fmt.Sprintf("linear: %s for each", thousands(int(c.slope(0, last)+0.5)))
	}
	more := 100 * (float64(slices.Max(c.Counts))/float64(slices.Min(c.Counts)) - 1)
	return fmt.Sprintf("flat: %s, varies by %.1f %%", thousands(c.Counts[0]), more)
}

// thousands writes a number with separators.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// Machine is a kind of processor, and its curves.
type Machine struct {
	Name   string
	Curves []Curve
}

const (
	columns     = 3
	panelWidth  = 300
	panelHeight = 200
	head        = 66
	left        = 50 // of the axes inside a panel
	top         = 46
	width       = 232
	height      = 118
)

var colours = []string{"#1f5fa8", "#d9622b", "#2a8f5b"}

// WritePlot draws the curves of machines that have the same.
func WritePlot(out io.Writer, machines []Machine) error {
	var b strings.Builder
	rows := (len(machines[0].Curves) + columns - 1) / columns
	svg.Open(&b, columns*panelWidth+16, head+rows*panelHeight+8)
	svg.Text(&b, 16, 26, "start", `font-size="16" font-weight="bold"`, "Instructions of one answer")
	for i, m := range machines {
		x := float64(16 + 110*i)
		svg.Line(&b, x, 46, x+22, 46, fmt.Sprintf(`stroke="%s" stroke-width="3"`, colours[i%len(colours)]))
		svg.Text(&b, x+28, 50, "start", "", m.Name)
	}
	for i := range machines[0].Curves {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%columns*panelWidth, head+i/columns*panelHeight)
		panel(&b, machines, i)
		b.WriteString("</g>\n")
	}
	svg.Close(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

// panel draws one kind of curve of all machines. What is flat has its points at equal distances, since each is several
// times the one before.
func panel(b *strings.Builder, machines []Machine, n int) {
	most := 0
	for _, m := range machines {
		most = max(most, slices.Max(m.Curves[n].Counts))
	}
	first := &machines[0].Curves[n]
	last := len(first.Points) - 1
	x := func(i int) float64 {
		if first.Linear {
			return left + width*float64(first.Points[i])/float64(first.Points[last])
		}
		return left + 8 + (width-16)*float64(i)/float64(last)
	}
	end := float64(most) * 1.15
	y := func(count float64) float64 { return top + height*(1-count/end) }

	svg.Text(b, left, top-24, "start", `font-size="12" font-weight="bold"`, first.Name)
	svg.Text(b, left, top-9, "start", `fill="#555"`, first.Shape())
	for count := 0.0; count <= end; count += svg.Tick(end) {
		svg.Line(b, left, y(count), left+width, y(count), svg.Grid)
		svg.Text(b, left-5, y(count)+4, "end", "", short(count))
	}
	for i, label := range first.Points {
		svg.Line(b, x(i), top, x(i), top+height, svg.Grid)
		if before := i - 1; before < 0 || !first.Linear || x(i)-x(before) > 22 {
			svg.Text(b, x(i), top+height+14, "middle", `font-size="10"`, fmt.Sprint(label))
		}
	}
	for i, m := range machines {
		var path strings.Builder
		for p, count := range m.Curves[n].Counts {
			command := 'L'
			if p == 0 {
				command = 'M'
			}
			fmt.Fprintf(&path, "%c%.1f %.1f", command, x(p), y(float64(count)))
		}
		svg.Curve(b, path.String(), colours[i%len(colours)])
	}
	svg.Frame(b, left, top, width, height)
}

// short is a number of instructions on an axis.
func short(count float64) string {
	switch {
	case count >= 1e6:
		return fmt.Sprintf("%g M", count/1e6)
	case count >= 1e3:
		return fmt.Sprintf("%g k", count/1e3)
	}
	return fmt.Sprintf("%g", count)
}
