package explain

import (
	"errors"
	"fmt"
	"strings"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// spot is a path, or the role path of an object, and where it leads.
type spot struct {
	path []byte
	decide.Place
}

// asks reports whether more than the token is asked about.
func (s *state) asks() bool { return s.Method != "" || s.Command != nil || s.Resource != nil }

// find finds out what is asked about. An error means that it cannot be asked about.
func (s *state) find() error {
	rules := s.Config.Rules()
	switch {
	case s.Command != nil:
		r := s.question()
		if fault := r.Parse(s.packet(), wire.DefaultPacketLimit); fault != wire.Undecided {
			return fmt.Errorf("a command is a CLASS such as 1.2.2.1 or -, a METHOD such as 4m3, and a ROLE-PATH: %s",
				fault.Info().Text)
		}
		c := &r.Commands[0]
		prefix, known := rules.Controls.Prefix([]byte(s.Model))
		if s.Model != "" && !known {
			return s.noModel()
		}
		s.access = rules.Controls.CommandAccess(c.Class(), c.Level(), c.Index())
		s.path, s.Place = c.RolePath(), decide.Place{Kind: decide.ModelObject, Role: c.RolePath(), Model: prefix}
		if len(prefix) > 0 { // as an inventory names it (CTL-86)
			s.path = fmt.Appendf(nil, "%s:%s", prefix, c.RolePath())
		}
	case s.Resource != nil && s.Inventory == nil:
		return errors.New("no inventory is at hand: the daemon does not answer, and [inventory] file names none")
	case s.Resource != nil:
		s.access = decide.Read
		if s.Resource[2] == "write" {
			s.access = decide.Write
		}
		path, ok := s.Inventory.Find([]byte(s.Resource[0]), []byte(s.Resource[1]), s.access == decide.Write)
		if ok {
			s.path, s.Place = path, rules.Find(path)
		}
	case s.Method != "":
		// A handshake may have it in the query (ANS-9). From here on it is in one place for all.
		if s.Token == nil && s.Claims == nil {
			if fault, tok, _ := decide.Credentials(s.question(), nil); fault == wire.Undecided {
				s.Token = tok
				s.Target, _, _ = strings.Cut(s.Target, "?")
			}
		}
		s.access = decide.MethodAccess([]byte(s.Method))
		s.path, _ = decide.Normalize(nil, []byte(s.Target))
		s.Place = rules.Find(s.path).Query([]byte(s.Target))
		if decide.IsHandshake(s.question()) {
			s.Place = s.Socket()
		}
	}
	return nil
}

// noModel says which device models there are.
func (s *state) noModel() error {
	if len(s.Config.Control.Models) == 0 {
		return fmt.Errorf("there is no device model %s: [control] models names none, so that --model has to be left "+
			"out",
			show(s.Model))
	}
	return fmt.Errorf("there is no device model %s; [control] models has %s", show(s.Model),
		strings.Join(s.Config.Control.Models, ", "))
}

// packet is the question about a command as a packet.
func (s *state) packet() []byte {
	packet := []byte("control 1\napi=control\n")
	if s.Model != "" {
		packet = fmt.Appendf(packet, "model=%s\n", s.Model)
	}
	return fmt.Appendf(packet, "command=1 %s %s %s\n", s.Command[0], s.Command[1], s.Command[2])
}

// question returns what is asked, without the token.
func (s *state) question() *wire.Request {
	r := &wire.Request{Verb: wire.Verify}
	switch {
	case s.Command != nil:
		r.Parse(s.packet(), wire.DefaultPacketLimit) // find has seen to it that it can be
	case s.Resource != nil:
		r.Verb = wire.Resource
		r.Kind, r.Name, r.Access = []byte(s.Resource[0]), []byte(s.Resource[1]), []byte(s.Resource[2])
	case s.Method != "":
		r.Verb, r.Method, r.Targets = wire.Decide, []byte(s.Method), [][]byte{[]byte(s.Target)}
		if s.Upgrade != "" {
			r.Upgrade = []byte(s.Upgrade)
		}
	}
	return r
}
