package explain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// mark is how a check is shown if it does not decide.
type mark int

const (
	good    mark = iota
	unknown      // it could not be checked
	silent       // not shown, because another check shows the same
)

// check is one rule as people read it: what it looked at, and which reasons decide by it.
type check struct {
	rule    string
	text    string
	mark    mark
	reasons []wire.Reason
}

// The checks that all tokens and requests have, by what they are about. In a text a value stands as its name between
// two $.
var (
	aboutRequest = []*check{
		{"PATH-1", "method $method$ asks to $access$", good, []wire.Reason{wire.Method}},
		{"PATH-9", "$normal$", good, []wire.Reason{wire.AmbiguousPath}},
		{"PATH-16", "$path_bytes$ bytes long", silent, []wire.Reason{wire.PathTooLong}},
		public,
	}
	aboutCommand  = &check{"CTL-40", "method $command$ of class $class$ asks to $access$", good, nil}
	aboutResource = &check{"PATH-11", "$resource$: to $access$ it; $stands_for$", good, nil}
	public        = &check{"PATH-3", "no token is needed here", silent, []wire.Reason{wire.Public}}
	knownAs       = &check{"CTL-86", "the inventory calls it $known_as$", good, nil}

	aboutForm = []*check{
		{"ANS-1", "$credentials$ is there", good, []wire.Reason{wire.NoToken, wire.EmptyToken, wire.TwoTokens}},
		{"TOK-5", "$token_bytes$ bytes long", good, tooLarge},
		{"TOK-1", "three segments of canonical base64url", good, []wire.Reason{wire.TokenMalformed}},
	}
	typedLength = &check{"TOK-5", "as a token they are $token_bytes$ bytes long", good, tooLarge}
	tooLarge    = []wire.Reason{wire.TokenTooLarge}

	goodHeader  = &check{"TOK-5", "header $header$", good, nil}
	badHeader   = &check{"TOK-5", "the header is not one plain JSON object", good, notJSON}
	aboutHeader = []*check{
		{"TOK-2", "alg is $alg$", good, []wire.Reason{wire.TokenAlgorithm}},
		{"TOK-3", "crit is $crit$", good, []wire.Reason{wire.TokenCritical}},
		{"TOK-4", "typ is $typ$", good, []wire.Reason{wire.TokenType}},
	}
	goodPayload = &check{"TOK-5", "payload with $claims$ claims", good, notJSON}
	badPayload  = &check{"TOK-5", "the payload is not one plain JSON object: another kind, a doubled name, bad " +
		"UTF-8, or nested too deep", good, notJSON}
	notJSON = []wire.Reason{wire.TokenJSON}

	aboutIssuer = &check{"CLM-1", "iss is $iss$", good, []wire.Reason{wire.IssuerMissing}}
	typedTrust  = []*check{
		{"KEY-5", "taken as an issuer that the device trusts", unknown, untrusted},
		{"TOK-6", "taken as signed by it", unknown, unsigned},
	}
	untrusted = []wire.Reason{wire.IssuerUntrusted}
	unsigned  = []wire.Reason{wire.Signature, wire.KeyUnknown}

	aboutClaims = []*check{
		{"CLM-2", "sub is $sub$", good, []wire.Reason{wire.SubjectMissing}},
		{"CLM-3", "aud is $aud$", good, []wire.Reason{wire.AudienceMissing}},
		{"CLM-7", "exp is $exp$", silent, []wire.Reason{wire.ExpiryMissing}},
		{"CLM-8", "iat is $iat$ and nbf is $nbf$", silent, []wire.Reason{wire.TimeForm}},
		{"CLM-9", "client_id is $client_id$ and azp is $azp$", good,
			[]wire.Reason{wire.ClientMissing, wire.ClientConflict}},
		{"CLM-10", "scope is $scope$", good, []wire.Reason{wire.ScopeForm}},
		{"OPS-1", "the daemon's clock is $clock$", silent, []wire.Reason{wire.ClockUntrusted}},
		{"CLM-7", "exp is $exp$", good, []wire.Reason{wire.Expired}},
		{"CLM-8", "iat is $iat$ and nbf is $nbf$", good, []wire.Reason{wire.IssuedLater, wire.NotYetValid}},
		{"CLM-6", "this device is $names$", good, []wire.Reason{wire.Audience}},
	}

	// aboutPlaces are the checks of a token's permissions, by the kind of place. One that has none is closed.
	aboutPlaces = [...]*check{
		decide.Base: {"PATH-4", "needs $claim$, or $api$ in scope, to read; $granted$", good,
			[]wire.Reason{wire.APINotGranted, wire.OK}},
		decide.Control: {"PATH-15", "needs * or root.* under both read and write of $controls$; $controlled$", good,
			noControl},
		decide.ModelObject: {"CTL-11", "needs $need$ of $controls$; $controlled$", good, notGranted},
		decide.Resource: {"PATH-5", "needs a specifier for $rest$ under $permission$ of $claim$; $there$", good,
			notGranted},
		decide.Everything: {"PATH-4", `needs the specifier "*" under $permission$ of $claim$; $there$`, good,
			notGranted},
		decide.RolePath:  {"CTL-61", "needs $need$ of $claim$; $granted$", good, noSubtree},
		decide.RolePaths: {"CTL-61", "needs $need$ of $claim$; $granted$", good, noSubtree},
	}
	anySpecifier = &check{"PATH-15", "needs any specifier under read or write of $controls$; $controlled$", good,
		noControl}
	readList    = &check{"CTL-63", "needs any specifier under read of $claim$; $granted$", good, noSubtree}
	readSubtree = &check{"CTL-64", "needs $need$ (bulkProperties without recurse=false shows everything below) of " +
		"$claim$; $granted$",
		good, noSubtree}
	noObject = &check{"CTL-61", "needs a path that begins with rolePaths, or a selector and rolePaths; of $claim$; " +
		"$granted$", good,
		noSubtree}
	notGranted = []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.OK}
	noControl  = []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.ControlNotGranted, wire.OK}
	noSubtree  = []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.SubtreeNotGranted, wire.OK}

	noResource = &check{"PATH-11", "the device has no such resource, or nothing of it to do that with", silent,
		[]wire.Reason{wire.ResourceUnknown}}
	closed = []*check{
		{"PATH-10", "the path does not begin with /x-nmos/<api>/v<number>.<number>", silent,
			[]wire.Reason{wire.PathVersion}},
		{"PATH-11", "the configuration opens this path to nobody, or for reading only", silent,
			[]wire.Reason{wire.PathClosed}},
	}
)

