package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// Every challenge is read the same by a parser that knows RFC 9110 and by one that splits at every comma, as AMWA's
// test suite does (ANS-6).
func TestChallenge(t *testing.T) {
	spec.Rules(t, "ANS-6")
	const realm = "node 1; the left one"
	for i := range wire.Reasons {
		reason := wire.Reason(i)
		reply := wire.Reply{Reason: reason, Realm: realm}
		info := reason.Info()
		carried := strings.Contains(string(reply.Append(nil)), "\nwww-authenticate=")
		if want := info.Status == 401 || info.Error != ""; reply.Challenge() != want || carried != want {
			t.Errorf("%s: Challenge says %v, the reply carries one: %v", reason, reply.Challenge(), carried)
		}
		value := string(wire.AppendChallenge(nil, realm, reason))
		want := map[string]string{"realm": realm}
		if info.Error != "" {
			want["error"], want["error_description"] = info.Error, info.Text
		}
		for name, parse := range map[string]func(string) (map[string]string, error){"strict": strict, "naive": naive} {
			if got, err := parse(value); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: the %s parser reads %v from %s, %v", reason, name, got, value, err)
			}
		}
		switch {
		case !strings.HasPrefix(value, "Bearer realm="):
			t.Errorf("%s starts otherwise", value)
		case strings.Contains(value, ", "):
			t.Errorf("%s has a space after a comma", value)
		case strings.Count(value, ",") != len(want)-1:
			t.Errorf("%s has a comma inside a value", value)
		case info.Error != "" && !strings.Contains(value, ",error="+info.Error+","):
			t.Errorf("%s: the error is quoted or not followed by its description", value)
		}
	}
}

// naive splits at every comma and at the first equals sign, and takes quotes off.
func naive(value string) (map[string]string, error) {
	_, parameters, _ := strings.Cut(value, " ")
	got := map[string]string{}
	for part := range strings.SplitSeq(parameters, ",") {
		name, v, found := strings.Cut(part, "=")
		if !found {
			return nil, fmt.Errorf("%q is not a parameter", part)
		}
		got[name] = strings.Trim(v, `"`)
	}
	return got, nil
}

// strict reads one challenge by RFC 9110 §11.2 and §11.6.1: a scheme, spaces, and auth-params with tokens or quoted
// strings, each name once.
func strict(value string) (map[string]string, error) {
	scheme, rest := cutToken(value)
	if scheme != "Bearer" || !strings.HasPrefix(rest, " ") {
		return nil, fmt.Errorf("the scheme is %q", scheme)
	}
	rest = strings.TrimLeft(rest, " ")
	got := map[string]string{}
	for {
		name, after := cutToken(rest)
		after, equals := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if name == "" || !equals || strings.ToLower(name) != name {
			return nil, fmt.Errorf("no parameter at %q", rest)
		}
		if _, twice := got[name]; twice {
			return nil, fmt.Errorf("%s twice", name)
		}
		var v string
		after = strings.TrimLeft(after, " \t")
		if quoted, is := strings.CutPrefix(after, `"`); is {
			var err error
			if v, rest, err = unquote(quoted); err != nil {
				return nil, err
			}
		} else if v, rest = cutToken(after); v == "" {
			return nil, fmt.Errorf("no value at %q", after)
		}
		got[name] = v
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			return got, nil
		}
		var comma bool
		if rest, comma = strings.CutPrefix(rest, ","); !comma {
			return nil, fmt.Errorf("no comma at %q", rest)
		}
		rest = strings.TrimLeft(rest, " \t")
	}
}

// cutToken cuts a token of RFC 9110 §5.6.2 off.
func cutToken(s string) (token, rest string) {
	const others = "!#$%&'*+-.^_`|~"
	i := strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') && !strings.ContainsRune(others, r)
	})
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

// unquote reads a quoted string of RFC 9110 §5.6.4 whose first quote has been taken off.
func unquote(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) {
				return "", "", errors.New("the quoted string ends with a backslash")
			}
			b.WriteByte(s[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", fmt.Errorf("%q in a quoted string", c)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("the quoted string does not end")
}
