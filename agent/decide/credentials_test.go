package decide_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

type credentials struct {
	name                           string
	method, upgrade, authorization string // authorization "-": no header
	targets                        string // separated by spaces
	want                           wire.Reason
	token                          string
}

const handshake = "websocket"

var credentialRows = []credentials{
	{"ANS-1/nothing", "GET", "", "-", "/a", wire.NoToken, ""},
	{"ANS-1/empty-header", "GET", "", "", "/a", wire.NoToken, ""},
	{"ANS-1/basic", "GET", "", "Basic dTpw", "/a", wire.NoToken, ""},
	{"ANS-1/scheme-with-the-same-start", "GET", "", "Bearers abc", "/a", wire.NoToken, ""},
	{"ANS-1/scheme-cut-short", "GET", "", "Beare abc", "/a", wire.NoToken, ""},
	{"ANS-1/tab-behind-scheme", "GET", "", "Bearer\tabc", "/a", wire.NoToken, ""},
	{"ANS-1/comma-behind-scheme", "GET", "", "Bearer,abc", "/a", wire.NoToken, ""},
	{"ANS-1/letters-with-other-bits", "GET", "", "\x02earer abc", "/a", wire.NoToken, ""},
	{"ANS-1/token-alone", "GET", "", "abc", "/a", wire.NoToken, ""},
	{"ANS-2/good", "GET", "", "Bearer abc", "/a", wire.Undecided, "abc"},
	{"ANS-2/scheme-in-any-case", "GET", "", "bEARER abc", "/a", wire.Undecided, "abc"},
	{"ANS-2/many-spaces", "GET", "", "Bearer   abc", "/a", wire.Undecided, "abc"},
	{"ANS-2/space-behind", "GET", "", "Bearer abc ", "/a", wire.Undecided, "abc "},
	{"ANS-2/comma-and-no-second", "GET", "", "Bearer abc, def", "/a", wire.Undecided, "abc, def"},
	{"ANS-4/empty", "GET", "", "Bearer", "/a", wire.EmptyToken, ""},
	{"ANS-4/spaces-only", "GET", "", "Bearer   ", "/a", wire.EmptyToken, ""},
	{"ANS-4/two-headers-joined", "GET", "", "Bearer abc, bearer def", "/a", wire.TwoTokens, ""},
	{"ANS-4/two-headers-joined-without-space", "GET", "", "Bearer abc,Bearer abc", "/a", wire.TwoTokens, ""},
	{"ANS-4/second-empty", "GET", "", "Bearer abc,Bearer", "/a", wire.TwoTokens, ""},

	{"ANS-9/no-handshake", "GET", "", "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/other-upgrade", "GET", "h2c", "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/upgrade-with-the-same-start", "GET", "websockets", "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/upgrade-with-a-long-s", "GET", "web\u017focket", "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/upgrade-with-a-kelvin-sign", "GET", "websoc\u212aet", "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/other-method", "POST", handshake, "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/method-in-small-letters", "get", handshake, "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/method-of-one-letter", "G", handshake, "-", "/a?access_token=abc", wire.NoToken, ""},
	{"ANS-9/handshake", "GET", handshake, "-", "/a?access_token=abc", wire.Undecided, "abc"},
	{"ANS-9/upgrade-in-any-case", "GET", "WebSocket", "-", "/a?access_token=abc", wire.Undecided, "abc"},
	{"ANS-9/list-of-upgrades", "GET", "h2c, websocket", "-", "/a?access_token=abc", wire.Undecided, "abc"},
	{"ANS-9/among-others", "GET", handshake, "-", "/a?b=c&access_token=abc&d", wire.Undecided, "abc"},
	{"ANS-9/percent-encoded", "GET", handshake, "-", "/a?access_token=a%62%2Ec", wire.Undecided, "ab.c"},
	{"ANS-9/encoding-broken", "GET", handshake, "-", "/a?access_token=a%6", wire.TokenMalformed, ""},
	{"ANS-9/plus-stays", "GET", handshake, "-", "/a?access_token=a+c", wire.Undecided, "a+c"},
	{"ANS-9/value-with-equals-sign", "GET", handshake, "-", "/a?access_token=a=c", wire.Undecided, "a=c"},
	{"ANS-9/name-encoded", "GET", handshake, "-", "/a?access%5Ftoken=abc", wire.NoToken, ""},
	{"ANS-9/name-in-capitals", "GET", handshake, "-", "/a?Access_token=abc", wire.NoToken, ""},
	{"ANS-9/name-longer", "GET", handshake, "-", "/a?xaccess_token=abc", wire.NoToken, ""},
	{"ANS-9/behind-fragment", "GET", handshake, "-", "/a?b#access_token=abc", wire.NoToken, ""},
	{"ANS-9/separated-by-semicolon", "GET", handshake, "-", "/a?b;access_token=abc", wire.NoToken, ""},
	{"ANS-9/in-path", "GET", handshake, "-", "/access_token=abc", wire.NoToken, ""},
	{"ANS-9/header-good-without-handshake", "GET", "", "Bearer abc", "/a?access_token=def", wire.Undecided, "abc"},
	{"ANS-9/other-scheme-beside", "GET", handshake, "Basic dTpw", "/a?access_token=abc", wire.Undecided, "abc"},
	{"ANS-4/empty-in-query", "GET", handshake, "-", "/a?access_token=", wire.EmptyToken, ""},
	{"ANS-4/empty-in-query-without-equals-sign", "GET", handshake, "-", "/a?access_token", wire.EmptyToken, ""},
	{"ANS-4/header-and-query", "GET", handshake, "Bearer abc", "/a?access_token=abc", wire.TwoTokens, ""},
	{"ANS-4/empty-header-and-query", "GET", handshake, "Bearer", "/a?access_token=abc", wire.TwoTokens, ""},
	{"ANS-4/twice-in-query", "GET", handshake, "-", "/a?access_token=abc&access_token=abc", wire.TwoTokens, ""},
	{"ANS-4/empty-and-full-in-query", "GET", handshake, "-", "/a?access_token=&access_token=abc", wire.TwoTokens, ""},
	{"PATH-12/one-of-many", "", handshake, "-", "/a /b?access_token=abc /c", wire.Undecided, "abc"},
	{"PATH-12/the-same-in-all", "", handshake, "-", "/a?access_token=abc /b?access_token=abc", wire.Undecided, "abc"},
	{"PATH-12/different-in-two", "", handshake, "-", "/a?access_token=abc /b?access_token=def", wire.TwoTokens, ""},
	{"PATH-12/empty-in-one", "", handshake, "-", "/a?access_token= /b?access_token=abc", wire.TwoTokens, ""},
}

