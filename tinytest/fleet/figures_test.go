package fleet

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// The busiest window is found wherever it begins.
func TestBusiest(t *testing.T) {
	seconds := make([]int, 100)
	seconds[29], seconds[30], seconds[38], seconds[60] = 4, 3, 2, 8
	for _, c := range []struct {
		window time.Duration
		want   float64
	}{{time.Second, 8}, {10 * time.Second, 0.9}, {32 * time.Second, 17.0 / 32}, {100 * time.Second, 0.17}} {
		if got := Busiest(seconds, c.window); got != c.want {
			t.Errorf("over %v it is %v, want %v", c.window, got, c.want)
		}
	}
	if got := Mean(seconds); got != 0.17 {
		t.Errorf("the mean is %v", got)
	}
}

// Every run has its line and its panel, and the plot is XML.
func TestFigures(t *testing.T) {
	var runs []*Record
	for _, s := range Scenarios {
		r := newRecord(s, 10_000, Span)
		r.answered[0][100], r.failed[0][7000] = 10_000, 500
		runs = append(runs, r)
	}
	var table, plot bytes.Buffer
	if err := errors.Join(WriteTable(&table, runs), WritePlot(&plot, runs)); err != nil {
		t.Fatal(err)
	}
	for _, s := range Scenarios {
		if strings.Count(table.String(), s.Name+" ") != 1 || strings.Count(plot.String(), ">"+s.Name+"<") != 1 {
			t.Errorf("%q is missing, or there twice", s.Name)
		}
	}
	if !strings.Contains(table.String(), "166.7/s  60.0×") || !strings.Contains(plot.String(), "to 167/s (60×)") {
		t.Errorf("the peak is missing:\n%s", table.String())
	}
	if s := plot.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "%!") {
		t.Error("the plot holds a number that is none")
	}
	for d := xml.NewDecoder(&plot); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
