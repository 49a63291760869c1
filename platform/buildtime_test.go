package platform

import (
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

func TestBuildTime(t *testing.T) {
	spec.Rules(t, "OPS-1")
	later := oldest.Add(time.Hour)
	for _, c := range []struct {
		given, revision string
		want            time.Time
		asks            bool // for the revision
	}{
		{"", "", oldest, true},
		{"", "yesterday", oldest, true},
		{"", later.Format(time.RFC3339), later, true},
		{"yesterday", later.Format(time.RFC3339), later, true},
		{later.Format(time.RFC3339), "2100-01-01T00:00:00Z", later, false},
		{"1970-01-01T00:00:00Z", "", oldest, true},
		{later.In(time.FixedZone("", 3600)).Format(time.RFC3339), "", later, false},
	} {
		asked := false
		got := timeOf(c.given, func() string { asked = true; return c.revision })
		if !got.Equal(c.want) || asked != c.asks {
			t.Errorf("%q, %q: got %v, asked for the revision %t; want %v, %t",
				c.given, c.revision, got, asked, c.want, c.asks)
		}
	}
	if BuildTime().Before(oldest) {
		t.Errorf("BuildTime is %v", BuildTime())
	}
}
