// Package explain says rule by rule why a request is allowed or denied.
//
// It decides nothing itself: it puts the question to an agent of its own, made of the configuration and keys at hand,
// and then walks through the rules in the order in which an agent meets them, telling what each found, up to the one
// that decided. It never prints a token's signature, so that its output is not a token.
package explain

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Question is what to explain.
type Question struct {
	Config *config.Config
	Names  []string // of the device
	// Trust reports whether Config is that of the device, so that it can be said whether the token's issuer is trusted.
	Trust bool
	// Found are issuers that discovery has found. Unfound tells that it is on and that what it has found is not known:
	// only the running daemon does.
	Found   []string
	Unfound bool
	Clock   string // what is wrong with the daemon's clock, so that it judges no token now; "" if nothing is known
	// Unsynchronised says that the daemon's clock judges tokens and is not synchronised.
	Unsynchronised bool
	Token          []byte // nil for a request without one
	Claims         []byte // in place of a token: claims as JSON, judged as if a trusted server had signed them
	Method         string // "" for the token alone, or for Command or Resource
	Target         string // request target
	Upgrade        string // the header's value: "websocket" for a handshake
	// In place of Method and Target: a command on an object of the device model, by the object's class, the method and
	// the role path; or a resource, by kind, name, and "read" or "write".
	Command, Resource []string
	// Model is the name of the device model that Command is on, as [control] models has it; "" if there is one model.
	Model string
	// Inventory is that of the device, nil if it is not at hand. A resource cannot be explained without.
	Inventory *inventory.Table
	JWKS      []byte // key set of the token's issuer; nil if not at hand
	// Held returns the key set that the running daemon holds of an issuer, nil if none. It is asked if JWKS is nil, and
	// may be nil. Without either, the signature cannot be checked.
	Held func(issuer string) []byte
	Now  time.Time // at which to judge it
}

// state is what the checks look at.
type state struct {
	Question
	header, payload map[string]any
	headerFault     wire.Reason
	filled          []string // claims that were left out and taken as good
	issuer          string
	keys            []keys.Key
	left            []error
	unchecked       bool    // the signature, for want of keys
	met             []check // so far
	spot                    // what is asked about
	access          decide.Access
	holder          string // whose keys they are, if the daemon's: " that the daemon holds"
	reply           wire.Reply
}

// Answer is what Explain found.
type Answer struct {
	Reason wire.Reason // that decided
	// Unchecked is true if no keys were at hand, so that Reason holds only if the token's signature is good.
	Unchecked bool
}

// Explain writes the explanation to w. It returns an error if the keys cannot be read or w cannot be written to.
func Explain(w io.Writer, q Question) (Answer, error) {
	s := &state{Question: q}
	err := s.find()
	if err == nil {
		err = s.judge()
	}
	if err != nil {
		return Answer{Reason: wire.Undecided}, err
	}
	var b bytes.Buffer
	s.print(&b)
	_, err = w.Write(b.Bytes())
	return Answer{s.reply.Reason, s.unchecked && s.afterTrust(s.reply.Reason)}, err
}

// judge reads what is asked about and has it decided.
func (s *state) judge() error {
	if s.Claims != nil {
		if err := s.typed(); err != nil {
			return err
		}
	}
	if s.Token != nil {
		var header, payload []byte
		header, payload, s.headerFault = token.Inspect(s.Token)
		json.Unmarshal(header, &s.header) // anything but an object stays empty; the agent decides
		json.Unmarshal(payload, &s.payload)
		s.issuer, _ = s.payload["iss"].(string)
		if s.JWKS == nil && s.Held != nil {
			if s.JWKS = s.Held(s.issuer); s.JWKS != nil {
				s.holder = " that the daemon holds"
			}
		}
		if s.JWKS != nil {
			var err error
			if s.keys, s.left, err = keys.Parse(s.JWKS); err != nil {
				return err
			}
		}
	}
	return s.decide()
}

// decide asks an agent that trusts the token's issuer and holds the keys given. Without keys the claims are asked about
// once more, signed by a key that all may know: no code that decides can be told to go without a signature.
func (s *state) decide() error {
	set, raw := s.JWKS, s.Token
	reply := s.ask(set, raw)
	if set == nil && reply.Reason == wire.KeysPending {
		s.unchecked = true
		var err error
		_, payload, _ := token.Inspect(raw)
		if set, raw, err = sign(payload); err != nil {
			return err
		}
		reply = s.ask(set, raw)
	}
	// With all keys at hand none is pending.
	if reply.Reason == wire.KeysPending {
		reply.Reason = wire.KeyUnknown
		if s.header["kid"] == nil || s.header["kid"] == "" { // no key is named that could be unknown
			reply.Reason = wire.Signature
		}
	}
	if s.Trust && s.Token != nil && s.Claims == nil && s.afterTrust(reply.Reason) && !s.trusted() && !s.Unfound {
		reply.Reason = wire.IssuerUntrusted
	}
	s.reply = reply
	return nil
}

// afterTrust reports whether the reason is one that is met only with a trusted issuer: that of a check behind it.
func (s *state) afterTrust(r wire.Reason) bool {
	all := s.checks()
	ends := func(r wire.Reason) func(check) bool {
		return func(c check) bool { return slices.Contains(c.reasons, r) }
	}
	trust := slices.IndexFunc(all, ends(wire.IssuerUntrusted))
	return r == wire.OK || slices.ContainsFunc(all[trust+1:], ends(r))
}

