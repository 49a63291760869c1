package agent

import (
	"encoding/hex"
	"errors"
	"time"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/oauth"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// OwnTokens hands out the device's own tokens to the caller of one connection (CLI-69). None of its methods may wait.
type OwnTokens interface {
	MayHaveTokens() error // why the caller gets none; it is asked each time, since the configuration may change
	OwnToken(scope string) oauth.Token
	RefusedToken(token string) bool // by a server, with 401 (CLI-14)
}

// HandOut has token questions answered from t. It is called before the first question; without it the caller gets none.
func (s *Session) HandOut(t OwnTokens) { s.ownTokens = t }

// maxDetail is the most that a reply says about why there is no token, bytes.
const maxDetail = 512

// ownToken answers a question for one of the device's own tokens. Whatever mode is configured makes no difference: that
// is about what others may do here. A caller who may not have one learns nothing else.
//
// A token that a server refused is not given to the caller who says so: another is being fetched, at first immediately,
// then with a back-off (CLI-14), and until it is there the answer says when to ask again.
func (s *Session) ownToken(r *wire.Request) wire.Reason {
	from := s.ownTokens
	if from == nil {
		return wire.OwnTokenCaller
	}
	if err := from.MayHaveTokens(); err != nil {
		s.tell(err)
		return wire.OwnTokenCaller
	}
	t := from.OwnToken(string(r.Scope))
	if id := s.ownID(t.Token); id != nil && string(id) == string(r.Refused) {
		from.RefusedToken(t.Token)
		if t = from.OwnToken(string(r.Scope)); string(s.ownID(t.Token)) == string(r.Refused) {
			t = oauth.Token{Err: errRefused, Retry: t.Next}
		}
	}
	switch {
	case errors.Is(t.Err, oauth.ErrScope):
		s.tell(t.Err)
		return wire.OwnTokenScope
	case t.Err != nil:
		s.tell(t.Err)
		s.reply.RetryAfter = int((t.Retry + time.Second - 1) / time.Second)
		return wire.OwnTokenPending
	}
	s.reply.AccessToken, s.reply.Scope, s.reply.TokenID = t.Token, []byte(t.Scope), s.ownID(t.Token)
	s.reply.ExpiresIn = int64(t.Left / time.Second)
	return wire.OwnToken
}

var errRefused = errors.New("a server refused the token, and another is not there yet")

// tell says in the reply why there is no token.
func (s *Session) tell(err error) {
	text := ascii.AppendString(nil, err.Error())
	s.reply.Detail = text[:min(len(text), maxDetail)]
}

// ownID returns the name of one of the device's own tokens, which is how a caller reports that it was refused without
// sending it, and how the audit names it; nil if tok is empty. It notes the digest for the record.
func (s *Session) ownID(tok string) []byte {
	if tok == "" {
		s.own = token.Digest{}
		return nil
	}
	raw := []byte(tok)
	s.own = token.DigestOf(raw)
	clear(raw)
	return hex.AppendEncode(nil, s.own[:])
}
