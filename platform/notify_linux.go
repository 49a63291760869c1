package platform

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Ready tells the service manager that the daemon serves, or serves again after Reloading. Like its siblings it does
// nothing if no service manager listens (sd_notify(3)); an error means that one listens and could not be told.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Reloading tells the service manager that the configuration is being read again; Ready ends that. The time it carries
// is what Type=notify-reload of systemd.service(5) asks for.
func Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return wrap("the monotonic clock", err)
	}
	return notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Stopping tells the service manager that the daemon finishes what it has and ends.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// Watchdog returns within which time the service manager wants to hear Well, over and over, or else ends the daemon and
// starts it again (sd_watchdog_enabled(3)); 0 if it does not.
func Watchdog() (time.Duration, error) {
	within, err := daemon.SdWatchdogEnabled(true)
	return within, wrap("the service manager's watchdog", err)
}

// Well tells the service manager that the daemon does what it is for.
func Well() error { return notify(daemon.SdNotifyWatchdog) }

// Tell has the service manager show a line of text as the daemon's status.
func Tell(text string) error { return notify("STATUS=" + text) }

func notify(state string) error {
	_, err := daemon.SdNotify(false, state)
	return wrap("telling the service manager", err)
}