func (s *state) trusted() bool {
	authorization := &s.Config.Authorization
	return keys.ContainsIssuer(authorization.Servers, s.issuer) || keys.ContainsIssuer(s.Found, s.issuer) ||
		authorization.Trusts(s.issuer)
}

// ask puts the question to an agent that holds this key set for the token's issuer.
func (s *state) ask(jwks, raw []byte) wire.Reply {
	c := *s.Config
	c.Mode = config.ModeEnforce
	c.Authorization.Servers = []string{s.issuer}
	store := keys.NewStore(nil, nil)
	store.Configure(agent.KeyPolicy(&c))
	if jwks != nil {
		store.Hold(keys.Held{Name: s.issuer, Keys: s.keysOf(jwks)})
	}
	now := agent.Time{Now: s.Now, Trusted: s.Clock == "" || s.Claims != nil, State: audit.ClockSynchronised}
	if s.Unsynchronised {
		now.State = audit.ClockUnsynchronised
	}
	a := agent.New(&c, s.Names, store, func() agent.Time { return now })
	a.SetInventory(s.Inventory)
	request := s.question()
	if raw != nil {
		request.Authorization = append([]byte("Bearer "), raw...)
	}
	return *a.NewSession().Ask(request)
}

func (s *state) keysOf(jwks []byte) []keys.Key {
	k, _, _ := keys.Parse(jwks) // parsed before, or made by sign
	return k
}

// sign signs a payload with a key that is good for nothing else, and returns that key's set and the token.
func sign(payload []byte) (set, signed []byte, err error) {
	key := openKey()
	set, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, Algorithm: "RS512"}}})
	if err != nil {
		return nil, nil, err
	}
	text := base64.RawURLEncoding.EncodeToString(
		[]byte(`{"alg":"RS512"}`)) + "." + base64.RawURLEncoding.EncodeToString(
		payload,
	)
	digest := sha512.Sum512([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA512, digest[:])
	return set, []byte(text + "." + base64.RawURLEncoding.EncodeToString(sig)), err
}

// openKey returns a key that is nobody's secret: its primes are the greatest of 1024 bits and the least of those,
// 2^1024-105 and 2^1023+1155. To find others would take a small device seconds, and 26 KB of flash. No key that counts
// is shorter, so that what is signed is no longer than it came. Only the store of one explanation ever holds it, and
// what it verifies is what was signed here: the signature that came with a token is dropped.
func openKey() *rsa.PrivateKey {
	one := big.NewInt(1)
	prime := func(exponent uint, and int64) *big.Int {
		p := new(big.Int).Lsh(one, exponent)
		return p.Add(p, big.NewInt(and))
	}
	p, q := prime(1024, -105), prime(1023, 1155)
	key := &rsa.PrivateKey{Primes: []*big.Int{p, q}}
	key.N, key.E = new(big.Int).Mul(p, q), 65537
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key.D = new(big.Int).ModInverse(big.NewInt(int64(key.E)), phi)
	return key
}

// print walks through the rules up to the one that decided.
func (s *state) print(b *bytes.Buffer) {
	decided := s.reply.Reason
	if len(s.filled) > 0 {
		fmt.Fprintf(b, "Left out, and taken as good: %s.\n\n", strings.Join(s.filled, ", "))
	}
	for _, c := range s.checks() {
		deciding := slices.Contains(c.reasons, decided)
		if c.mark == silent && !deciding {
			continue
		}
		word := "ok"
		switch {
		case deciding && !decided.Allowed():
			word = "NO"
		case c.mark == unknown:
			word = "?"
		}
		fmt.Fprintf(b, "%-8s %-3s %s\n", c.rule, word, c.text)
		if deciding {
			break
		}
	}
	if s.unchecked && decided == wire.OK {
		s.ifGood(b)
		return
	}
	verdict(b, decided)
	if s.unchecked && s.afterTrust(decided) {
		b.WriteString("The signature was not checked: " + giveKeys + "\n")
	}
	spots := []spot{s.spot}
	advise(b, decided, !s.asks(), s.access, spots)
	if decided == wire.Audience {
		missing(b, map[string][]string{"aud": s.Names})
	}
	if !isGrant(decided) {
		return
	}
	rules := s.Config.Rules()
	if wrong := s.misshapen(s.claim()); wrong != "" {
		fmt.Fprintf(b, "%s, so it counts for nothing. In Keycloak, set the mapper's Claim JSON Type to JSON.\n", wrong)
	}
	if s.inURLForm(&rules) {
		b.WriteString("x-nmos-configuration has specifiers in URL form (rolePaths/…), which do not count: " +
			"write role paths, or set [control] configuration_specifiers.\n")
	}
	missingFor(b, s.access, &rules, spots)
}

const giveKeys = "give the issuer's keys with --jwks FILE, or ask on the device, whose running daemon holds them."

// ifGood writes what is known of a token that would be allowed if it were genuine.
func (s *state) ifGood(b *bytes.Buffer) {
	claims := "Its claims permit this"
	if !s.asks() {
		claims = "Its claims are those of a good token"
	}
	b.WriteString("\nallow, IF the signature is good: it was not checked\nrule TOK-6\n\n" +
		claims + ", but anybody can have written them.\nTo know: " + giveKeys + "\n")
}
