package platform

import (
	"fmt"
	"time"
)

// taiOffset is TAI − UTC since 2017, for devices whose kernel was not told. No leap second has been announced since.
const taiOffset = 37 * time.Second

// gpsBehindTAI is TAI − GPS, forever.
const gpsBehindTAI = 19 * time.Second

const (
	// An HTTP date is cut to whole seconds, and older by the time of the way: a clock that is right seems to be ahead.
	aheadLeast  = 5 * time.Second
	behindLeast = 2 * time.Second
	// offsetSlack is how close to a known offset one must be to be called by its name.
	offsetSlack = 3 * time.Second
)

// ExplainOffset says what probably is the matter with a clock that is d ahead of a good one, negative for behind, for
// the log and for people; "" if d is no more than an HTTP date can tell. tai is TAI − UTC as the kernel has it, 0 if it
// does not.
func ExplainOffset(d, tai time.Duration) string {
	if d < aheadLeast && d > -behindLeast {
		return ""
	}
	if tai == 0 {
		tai = taiOffset
	}
	text := fmt.Sprintf("this device's clock is %s ahead", d.Round(time.Second))
	if d < 0 {
		text = fmt.Sprintf("this device's clock is %s behind", (-d).Round(time.Second))
	}
	switch {
	case near(d, tai):
		text += fmt.Sprintf("; it probably runs on TAI, the time scale of PTP, and not on UTC, which is %s behind TAI",
			tai)
	case near(d, tai-gpsBehindTAI):
		text += fmt.Sprintf("; it probably runs on the time of GPS, and not on UTC, which is %s behind that",
			tai-gpsBehindTAI)
	case near(d, -tai):
		text += fmt.Sprintf("; the %s between TAI, the time scale of PTP, and UTC were probably taken off twice", tai)
	case isZone(d):
		text += "; it was probably set to local time in place of UTC"
	}
	return text
}

func near(d, known time.Duration) bool { return (d - known).Abs() <= offsetSlack }

// isZone reports whether d is the offset of a time zone: quarters of an hour, from -12 to +14 hours.
func isZone(d time.Duration) bool {
	const quarter = 15 * time.Minute
	zone := d.Round(quarter)
	return zone != 0 && zone >= -12*time.Hour && zone <= 14*time.Hour && near(d, zone)
}
