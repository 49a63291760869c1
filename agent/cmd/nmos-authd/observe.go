package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/observe"
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
	case "-h", "-help", "--help":
		fmt.Println("Usage: nmos-authd observe report [--json]\n" +
			"      which controllers enforce would deny, why, and the claims that they lack\n" +
			"       nmos-authd observe reset\n" +
			"      forget what was observed and start again, as a restart does")
		return exitOK
	}
	complain(errors.New("usage: nmos-authd observe report, or nmos-authd observe reset"))
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
	return r.Write(os.Stdout)
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
