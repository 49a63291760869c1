package platform

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Ready tells the service manager that the daemon serves, or serves again after Reloading. Like its siblings it does nothing
// where no service manager listens (sd_notify(3)); an error means that one does and could not be told.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Reloading tells the service manager that the configuration is being read again; Ready ends that. The time it carries is
// what Type=notify-reload of systemd.service(5) asks for.
func Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("the monotonic clock: %w", err)
	}
	return notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Stopping tells the service manager that the daemon finishes what it has and ends.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
