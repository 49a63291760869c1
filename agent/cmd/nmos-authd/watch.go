package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/daemon"
)

func runWatch(args []string) error {
	set, config := flags("watch", "")
	denied := set.Bool("denied", false, "only decisions that deny, or would in enforce mode")
	client := set.String("client", "", "only clients that match this `pattern`, in which * stands for any text")
	path := set.String("path", "", "only paths, or kind/name of resources, that match this `pattern`")
	asJSON := set.Bool("json", false, "print the records as JSON, one a line: see agent/audit/AUDIT.md")
	last := set.Int("last", 10, "start with the last `N` decisions that the daemon remembers")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	query := fmt.Sprintf("/watch?last=%d&denied=%t&client=%s&path=%s",
		*last, *denied, url.QueryEscape(*client), url.QueryEscape(*path))
	return watch(*config, query, *asJSON)
}

// watch prints what the daemon sends until it is interrupted, which is not an error.
func watch(file, path string, asJSON bool) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(int(exitFail)) // even if output is blocked
	}()
	admin, err := daemon.NewAdminClient(file, complain)
	if err != nil {
		return err
	}
	answer, err := admin.Open(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()

	out := bufio.NewWriter(os.Stdout)
	var view audit.View
	if !asJSON {
		view.Width, view.Colour = terminal()
		out.WriteString(view.Head())
		out.Flush()
	}
	for in := bufio.NewReaderSize(answer.Body, 64<<10); ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			out.Flush()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the daemon ended the watch: it was stopped, or this terminal was too slow (%w)", err)
		}
		row := line
		if !asJSON {
			view.Width, view.Colour = terminal()
			if row, err = view.Append(nil, line); err != nil {
				return err
			}
		}
		out.Write(row)
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}
