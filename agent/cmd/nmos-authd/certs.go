package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"nmosauthd/agent/status"
)

func runCerts(args []string) int {
	what := ""
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "status":
		return runCertsStatus(args)
	case "enrol":
		return changeCerts("certs enrol", "/certs", args)
	case "renew":
		return changeCerts("certs renew", "/certs/renew", args)
	case "-h", "-help", "--help":
		fmt.Println("Usage: nmos-authd certs status [--json]\n" +
			"      the device's certificates and roots by EST, and when they end\n" +
			"       nmos-authd certs enrol\n" +
			"      ask for certificates from the beginning, as a new device does\n" +
			"       nmos-authd certs renew\n" +
			"      ask for new ones now, with new keys, by those that are held")
		return exitOK
	}
	complain(errors.New("usage: nmos-authd certs status, enrol or renew"))
	return exitFail
}

func runCertsStatus(args []string) int {
	return showPart("certs", args, func(s *status.Status) (any, func(io.Writer) error, bool) {
		return &s.Certs, s.WriteCerts, s.Certs.Good(s.Time)
	})
}

// changeCerts has the device ask for certificates, and prints what came of it.
func changeCerts(name, path string, args []string) int {
	set, config := flags(name, "")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	if _, status, done := changeAdmin(*config, http.MethodPost, path); done {
		return status
	}
	fmt.Println("The device has new certificates; \"nmos-authd certs status\" shows them.")
	return exitOK
}
