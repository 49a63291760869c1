package status

import (
	"strconv"
	"strings"

	"nmosauthd/agent/ascii"
)

// droppedLately is how long the daemon counts as degraded after decisions were dropped, in seconds.
const droppedLately = 600

// Health returns what is wrong, most important first; nothing if all is well. The texts hold no changing figures, so
// that they stay equal while the fault is the same.
func (s *Status) Health() (wrong []string) {
	s.faults(func(is bool, text, why string) {
		if !is {
			return
		}
		if why != "" {
			text += ": " + why
		}
		wrong = append(wrong, text)
	})
	return wrong
}

// faults calls add for all that may be wrong: whether it is, what it is, and why.
func (s *Status) faults(add func(is bool, text, why string)) {
	until := ""
	if o := s.Observe; o != nil {
		until = "until " + o.Until.String() + ", begun by " + o.Who()
	}
	add(s.Mode != "enforce", "the mode is "+s.Mode+", so nothing is denied", until)
	add(len(s.NotEnforced) > 0, "not all is enforced ([enforce])", s.open())
	add(!s.Clock.Trusted, "the clock is "+s.Clock.State+", so tokens are answered 503", s.Clock.Why)
	text, why := s.keys()
	add(text != "", text, why)
	add(len(s.Names) == 0, "the device has no host name, so every token is answered 403", "set [device] names")
	add(s.Inventory.Error != "", "the inventory is refused, and the previous one stays in force", s.Inventory.Error)
	for mistake := range strings.SplitSeq(s.Refused, "\n") { // one a line
		add(s.Refused != "", "the configuration is refused, and the old one stays in force", mistake)
	}
	for i := range s.Audit.Sinks {
		sink := &s.Audit.Sinks[i]
		add(sink.Error != "", "audit: the sink "+sink.Name+" does not take records", sink.Error)
	}
	lately := s.Audit.DroppedAt != 0 && s.Time-s.Audit.DroppedAt < droppedLately
	add(lately, "audit: decisions of the last 10 minutes were not recorded", "")
	s.Certs.health(s.Time, add)
	add(s.State.Dir != "" && s.State.Error != "", "state is not kept across restarts", s.State.Error)
}

// open names what [enforce] leaves open.
func (s *Status) open() string {
	var all []string
	for _, n := range s.NotEnforced {
		all = append(all, n.Access+" "+n.API)
	}
	return "anybody may " + strings.Join(all, ", ")
}

// keys returns what is wrong with the servers and their keys (KEY-1, KEY-3).
func (s *Status) keys() (text, why string) {
	servers, held, learned, newest := 0, 0, 0, Time(0)
	for i := range s.Servers {
		v := &s.Servers[i]
		if v.Origin == Learned {
			learned += len(v.KIDs)
			continue
		}
		servers++
		held += len(v.KIDs)
		newest = max(newest, v.Fetched)
		if v.Failing && why == "" {
			why = v.Issuer + ": " + v.Error
		}
	}
	switch {
	case len(s.Servers) == 0 && s.Discovery.Mode == "off":
		return "no authorization server is known", "name one in [authorization] servers, or switch discovery on"
	case len(s.Servers) == 0:
		return "no authorization server is known, and discovery finds none", s.Discovery.Error
	case held+learned == 0:
		return "no keys are held, so no token can be verified", why
	case servers > 0 && held == 0:
		return "the only keys held are those of issuers that tokens have named", why
	case servers > 0 && int64(s.Time-max(newest, s.Since)) > 2*s.Refresh:
		if newest == 0 {
			newest = s.Since
		}
		return "no keys have been fetched since " + newest.String() + "; those held stay valid", why
	}
	return "", ""
}

// Line is the health on one line of printable ASCII.
func (s *Status) Line() string {
	if len(s.Degraded) > 0 {
		return string(ascii.AppendString(nil, "degraded: "+s.Degraded[0]))
	}
	held := 0
	for i := range s.Servers {
		held += len(s.Servers[i].KIDs)
	}
	return string(ascii.AppendString(nil, "healthy: "+s.Mode+", "+many(len(s.Servers), "server")+", "+
		many(held, "key")))
}

// many returns a count with a noun, such as "2 keys".
//
//go:noinline // for flash
func many(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}
