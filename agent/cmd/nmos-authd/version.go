package main

import (
	"fmt"
	"runtime"
	"time"

	"nmosauthd/platform"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

func runVersion(args []string) int {
	set, _ := flags("version", "")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	fmt.Printf("nmos-authd %s (%s/%s, %s, sources of %s)\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version(),
		platform.BuildTime().Format(time.DateOnly))
	return exitOK
}
