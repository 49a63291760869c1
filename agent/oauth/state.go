package oauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// state is what Storage keeps.
type state struct {
	Version int      `json:"version"`
	Entries []*entry `json:"clients"`
}

const stateVersion = 1

// MaxState is more than what is kept ever has, in bytes: each of mostIssuers entries has at most two keys and a few
// texts of 4 KiB.
const MaxState = 640 << 10

// entry is the client that the device is at one issuer. Times are Unix seconds.
type entry struct {
	Issuer string `json:"issuer"`
	Given  bool   `json:"given,omitempty"` // by the operator
	// Attempted says that a registration was to be sent, and how it ended is not known: it may be left at the server.
	Attempted bool   `json:"attempted,omitempty"`
	lost      bool   // that was so before the last attempt
	ClientID  string `json:"client_id,omitempty"` // "" if not registered
	Secret    string `json:"client_secret,omitempty"`
	Expires   int64  `json:"client_secret_expires_at,omitempty"` // 0 if never
	Since     int64  `json:"since,omitempty"`
	Method    string `json:"token_endpoint_auth_method,omitempty"`
	Manage    string `json:"registration_client_uri,omitempty"`
	Token     string `json:"registration_access_token,omitempty"`
	Scope     string `json:"scope,omitempty"` // as registered
	Asked     string `json:"asked,omitempty"` // a digest of what was asked for, which the configuration may change
	// Keys are the device's for this issuer; the first signs. A second one is the next or the last (Rotation).
	Keys     []*deviceKey `json:"keys,omitempty"`
	Rotation rotation     `json:"rotation,omitempty"`
	Inline   bool         `json:"inline,omitempty"` // the keys are registered as jwks, not as jwks_uri
	Refused  int64        `json:"refused,omitempty"`
	Life     int64        `json:"life,omitempty"` // of the last token, in seconds
	// TokenEndpoint is that of the metadata when they were read last.
	TokenEndpoint string `json:"token_endpoint,omitempty"`
}

// life is how long tokens live here, 0 if that is not known.
func (e *entry) life() time.Duration {
	if e == nil {
		return 0
	}
	return time.Duration(e.Life) * time.Second
}

// rotation is a step of CLI-68.
type rotation string

const (
	steady  rotation = ""
	publish rotation = "publish" // Keys[1] is new and has to be made known
	settle  rotation = "settle"  // Keys[1] is known, and is tried once the server may have read it
	retire  rotation = "retire"  // Keys[1] is the old one, which goes after an hour
)

// find returns the entry of a configuration, nil if there is none.
//
//go:noinline // for flash
func (s *state) find(config *Config) *entry {
	for _, e := range s.Entries {
		if e.Issuer == config.Issuer && e.Given == (config.Given.ID != "") {
			return e
		}
	}
	return nil
}

// manageable reports whether the server offers RFC 7592 (CLI-40).
func (e *entry) manageable() bool { return e.Manage != "" && e.Token != "" }

// load reads what is kept, once.
func (c *Client) load() error {
	if c.kept != nil {
		return nil
	}
	data, err := c.o.Storage.Load()
	s := &state{Version: stateVersion}
	if err == nil && data != nil {
		err = parseState(data, s)
	}
	if err != nil {
		return fmt.Errorf("the stored registrations cannot be read: %w; no client is registered until then, since it "+
			"might be a second one: restore the file, or forget it", err)
	}
	c.kept = s
	c.publish()
	c.loaded.Store(true)
	return nil
}

// parseState reads what Save wrote. Errors do not quote it.
func parseState(data []byte, s *state) error {
	if err := json.Unmarshal(data, s); err != nil {
		return errors.New("not valid JSON")
	}
	if s.Version != stateVersion {
		return fmt.Errorf("version %d, this program writes %d", s.Version, stateVersion)
	}
	for _, e := range s.Entries {
		if e == nil || e.Issuer == "" {
			return errors.New("an entry without an issuer")
		}
		e.lost = e.Attempted
		for _, k := range e.Keys {
			if k == nil {
				return errors.New("an empty key")
			}
			if err := k.open(); err != nil {
				return err
			}
		}
		if len(e.Keys) < 2 && e.Rotation != steady || len(e.Keys) == 0 && e.Method == PrivateKeyJWT {
			return errors.New("a client without its keys")
		}
	}
	return nil
}

// store keeps what is known, before it is used (CLI-36). After an error nothing is used until it has succeeded.
func (c *Client) store() error {
	err := c.save()
	c.dirty = err != nil
	return err
}

// save keeps what is known, and is enough for what need not be.
func (c *Client) save() error {
	data, err := json.Marshal(c.kept)
	if err == nil {
		err = c.o.Storage.Save(data)
	}
	if err != nil {
		return wrap("the registration cannot be stored", err)
	}
	c.publish()
	return nil
}

// publish shows what is kept to those who do not wait.
func (c *Client) publish() {
	var keys []*deviceKey
	for _, e := range c.kept.Entries {
		for _, k := range e.Keys {
			if k.signer != nil {
				keys = append(keys, k)
			}
		}
	}
	if set, err := json.Marshal(publicSet(keys)); err == nil {
		c.jwks.Store(&set)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Clients = c.status.Clients[:0:0]
	for _, e := range c.kept.Entries {
		s := e.status()
		if e.Rotation == retire && e == c.kept.find(c.config) && !c.stepAt.IsZero() {
			s.OldKeyEnds = c.stepAt.Add(keyRetired)
		}
		c.status.Clients = append(c.status.Clients, s)
	}
}

// remove drops an entry.
func (s *state) remove(e *entry) {
	s.Entries = slices.DeleteFunc(s.Entries, func(x *entry) bool { return x == e })
}

// joinScopes writes scopes in one order, each once.
func joinScopes(scopes []string) string {
	scopes = slices.Clone(scopes)
	slices.Sort(scopes)
	return strings.Join(slices.Compact(scopes), " ")
}

// compare returns the scopes of asked that are granted, and those that are not.
func compare(asked, granted string) (have, missing string) {
	all := strings.Fields(granted)
	var in, out []string
	for _, s := range strings.Fields(asked) {
		if slices.Contains(all, s) {
			in = append(in, s)
		} else {
			out = append(out, s)
		}
	}
	return strings.Join(in, " "), strings.Join(out, " ")
}