// value returns a value by its name in the text of a check: one of these, or the claim of that name.
func (s *state) value(name string) string {
	switch name {
	case "method":
		return show(s.Method)
	case "access":
		return accessWords[s.access]
	case "normal":
		return s.normal()
	case "path_bytes":
		return strconv.Itoa(len(s.path))
	case "class":
		return s.Command[0]
	case "command":
		return s.Command[1]
	case "resource":
		return show(s.Resource[0]) + " " + show(s.Resource[1])
	case "stands_for":
		if len(s.path) == 0 {
			return "the inventory has no such resource, or no such access to it"
		}
		return "in the inventory it stands for " + show(string(s.path))
	case "known_as":
		kind, name, _ := s.Inventory.NameOf(s.path)
		return show(kind) + " " + show(name)
	case "credentials":
		if s.Token == nil {
			return "no token"
		}
		return "a bearer token"
	case "token_bytes":
		return strconv.Itoa(len(s.Token))
	case "header":
		return show(s.header)
	case "alg", "crit", "typ", "kid":
		return show(s.header[name])
	case "claims":
		return strconv.Itoa(len(s.payload))
	case "keys":
		return strconv.Itoa(len(s.keys)) + " keys" + s.holder
	case "exp", "iat", "nbf":
		return s.date(name)
	case "clock":
		return cmp.Or(s.Clock, "not synchronised, and by it the token comes from the future")
	case "names":
		return show(s.Names)
	case "claim":
		return s.claim()
	case "api":
		return string(s.API)
	case "rest":
		return show(string(s.Rest))
	case "permission":
		return permissions[s.access]
	case "granted":
		return s.granted(s.claim())
	case "there":
		object, _ := s.payload[s.claim()].(map[string]any)
		return cmp.Or(s.misshapen(s.claim()), "there: "+show(object[permissions[s.access]]))
	case "need":
		n, _ := s.needs()
		return "a specifier for " + show(string(n.Specifier)) + " under " + n.Permission
	case "controls":
		return s.controlClaims(" or ", func(claim string) string { return claim })
	case "controlled":
		return s.controlClaims(" and ", s.granted)
	}
	return show(s.payload[name])
}

