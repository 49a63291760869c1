package agent

import (
	"time"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// Login answers whether a token lets somebody use a page of the device's own ([sockets] view_claim): the claim
// x-nmos-<api> has to permit access to path, which begins without a slash. left is how long that holds; 0 if no end is
// known. No mode and no stage makes a difference, and nothing is recorded: nothing of the device is asked for.
func (s *Session) Login(api, path, authorization string, access decide.Access) (reply *wire.Reply, left time.Duration) {
	st := s.agent.state.Load()
	s.begin()
	s.reply = wire.Reply{Verb: wire.Decide, Realm: st.realm, ExpiresIn: -1}
	reason, good := s.authenticate(st, &wire.Request{Authorization: []byte(authorization)})
	if good {
		place := decide.Place{Kind: decide.Resource, API: []byte(api), Rest: []byte(path)}
		reason = st.rules.Permit(access, place, &s.token)
		s.reply.ClientID = s.token.Client()
	}
	s.reply.Reason = reason
	return &s.reply, s.left
}
