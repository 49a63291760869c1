package main

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
)

func runMay(args []string) error {
	set, socket := asking("may", "--token FILE")
	asJSON := set.Bool("json", false, "print JSON: a list of kind, name and access")
	tokenFile := set.String("token", "", "`file` with the access token, - for standard input")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	if *tokenFile == "" {
		return errors.New("may takes --token, a file with the token, - for standard input")
	}
	packet, err := question(wire.May, nil, *tokenFile, "")
	if err != nil {
		return err
	}
	list, err := askMay(socket, packet)
	switch {
	case err != nil:
		return err
	case *asJSON:
		return json.NewEncoder(os.Stdout).Encode(list.things)
	}
	return status.WritePermitted(stdout(), list.client, list.things)
}

// may is what a token permits.
type may struct {
	client string // whose token it is
	things []status.Permitted
}

// askMay asks for the list, reply by reply.
func askMay(socket decisionSocket, packet []byte) (list may, err error) {
	for more := ""; ; {
		ask := packet
		if more != "" {
			ask = append(bytes.Clone(packet), "after="+more+"\n"...)
		}
		reply, err := socket.exchange(ask, replyTime)
		if err != nil {
			return list, err
		}
		first, lines := readReply(reply)
		switch {
		case more != "" && lines["reason"] == wire.PacketValue.String(): // there is another inventory
			more, list.things = "", nil
			continue
		case strings.HasPrefix(first, "deny "):
			return list, denied{errors.New("the token permits nothing: " + first + ", " + lines["reason"])}
		case !strings.HasPrefix(first, "allow "):
			return list, errors.New("the daemon answered " + first + " (" + lines["reason"] + ")")
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
