package agent

import (
	"bytes"
	"strconv"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// Bounds of one reply to may: it fits the packet of a caller, and no list makes others wait.
const (
	mayBytes = 24 << 10 // of lists in a reply, at most
	maySeen  = 1024     // of things that are looked at for it
)

// knownPaths are the paths of NMOS APIs that every device with that API has; for the APIs themselves, each version has
// the same permissions.
var knownPaths = [...]string{
	"/x-nmos/node", "/x-nmos/connection", "/x-nmos/channelmapping", "/x-nmos/events", "/x-nmos/streamcompatibility",
	"/x-nmos/query", "/x-nmos/registration", "/x-nmos/system", "/x-nmos/ncp", "/x-nmos/ncp/v1.0",
	"/x-nmos/configuration", "/x-nmos/configuration/v1.0/rolePaths",
}

// knownPath returns a path that the device is known to have, by its number: those of NMOS APIs, then those that the
// configuration names.
func knownPath(r *decide.Rules, n int) string {
	if n < len(knownPaths) {
		return knownPaths[n]
	}
	if n -= len(knownPaths); n < len(r.Public) {
		return r.Public[n]
	}
	if n -= len(r.Public); n < len(r.Claims) {
		return r.Claims[n].Prefix
	}
	return r.Control[n-len(r.Claims)]
}

// may lists everything that a token permits on this device: known paths, then the resources of the inventory in its
// order. What it lists is what decide and resource would allow, one by one. It is about the token, so no mode makes a
// difference. A list that is longer than a reply goes on where Request.After says.
func (s *Session) may(st *state, r *wire.Request) wire.Reason {
	s.list = s.list[:0]
	if fault, good := s.authenticate(st, r); !good {
		return fault
	}
	stock, at, ok := placeOf(r.After)
	now := s.agent.stocks.Load()
	table := s.agent.inventory.Load()
	if !ok || r.After != nil && stock != now { // begun with another inventory: the list has to begin again
		s.reply.Detail = afterName
		return wire.PacketValue
	}
	end := at + maySeen
	paths := len(knownPaths) + len(st.rules.Public) + len(st.rules.Claims) + len(st.rules.Control)
	for ; at < min(paths, end) && len(s.list) < mayBytes; at++ {
		s.path = append(s.path[:0], knownPath(&st.rules, at)...)
		s.listed(st, "path-", s.path, s.path, s.path)
	}
	kind := ""
	for ; at >= paths && table != nil && at-paths < table.Len() && at < end && len(s.list) < mayBytes; at++ {
		k, name, read, write := table.At(at - paths)
		mark := len(s.list)
		if k != kind {
			s.list = wire.AppendLine(s.list, "kind=", k)
		}
		if s.listed(st, "", []byte(name), read, write) {
			kind = k
		} else {
			s.list = s.list[:mark]
		}
	}
	if at < paths || table != nil && at-paths < table.Len() {
		s.list = append(s.list, "more="...)
		s.list = strconv.AppendUint(s.list, now, 10)
		s.list = append(s.list, '.')
		s.list = strconv.AppendInt(s.list, int64(at), 10)
		s.list = append(s.list, '\n')
	}
	s.reply.List = s.list
	return wire.OK
}

var afterName = []byte("after")

// listed appends the line of a thing, if it may be read or written, and reports whether it may be.
func (s *Session) listed(st *state, prefix string, name, read, write []byte) bool {
	reads, writes := s.permits(st, decide.Read, read), s.permits(st, decide.Write, write)
	word := "read-write="
	switch {
	case !reads && !writes:
		return false
	case !writes:
		word = "read="
	case !reads:
		word = "write="
	}
	s.list = wire.AppendLine(append(s.list, prefix...), word, name)
	return true
}

// permits reports whether the token permits an access to a path, or to the object of a role path.
func (s *Session) permits(st *state, access decide.Access, path []byte) bool {
	if len(path) == 0 {
		return false
	}
	place := st.rules.Find(path)
	if early := decide.WithoutToken(access, place); !early.TokenNeeded() {
		return early.Answer().Allowed()
	}
	return st.rules.Permit(access, place, &s.token).Allowed()
}

// placeOf reads where a list goes on: "3.1024", the number of the inventory and the place. None is the beginning.
func placeOf(after []byte) (stock uint64, at int, ok bool) {
	if after == nil {
		return 0, 0, true
	}
	number, place, found := bytes.Cut(after, []byte("."))
	stock, err := strconv.ParseUint(string(number), 10, 64)
	n, err2 := strconv.ParseUint(string(place), 10, 31)
	return stock, int(n), found && err == nil && err2 == nil
}
