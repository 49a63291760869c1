package token_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
)

// slowToken is what the readable twin of Verifier.Check makes of a token.
type slowToken struct {
	header, claims          map[string]json.RawMessage
	kid                     string
	issuer, subject, client string
	expires, issued, notYet float64
	audience                bool
	scope                   string
	read, write             map[string][]string // specifiers by API
}

// slowForm reads a token that need not be signed: TOK-1 to TOK-5.
func slowForm(raw string) (s slowToken, fault wire.Reason) {
	if len(raw) > token.MaxBytes {
		return s, wire.TokenTooLarge
	}
	segments := strings.Split(raw, ".")
	if len(segments) != 3 || segments[0] == "" || segments[1] == "" {
		return s, wire.TokenMalformed
	}
	var decoded [3]string
	for i, segment := range segments {
		b, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != segment {
			return s, wire.TokenMalformed
		}
		decoded[i] = string(b)
	}
	return slowRead(decoded[0], decoded[1])
}

// slowRead reads a header and a payload: TOK-2 to TOK-5.
func slowRead(header, payload string) (s slowToken, fault wire.Reason) {
	if !plainObject(header, &s.header) {
		return s, wire.TokenJSON
	}
	if _, has := s.header["kid"]; has && !text(s.header["kid"], &s.kid) {
		return s, wire.TokenJSON
	}
	var alg, typ string
	_, hasCrit := s.header["crit"]
	_, hasTyp := s.header["typ"]
	switch {
	case !text(s.header["alg"], &alg) || alg != "RS512":
		return s, wire.TokenAlgorithm
	case hasCrit:
		return s, wire.TokenCritical
	case hasTyp && (!text(s.header["typ"], &typ) || !accessType.MatchString(typ)):
		return s, wire.TokenType
	case !plainObject(payload, &s.claims):
		return s, wire.TokenJSON
	}
	return s, wire.OK
}

var accessType = regexp.MustCompile(`^(?i:application/)?([jJ][wW][tT]|[aA][tT]\+[jJ][wW][tT])$`)

// slowClaims reads the claims in the order of the CLM rules.
func (s *slowToken) slowClaims() wire.Reason {
	clientID, azp := "", ""
	_, hasClientID := s.claims["client_id"]
	_, hasAZP := s.claims["azp"]
	_, hasIAT := s.claims["iat"]
	_, hasNBF := s.claims["nbf"]
	_, hasScope := s.claims["scope"]
	s.issued, s.notYet = math.Inf(-1), math.Inf(-1)
	s.permissions()
	var audience []string
	switch {
	case !line(s.claims["iss"], &s.issuer) || !isURL.MatchString(s.issuer):
		return wire.IssuerMissing
	case !line(s.claims["sub"], &s.subject):
		return wire.SubjectMissing
	case !list(s.claims["aud"], &audience):
		return wire.AudienceMissing
	case !number(s.claims["exp"], &s.expires):
		return wire.ExpiryMissing
	case hasIAT && !number(s.claims["iat"], &s.issued), hasNBF && !number(s.claims["nbf"], &s.notYet):
		return wire.TimeForm
	case !hasClientID && !hasAZP, hasClientID && !line(s.claims["client_id"], &clientID),
		hasAZP && !line(s.claims["azp"], &azp):
		return wire.ClientMissing
	case hasClientID && hasAZP && clientID != azp:
		return wire.ClientConflict
	case hasScope && !text(s.claims["scope"], &s.scope):
		return wire.ScopeForm
	}
	s.client = clientID + azp
	if hasClientID && hasAZP {
		s.client = azp
	}
	s.audience = slices.ContainsFunc(audience, func(entry string) bool { return names(entry, mint.DefaultDevice) })
	return wire.OK
}

var (
	isURL  = regexp.MustCompile(`(?s)^[A-Za-z][A-Za-z0-9+.-]*://.+$`)
	scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	api    = regexp.MustCompile(`^x-nmos-([a-z0-9-]+)$`)
)

// slowJudge applies times and audience, in microseconds as the agent counts them.
func (s *slowToken) slowJudge(c token.Clock) wire.Reason {
	now, us := float64(c.Now), func(seconds float64) float64 { return math.Trunc(seconds * 1e6) }
	switch {
	case now >= us(s.expires):
		return wire.Expired
	case us(s.issued) > now:
		return wire.IssuedLater
	case us(s.notYet) > now:
		return wire.NotYetValid
	case !s.audience:
		return wire.Audience
	}
	return wire.OK
}

