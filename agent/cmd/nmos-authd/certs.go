package main

import (
	"io"
	"net/http"

	"nmosauthd/agent/status"
)

func runCerts(args []string) error {
	return runPart(args, []command{
		{name: "status", run: runCertsStatus},
		{name: "enrol", run: func(args []string) error { return changeCerts("certs enrol", "/certs", args) }},
		{name: "renew", run: func(args []string) error { return changeCerts("certs renew", "/certs/renew", args) }},
	}, "certs status, enrol or renew", "nmos-authd certs status [--json]\n"+
		"      the device's certificates and roots by EST, and when they end\n"+
		"       nmos-authd certs enrol\n"+
		"      ask for certificates from the beginning, as a new device does\n"+
		"       nmos-authd certs renew\n"+
		"      ask for new ones now, with new keys, by those that are held")
}

func runCertsStatus(args []string) error {
	return showPart("certs", args, func(s *status.Status) (any, func(io.Writer) error, bool) {
		return &s.Certs, s.WriteCerts, s.Certs.Good(s.Time)
	})
}

// changeCerts has the device ask for certificates, and prints what came of it.
func changeCerts(name, path string, args []string) error {
	return change(name, http.MethodPost, path, args,
		"The device has new certificates; \"nmos-authd certs status\" shows them.")
}
