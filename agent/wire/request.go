package wire

import (
	"bytes"
	"math/bits"
	"unicode/utf8"

	"nmosauthd/agent/ascii"
)

// Limits of the packet protocol.
const (
	DefaultPacketLimit = 32 << 10 // bytes of one packet
	MaxID              = 64       // bytes of an id
	MaxKind            = 64       // bytes of a resource's kind
	MaxName            = 256      // bytes of a resource's name
	MaxScope           = 256      // bytes of the scope of a token question
	MaxIndicator       = 1024     // bytes of its resource indicator
	MaxAfter           = 64       // bytes of the place where a list goes on
	TokenIDSize        = 32       // bytes of the name of one of the device's own tokens
)

// Verb is the question that a packet asks. The zero value is NoVerb.
type Verb uint8

// The questions of protocol §1.
const (
	NoVerb Verb = iota
	Decide
	Verify
	DecideAll
	Resource
	WatchToken // decide-all that is left standing
	Control
	Token // for one of the device's own (CLI-69)
	May   // everything that a token permits
	Ping

	// What an administrator does is not a question of a packet. The audit records it as one.
	Observe
	Refresh
)

var verbs = [...]string{
	Decide:     "decide 1",
	Verify:     "verify 1",
	DecideAll:  "decide-all 1",
	Resource:   "resource 1",
	WatchToken: "watch-token 1",
	Control:    "control 1",
	Token:      "token 1",
	May:        "may 1",
	Ping:       "ping 1",
	Observe:    "observe",
	Refresh:    "refresh",
}

// String returns the first line of the packet that asks v.
func (v Verb) String() string {
	if int(v) >= len(verbs) {
		return ""
	}
	return verbs[v]
}

// Many reports whether v is about several targets in one question.
func (v Verb) Many() bool { return int(v) < len(grammar) && grammar[v].many&nameTarget != 0 }

// Names that a packet can contain, as bits, to detect duplicates.
const (
	nameMethod = 1 << iota
	nameTarget
	nameAuthorization
	nameUpgrade
	nameID
	nameKind
	nameName
	nameAccess
	nameAPI
	nameModel
	nameCommand
	nameSubscribe
	nameScope
	nameIndicator
	nameRefused
	nameAfter
)

// grammar says for each question which names it has, which are required and which may be repeated.
var grammar = [...]struct{ has, needs, many uint16 }{
	Decide: {
		has:   nameMethod | nameTarget | nameAuthorization | nameUpgrade | nameID,
		needs: nameMethod | nameTarget,
	},
	Verify: {has: nameAuthorization | nameID},
	DecideAll: {
		has:   nameMethod | nameTarget | nameAuthorization | nameUpgrade | nameID,
		needs: nameTarget,
		many:  nameTarget,
	},
	WatchToken: {
		has:   nameMethod | nameTarget | nameAuthorization | nameUpgrade | nameID,
		needs: nameTarget,
		many:  nameTarget,
	},
	Resource: {
		has:   nameKind | nameName | nameAccess | nameAuthorization | nameID,
		needs: nameKind | nameName | nameAccess,
	},
	Control: { // and a command or a subscription
		has:   nameAPI | nameModel | nameCommand | nameSubscribe | nameAuthorization | nameID,
		needs: nameAPI,
		many:  nameCommand | nameSubscribe,
	},
	Token: {has: nameScope | nameIndicator | nameRefused | nameID, needs: nameScope},
	May:   {has: nameAuthorization | nameAfter | nameID},
	Ping:  {has: nameID},
}

// Request is one question. Its slices borrow from the buffer given to Parse, or belong to whoever filled it in, and are
// never written to. A Request can be reused: Parse resets it.
type Request struct {
	Verb   Verb
	Method []byte // case-sensitive; GET if decide-all or watch-token omits it
	// request targets as received, with their query: one for decide, in order for decide-all and watch-token
	Targets       [][]byte
	Authorization []byte // the header's value; nil if there was no header
	Upgrade       []byte // "websocket" for a handshake
	ID            []byte // echoed
	Kind          []byte // of resource: "meter"
	Name          []byte // of resource: the device's own name for it
	Access        []byte // of resource: "read" or "write"
	API           []byte // of control: "control" or "configuration", which says whose claim counts
	Model         []byte // of control: the name of the device model; nil if not given
	Commands      []Command
	kinds         kinds  // of Commands
	Scope         []byte // of token: names with single spaces between
	Indicator     []byte // of token: the URL of the server that the token is for (RFC 8707)
	Refused       []byte // of token: the TokenID of one that a server refused
	After         []byte // of may: where the list goes on
	Fault         []byte // if Parse returned a fault of one name: that name, one of the protocol; else nil
}

func (r *Request) reset() {
	*r = Request{Targets: r.Targets[:0], Commands: r.Commands[:0]}
}

