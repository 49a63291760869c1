package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/observe"
	"nmosauthd/agent/status"
)

func runObserve(args []string) int {
	what := ""
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "report":
		return runObserveReport(args)
	case "reset":
		return runObserveReset(args)
	case "start":
		return runObserveStart(args)
	case "stop":
		return runObserveStop(args)
	case "-h", "-help", "--help":
		fmt.Println("Usage: nmos-authd observe report [--json]\n" +
			"      which controllers enforce would deny, why, and the claims that they lack\n" +
			"       nmos-authd observe reset\n" +
			"      forget what was observed and start again, as a restart does\n" +
			"       nmos-authd observe start --for DURATION\n" +
			"      deny nothing for some time, which ends by itself\n" +
			"       nmos-authd observe stop\n" +
			"      end that now")
		return exitOK
	}
	complain(errors.New("usage: nmos-authd observe report, reset, start or stop"))
	return exitFail
}

func runObserveReport(args []string) int {
	set, config := flags("observe report", "")
	asJSON := set.Bool("json", false, "print JSON, as GET /observe of the admin socket does")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	if err := printReport(*config, *asJSON); err != nil {
		complain(err)
		return exitFail
	}
	return exitOK
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

func runObserveReset(args []string) int {
	set, config := flags("observe reset", "")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	if _, err := askAdmin(*config, http.MethodDelete, "/observe"); err != nil {
		complain(err)
		return exitFail
	}
	return exitOK
}

func runObserveStart(args []string) int {
	set, config := flags("observe start", "--for DURATION")
	span := set.Duration("for", 0, "how `long`, such as 30m: 1s to 24h")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	if *span == 0 {
		complain(errors.New("observe start takes --for, such as --for 30m"))
		return exitFail
	}
	text, status, done := changeAdmin(*config, http.MethodPost, "/observe/mode?for="+span.String())
	if done {
		return status
	}
	return printObserve(text)
}

func printObserve(text []byte) int {
	var o status.Begun
	if err := json.Unmarshal(text, &o); err != nil {
		complain(err)
		return exitFail
	}
	fmt.Fprintf(stdout(), "Nothing is denied until %s.\nThen enforce is back by itself; sooner with: nmos-authd "+
		"observe stop\n",
		o.Until)
	if o.Unkept != "" {
		fmt.Fprintf(stdout(), "A restart ends it, too, since it cannot be written down: %s\n", o.Unkept)
	}
	return exitOK
}

func runObserveStop(args []string) int {
	set, config := flags("observe stop", "")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	if _, status, done := changeAdmin(*config, http.MethodDelete, "/observe/mode"); done {
		return status
	}
	fmt.Println("The mode is enforce again.")
	return exitOK
}
