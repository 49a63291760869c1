package main

import (
	"os"

	"nmosauthd/agent/daemon"
)

func runDaemon(args []string) int {
	set, file := flags("run", "")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	queue := daemon.NewLogQueue(os.Stderr)
	defer queue.Flush(daemon.FlushTime)
	if err := daemon.Run(*file, version, queue); err != nil {
		complainTo(queue, err) // behind the lines of the log; and if standard error is stuck, the daemon ends all the same
		return exitDeny
	}
	return exitOK
}
