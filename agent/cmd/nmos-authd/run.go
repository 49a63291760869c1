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
		complainTo(queue, err) // after the log's lines; and a stuck standard error must not keep the daemon from ending
		return exitDeny
	}
	return exitOK
}
