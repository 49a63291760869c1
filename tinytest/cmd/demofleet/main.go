// Demofleet starts twenty daemons, two authorization servers and a real Prometheus on loopback, lets things go wrong,
// and shows which of the alerts of configs/prometheus fire.
//
// It ends by itself, with exit status 0 if each alert fired as it should. With -keep it stays up and says where.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"nmosauthd/tinytest/alerts"
)

func main() {
	program := flag.String("daemon", "build/nmos-authd", "the daemon's `program`")
	rules := flag.String("rules", "configs/prometheus/nmos-authd.rules.yml", "the `file` of alert rules")
	n := flag.Int("devices", 20, "how many devices there are, an even `number`")
	keep := flag.Bool("keep", false, "stay up after the story")
	flag.Parse()
	if _, err := exec.LookPath(alerts.Program); err != nil {
		fmt.Println("SKIPPED: there is no Prometheus here: apt-get install prometheus")
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *program, *rules, *n, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo-fleet: not as told:", err)
		os.Exit(1)
	}
}

// patience is how long the story may take on a machine that is busy; on others it takes a minute.
const patience = 8 * time.Minute

func run(ctx context.Context, program, rules string, n int, keep bool) (err error) {
	began := time.Now()
	playing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f, err := alerts.Start(playing, program, n, rules)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fmt.Printf("%d devices, two authorization servers, a Prometheus.\n", n)
	fmt.Printf("Minutes of the rules are seconds here.\n\n")
	if err := play(playing, f); err != nil {
		return err
	}
	fmt.Printf("\nAll of it went as told, in %.0f s.\n", time.Since(began).Seconds())
	if keep {
		fmt.Printf("Prometheus: %s/alerts, until you press Ctrl-C.\n", f.URL)
		<-ctx.Done()
	}
	return nil
}

// play lets things go wrong, one after the other.
func play(ctx context.Context, f *alerts.Fleet) error {
	half := len(f.Devices) / 2
	first, second := f.Devices[:half], f.Devices[half:]
	if err := f.WaitScraped(ctx); err != nil {
		return err
	}
	fmt.Println("Every device is healthy, and no alert fires:")
	if err := expect(ctx, f, "", 0); err != nil {
		return err
	}

	fmt.Println("\nThe first server replaces its key; controllers keep their old tokens:")
	f.Servers[0].Replace()
	if err := expect(ctx, f, "NmosAuthdTokensRefused", half); err != nil {
		return err
	}
	fmt.Println("They get new tokens:")
	for _, d := range first {
		d.Renew()
	}
	if err := expect(ctx, f, "NmosAuthdTokensRefused", 0); err != nil {
		return err
	}

	fmt.Println("\nThe second server dies:")
	if err := f.Servers[1].Close(); err != nil {
		return err
	}
	for _, want := range []struct {
		alert string
		n     int
	}{{"NmosAuthdServerDead", 1}, {"NmosAuthdServerFailing", half}} {
		if err := expect(ctx, f, want.alert, want.n); err != nil {
			return err
		}
	}
	for _, d := range second {
		if reply, err := d.Ask(); err != nil || reply.Verdict != "allow" {
			return fmt.Errorf("%s does not decide without its server: %+v, %v", d.Name, reply, err)
		}
	}
	fmt.Printf("  its %d devices go on: their controllers' tokens are allowed\n", half)

	fmt.Println("\nSomebody opens a device, and forgets it:")
	open := first[0].Config()
	open.Mode = "observe"
	if err := errors.Join(first[0].Write(open), first[0].Signal(syscall.SIGHUP)); err != nil {
		return err
	}
	if err := expect(ctx, f, "NmosAuthdNotEnforcing", 1); err != nil {
		return err
	}

	fmt.Println("\nThe daemon of another is killed:")
	first[half-1].Kill()
	return expect(ctx, f, "NmosAuthdGone", 1)
}

// expect waits until n alerts of a name fire, and shows them.
func expect(ctx context.Context, f *alerts.Fleet, name string, n int) error {
	began := time.Now()
	firing, err := f.WaitFiring(ctx, name, n)
	if err != nil {
		return err
	}
	after := fmt.Sprintf("%.0f s", time.Since(began).Seconds())
	if n == 0 {
		fmt.Printf("  %6s  nothing fires\n", after)
		return nil
	}
	var who []string
	for _, a := range firing {
		if at := a.Labels["instance"]; at != "" {
			who = append(who, at)
		}
	}
	slices.Sort(who)
	fmt.Printf("  %6s  %s", after, name)
	switch {
	case len(who) > 1:
		fmt.Printf(": %d devices, %s to %s", len(who), who[0], who[len(who)-1])
	case len(who) == 1:
		fmt.Printf(": %s", who[0])
	}
	fmt.Println()
	fold(firing[0].Annotations["summary"])
	return nil
}

// fold prints a text below the name of an alert, in lines of at most 80 columns.
func fold(text string) {
	line := "         "
	for word := range strings.FieldsSeq(text) {
		if len([]rune(line))+1+len([]rune(word)) > 80 {
			fmt.Println(line)
			line = "         "
		}
		line += " " + word
	}
	fmt.Println(line)
}