func (c credentials) request() *wire.Request {
	r := &wire.Request{Method: []byte(c.method), Upgrade: []byte(c.upgrade)}
	if c.authorization != "-" {
		r.Authorization = []byte(c.authorization)
	}
	for _, target := range strings.Fields(c.targets) {
		r.Targets = append(r.Targets, []byte(target))
	}
	return r
}

func TestCredentials(t *testing.T) {
	for _, c := range credentialRows {
		t.Run(c.name, func(t *testing.T) {
			reason, tok, _ := decide.Credentials(c.request(), nil)
			if reason != c.want || string(tok) != c.token {
				t.Errorf("%v %q, want %v %q", reason, tok, c.want, c.token)
			}
			compareCredentials(t, c)
		})
	}
}

// slowCredentials is the readable twin of Credentials.
func slowCredentials(c credentials) (wire.Reason, string) {
	var tokens []string
	if scheme, rest, spaced := strings.Cut(c.authorization, " "); strings.ToLower(scheme) == "bearer" {
		if !spaced {
			rest = ""
		}
		rest = strings.TrimLeft(rest, " ")
		if _, second, two := strings.Cut(rest, ","); two && rest != "" {
			second, _, _ = strings.Cut(strings.TrimLeft(second, " \t"), " ")
			if strings.ToLower(second) == "bearer" {
				return wire.TwoTokens, ""
			}
		}
		tokens = append(tokens, rest)
	}
	query, reason := slowQuery(c)
	if reason != wire.Undecided {
		return reason, ""
	}
	tokens = append(tokens, query...)
	switch {
	case len(tokens) == 0:
		return wire.NoToken, ""
	case len(tokens) > 1:
		return wire.TwoTokens, ""
	}
	tok := tokens[0]
	if len(query) == 1 {
		var err error
		if tok, err = url.PathUnescape(tok); err != nil {
			return wire.TokenMalformed, ""
		}
	}
	if tok == "" {
		return wire.EmptyToken, ""
	}
	return wire.Undecided, tok
}

// slowQuery returns the token of the queries as it stands there, if the request is a handshake and has one.
func slowQuery(c credentials) (tokens []string, reason wire.Reason) {
	isHandshake := slices.ContainsFunc(strings.Split(c.upgrade, ","), func(protocol string) bool {
		// ToLower makes a k of U+212A, but an s of nothing else than S.
		return strings.ToLower(strings.Trim(protocol, " \t")) == handshake && !strings.Contains(protocol, "\u212a")
	})
	if !isHandshake || c.method != "GET" && c.method != "" {
		return nil, wire.Undecided
	}
	for _, target := range strings.Fields(c.targets) {
		_, query, _ := strings.Cut(target, "?")
		query, _, _ = strings.Cut(query, "#")
		n := 0
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name != "access_token" {
				continue
			}
			if n++; n > 1 || len(tokens) > 0 && tokens[0] != value {
				return nil, wire.TwoTokens
			}
			tokens = []string{value}
		}
	}
	return tokens, wire.Undecided
}

func compareCredentials(t *testing.T, c credentials) {
	t.Helper()
	scratch := []byte("what was there before")
	reason, tok, _ := decide.Credentials(c.request(), scratch)
	want, wantToken := slowCredentials(c)
	if reason != want || string(tok) != wantToken {
		t.Errorf("%+v: %v %q, its twin says %v %q", c, reason, tok, want, wantToken)
	}
}

func FuzzCredentials(f *testing.F) {
	for _, c := range credentialRows {
		f.Add(c.method, c.upgrade, c.authorization, c.targets)
	}
	f.Fuzz(func(t *testing.T, method, upgrade, authorization, targets string) {
		compareCredentials(t,
			credentials{method: method, upgrade: upgrade, authorization: authorization, targets: targets})
	})
}
