package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
)

const (
	replyTime = 2 * time.Second // for each answer
	askAgain  = time.Second     // at most, while a token is being fetched
)

// runToken prints one of the device's own tokens and nothing else (CLI-69).
func runToken(args []string) error {
	set, socket := asking("token", "--scope SCOPE")
	scope := set.String("scope", "", "`scope` of the token: registration, events")
	refused := set.String("refused", "",
		"`file` with a token that a server refused with 401, - for standard input: asks for another")
	wait := set.Duration("wait", 10*time.Second, "how long to wait for a token that is being fetched")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	platform.Harden() // as far as the kernel does it: the token must not reach a core file
	packet, err := tokenQuestion(*scope, *refused)
	if err != nil {
		return err
	}
	for end := time.Now().Add(*wait); ; {
		reply, err := socket.exchange(packet, replyTime)
		if err != nil {
			return err
		}
		first, lines := readReply(reply)
		if tok := lines["access-token"]; strings.HasPrefix(first, "allow ") && tok != "" {
			_, err = fmt.Println(tok)
			return err
		}
		retry, _ := strconv.Atoi(lines["retry-after"])
		again := time.Duration(retry) * time.Second
		if again > 0 && time.Until(end) >= again {
			time.Sleep(min(again, askAgain))
			continue
		}
		said := cmp.Or(lines["detail"], first)
		if strings.HasPrefix(first, "error ") { // detail is the name that it is about
			said = strings.TrimSpace(first + " " + lines["detail"])
		}
		said = "no token: " + said + " (" + lines["reason"] + ")"
		if again > 0 {
			said += "; ask again in " + again.String()
		}
		if err = errors.New(said); strings.HasPrefix(first, "deny ") {
			err = denied{err}
		}
		return err
	}
}

// tokenQuestion writes the packet. A token that was refused is named by its digest, not sent.
func tokenQuestion(scope, refused string) ([]byte, error) {
	p := newPacket(wire.Token)
	if p.line("scope", scope); scope == "" || p.wrong != nil {
		return nil, errors.New("token takes --scope, such as --scope registration")
	}
	if refused != "" {
		tok, err := readToken("refused", refused)
		if err != nil {
			return nil, err
		}
		name := token.DigestOf([]byte(tok))
		p.line("refused", hex.EncodeToString(name[:]))
	}
	return p.text, nil
}

// readReply takes a reply apart: its first line, and its values by their names.
func readReply(reply []byte) (first string, lines map[string]string) {
	first, rest, _ := strings.Cut(string(reply), "\n")
	lines = map[string]string{}
	for line := range strings.Lines(rest) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		lines[name] = value
	}
	return first, lines
}
