package explain

import (
	"cmp"
	"fmt"
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

// checks returns the rules in the order in which a session meets them.
func (s *state) checks() []check {
	var all []check
	switch {
	case s.Command != nil || s.Resource != nil:
		all = append(all, s.asked()...)
	case s.Method != "":
		all = append(all, s.request()...)
	}
	all = append(all, s.form()...)
	all = append(all, s.trust()...)
	all = append(all, s.claims()...)
	if s.asks() {
		all = append(all, s.permission()...)
	}
	return all
}

func (s *state) request() []check {
	path, ok := decide.Normalize(nil, []byte(s.Target))
	normal := fmt.Sprintf("normalised path %s", path)
	if !ok && !strings.HasPrefix(s.Target, "/") {
		normal = "the target does not start with a slash"
	} else if !ok {
		normal = "two servers could read this path differently"
	}
	return append([]check{
		{
			"PATH-1",
			fmt.Sprintf("method %s asks to %s", show(s.Method), accessWords[decide.MethodAccess([]byte(s.Method))]),
			good,
			[]wire.Reason{wire.Method},
		},
		{"PATH-9", normal, good, []wire.Reason{wire.AmbiguousPath}},
		{"PATH-16", fmt.Sprintf("%d bytes long", len(path)), silent, []wire.Reason{wire.PathTooLong}},
		{"PATH-3", "no token is needed here", silent, []wire.Reason{wire.Public}},
	}, s.known()...)
}

var accessWords = map[decide.Access]string{
	decide.NoAccess: "do what NMOS APIs do not know", decide.Read: "read", decide.Write: "write",
	decide.Preflight: "describe (OPTIONS), which needs no token",
}

func (s *state) form() []check {
	credentials := "a bearer token is there"
	if s.Token == nil {
		credentials = "no token is there"
	}
	header := check{"TOK-5", "header " + show(s.header), good, nil}
	payload := check{
		"TOK-5",
		fmt.Sprintf("payload with %d claims", len(s.payload)),
		good,
		[]wire.Reason{wire.TokenJSON},
	}
	if s.headerFault == wire.TokenJSON {
		header.text, header.reasons = "the header is not one plain JSON object", payload.reasons
	} else if s.reply.Reason == wire.TokenJSON {
		payload.text = "the payload is not one plain JSON object: another kind, a doubled name, bad UTF-8, or nested " +
			"too deep"
	}
	length := check{"TOK-5", fmt.Sprintf("%d bytes long", len(s.Token)), good, []wire.Reason{wire.TokenTooLarge}}
	if s.Claims != nil {
		length.text = "as a token they are " + length.text
		return []check{length, payload}
	}
	return []check{
		{"ANS-1", credentials, good, []wire.Reason{wire.NoToken, wire.EmptyToken, wire.TwoTokens}},
		length,
		{"TOK-1", "three segments of canonical base64url", good, []wire.Reason{wire.TokenMalformed}},
		header,
		{"TOK-2", "alg is " + show(s.header["alg"]), good, []wire.Reason{wire.TokenAlgorithm}},
		{"TOK-3", "crit is " + show(s.header["crit"]), good, []wire.Reason{wire.TokenCritical}},
		{"TOK-4", "typ is " + show(s.header["typ"]), good, []wire.Reason{wire.TokenType}},
		payload,
	}
}

func (s *state) trust() []check {
	trust := check{"KEY-5", "the device trusts this issuer", good, []wire.Reason{wire.IssuerUntrusted}}
	signature := check{"TOK-6", "", good, []wire.Reason{wire.Signature, wire.KeyUnknown}}
	if s.Claims != nil {
		trust.text, trust.mark = "taken as an issuer that the device trusts", unknown
		signature.text, signature.mark = "taken as signed by it", unknown
		return []check{s.issuerCheck(), trust, signature}
	}
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
	all := []check{s.issuerCheck(), trust}
	for _, err := range s.left {
		all = append(all, check{"KEY-4", err.Error(), good, nil})
	}
	kid := show(s.header["kid"])
	switch {
	case s.unchecked:
		signature.text, signature.mark = "signature not checkable without keys", unknown
	case s.reply.Reason == wire.KeyUnknown:
		signature.rule = "KEY-6"
		signature.text = fmt.Sprintf("none of the %d keys%s has kid %s, and none verifies the signature", len(s.keys),
			s.holder, kid)
	case s.reply.Reason == wire.Signature:
		signature.text = fmt.Sprintf("none of the %d keys%s verifies the signature (kid %s)", len(s.keys), s.holder,
			kid)
	default:
		signature.text = fmt.Sprintf("one of the %d keys%s verifies the signature (kid %s)", len(s.keys), s.holder, kid)
	}
	return append(all, signature)
}

func (s *state) issuerCheck() check {
	return check{"CLM-1", "iss is " + show(s.payload["iss"]), good, []wire.Reason{wire.IssuerMissing}}
}

func (s *state) claims() []check {
	expiry, times := "exp is "+s.date("exp"), fmt.Sprintf("iat is %s and nbf is %s", s.date("iat"), s.date("nbf"))
	client := fmt.Sprintf("client_id is %s and azp is %s", show(s.payload["client_id"]), show(s.payload["azp"]))
	clock := "the daemon's clock is " + cmp.Or(s.Clock, "not synchronised, and by it the token comes from the future")
	return []check{
		{"CLM-2", "sub is " + show(s.payload["sub"]), good, []wire.Reason{wire.SubjectMissing}},
		{"CLM-3", "aud is " + show(s.payload["aud"]), good, []wire.Reason{wire.AudienceMissing}},
		{"CLM-7", expiry, silent, []wire.Reason{wire.ExpiryMissing}},
		{"CLM-8", times, silent, []wire.Reason{wire.TimeForm}},
		{"CLM-9", client, good, []wire.Reason{wire.ClientMissing, wire.ClientConflict}},
		{"CLM-10", "scope is " + show(s.payload["scope"]), good, []wire.Reason{wire.ScopeForm}},
		{"OPS-1", clock, silent, []wire.Reason{wire.ClockUntrusted}},
		{"CLM-7", expiry, good, []wire.Reason{wire.Expired}},
		{"CLM-8", times, good, []wire.Reason{wire.IssuedLater, wire.NotYetValid}},
		{"CLM-6", fmt.Sprintf("this device is %s", show(s.Names)), good, []wire.Reason{wire.Audience}},
	}
}

func (s *state) permission() []check {
	rules, place := s.Config.Rules(), s.Place
	claim := "x-nmos-" + string(place.API)
	switch place.Kind {
	case decide.Base:
		return []check{
			{"PATH-4", fmt.Sprintf("needs %s, or %s in scope, to read; %s", claim, place.API, s.granted(claim)),
				good, []wire.Reason{wire.APINotGranted, wire.OK}},
		}
	case decide.Control:
		names, held := s.controlClaims(&rules)
		what := "* or root.* under both read and write"
		if rules.Controls.Asked { // CTL-22
			what = "any specifier under read or write"
		}
		return []check{{"PATH-15", fmt.Sprintf("needs %s of %s; %s", what, names, held),
			good, []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.ControlNotGranted, wire.OK}}}
	case decide.RolePaths, decide.RolePath:
		return s.configuration(&rules, place)
	case decide.ModelObject:
		return s.modelObject(&rules)
	case decide.Resource, decide.Everything:
		permission := "read"
		if s.access == decide.Write {
			permission = "write"
		}
		there := s.misshapen(claim)
		if there == "" {
			object, _ := s.payload[claim].(map[string]any)
			there = "there: " + show(object[permission])
		}
		rule, specifier := "PATH-5", "a specifier for "+show(string(place.Rest))
		if place.Kind == decide.Everything {
			rule, specifier = "PATH-4", "the specifier \"*\""
		}
		return []check{{rule, fmt.Sprintf("needs %s under %s of %s; %s", specifier, permission, claim, there),
			good, []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.OK}}}
	}
	if s.Resource != nil && len(s.path) == 0 {
		return []check{{"PATH-11", "the device has no such resource, or nothing of it to do that with", silent,
			[]wire.Reason{wire.ResourceUnknown}}}
	}
	return []check{
		{
			"PATH-10",
			"the path does not go on /x-nmos/<api>/v<number>.<number>",
			silent,
			[]wire.Reason{wire.PathVersion},
		},
		{
			"PATH-11",
			"the configuration opens this path to nobody, or for reading only",
			silent,
			[]wire.Reason{wire.PathClosed},
		},
	}
}

