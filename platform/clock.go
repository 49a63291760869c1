package platform

import (
	"runtime/debug"
	"time"
)

// Clock is the system's clock together with a judgement on it (OPS-1): a device without a battery starts in 1970, or
// wherever its clock stopped, and every token would look wrong.
type Clock struct {
	// Floor is a time that has passed for certain, such as BuildTime. A clock before it has not been set. Zero: BuildTime.
	Floor time.Time
}

// Now returns the time in UTC, and whether it can be: false where it lies before the floor.
func (c Clock) Now() (t time.Time, trusted bool) {
	floor := c.Floor
	if floor.IsZero() {
		floor = built
	}
	t = time.Now().UTC()
	return t, !t.Before(floor)
}

// buildTime may be set by the linker to the time of the sources in RFC 3339, for builds from an archive:
// -ldflags "-X nmosauthd/platform.buildTime=…".
var buildTime string

// oldest is the floor of a build that does not know its own time: no build is older than the toolchain it needs.
var oldest = time.Date(2026, time.February, 1, 0, 0, 0, 0, time.UTC)

var built = firstOf(buildTime, revisionTime())

// BuildTime returns a time in UTC at which this program's sources existed: that given to the linker, else that of the
// revision, else that of the toolchain. It is never zero. It is that of the sources, not of the compiler's run, so that a
// build can be repeated bit by bit.
func BuildTime() time.Time { return built }

// firstOf returns the first of the candidates that is a time, but nothing before oldest.
func firstOf(candidates ...string) time.Time {
	for _, s := range candidates {
		if t, err := time.Parse(time.RFC3339, s); err == nil && t.After(oldest) {
			return t.UTC()
		}
	}
	return oldest
}

// revisionTime returns when the revision was committed, "" where the build does not say.
func revisionTime() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			return s.Value
		}
	}
	return ""
}
