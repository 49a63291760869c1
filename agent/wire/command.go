package wire

import (
	"bytes"
	"strconv"
)

// Limits of a question about commands (CTL-85).
const (
	MaxCommands = 1024 // lines of commands and subscriptions in one packet
	MaxRolePath = 1024 // bytes of a role path
	maxHandle   = 10   // bytes
	maxClassID  = 128  // bytes
	maxLevel    = 1<<16 - 1
)

// Command is one line of a question about commands: a command on an object of a device model, or a subscription to an
// object. It borrows from the packet.
type Command struct {
	value        []byte // of the line
	level, index uint16 // of the method; 0 for a subscription
	class        uint8  // where the class begins
	method       uint8
	role         uint8
}

// Verdict is the answer about one command. The zero value denies.
type Verdict struct {
	Reason Reason
	Writes bool // the command needs write
}

// Subscribes reports whether it is a subscription.
func (c *Command) Subscribes() bool { return c.level == 0 }

// Handle returns the number that the caller knows a command by, as it was sent.
func (c *Command) Handle() []byte { return c.part(0, c.class) }

// Class returns the class id of a command's object, "1.2.2.1", or "-" if it is not known.
func (c *Command) Class() []byte { return c.part(c.class, c.method) }

// Method returns the id of a command's method, "4m2".
func (c *Command) Method() []byte { return c.part(c.method, c.role) }

// part returns the part of the value from one place to before the space that another is behind; none of a subscription.
func (c *Command) part(from, to uint8) []byte {
	if to == 0 {
		return nil
	}
	return c.value[from : to-1 : to-1]
}

// Level and Index are those of the method.
func (c *Command) Level() int { return int(c.level) }
func (c *Command) Index() int { return int(c.index) }

// RolePath returns the role path of the object.
func (c *Command) RolePath() []byte { return c.value[c.role:] }

// parse reads the value of a command line: "<handle> <class id> <method id> <role path>" (CTL-81).
func (c *Command) parse(value []byte) bool {
	handle := bytes.IndexByte(value, ' ')
	if handle < 1 || handle > maxHandle || !areDigits(value[:handle]) {
		return false
	}
	class := handle + 1
	length := bytes.IndexByte(value[class:], ' ')
	if length < 1 || length > maxClassID {
		return false
	}
	method := class + length + 1
	if id := value[class : method-1]; !IsClassID(id) && string(id) != "-" {
		return false
	}
	length = bytes.IndexByte(value[method:], ' ')
	if length < 0 {
		return false
	}
	role := method + length + 1
	level, index, ok := MethodID(value[method : role-1])
	if !ok || !IsRolePath(value[role:]) {
		return false
	}
	*c = Command{value, uint16(level), uint16(index), uint8(class), uint8(method), uint8(role)}
	return true
}

// IsRolePath reports whether b can be a role path (CTL-85).
func IsRolePath(b []byte) bool { return IsName(b, MaxRolePath) }

// IsClassID reports whether b is a class id: integers, not all of which need be positive, parted by dots (CTL-3, CTL-4).
func IsClassID(b []byte) bool {
	for {
		integer, rest, more := bytes.Cut(b, classDot)
		if digits, negative := bytes.CutPrefix(integer, minus); negative && (len(digits) == 0 || digits[0] == '0') {
			return false
		} else if !areDigits(digits) || len(digits) > 1 && digits[0] == '0' {
			return false
		}
		if !more {
			return true
		}
		b = rest
	}
}

// MethodID reads a method id, "4m2" (CTL-5).
func MethodID(b []byte) (level, index int, ok bool) {
	level, b = number(b)
	if level == 0 || len(b) == 0 || b[0] != 'm' {
		return 0, 0, false
	}
	index, b = number(b[1:])
	return level, index, index > 0 && len(b) == 0
}

// number reads a positive decimal number of at most maxLevel; 0 if there is none.
func number(b []byte) (n int, rest []byte) {
	i := 0
	for i < len(b) && '0' <= b[i] && b[i] <= '9' && n <= maxLevel && b[0] != '0' {
		n = 10*n + int(b[i]-'0')
		i++
	}
	if n > maxLevel {
		return 0, b
	}
	return n, b[i:]
}

func areDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

var (
	classDot = []byte(".")
	minus    = []byte("-")
)

// appendDenied appends what a reply says of a command that is denied: "command <handle> <status> <reason>" or
// "subscribe <role path> <status> <reason>" (CTL-84).
func (c *Command) appendDenied(dst []byte, reason Reason) []byte {
	if c.Subscribes() {
		dst = append(append(dst, "subscribe "...), c.RolePath()...)
	} else {
		dst = append(append(dst, "command "...), c.Handle()...)
	}
	info := reason.Info()
	dst = strconv.AppendInt(append(dst, ' '), int64(info.Status), 10)
	return append(append(dst, ' '), info.Code...)
}

// takeCommand adds a line about a command or a subscription to the request.
func (r *Request) takeCommand(value []byte, subscribes bool) (fault Reason) {
	if len(r.Commands) == MaxCommands {
		return PacketTooLong
	}
	c := Command{value: value}
	if subscribes && !IsRolePath(value) || !subscribes && !c.parse(value) {
		return PacketValue
	}
	r.Commands = append(r.Commands, c)
	return Undecided
}

// asksCommands reports whether the values of a question about commands are valid.
func (r *Request) asksCommands() bool {
	api := string(r.API) == "control" || string(r.API) == "configuration"
	return api && (r.Model == nil || IsName(r.Model, MaxName))
}
