package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
)

func runDiscover(args []string) error {
	set, file := flags("discover", "")
	timeout := set.Duration("timeout", time.Minute, "how long to look for servers and try them, at most")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	c, _, err := daemon.LoadConfig(*file)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && *file == defaultConfig:
		// Discovery also helps on a machine other than the device.
		fmt.Printf("  %s does not exist: using defaults and this system's root\n  certificates.\n", *file)
		c = config.Default()
		c.Authorization.CAFile = ""
	default:
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if !daemon.TryServers(ctx, stdout(), c) {
		// The daemon may be well all the same, with the keys that it fetched before.
		if s, _, err := askStatus(*file); err == nil {
			fmt.Println("  " + s.HeldKeys())
		}
		return exitDeny
	}
	return nil
}