// Parse parses one packet into r, borrowing from packet. It returns the reason for an "error 400" reply, or Undecided.
// After an error only r.ID may be used, if it was read before, and r.Fault. limit is in bytes.
func (r *Request) Parse(packet []byte, limit int) Reason {
	r.reset()
	if len(packet) > limit {
		return PacketTooLong
	}
	if !utf8.Valid(packet) || bytes.IndexByte(packet, 0) >= 0 {
		return PacketText
	}
	line, rest, ok := bytes.Cut(packet, newline)
	if !ok {
		return PacketForm
	}
	verb := NoVerb
	for v := Decide; v <= Ping; v++ {
		if string(line) == verbs[v] {
			verb = v
		}
	}
	if verb == NoVerb {
		return PacketVerb
	}
	g := grammar[verb]
	var seen uint16
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n') // bytes.Cut takes twice as long, and there may be a thousand lines
		if end < 0 {
			return PacketForm
		}
		line, rest = rest[:end], rest[end+1:]
		if verb == Control && len(line) > len(command) && string(line[:len(command)]) == command { // most lines
			if fault := r.takeCommand(line[len(command):len(line):len(line)], false); fault != Undecided {
				r.Fault = names.of(nameCommand)
				return fault
			}
			seen |= nameCommand
			continue
		}
		eq := bytes.IndexByte(line, '=')
		if eq < 0 {
			return PacketForm
		}
		value := line[eq+1 : len(line) : len(line)]
		var name uint16
		switch string(line[:eq]) {
		case "method":
			name, r.Method = nameMethod, value
		case "target":
			name = nameTarget
		case "authorization":
			name, r.Authorization = nameAuthorization, value
		case "upgrade":
			name, r.Upgrade = nameUpgrade, value
		case "id":
			if len(value) > MaxID || ascii.HasControl(value) {
				r.Fault = names.of(nameID)
				return PacketID
			}
			name = nameID
		case "kind":
			name, r.Kind = nameKind, value
		case "name":
			name, r.Name = nameName, value
		case "access":
			name, r.Access = nameAccess, value
		case "api":
			name, r.API = nameAPI, value
		case "model":
			name, r.Model = nameModel, value
		case "command":
			name = nameCommand
		case "subscribe":
			name = nameSubscribe
		case "scope":
			name, r.Scope = nameScope, value
		case "resource":
			name, r.Indicator = nameIndicator, value
		case "refused":
			name, r.Refused = nameRefused, value
		case "after":
			name, r.After = nameAfter, value
		}
		switch {
		case name&g.has == 0:
			r.Fault = names.of(name) // of another question; what the caller made up may be part of a token
			return PacketName
		case seen&name&^g.many != 0:
			r.Fault = names.of(name)
			return PacketTwice
		case name == nameTarget:
			r.Targets = append(r.Targets, value)
		case name == nameID:
			r.ID = value
		case name == nameCommand || name == nameSubscribe:
			if fault := r.takeCommand(value, name == nameSubscribe); fault != Undecided {
				r.Fault = names.of(name)
				return fault
			}
		}
		seen |= name
	}
	if r.Fault = names.of(g.needs &^ seen); r.Fault == nil && verb == Control && len(r.Commands) == 0 {
		r.Fault = commandOrSubscribe
	}
	if r.Fault != nil {
		return PacketMissing
	}
	if r.Fault = names.of(r.badValue(verb)); r.Fault != nil {
		return PacketValue
	}
	r.Verb = verb
	return Undecided
}

const command = "command="

// nameTable holds the names, each at the place of its bit.
type nameTable [16][]byte

var names = func() (t nameTable) {
	for i, name := range []string{"method", "target", "authorization", "upgrade", "id", "kind", "name", "access", "api",
		"model", "command",
		"subscribe", "scope", "resource", "refused", "after"} {
		t[i] = []byte(name)
	}
	return t
}()

// of returns the first of these names, nil if there is none.
func (t *nameTable) of(set uint16) []byte {
	if set == 0 {
		return nil
	}
	return t[bits.TrailingZeros16(set)]
}

var commandOrSubscribe = []byte("command or subscribe")

// badValue returns the first name whose value is not valid, 0 if all are.
func (r *Request) badValue(v Verb) uint16 {
	switch v {
	case Resource:
		switch {
		case !IsName(r.Kind, MaxKind):
			return nameKind
		case !IsName(r.Name, MaxName):
			return nameName
		case string(r.Access) != "read" && string(r.Access) != "write":
			return nameAccess
		}
	case Control:
		switch {
		case string(r.API) != "control" && string(r.API) != "configuration":
			return nameAPI
		case r.Model != nil && !IsName(r.Model, MaxName):
			return nameModel
		}
	case Token:
		switch {
		case !isScope(r.Scope):
			return nameScope
		case r.Indicator != nil && !isIndicator(r.Indicator):
			return nameIndicator
		case r.Refused != nil && !isTokenID(r.Refused):
			return nameRefused
		}
	case May:
		if len(r.After) > MaxAfter {
			return nameAfter
		}
	}
	return 0
}

// isScope reports whether b is a scope of at most MaxScope bytes (RFC 6749 §3.3).
func isScope(b []byte) bool {
	name := false // b[:i] ends within one
	for _, c := range b {
		if c == ' ' && !name || c != ' ' && (c <= ' ' || c > '~' || c == '"' || c == '\\') {
			return false
		}
		name = c != ' '
	}
	return name && len(b) <= MaxScope
}

// isIndicator reports whether b is an absolute http or https URL without a fragment, of at most MaxIndicator bytes
// (RFC 8707 §2), as far as that can be seen without reading it.
func isIndicator(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, []byte("https://"))
	if !ok {
		rest, ok = bytes.CutPrefix(b, []byte("http://"))
	}
	for _, c := range rest {
		ok = ok && c > ' ' && c <= '~' && c != '#' && c != '"' && c != '\\'
	}
	return ok && len(rest) > 0 && rest[0] != '/' && rest[0] != '?' && len(b) <= MaxIndicator
}

// isTokenID reports whether b can be the TokenID of a reply.
func isTokenID(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(b) == TokenIDSize
}

// IsName reports whether b can be a kind or a name: 1 to limit bytes without control characters.
func IsName(b []byte, limit int) bool { return len(b) > 0 && len(b) <= limit && !ascii.HasControl(b) }

var newline = []byte("\n")
