package fleet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// later is the part of a run in which all has come to rest, and waves from the start would show.
const later = 3 * time.Hour

// WriteTable prints a line for each run.
func WriteTable(out io.Writer, runs []*Record) error {
	r := runs[0]
	fmt.Fprintf(out, "%d devices start within %s. 1× is the steady rate, %.2f fetches a second.\n\n",
		r.Devices, clock(switchOn), r.Steady())
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	// The first column is padded by hand, since a writer aligns all columns to one side.
	wide := 0
	for _, r := range runs {
		wide = max(wide, len(r.Scenario.Name))
	}
	name := func(s string) string { return s + strings.Repeat(" ", wide-len(s)) }
	fmt.Fprintf(t, "%s\tone server,\t\tall servers,\tall servers,\tall servers,\tlast device\t\n", name(""))
	fmt.Fprintf(t, "%s\tbusiest %s\t\tbusiest %[2]s\tbusiest second\tafter %[3]s\tdecides after\t\n", name(""),
		clock(r.Window()), clock(later))
	for _, r := range runs {
		one := 0.0
		for n := range r.Scenario.Servers {
			one = max(one, Busiest(r.At(n), r.Window()))
		}
		steady, all := r.Steady(), r.All()
		decides := "never"
		if after, ok := r.LastDecides(); ok {
			decides = clock(after)
		}
		fmt.Fprintf(t, "%s\t%.1f/s\t%.1f×\t%.1f×\t%.0f/s\t%.1f×\t%s\t\n", name(r.Scenario.Name), one, one/steady,
			Busiest(all, r.Window())/steady, Busiest(all, time.Second),
			Busiest(between(all, later, Span), r.Window())/steady, decides)
	}
	return t.Flush()
}

// WriteTokens prints a line for each run of a TokenScenario.
func WriteTokens(out io.Writer, runs []*Record) error {
	fmt.Fprintf(out, "%d devices that lost their tokens start within %s.\n\n", runs[0].Devices, clock(switchOn))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	wide := 0
	for _, r := range runs {
		wide = max(wide, len(r.Scenario.Name))
	}
	name := func(s string) string { return s + strings.Repeat(" ", wide-len(s)) }
	fmt.Fprintf(t, "%s\tsteady\tbusiest\t\twhile dead\tlast device has\t\n", name(""))
	fmt.Fprintf(t, "%s\trate\tminute\t\trefused\ta token after\t\n", name(""))
	for _, r := range runs {
		busiest := Busiest(r.Answered(0), time.Minute)
		after, all := r.LastDecides()
		last := "never"
		if all {
			last = clock(after)
		}
		fmt.Fprintf(t, "%s\t%.1f/s\t%.1f/s\t%.1f×\t%.1f×\t%s\t\n", name(r.Scenario.Name), r.Steady(), busiest,
			busiest/r.Steady(), Busiest(r.Failed(0), time.Minute)/r.Steady(), last)
	}
	return t.Flush()
}

// clock writes a time as people read it in a table.
func clock(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d <= time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d min", d/time.Minute, d%time.Minute/time.Second)
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d:%02d h", d/time.Hour, d%time.Hour/time.Minute)
}
