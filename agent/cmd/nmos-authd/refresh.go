package main

import (
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
)

func runRefresh(args []string) error {
	set, config := flags("refresh", "[ISSUER]")
	asJSON := set.Bool("json", false, "print JSON, as POST /refresh of the admin socket does")
	if err := parse(set, args, 0, 1); err != nil {
		return err
	}
	text, err := changeAdmin(*config, http.MethodPost, "/refresh?issuer="+url.QueryEscape(set.Arg(0)))
	if err != nil {
		return err
	}
	var r status.Refresh
	err = json.Unmarshal(text, &r)
	switch {
	case err != nil:
	case *asJSON:
		_, err = stdout().Write(append(text, '\n'))
	default:
		err = r.WriteText(stdout())
	}
	for i := range r.Issuers {
		if err == nil && r.Issuers[i].Error != "" {
			err = exitDeny
		}
	}
	return err
}
