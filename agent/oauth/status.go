package oauth

import (
	"maps"
	"slices"
	"time"
)

// Status is what is known of the device as a client, for people and metrics. It holds no secret.
type Status struct {
	Phase   Phase
	Issuer  string // that is configured
	Clients []ClientStatus
	Tokens  []TokenStatus
	Err     error     // of the registration's last failure, or the last step; nil after a success
	Failed  time.Time // when that was
}

// ClientStatus is one client that is stored.
type ClientStatus struct {
	Issuer     string
	ClientID   string // "" if not registered
	Given      bool   // by the operator
	Since      time.Time
	Scope      string // as registered
	Method     string
	KeyIDs     []string  // the first signs
	Keys       string    // "jwks" or "jwks_uri"; empty without keys
	Rotation   string    // the step of a key's replacement: "publish", "settle" or "retire"; empty if there is none
	OldKeyEnds time.Time // zero before "retire"
	Manageable bool      // by RFC 7592
	Expires    time.Time // of the secret; zero if never
	Attempted  bool      // a registration was sent, and how it ended is not known: one may be left at the server
}

// TokenStatus is the token of one scope set.
type TokenStatus struct {
	Scope   string
	Granted string        // scope of the token held
	Left    time.Duration // 0 if none is held
	Next    time.Duration // until the next is fetched
	Err     error         // of the last attempt, at Failed; nil if it succeeded
	Failed  time.Time
	Busy    bool
}

// status is what of an entry may be seen.
func (e *entry) status() ClientStatus {
	s := ClientStatus{
		Issuer: e.Issuer, ClientID: e.ClientID, Given: e.Given, Scope: e.Scope, Method: e.Method,
		Rotation: string(e.Rotation), Manageable: e.manageable(), Attempted: e.lost && e.ClientID == "",
	}
	if e.Since != 0 {
		s.Since = time.Unix(e.Since, 0)
	}
	if at := e.secretEnds(); at != 0 {
		s.Expires = time.Unix(at, 0)
	}
	for _, k := range e.Keys {
		s.KeyIDs = append(s.KeyIDs, k.kid)
	}
	if len(e.Keys) > 0 {
		if s.Keys = string(KeysByURI); e.Inline || e.Given {
			s.Keys = string(KeysInline)
		}
	}
	return s
}

// Status returns what is known now.
func (c *Client) Status() Status {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Phase, s.Issuer, s.Clients, s.Tokens = c.phase, c.config.Issuer, slices.Clone(c.status.Clients), nil
	for _, scope := range slices.Sorted(maps.Keys(c.grants)) {
		g := c.grants[scope]
		s.Tokens = append(s.Tokens, TokenStatus{
			Scope: g.scope, Granted: g.granted, Left: max(0, g.left(now)), Next: max(0, g.next.Sub(now)),
			Err: g.err, Failed: g.failed, Busy: g.flying,
		})
	}
	return s
}
