package decide

import (
	"bytes"

	"nmosauthd/agent/wire"
)

// Controls is what the configuration says about device models.
type Controls struct {
	// Claims are the names of IS-12's claim that count, without "x-nmos-"; their permissions are combined (CTL-15).
	Claims  [][]byte
	Asked   bool     // the stack asks about each command, so that the handshake need not cover the whole model (CTL-22)
	Letter  bool     // commands need write, but for the few without which nothing can be read (CTL-40)
	NoGets  bool     // and for those, too
	Reading []Method // more methods that change nothing (CTL-41)
	Models  []Model  // if there are several (CTL-19)
	Drafted Drafted  // what is judged by the draft's letter
}

// Method is a method of a class.
type Method struct {
	Class        []byte // that defines it, "1.2.2.1"
	Level, Index int    // 4 and 2 of 4m2
}

// Model is one of several device models behind a host name.
type Model struct {
	Name   []byte // a selector of IS-14, or the path of an IS-12 socket
	Prefix []byte // that stands, with a colon, before its role paths in specifiers
}

// Prefix returns the prefix of a model by its name.
//
//go:noinline // for flash
func (c *Controls) Prefix(model []byte) (prefix []byte, known bool) {
	for i := range c.Models {
		if bytes.Equal(c.Models[i].Name, model) {
			return c.Models[i].Prefix, true
		}
	}
	return nil, false
}

// CommandAccess returns the access that a command needs on its object, whose class is given: "1.2.2.1", or "-" if it is
// not known. What is not known to change nothing needs write (CTL-41).
func (c *Controls) CommandAccess(class []byte, level, index int) Access {
	class = definer(class, level)
	if class == nil {
		return Write
	}
	if c.Letter {
		if string(class) == "1" && !c.NoGets && index < 8 && objectGets>>index&1 == 1 {
			return Read
		}
		return Write
	}
	if reads, _ := standard(class); index < 32 && reads>>index&1 == 1 {
		return Read
	}
	for i := range c.Reading {
		if m := &c.Reading[i]; m.Index == index && m.Level == level && bytes.Equal(m.Class, class) {
			return Read
		}
	}
	return Write
}

// ParseMethod reads a method as "1.2.2.1:4m2".
func ParseMethod(text string) (m Method, ok bool) {
	class, method, found := bytes.Cut([]byte(text), []byte(":"))
	level, index, ok := wire.MethodID(method)
	if !found || !ok || !wire.IsClassID(class) {
		return Method{}, false
	}
	return Method{class, level, index}, true
}

// Valid reports whether the level is that of the class, so that there can be such a method.
func (m Method) Valid() bool {
	return len(m.Class) > 0 && bytes.Equal(definer(m.Class, m.Level), m.Class) && m.Index > 0
}

// Depth returns how many indices a class id has (CTL-4).
func Depth(class []byte) (indices int) {
	for level := 1; definer(class, level) != nil; level++ {
		indices = level
	}
	return indices
}

// IsStandard reports whether the method is one of MS-05-02 or of a registered feature set, of which no configuration
// decides what it does.
func (m Method) IsStandard() bool {
	reads, writes := standard(m.Class)
	return m.Index < 32 && (reads|writes)>>m.Index&1 == 1
}

const objectGets = 1<<1 | 1<<3 | 1<<7 // Get, GetSequenceItem, GetSequenceLength

// standard returns the methods that a standard class defines, a bit for each index: those that change nothing, and the
// others (CTL-40). The same index means another thing in another class, so no name and no index alone decides (CTL-42).
//
//go:noinline // for flash
func standard(class []byte) (reads, writes uint32) {
	switch string(class) {
	case "1": // NcObject: Set, SetSequenceItem, AddSequenceItem, RemoveSequenceItem
		return objectGets, 1<<2 | 1<<4 | 1<<5 | 1<<6
	case "1.1": // NcBlock: GetMemberDescriptors, FindMembersByPath, -ByRole, -ByClassId (CTL-44)
		return 1<<1 | 1<<2 | 1<<3 | 1<<4, 0
	case "1.3.2": // NcClassManager: GetControlClass, GetDatatype (CTL-45)
		return 1<<1 | 1<<2, 0
	case "1.3.3":
		// NcBulkPropertiesManager: GetPropertiesByPath; ValidateSetPropertiesByPath, SetPropertiesByPath (CTL-43)
		return 1 << 1, 1<<2 | 1<<3
	case "1.2.2.1": // NcReceiverMonitor: GetLostPacketCounters, GetLatePacketCounters; ResetCountersAndMessages
		return 1<<1 | 1<<2, 1 << 3
	case "1.2.2.2": // NcSenderMonitor: GetTransmissionErrorCounters; ResetCountersAndMessages
		return 1 << 1, 1 << 2
	}
	return 0, 0
}

// definer returns the ancestor of a class that defines its methods of a level: the class id cut after that many
// indices, between which authority keys, 0 or negative, do not count (CTL-4, CTL-5). It is nil if there is none.
//
//go:noinline // for flash
func definer(class []byte, level int) []byte {
	index := true
	for i, c := range class {
		switch {
		case c == '.':
			if index {
				if level--; level == 0 {
					return class[:i]
				}
			}
			index = true
		case c < '1' && (i == 0 || class[i-1] == '.'): // "-" or "0": a key
			index = false
		}
	}
	if index && level == 1 && len(class) > 0 {
		return class
	}
	return nil
}
