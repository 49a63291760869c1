package main

import (
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
)

func runRefresh(args []string) int {
	set, config := flags("refresh", "[ISSUER]")
	asJSON := set.Bool("json", false, "print JSON, as POST /refresh of the admin socket does")
	if status, done := parse(set, args, 0, 1); done {
		return status
	}
	text, status, done := changeAdmin(*config, http.MethodPost, "/refresh?issuer="+url.QueryEscape(set.Arg(0)))
	if done {
		return status
	}
	return printRefresh(text, *asJSON)
}

func printRefresh(text []byte, asJSON bool) int {
	var r status.Refresh
	err := json.Unmarshal(text, &r)
	switch {
	case err != nil:
	case asJSON:
		_, err = stdout().Write(append(text, '\n'))
	default:
		err = r.WriteText(stdout())
	}
	if err != nil {
		complain(err)
		return exitFail
	}
	for i := range r.Issuers {
		if r.Issuers[i].Error != "" {
			return exitDeny
		}
	}
	return exitOK
}
