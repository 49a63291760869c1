package mint

import (
	"slices"
	"strconv"
	"strings"
)

// The request that a row of the tables answers to where it names no other.
const (
	Method = "GET"
	Target = "/x-nmos/connection/v1.1/single/senders"
)

// Case is one row of a table: a token with one fault, or with one harmless peculiarity, and the answer it deserves
// from a daemon that trusts the base's issuer, holds its key, has the base's Device for its name, and has a leeway of
// zero.
type Case struct {
	Name   string // stable, lower case, words joined with hyphens
	Rule   string // the requirement it breaks or uses, such as "TOK-1"
	Want   string // the reason code expected
	Status int    // the HTTP status that goes with Want

	// Then is the reason code expected once the daemon has fetched the issuer's keys again, where that differs from
	// Want: the daemon answers 503 while it looks and 401 when it has looked (KEY-6).
	Then       string
	ThenStatus int

	// Packet is the reason code expected over the decision socket where a packet cannot carry the token at all.
	Packet string

	method, target string // "" for Method and Target

	// Note says what is open where the specifications leave a choice and Want is the one we made.
	Note string

	// Publish, where not nil, returns keys that the issuer publishes beside its own for this row.
	Publish func() []JWK

	// Make returns the token. It does not change base. It panics for a base that New did not make, and for one whose
	// key has a modulus of a multiple of three bytes (3072 bits), for which some faults cannot be expressed.
	Make func(base *Token) string
}

// Request returns the method and the target that the row's answer is about.
func (c Case) Request() (method, target string) {
	method, target = c.method, c.target
	if method == "" {
		method = Method
	}
	if target == "" {
		target = Target
	}
	return method, target
}

// Lookup finds a row of either table by its name.
func Lookup(name string) (Case, bool) {
	for _, table := range [][]Case{Faults, Variants} {
		for _, c := range table {
			if c.Name == name {
				return c, true
			}
		}
	}
	return Case{}, false
}

// Faults are tokens that must not open anything, in the order in which a daemon meets the faults.
var Faults = slices.Concat(formFaults(), headerFaults(), jsonFaults(), signatureFaults(), issuerFaults(), claimFaults(),
	audienceFaults(), timeFaults(), permissionFaults())

// Variants are tokens that must be accepted although they look unusual.
var Variants = slices.Concat(formVariants(), headerVariants(), claimVariants(), audienceVariants(), timeVariants(),
	permissionVariants())

// statuses are the HTTP statuses of the reason codes that are not 401 (agent/wire has the whole list).
var statuses = map[string]int{
	"ok": 200, "token-empty": 400, "keys-pending": 503,
	"audience": 403, "api-not-granted": 403, "path-not-granted": 403,
}

func statusOf(reason string) int {
	if s, ok := statuses[reason]; ok {
		return s
	}
	return 401
}

// maker turns a copy of the base, which it may change, into a token.
type maker func(t *Token) string

func fault(name, rule, want string, mk maker) Case {
	return Case{
		Name: name, Rule: rule, Want: want, Status: statusOf(want),
		Make: func(base *Token) string { return mk(base.Clone()) },
	}
}

func good(name, rule string, mk maker) Case { return fault(name, rule, "ok", mk) }

func (c Case) then(reason string) Case {
	c.Then, c.ThenStatus = reason, statusOf(reason)
	return c
}

func (c Case) note(text string) Case              { c.Note = text; return c }
func (c Case) packet(reason string) Case          { c.Packet = reason; return c }
func (c Case) publish(keys func() []JWK) Case     { c.Publish = keys; return c }
func (c Case) request(method, target string) Case { c.method, c.target = method, target; return c }
func claim(name, value string) maker {
	return func(t *Token) string { t.Claims.SetRaw(name, value); return t.Sign() }
}
func header(name, value string) maker {
	return func(t *Token) string { t.Header.SetRaw(name, value); return t.Sign() }
}
func payloadText(edit func(p string) string) maker {
	return func(t *Token) string {
		return SignBytes(t.Header.Bytes(), []byte(edit(string(t.Claims.Bytes()))), t.Key)
	}
}

func headerText(edit func(h string) string) maker {
	return func(t *Token) string {
		return SignBytes([]byte(edit(string(t.Header.Bytes()))), t.Claims.Bytes(), t.Key)
	}
}

// without removes claims.
func without(names ...string) maker {
	return func(t *Token) string {
		for _, name := range names {
			t.Claims.Delete(name)
		}
		return t.Sign()
	}
}

// renamed gives a claim another name, its value kept.
func renamed(from, to string) maker {
	return func(t *Token) string {
		value := t.Claims.Get(from)
		t.Claims.Delete(from)
		t.Claims.SetRaw(to, string(value))
		return t.Sign()
	}
}

// quote is a string in JSON.
func quote(s string) string { return string(marshal(s)) }

// seconds is a number of seconds after the template's present, in JSON.
func (t *Token) seconds(after int64) string { return strconv.FormatInt(t.Now.Unix()+after, 10) }

// segments returns the two first segments of the signed token.
func (t *Token) segments() (header, payload string) {
	return encode(t.Header.Bytes()), encode(t.Claims.Bytes())
}

// unaligned makes the payload's length no multiple of three bytes, so that its base64 has unused bits and would have
// padding.
func (t *Token) unaligned() {
	for len(t.Claims.Bytes())%3 == 0 {
		t.Claims.SetRaw("x-length", quote(strings.Repeat("x", len(t.Claims.Get("x-length")))))
	}
}
