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

// askAdmin asks the running daemon on its admin socket, with a body if there is one, and returns its answer whole.
func askAdmin(file, method, path string, body ...byte) ([]byte, error) {
	admin, err := daemon.NewAdminClient(file, complain)
	if err != nil {
		return nil, err
	}
	return admin.Ask(method, path, maxAnswer, body...)
}

// changeAdmin has the running daemon change something.
func changeAdmin(file, method, path string, body ...byte) ([]byte, error) {
	answer, err := askAdmin(file, method, path, body...)
	if refused := (*daemon.AdminError)(nil); errors.As(err, &refused) && refused.Text != "" {
		err = daemon.Denied{Err: errors.New(refused.Text + ": " + refused.Debug)}
	}
	return answer, err
}

// change is a subcommand that has the running daemon change something, and says then that it is done.
func change(name, method, path string, args []string, done string) error {
	set, config := flags(name, "")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	_, err := changeAdmin(*config, method, path)
	if err == nil {
		fmt.Println(done)
	}
	return err
}

func runStatus(args []string) error {
	set, config := flags("status", "")
	asJSON := set.Bool("json", false, "print JSON, as GET /status of the admin socket does")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	s, text, err := askStatus(*config)
	switch {
	case err != nil:
	case *asJSON:
		_, err = os.Stdout.Write(append(text, '\n'))
	default:
		err = s.WriteText(stdout())
	}
	if err == nil && !s.Healthy {
		err = exitDeny
	}
	return err
}

// askStatus returns the running daemon's status, and its JSON text.
func askStatus(file string) (s *status.Status, text []byte, err error) {
	if text, err = askAdmin(file, http.MethodGet, "/status"); err != nil {
		return nil, nil, err
	}
	s, err = status.Parse(text)
	return s, text, err
}