// checks returns the rules in the order in which a session meets them.
func (s *state) checks() []check {
	s.met = nil
	s.asked()
	s.form()
	s.trust()
	s.add(aboutClaims...)
	if s.asks() {
		s.permission()
	}
	return s.met
}

// add adds checks, and fills in the values of their texts.
func (s *state) add(checks ...*check) {
	for _, of := range checks {
		c := *of
		parts := strings.Split(c.text, "$")
		for i := 1; i < len(parts); i += 2 {
			parts[i] = s.value(parts[i])
		}
		c.text = strings.Join(parts, "")
		s.met = append(s.met, c)
	}
}

// asked adds the checks of what is asked about.
func (s *state) asked() {
	switch {
	case s.Command != nil:
		s.add(aboutCommand)
	case s.Resource != nil:
		s.add(aboutResource, public)
		return
	case s.Method != "":
		s.add(aboutRequest...)
	}
	if s.Inventory != nil {
		if _, _, known := s.Inventory.NameOf(s.path); known {
			s.add(knownAs)
		}
	}
}

// normal says how the path reads.
func (s *state) normal() string {
	path, ok := decide.Normalize(nil, []byte(s.Target))
	switch {
	case ok:
		return "normalised path " + string(path)
	case !strings.HasPrefix(s.Target, "/"):
		return "the target does not start with a slash"
	}
	return "two servers could read this path differently"
}

var accessWords = [...]string{
	decide.NoAccess: "do what NMOS APIs do not know", decide.Read: "read", decide.Write: "write",
	decide.Preflight: "describe (OPTIONS), which needs no token",
}

// permissions are the names under which a claim has an access.
var permissions = [...]string{
	decide.NoAccess: "read", decide.Read: "read", decide.Write: "write", decide.Preflight: "read",
}

func (s *state) form() {
	header, payload := goodHeader, goodPayload
	if s.headerFault == wire.TokenJSON {
		header = badHeader
	} else if s.reply.Reason == wire.TokenJSON {
		payload = badPayload
	}
	if s.Claims != nil {
		s.add(typedLength, payload)
		return
	}
	s.add(aboutForm...)
	s.add(header)
	s.add(aboutHeader...)
	s.add(payload)
}

func (s *state) trust() {
	s.add(aboutIssuer)
	if s.Claims != nil {
		s.add(typedTrust...)
		return
	}
	trust := &check{"KEY-5", "the device trusts this issuer", good, untrusted}
	if !s.Trust {
		trust.text, trust.mark = "whether the device trusts this issuer is not known without its configuration", unknown
	} else if !s.trusted() {
		trust.text = "the configuration does not trust this issuer: neither servers nor trusted_issuers names it"
		if s.Unfound {
			trust.text, trust.mark = trust.text+"; whether discovery has found it, only the running daemon knows",
				unknown
		} else if s.Config.Discovers() != config.DiscoveryOff {
			trust.text += ", nor has discovery found it"
		}
	}
	s.add(trust)
	for _, err := range s.left {
		s.met = append(s.met, check{"KEY-4", err.Error(), good, nil})
	}
	signature := &check{"TOK-6", "one of the $keys$ verifies the signature (kid $kid$)", good, unsigned}
	switch {
	case s.unchecked:
		signature.text, signature.mark = "signature not checkable without keys", unknown
	case s.reply.Reason == wire.KeyUnknown:
		signature.rule, signature.text = "KEY-6", "none of the $keys$ has kid $kid$, and none verifies the signature"
	case s.reply.Reason == wire.Signature:
		signature.text = "none of the $keys$ verifies the signature (kid $kid$)"
	}
	s.add(signature)
}