// names reports whether an entry of aud names the device (CLM-4, CLM-5), by a regular expression made of it.
func names(entry, device string) bool {
	entry = strings.TrimSuffix(strings.ToLower(scheme.ReplaceAllString(entry, "")), ".")
	if entry == "" || strings.ContainsAny(entry, ":/?#@ ") {
		return false
	}
	if entry == "*" {
		return true
	}
	var expression []string
	for i, label := range strings.Split(entry, ".") {
		if i == 0 && label == "*" {
			expression = append(expression, `[^.]+(\.[^.]+)*`)
			continue
		}
		expression = append(expression, strings.ReplaceAll(regexp.QuoteMeta(label), `\*`, `[^.]*`))
	}
	return regexp.MustCompile(`^` + strings.Join(expression, `\.`) + `$`).MatchString(device)
}

// permissions reads the x-nmos-* claims (CLM-11).
func (s *slowToken) permissions() {
	s.read, s.write = map[string][]string{}, map[string][]string{}
	for name, raw := range s.claims {
		m := api.FindStringSubmatch(name)
		var members map[string]json.RawMessage
		if m == nil || json.Unmarshal(raw, &members) != nil || members == nil {
			continue
		}
		var read, write []string
		_, hasRead := members["read"]
		_, hasWrite := members["write"]
		if hasRead && !array(members["read"], &read) || hasWrite && !array(members["write"], &write) {
			continue
		}
		s.read[m[1]], s.write[m[1]] = read, write
	}
}

// plainObject reads one JSON object that has no duplicate names, no invalid UTF-8, no unpaired surrogates and is not
// nested too deep (TOK-5).
func plainObject(document string, members *map[string]json.RawMessage) bool {
	if !utf8.ValidString(document) || !json.Valid([]byte(document)) || !surrogatesPaired(document) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(document))
	d.UseNumber()               // 1e400 is one
	var stack []map[string]bool // the names of each open object; nil for an array
	expectName := false
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false
		}
		name, isString := t.(string)
		if top := len(stack) - 1; expectName && isString {
			if stack[top][name] {
				return false
			}
			stack[top][name] = true
			expectName = false
			continue
		}
		switch t {
		case json.Delim('{'):
			stack = append(stack, map[string]bool{})
		case json.Delim('['):
			stack = append(stack, nil)
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > token.MaxDepth {
			return false
		}
		expectName = len(stack) > 0 && stack[len(stack)-1] != nil
	}
	return json.Unmarshal([]byte(document), members) == nil && *members != nil
}

// surrogatesPaired looks at the \u escapes of valid JSON, in which a backslash stands only in strings.
func surrogatesPaired(document string) bool {
	escape := func(i int) rune {
		if i+6 > len(document) || document[i] != '\\' || document[i+1] != 'u' {
			return -1
		}
		n, err := strconv.ParseUint(document[i+2:i+6], 16, 16)
		if err != nil {
			return -1
		}
		return rune(n)
	}
	for i := 0; i < len(document); i++ {
		if document[i] != '\\' {
			continue
		}
		switch r := escape(i); {
		case r >= 0xd800 && r < 0xdc00:
			if low := escape(i + 6); low < 0xdc00 || low > 0xdfff {
				return false
			}
			i += 11
		case r >= 0xdc00 && r <= 0xdfff:
			return false
		default:
			i++
		}
	}
	return true
}

// The following read one value of a kind, and say so if it is of another. A null is of none of these kinds.

func text(raw json.RawMessage, s *string) bool {
	return len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, s) == nil
}

// line is text that can stand in a line and says something.
func line(raw json.RawMessage, s *string) bool {
	return text(raw, s) && *s != "" && !strings.ContainsFunc(*s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func number(raw json.RawMessage, f *float64) bool {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return false
	}
	var err error
	*f, err = strconv.ParseFloat(string(raw), 64)
	return err == nil
}

func array(raw json.RawMessage, all *[]string) bool {
	var members []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &members) != nil {
		return false
	}
	for _, m := range members {
		var s string
		if !text(m, &s) {
			return false
		}
		*all = append(*all, s)
	}
	return true
}

func list(raw json.RawMessage, all *[]string) bool {
	var one string
	if text(raw, &one) {
		*all = []string{one}
		return true
	}
	return array(raw, all)
}
