// Command firmware runs the pretend audio device on its own, for demonstrations.
//
//	firmware --socket /run/nmos-authd/authz.sock
//	curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:PORT/x-nmos/node/v1.3/self
//	echo "read meter meter-1 $TOKEN" | socat - UDP:127.0.0.1:PORT
//
// It prints url=URL first, asks the daemon about every request, moves its level meter, and stops on SIGINT and SIGTERM.
// The daemon learns of its resources by a file that is written once, or by a push.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"nmosauthd/tinytest/firmware"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o firmware.Options
	var quiet bool
	var file, admin string
	flags := flag.NewFlagSet("firmware", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Socket, "socket", "/run/nmos-authd/authz.sock", "`path` of the daemon's decision socket")
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:0", "`address` to listen on")
	flags.StringVar(&o.Label, "label", "", "the device's `name` for people")
	flags.DurationVar(&o.Timeout, "timeout", firmware.DefaultTimeout, "how long to wait for the daemon")
	flags.StringVar(&file, "inventory", "", "`file` to write the device's inventory to; none: it is not written")
	flags.StringVar(&admin, "admin", "",
		"`path` of the daemon's admin socket, to push the inventory to; none: it is not pushed")
	flags.BoolVar(&quiet, "quiet", false, "do not log requests")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "firmware: what is %q?\n", flags.Arg(0))
		return 2
	}
	if !quiet {
		o.Logf = func(format string, a ...any) { fmt.Fprintf(stderr, format+"\n", a...) }
	}
	d, err := firmware.Start(o)
	if err != nil {
		fmt.Fprintf(stderr, "firmware: %s\n", strings.TrimPrefix(err.Error(), "firmware: "))
		return 1
	}
	defer d.Close()
	if err := tell(ctx, d, file, admin); err != nil {
		fmt.Fprintf(stderr, "firmware: %s\n", strings.TrimPrefix(err.Error(), "firmware: "))
		return 1
	}
	fmt.Fprintf(stdout, "url=%s\nsender=%s\nreceiver=%s\nmeter=%s\npanel=%s\n", d.URL(), firmware.Sender1ID,
		firmware.Receiver1ID, firmware.MeterSourceID, d.PanelAddr())
	swing(ctx, d)
	return 0
}

// tell tells the daemon what the device has.
func tell(ctx context.Context, d *firmware.Device, file, admin string) error {
	if admin != "" {
		if err := d.PushInventory(ctx, admin); err != nil {
			return err
		}
	}
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file+".new", d.Inventory(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file) // whoever reads it finds all of it
}

// swing moves the level meter like slow speech until the context ends.
func swing(ctx context.Context, d *firmware.Device) {
	const step = 250 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for n := 0.0; ; n++ {
		d.SetLevel(-24 + 12*math.Sin(n/3))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
