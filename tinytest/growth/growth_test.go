package growth

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// A curve that is not flat, and one that is not linear, are found.
func TestCheck(t *testing.T) {
	spec.Rules(t, "PATH-16")
	for _, c := range []struct {
		linear bool
		counts []int
		good   bool
	}{
		{false, []int{5000, 5100, 4900, 5700}, true},
		{false, []int{5000, 5100, 4900, 5800}, false},
		{false, []int{5, 5, 5, 5}, false},
		{false, []int{5000, 5000}, false},
		{true, []int{5000, 6000, 8000, 12000}, true},
		{true, []int{5000, 6000, 9000, 21000}, false},
	} {
		one := Curve{Name: "x", Linear: c.linear, Points: []int{1, 2, 4, 8}, Counts: c.counts}
		if err := one.Check(); (err == nil) != c.good {
			t.Errorf("linear %v, %v: got %v, want it to be good: %v", c.linear, c.counts, err, c.good)
		}
	}
}

// The plot is XML and has each curve.
func TestWritePlot(t *testing.T) {
	curves := []Curve{
		{Name: "few & many", Points: []int{1, 10}, Counts: []int{5000, 5100}},
		{Name: "specifiers", Linear: true, Points: []int{1, 200}, Counts: []int{5000, 1205000}},
	}
	var b bytes.Buffer
	if err := WritePlot(&b, []Machine{{"arm64", curves}, {"armv7", curves}}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for d := xml.NewDecoder(&b); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, text)
		}
	}
	for _, want := range []string{"few &amp; many", "flat: 5,000, varies by 2.0 %", "linear: 6,030 for each", "armv7"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	if got := strings.Count(text, "<path "); got != 4 {
		t.Errorf("got %d curves, want 4", got)
	}
}
