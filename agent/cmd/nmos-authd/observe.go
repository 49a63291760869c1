package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/observe"
	"nmosauthd/agent/status"
)

func runObserve(args []string) error {
	return runPart(args, []command{
		{name: "report", run: runObserveReport},
		{name: "reset", run: runObserveReset},
		{name: "start", run: runObserveStart},
		{name: "stop", run: runObserveStop},
	}, "observe report, reset, start or stop", "nmos-authd observe report [--json]\n"+
		"      which controllers enforce would deny, why, and the claims that they lack\n"+
		"       nmos-authd observe reset\n"+
		"      forget what was observed and start again, as a restart does\n"+
		"       nmos-authd observe start --for DURATION\n"+
		"      deny nothing for some time, which ends by itself\n"+
		"       nmos-authd observe stop\n"+
		"      end that now")
}

func runObserveReport(args []string) error {
	set, config := flags("observe report", "")
	asJSON := set.Bool("json", false, "print JSON, as GET /observe of the admin socket does")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	return printReport(*config, *asJSON)
}

func printReport(file string, asJSON bool) error {
	text, err := askAdmin(file, http.MethodGet, "/observe")
	if err != nil {
		return err
	}
	if asJSON {
		_, err = fmt.Printf("%s\n", text)
		return err
	}
	var r observe.Report
	if err = json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("cannot read the daemon's report (is the daemon of another version?): %w", err)
	}
	return r.Write(stdout())
}

func runObserveReset(args []string) error {
	set, config := flags("observe reset", "")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	_, err := askAdmin(*config, http.MethodDelete, "/observe")
	return err
}

func runObserveStart(args []string) error {
	set, config := flags("observe start", "--for DURATION")
	span := set.Duration("for", 0, "how `long`, such as 30m: 1s to 24h")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	if *span == 0 {
		return errors.New("observe start takes --for, such as --for 30m")
	}
	text, err := changeAdmin(*config, http.MethodPost, "/observe/mode?for="+span.String())
	if err != nil {
		return err
	}
	var o status.Begun
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	fmt.Fprintf(stdout(), "Nothing is denied until %s.\n"+
		"Then enforce is back by itself; sooner with: nmos-authd observe stop\n",
		o.Until)
	if o.Unkept != "" {
		fmt.Fprintf(stdout(), "A restart ends it, too, since it cannot be written down: %s\n", o.Unkept)
	}
	return nil
}

func runObserveStop(args []string) error {
	return change("observe stop", http.MethodDelete, "/observe/mode", args, "The mode is enforce again.")
}
