package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/status"
)

func runClient(args []string) error {
	return runPart(args, []command{
		{name: "status", run: runClientStatus},
		{name: "register", run: func(args []string) error {
			return changeClient("client register", http.MethodPost, "/client", args)
		}},
		{name: "rotate", run: func(args []string) error {
			return changeClient("client rotate", http.MethodPost, "/client/key", args)
		}},
		{name: "forget", run: func(args []string) error {
			return changeClient("client forget", http.MethodDelete, "/client", args)
		}},
	}, "client status, register, rotate or forget", "nmos-authd client status [--json]\n"+
		"      where the device is registered as an OAuth client, and its tokens\n"+
		"       nmos-authd client register [ISSUER]\n"+
		"      register it now, or say why that fails\n"+
		"       nmos-authd client rotate [ISSUER]\n"+
		"      replace its key, without a gap\n"+
		"       nmos-authd client forget [ISSUER]\n"+
		"      revoke its tokens and remove its registration from the server")
}

func runClientStatus(args []string) error {
	return showPart("client", args, (*status.Status).WriteClient, func(s *status.Status) (any, bool) {
		return &s.Client, s.Client.Registered && s.Client.Trouble == ""
	})
}

// showPart prints a part of the status, named as the member of the JSON is. write writes it as text; part returns that
// member, and whether all is well with it.
func showPart(name string, args []string, write func(*status.Status, io.Writer) error,
	part func(*status.Status) (any, bool)) error {
	set, config := flags(name+" status", "")
	asJSON := set.Bool("json", false, "print JSON, the member "+name+" of what status --json prints")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	s, _, err := askStatus(*config)
	if err != nil {
		return err
	}
	member, good := part(s)
	if *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(member)
	} else {
		err = write(s, stdout())
	}
	if err == nil && !good {
		err = exitDeny
	}
	return err
}

// changeClient registers or forgets the client, or replaces its key, and prints what came of it.
func changeClient(name, method, path string, args []string) error {
	set, config := flags(name, "[ISSUER]")
	if err := parse(set, args, 0, 1); err != nil {
		return err
	}
	left, err := changeAdmin(*config, method, path+"?issuer="+url.QueryEscape(set.Arg(0)))
	switch {
	case err != nil:
		return err
	case path == "/client/key":
		fmt.Println("A new key is made. It signs once the server has read it, and the old one goes an\n" +
			"hour later; \"nmos-authd client status\" shows how far it is.")
	case method == http.MethodPost:
		fmt.Println("The device is registered; \"nmos-authd client status\" shows as what.")
	case len(left) > 0:
		return daemon.Denied{Err: errors.New("forgotten by this device, but: " + string(left))}
	default:
		fmt.Println("Forgotten, here and at the server. Until \"nmos-authd client register\" or a restart,\n" +
			"the device is not registered again; for good, empty [client] scopes.")
	}
	return nil
}
