package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/agent/status"
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
			fmt.Println("  " + heldKeys(s))
		}
		return exitDeny
	}
	return nil
}

// heldKeys says how many keys the running daemon holds.
func heldKeys(s *status.Status) string {
	n := 0
	for _, server := range s.Servers {
		n += len(server.KIDs)
	}
	switch n {
	case 0:
		return "the running daemon holds no keys"
	case 1:
		return "the running daemon holds 1 key and goes on deciding"
	}
	return fmt.Sprintf("the running daemon holds %d keys and goes on deciding", n)
}
