package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

func runAsk(args []string) error {
	set, socket := asking("ask", "METHOD TARGET [TARGET ...]\n"+
		"       nmos-authd ask [flags] --resource KIND NAME read|write\n"+
		"       nmos-authd ask [flags] --verify")
	tokenFile := set.String("token", "",
		"`file` with the access token, - for standard input; without it, no token is sent")
	upgrade := set.String("upgrade", "", "value of the Upgrade header, such as websocket")
	verify := set.Bool("verify", false, "ask about the token alone (no METHOD and TARGET)")
	resource := set.Bool("resource", false,
		"ask about a resource of the device, by its own KIND and NAME, and read or write")
	timeout := set.Duration("timeout", 2*time.Second, "how long to wait for the reply")
	if err := parse(set, args, 0, 1000); err != nil {
		return err
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
		return errors.New("ask takes a METHOD and a TARGET; or --resource with a KIND, a NAME, and read or write; " +
			"or --verify alone")
	}
	packet, err := question(verb, set.Args(), *tokenFile, *upgrade)
	if err != nil {
		return err
	}
	reply, err := socket.exchange(packet, *timeout)
	if err != nil {
		return err
	}
	fmt.Printf("%s", reply)
	switch first, _, _ := bytes.Cut(reply, []byte(" ")); string(first) {
	case "allow":
		return nil
	case "deny":
		return exitDeny
	}
	return exitFail
}

// decisionSocket is where the daemon is asked for decisions.
type decisionSocket struct{ path, config *string }

// asking returns the flag set of a subcommand that asks there, with --socket.
func asking(name, args string) (*flag.FlagSet, decisionSocket) {
	set, config := flags(name, args)
	return set, decisionSocket{
		set.String("socket", "", "decision socket's `path`; by default that of the configuration"), config,
	}
}

// exchange sends one packet and returns the reply.
func (s decisionSocket) exchange(packet []byte, timeout time.Duration) ([]byte, error) {
	if *s.path == "" {
		c, _, err := daemon.LoadConfig(*s.config)
		if err != nil {
			return nil, err
		}
		*s.path = c.Sockets.Authz
	}
	reply, err := exchange(*s.path, packet, timeout)
	if err != nil {
		err = fmt.Errorf("cannot ask the daemon: %w", err)
	}
	return reply, err
}

// packet is a question to be sent.
type packet struct {
	text  []byte
	wrong []error // what cannot be a line
}

func newPacket(verb wire.Verb) *packet { return &packet{text: []byte(verb.String() + "\n")} }

// line adds a line.
func (p *packet) line(name, value string) {
	if strings.ContainsAny(value, "\n\x00") {
		p.wrong = append(p.wrong, errors.New("the "+name+" contains a line end or a NUL"))
	}
	p.text = append(p.text, name+"="+value+"\n"...)
}

// question writes the packet of a question. The arguments are a method and targets, or the kind, name and access of a
// resource.
func question(verb wire.Verb, args []string, tokenFile, upgrade string) ([]byte, error) {
	p := newPacket(verb)
	for i, arg := range args {
		name := "target"
		switch {
		case verb == wire.Resource:
			name = []string{"kind", "name", "access"}[i]
		case i == 0:
			name = "method"
		}
		p.line(name, arg)
	}
	if upgrade != "" {
		p.line("upgrade", upgrade)
	}
	if tokenFile != "" {
		tok, err := readToken("token", tokenFile)
		if err != nil {
			return nil, err
		}
		p.line("authorization", "Bearer "+tok)
	}
	return p.text, errors.Join(p.wrong...)
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
		return nil, errors.New(name + " is over " + strconv.FormatInt(most, 10) + " bytes")
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New(name + " is empty")
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
		err = errors.New("no reply within " + timeout.String())
	}
	return reply[:n], err
}