// permission adds the check of what the token permits.
func (s *state) permission() {
	c := aboutPlaces[s.Kind]
	_, grantable := s.needs()
	reads := s.access == decide.Read
	object := s.Kind == decide.RolePaths || s.Kind == decide.RolePath
	switch {
	case object && !grantable:
		c = noObject
	case s.Kind == decide.RolePaths && reads:
		c = readList
	case object && s.Subtree && reads:
		c = readSubtree
	case s.Kind == decide.Control && s.Config.Rules().Controls.Asked: // CTL-22
		c = anySpecifier
	case c != nil:
	case s.Resource != nil && len(s.path) == 0:
		c = noResource
	default:
		s.add(closed...)
		return
	}
	s.add(c)
}

// needs returns the claim that what is asked about needs.
func (s *state) needs() (decide.Need, bool) {
	rules := s.Config.Rules()
	return rules.Needs(s.access, s.Place)
}

// claim returns the name of the claim of the API that is asked about.
func (s *state) claim() string { return "x-nmos-" + string(s.API) }

// controlClaims says of each of IS-12's claims that count (CTL-15).
func (s *state) controlClaims(between string, say func(claim string) string) string {
	var all []string
	for _, api := range s.Config.Rules().Controls.Claims {
		all = append(all, say("x-nmos-"+string(api)))
	}
	return strings.Join(all, between)
}

// inURLForm reports whether the token has specifiers for IS-14 that do not count since they are written as paths in the
// URL (CTL-66).
func (s *state) inURLForm(rules *decide.Rules) bool {
	if rules.Forms != decide.RoleForm || s.Kind != decide.RolePath && s.Kind != decide.RolePaths {
		return false
	}
	object, _ := s.payload["x-nmos-configuration"].(map[string]any)
	for _, permission := range object {
		list, _ := permission.([]any)
		for _, specifier := range list {
			if text, _ := specifier.(string); strings.Contains(text, "rolePaths") {
				return true
			}
		}
	}
	return false
}

// granted says what an x-nmos-<api> claim is.
func (s *state) granted(claim string) string {
	if wrong := s.misshapen(claim); wrong != "" {
		return wrong
	}
	return claim + " is " + show(s.payload[claim])
}

// misshapen says what in an x-nmos-<api> claim has a wrong type, which invalidates all of it (CLM-11); "" if nothing
// has.
func (s *state) misshapen(claim string) string {
	held, given := s.payload[claim]
	if !given {
		return ""
	}
	object, is := held.(map[string]any)
	if !is {
		return fmt.Sprintf("%s is %s, not an object", claim, kind(held))
	}
	for _, permission := range []string{"read", "write"} {
		value, given := object[permission]
		if !given {
			continue
		}
		list, is := value.([]any)
		if !is {
			return fmt.Sprintf("%s of %s is %s, not a list", permission, claim, kind(value))
		}
		for _, specifier := range list {
			if _, is := specifier.(string); !is {
				return fmt.Sprintf("%s of %s holds %s, not only strings", permission, claim, kind(specifier))
			}
		}
	}
	return ""
}

// kind names the type of a JSON value.
//
//go:noinline // for flash
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// date shows a time claim as a date, and how far it is off.
func (s *state) date(claim string) string {
	v, ok := s.payload[claim].(float64)
	if !ok || v != v || v > 1<<40 || v < -(1<<40) {
		return show(s.payload[claim])
	}
	t := time.UnixMilli(int64(v * 1000)).UTC()
	off := s.Now.Sub(t).Round(time.Second)
	way := "ago"
	if off < 0 {
		off, way = -off, "from now"
	}
	return fmt.Sprintf("%s, %s %s", t.Format("2006-01-02 15:04:05Z"), duration(off), way)
}

// duration shows a time span as people say it.
func duration(d time.Duration) string {
	if days := int(d.Hours() / 24); days > 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.String()
}

// maxShown bounds how much of one value is shown.
const maxShown = 200

// show renders a JSON value in one line of printable ASCII, cut off if it is long.
func show(v any) string {
	if v == nil {
		return "absent"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "unprintable"
	}
	var b []byte
	for _, r := range string(text) {
		if len(b) > maxShown {
			return string(b) + "…"
		}
		b = ascii.AppendRune(b, r)
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b))
}
