package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

func runAsk(args []string) int {
	set, config := flags("ask", "METHOD TARGET [TARGET ...]\n"+
		"       nmos-authd ask [flags] --resource KIND NAME read|write\n"+
		"       nmos-authd ask [flags] --verify")
	socket := set.String("socket", "", "decision socket's `path`; by default that of the configuration")
	tokenFile := set.String("token", "",
		"`file` with the access token, - for standard input; without it, no token is sent")
	upgrade := set.String("upgrade", "", "value of the Upgrade header, such as websocket")
	verify := set.Bool("verify", false, "ask about the token alone (no METHOD and TARGET)")
	resource := set.Bool("resource", false,
		"ask about a resource of the device, by its own KIND and NAME, and read or write")
	timeout := set.Duration("timeout", 2*time.Second, "how long to wait for the reply")
	if status, done := parse(set, args, 0, 1000); done {
		return status
	}
	verb := wire.Decide
	wrong := set.NArg() < 2
	switch {
	case *verify && *resource:
		wrong = true
	case *verify:
		verb, wrong = wire.Verify, set.NArg() > 0
	case *resource:
		verb, wrong = wire.Resource, set.NArg() != 3
	case set.NArg() > 2:
		verb = wire.DecideAll
	}
	if wrong {
		complain(errors.New("ask takes a METHOD and a TARGET; or --resource with a KIND, a NAME, and read or write; " +
			"or --verify alone"))
		return exitFail
	}
	packet, err := question(verb, set.Args(), *tokenFile, *upgrade)
	if err != nil {
		complain(err)
		return exitFail
	}
	path := *socket
	if path == "" {
		if path, err = decisionSocket(*config); err != nil {
			complain(err)
			return exitFail
		}
	}
	reply, err := exchange(path, packet, *timeout)
	if err != nil {
		complain(fmt.Errorf("cannot ask the daemon: %w", err))
		return exitFail
	}
	fmt.Printf("%s", reply)
	switch first, _, _ := bytes.Cut(reply, []byte(" ")); string(first) {
	case "allow":
		return exitOK
	case "deny":
		return exitDeny
	}
	return exitFail
}

// question writes the packet of a question. The arguments are a method and targets, or the kind, name and access of a
// resource.
func question(verb wire.Verb, args []string, tokenFile, upgrade string) ([]byte, error) {
	var b bytes.Buffer
	line := func(name, value string) error {
		if strings.ContainsAny(value, "\n\x00") {
			return fmt.Errorf("the %s contains a line end or a NUL", name)
		}
		fmt.Fprintf(&b, "%s=%s\n", name, value)
		return nil
	}
	b.WriteString(verb.String() + "\n")
	var err error
	for i, arg := range args {
		name := "target"
		switch {
		case verb == wire.Resource:
			name = []string{"kind", "name", "access"}[i]
		case i == 0:
			name = "method"
		}
		err = errors.Join(err, line(name, arg))
	}
	if upgrade != "" {
		err = errors.Join(err, line("upgrade", upgrade))
	}
	if tokenFile != "" {
		tok, readErr := readToken("token", tokenFile)
		if readErr != nil {
			return nil, readErr
		}
		err = errors.Join(err, line("authorization", "Bearer "+tok))
	}
	return b.Bytes(), err
}

// readToken reads a token from the file of a flag, or standard input for "-": not from an argument, which other users
// could see. It removes white space around the token and a scheme before it.
func readToken(flag, file string) (string, error) {
	text, err := readInput(flag, file, 16*token.MaxBytes)
	if err != nil {
		return "", err
	}
	tok := strings.TrimSpace(string(text))
	if scheme, rest, found := strings.Cut(tok, " "); found && strings.EqualFold(scheme, "bearer") {
		tok = strings.TrimSpace(rest)
	}
	return tok, nil
}

// inputs are what the files of the flags contain.
var inputs = map[string]string{"token": "token", "refused": "token", "claims": "claims", "jwks": "key set"}

// readInput reads the file of a flag, or standard input for "-". It must not be empty or longer than most bytes. No
// error names the file: it may be the token itself, given by mistake.
func readInput(flag, file string, most int64) ([]byte, error) {
	name, f := "the file of --"+flag, os.Stdin
	if file == "-" {
		name = "standard input"
	} else {
		var err error
		if f, err = os.Open(file); err != nil {
			return nil, fmt.Errorf(`--%s takes a file, not the %s; "-" reads standard input: %w`, flag, inputs[flag],
				bare(err))
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, bare(err))
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%s is over %d bytes", name, most)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	}
	return text, nil
}

// bare removes the path from an error of the system.
func bare(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// exchange sends one packet to the daemon and returns its reply.
func exchange(path string, packet []byte, timeout time.Duration) ([]byte, error) {
	deadline := time.Now().Add(timeout)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("unixpacket", path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, daemon.MayNotAsk(path, "", "group")
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err = conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	reply := make([]byte, 64<<10)
	n := 0
	if _, err = conn.Write(packet); err == nil {
		n, err = conn.Read(reply)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		err = errors.New("the daemon hung up: this user may not ask ([sockets] allow_uids), " +
			"or too many wait already ([limits] connections)")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no reply within %v", timeout)
	}
	return reply[:n], err
}
