package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
)

func runMay(args []string) int {
	set, config := flags("may", "--token FILE")
	socket := set.String("socket", "", "decision socket's `path`; by default that of the configuration")
	asJSON := set.Bool("json", false, "print JSON: a list of kind, name and access")
	tokenFile := set.String("token", "", "`file` with the access token, - for standard input")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	var err error
	if *tokenFile == "" {
		err = errors.New("may takes --token, a file with the token, - for standard input")
	}
	path := *socket
	if err == nil && path == "" {
		path, err = decisionSocket(*config)
	}
	var packet []byte
	if err == nil {
		packet, err = question(wire.May, nil, *tokenFile, "")
	}
	if err == nil {
		var list may
		if list, err = askMay(path, packet); err == nil {
			if list.denied != "" {
				complain(errors.New(list.denied))
				return exitDeny
			}
			if *asJSON {
				err = json.NewEncoder(os.Stdout).Encode(list.things)
			} else {
				err = status.WritePermitted(stdout(), list.client, list.things)
			}
		}
	}
	if err != nil {
		complain(err)
		return exitFail
	}
	return exitOK
}

// may is what a token permits.
type may struct {
	client string // whose token it is
	denied string // why it permits nothing
	things []status.Permitted
}

// askMay asks for the list, reply by reply.
func askMay(path string, packet []byte) (list may, err error) {
	for more := ""; ; {
		ask := packet
		if more != "" {
			ask = append(bytes.Clone(packet), "after="+more+"\n"...)
		}
		reply, err := exchange(path, ask, replyTime)
		if err != nil {
			return list, fmt.Errorf("cannot ask the daemon: %w", err)
		}
		first, lines := readReply(reply)
		switch {
		case more != "" && lines["reason"] == wire.PacketValue.String(): // there is another inventory
			more, list.things = "", nil
			continue
		case strings.HasPrefix(first, "deny "):
			list.denied = "the token permits nothing: " + first + ", " + lines["reason"]
			return list, nil
		case !strings.HasPrefix(first, "allow "):
			return list, fmt.Errorf("the daemon answered %s (%s)", first, lines["reason"])
		}
		list.client = lines["client-id"]
		list.take(reply)
		if more = lines["more"]; more == "" {
			return list, nil
		}
	}
}

// take adds what a reply lists.
func (m *may) take(reply []byte) {
	kind := ""
	for line := range bytes.Lines(reply) {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		of := kind
		if access, found := strings.CutPrefix(name, "path-"); found {
			name, of = access, ""
		}
		switch name {
		case "kind":
			kind = value
		case "read", "write", "read-write":
			m.things = append(m.things, status.Permitted{Kind: of, Name: value, Access: name})
		}
	}
}
