package main

import (
	"fmt"
	"runtime"
	"time"

	"nmosauthd/platform"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

func runVersion(args []string) error {
	set, _ := flags("version", "")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	fmt.Printf("nmos-authd %s (%s/%s, %s, sources of %s)\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version(),
		platform.BuildTime().Format(time.DateOnly))
	return nil
}
