package wire

import (
	"bytes"
	"encoding/binary"
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
	like         uint16 // which command of the packet was the first of its class and method, or nearly
	class        uint8  // where the class begins
	method       uint8
	role         uint8
}

// kinds says, of some classes with a method, which command of the packet has them, counted from 1. A controller asks
// for the same of many objects: what has been read is not read again, which takes a fifth off what a packet full of
// commands costs.
type kinds [32]uint16

// place returns where a command is remembered whose class and method begin b; it is nil if there are too few bytes to
// tell. That two share a place makes no difference but in time.
func (k *kinds) place(b []byte) *uint16 {
	const from, to = 3, 11 // where classes of this framework begin to differ
	if len(b) < to {
		return nil
	}
	return &k[binary.LittleEndian.Uint64(b[from:to])*0x2545F4914F6CDD1D>>59]
}

// Verdict is the answer about one command. The zero value denies.
type Verdict struct {
	Reason Reason
	Writes bool // the command needs write
	// Observed reports that it is denied, and let pass: [enforce] of the configuration (OPS-3).
	Observed bool
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

// Like returns the place in the packet of a command with the same class and method, before this one, or its own.
func (c *Command) Like() int { return int(c.like) }

// RolePath returns the role path of the object.
func (c *Command) RolePath() []byte { return c.value[c.role:] }

// parseCommand reads the value of a command line, "<handle> <class id> <method id> <role path>" (CTL-81), that of the
// last of the commands.
func (r *Request) parseCommand(value []byte) bool {
	last := len(r.Commands) - 1
	c := &r.Commands[last]
	class := digits(value) + 1
	if class < 2 || class > maxHandle+1 || !spaceBefore(value, class) {
		return false
	}
	place := r.kinds.place(value[class:])
	if place != nil && *place > 0 {
		first := &r.Commands[*place-1]
		same := first.value[first.class:first.role]
		if role := class + len(same); bytes.HasPrefix(value[class:], same) && IsRolePath(value[role:]) {
			c.level, c.index, c.like = first.level, first.index, *place-1
			c.class, c.method, c.role = uint8(class), uint8(class)+first.method-first.class, uint8(role)
			return true
		}
	}
	method := class + classID(value[class:]) + 1
	if method == class+1 && value[class] == '-' { // not known
		method++
	}
	if method < class+2 || method > class+maxClassID+1 || !spaceBefore(value, method) {
		return false
	}
	level, index, rest := methodID(value[method:])
	role := len(value) - len(rest) + 1
	if index == 0 || !spaceBefore(value, role) || !IsRolePath(value[role:]) {
		return false
	}
	c.level, c.index = uint16(level), uint16(index)
	c.class, c.method, c.role = uint8(class), uint8(method), uint8(role)
	if place != nil {
		*place = uint16(last + 1)
	}
	return true
}

// spaceBefore reports whether something begins at a place behind a space.
func spaceBefore(value []byte, at int) bool { return at < len(value) && value[at-1] == ' ' }

// IsRolePath reports whether b can be a role path (CTL-85).
func IsRolePath(b []byte) bool { return IsName(b, MaxRolePath) }

// IsClassID reports whether b is a class id: integers, not all of which need be positive, parted by dots (CTL-3,
// CTL-4).
func IsClassID(b []byte) bool { return len(b) > 0 && classID(b) == len(b) }

// classID returns the length of the class id at the start of b; 0 if there is none.
func classID(b []byte) int {
	for i := 0; i < len(b); i++ {
		if b[i] == '-' {
			if i++; i == len(b) || b[i] == '0' {
				return 0
			}
		}
		first := b[i]
		if !isDigit(first) {
			return 0
		}
		for i++; i < len(b) && isDigit(b[i]); i++ {
			if first == '0' {
				return 0
			}
		}
		if i == len(b) || b[i] != '.' {
			return i
		}
	}
	return 0
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// MethodID reads a method id, "4m2" (CTL-5).
func MethodID(b []byte) (level, index int, ok bool) {
	level, index, b = methodID(b)
	return level, index, index > 0 && len(b) == 0
}

// methodID reads the method id at the start of b; the index is 0 if there is none.
func methodID(b []byte) (level, index int, rest []byte) {
	// those that there are, at little cost
	if len(b) > 3 && b[0]-'1' < 9 && b[1] == 'm' && b[2]-'1' < 9 && b[3] == ' ' {
		return int(b[0] - '0'), int(b[2] - '0'), b[3:]
	}
	level, b = number(b)
	if level == 0 || len(b) == 0 || b[0] != 'm' {
		return 0, 0, b
	}
	index, b = number(b[1:])
	return level, index, b
}

// number reads a positive decimal number of at most maxLevel; 0 if there is none.
func number(b []byte) (n int, rest []byte) {
	if len(b) > 0 && b[0] == '0' {
		return 0, b
	}
	for i, c := range b {
		if !isDigit(c) {
			return n, b[i:]
		}
		if n = 10*n + int(c-'0'); n > maxLevel {
			return 0, b
		}
	}
	return n, nil
}

// digits returns how many digits are at the start of b.
func digits(b []byte) int {
	for i, c := range b {
		if !isDigit(c) {
			return i
		}
	}
	return len(b)
}

// appendDenied appends what a reply says of a command that is denied: "command <handle> <status> <reason>" or
// "subscribe <role path> <status> <reason>" (CTL-84).
func (c *Command) appendDenied(dst []byte, reason Reason) []byte {
	if c.Subscribes() {
		dst = append(append(dst, "subscribe "...), c.RolePath()...)
	} else {
		dst = append(append(dst, "command "...), c.Handle()...)
	}
	return reason.Append(append(dst, ' '))
}

// takeCommand adds a line about a command or a subscription to the request.
func (r *Request) takeCommand(value []byte, subscribes bool) (fault Reason) {
	if len(r.Commands) == MaxCommands {
		return PacketTooLong
	}
	r.Commands = append(r.Commands, Command{value: value, like: uint16(len(r.Commands))})
	if subscribes && !IsRolePath(value) || !subscribes && !r.parseCommand(value) {
		return PacketValue
	}
	return Undecided
}
