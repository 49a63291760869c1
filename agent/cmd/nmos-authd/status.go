package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/status"
)

// maxAnswer is longer than any answer on the admin socket that is read whole, bytes.
const maxAnswer = 16 << 20

// askAdmin asks the running daemon on its admin socket, and returns its answer whole.
func askAdmin(file, method, path string) ([]byte, error) {
	admin, err := daemon.NewAdminClient(file, complain)
	if err != nil {
		return nil, err
	}
	return admin.Ask(method, path, maxAnswer)
}

// changeAdmin has the running daemon change something. done reports that it did not, and was complained of.
func changeAdmin(file, method, path string) (answer []byte, status int, done bool) {
	answer, err := askAdmin(file, method, path)
	var refused *daemon.AdminError
	switch {
	case errors.As(err, &refused) && refused.Text != "":
		complain(fmt.Errorf("%s: %s", refused.Text, refused.Debug))
		return nil, exitDeny, true
	case err != nil:
		complain(err)
		return nil, exitFail, true
	}
	return answer, exitOK, false
}

func runStatus(args []string) int {
	set, config := flags("status", "")
	asJSON := set.Bool("json", false, "print JSON, as GET /status of the admin socket does")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	s, text, err := askStatus(*config)
	switch {
	case err != nil:
	case *asJSON:
		_, err = os.Stdout.Write(append(text, '\n'))
	default:
		err = s.WriteText(stdout())
	}
	switch {
	case err != nil:
		complain(err)
		return exitFail
	case !s.Healthy:
		return exitDeny
	}
	return exitOK
}

// askStatus returns the running daemon's status, and its JSON text.
func askStatus(file string) (s *status.Status, text []byte, err error) {
	if text, err = askAdmin(file, http.MethodGet, "/status"); err != nil {
		return nil, nil, err
	}
	s, err = status.Parse(text)
	return s, text, err
}
