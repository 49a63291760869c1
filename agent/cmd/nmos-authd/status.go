package main

import (
	"os"

	"nmosauthd/agent/status"
)

// maxStatus is longer than any status, bytes.
const maxStatus = 4 << 20

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
		err = s.WriteText(os.Stdout)
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
	admin, err := adminOf(file)
	if err != nil {
		return nil, nil, err
	}
	if text, err = admin.read("/status", maxStatus); err != nil {
		return nil, nil, err
	}
	s, err = status.Parse(text)
	return s, text, err
}
