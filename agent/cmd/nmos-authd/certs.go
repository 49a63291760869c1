package main

import (
	"fmt"
	"net/http"
	"net/url"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/status"
)

func runCerts(args []string) error {
	return runPart(args, []command{
		{name: "status", run: runCertsStatus},
		{name: "enrol", run: func(args []string) error { return changeCerts("certs enrol", "/certs", args) }},
		{name: "renew", run: func(args []string) error { return changeCerts("certs renew", "/certs/renew", args) }},
		{name: "install", run: installCert},
		{name: "remove", run: removeCerts},
	}, "certs status, enrol, renew, install or remove", "nmos-authd certs status [--json]\n"+
		"      the device's certificates and roots by EST, and when they end\n"+
		"       nmos-authd certs enrol\n"+
		"      ask for certificates from the beginning, as a new device does\n"+
		"       nmos-authd certs renew\n"+
		"      ask for new ones now, with new keys, by those that are held\n"+
		"       nmos-authd certs install FILE\n"+
		"      use a key and its certificates, a PEM file, until they are renewed by EST\n"+
		"       nmos-authd certs remove ecdsa|rsa|all\n"+
		"      take away those for a kind of keys, or all, the roots by EST included")
}

func runCertsStatus(args []string) error {
	return showPart("certs", args, (*status.Status).WriteCerts, func(s *status.Status) (any, bool) {
		return &s.Certs, s.Certs.Good(s.Time)
	})
}

// changeCerts has the device ask for certificates, and prints what came of it.
func changeCerts(name, path string, args []string) error {
	return change(name, http.MethodPost, path, args,
		"The device has new certificates; \"nmos-authd certs status\" shows them.")
}

// installCert has the daemon use a key and its certificates (CERT-47).
func installCert(args []string) error {
	set, config := flags("certs install", "FILE")
	if err := parse(set, args, 1, 1); err != nil {
		return err
	}
	text, err := daemon.ReadPair(set.Arg(0))
	if err == nil {
		_, err = changeAdmin(*config, http.MethodPut, "/certs", text...)
	}
	if err == nil {
		fmt.Println("Installed, in the web server's folder, too; \"nmos-authd certs status\" shows it.")
	}
	return err
}

// removeCerts has the daemon take certificates away.
func removeCerts(args []string) error {
	set, config := flags("certs remove", "ecdsa|rsa|all")
	if err := parse(set, args, 1, 1); err != nil {
		return err
	}
	_, err := changeAdmin(*config, http.MethodDelete, "/certs?what="+url.QueryEscape(set.Arg(0)))
	if err == nil {
		fmt.Println("Removed, from the web server's folder, too. With [certificates] est on, the device\n" +
			"asks for others now.")
	}
	return err
}
