package platform

import (
	"testing"
	"time"
)

func TestBuildTime_OPS1(t *testing.T) {
	later := oldest.Add(time.Hour)
	for _, c := range []struct {
		given []string
		want  time.Time
	}{
		{nil, oldest},
		{[]string{"", "yesterday"}, oldest},
		{[]string{"", later.Format(time.RFC3339)}, later},
		{[]string{later.Format(time.RFC3339), "2100-01-01T00:00:00Z"}, later},
		{[]string{"1970-01-01T00:00:00Z"}, oldest},
		{[]string{later.In(time.FixedZone("", 3600)).Format(time.RFC3339)}, later},
	} {
		if got := firstOf(c.given...); !got.Equal(c.want) {
			t.Errorf("%q: %v, want %v", c.given, got, c.want)
		}
	}
	if BuildTime().Before(oldest) {
		t.Errorf("BuildTime is %v", BuildTime())
	}
}
