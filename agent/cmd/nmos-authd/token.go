package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
)

const (
	replyTime = 2 * time.Second // for each answer
	askAgain  = time.Second     // at most, while a token is being fetched
)

// runToken prints one of the device's own tokens and nothing else (CLI-69).
func runToken(args []string) int {
	set, config := flags("token", "--scope SCOPE")
	scope := set.String("scope", "", "`scope` of the token: registration, events")
	refused := set.String("refused", "",
		"`file` with a token that a server refused with 401, - for standard input: asks for another")
	socket := set.String("socket", "", "decision socket's `path`; by default that of the configuration")
	wait := set.Duration("wait", 10*time.Second, "how long to wait for a token that is being fetched")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	platform.Harden() // as far as the kernel does it: the token must not reach a core file
	packet, err := tokenQuestion(*scope, *refused)
	path := *socket
	if err == nil && path == "" {
		path, err = decisionSocket(*config)
	}
	if err != nil {
		complain(err)
		return exitFail
	}
	for end := time.Now().Add(*wait); ; {
		reply, err := exchange(path, packet, replyTime)
		if err != nil {
			complain(fmt.Errorf("cannot ask the daemon: %w", err))
			return exitFail
		}
		first, lines := readReply(reply)
		if tok := lines["access-token"]; strings.HasPrefix(first, "allow ") && tok != "" {
			if _, err = fmt.Println(tok); err != nil {
				complain(err)
				return exitFail
			}
			return exitOK
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
		why := fmt.Errorf("no token: %s (%s)", said, lines["reason"])
		if again > 0 {
			why = fmt.Errorf("%w; ask again in %v", why, again)
		}
		complain(why)
		if strings.HasPrefix(first, "deny ") {
			return exitDeny
		}
		return exitFail
	}
}

// tokenQuestion writes the packet. A token that was refused is named by its digest, not sent.
func tokenQuestion(scope, refused string) ([]byte, error) {
	if strings.ContainsAny(scope, "\n\x00") || scope == "" {
		return nil, errors.New("token takes --scope, such as --scope registration")
	}
	packet := wire.Token.String() + "\nscope=" + scope + "\n"
	if refused != "" {
		tok, err := readToken("refused", refused)
		if err != nil {
			return nil, err
		}
		name := token.DigestOf([]byte(tok))
		packet += "refused=" + hex.EncodeToString(name[:]) + "\n"
	}
	return []byte(packet), nil
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

// decisionSocket returns the path of the decision socket by a configuration.
func decisionSocket(config string) (string, error) {
	c, _, err := daemon.LoadConfig(config)
	if err != nil {
		return "", err
	}
	return c.Sockets.Authz, nil
}