// configuration is the check of an object of IS-14's API, or of the list of them.
func (s *state) configuration(rules *decide.Rules, place decide.Place) []check {
	access := s.access
	const claim = "x-nmos-configuration"
	rule, reasons := "CTL-61", []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.SubtreeNotGranted, wire.OK}
	n, ok := rules.Needs(access, place)
	need := fmt.Sprintf("a specifier for %s under %s", show(string(n.Specifier)), n.Permission)
	switch {
	case !ok:
		need = "a path that begins with rolePaths, or a selector and rolePaths;"
	case place.Kind == decide.RolePaths && access == decide.Read:
		rule, need = "CTL-63", "any specifier under read"
	case place.Subtree && access == decide.Read:
		rule, need = "CTL-64", need+" (bulkProperties without recurse=false shows everything below)"
	}
	return []check{{rule, fmt.Sprintf("needs %s of %s; %s", need, claim, s.granted(claim)), good, reasons}}
}

// modelObject is the check of an object of the device model.
func (s *state) modelObject(rules *decide.Rules) []check {
	n, _ := rules.Needs(s.access, s.Place)
	names, held := s.controlClaims(rules)
	return []check{{"CTL-11", fmt.Sprintf("needs a specifier for %s under %s of %s; %s", show(string(n.Specifier)),
		n.Permission, names, held),
		good, []wire.Reason{wire.APINotGranted, wire.PathNotGranted, wire.OK}}}
}

// controlClaims returns the names of IS-12's claims that count (CTL-15), and what the token has under them.
func (s *state) controlClaims(rules *decide.Rules) (names, held string) {
	var all, is []string
	for _, api := range rules.Controls.Claims {
		all = append(all, "x-nmos-"+string(api))
		is = append(is, s.granted("x-nmos-"+string(api)))
	}
	return strings.Join(all, " or "), strings.Join(is, " and ")
}

// inURLForm reports whether the token has specifiers for IS-14 that do not count since they are written as paths in the
// URL (CTL-66).
func (s *state) inURLForm(rules *decide.Rules, place decide.Place) bool {
	if rules.Forms != decide.RoleForm || place.Kind != decide.RolePath && place.Kind != decide.RolePaths {
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
//go:noinline
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
