package main

import (
	"os"

	"nmosauthd/agent/daemon"
)

func runDaemon(args []string) error {
	set, file := flags("run", "")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	queue := daemon.NewLogQueue(os.Stderr)
	defer queue.Flush(daemon.FlushTime)
	if err := daemon.Run(*file, version, queue); err != nil {
		complainTo(queue, err) // after the log's lines; and a stuck standard error must not keep the daemon from ending
		return exitDeny
	}
	return nil
}
