package platform

import (
	"runtime/debug"
	"time"
)

// buildTime may be set by the linker to the time of the sources in RFC 3339, for builds from an archive:
// -ldflags "-X nmosauthd/platform.buildTime=…".
var buildTime string

// oldest is the floor of a build that does not know its own time: no build is older than the toolchain it needs.
var oldest = time.Date(2026, time.February, 1, 0, 0, 0, 0, time.UTC)

var (
	built      = timeOf(buildTime, revisionTime)
	builtMicro = built.UnixMicro()
)

// BuildTime returns a time in UTC at which this program's sources existed: that given to the linker, else that of the
// revision, else that of the toolchain. It is never zero. It is that of the sources, not of the compiler's run, so that
// a build can be repeated bit by bit.
func BuildTime() time.Time { return built }

// timeOf returns the first of two times that is one, but nothing before oldest. It asks for the second only if it needs
// to: what the build says is read whenever a program starts, and to read it takes long.
func timeOf(given string, revision func() string) time.Time {
	if t, ok := parsed(given); ok {
		return t
	}
	if t, ok := parsed(revision()); ok {
		return t
	}
	return oldest
}

func parsed(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err == nil && t.After(oldest)
}

// revisionTime returns when the revision was committed, "" if the build does not say.
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
