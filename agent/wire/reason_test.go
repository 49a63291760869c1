package wire_test

import (
	"regexp"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// The table of reasons is what programs and people read: stable codes, each once, and a line of text that can stand in
// a challenge.
func TestReasons(t *testing.T) {
	spec.Rules(t, "ANS-8")
	code := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	rule := regexp.MustCompile(`^(TOK|CLM|PATH|ANS|KEY|OPS|CLI|CTL)-[0-9]+$`)
	byCode := map[string]wire.Reason{}
	for i := range wire.Reasons {
		r := wire.Reason(i)
		info := r.Info()
		if other, twice := byCode[info.Code]; twice {
			t.Errorf("%s is the code of both %d and %d", info.Code, other, i)
		}
		byCode[info.Code] = r
		switch {
		case !code.MatchString(info.Code) || r.String() != info.Code:
			t.Errorf("%d: the code %q", i, info.Code)
		case info.Text == "" || strings.ContainsAny(info.Text, ",\"\\") ||
			strings.ContainsFunc(info.Text, notPrintable):
			t.Errorf("%s: the text %q cannot stand in a challenge", r, info.Text)
		case startsUpper(info.Text) || strings.HasSuffix(info.Text, "."):
			t.Errorf("%s: the text %q does not continue a sentence", r, info.Text)
		case !rule.MatchString(info.Rule) || info.Source == "":
			t.Errorf("%s: the rule %q, from %q", r, info.Rule, info.Source)
		}
	}
	if r := wire.Reason(wire.Reasons); r.Info() != wire.Undecided.Info() || r.Allowed() {
		t.Error("a reason outside the list is not Undecided")
	}
}

// RFC 6750 §3.1 ties its error codes to statuses; what is allowed is 200 and nothing else is.
func TestReasonStatus(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-2", "ANS-3", "ANS-4", "ANS-5")
	for i := range wire.Reasons {
		r := wire.Reason(i)
		info := r.Info()
		want := map[int]string{
			200: "", 400: "invalid_request", 401: "invalid_token", 403: "insufficient_scope", 405: "", 503: "",
		}
		errorCode, known := want[info.Status]
		switch {
		case !known:
			t.Errorf("%s: status %d", r, info.Status)
		case r == wire.NoToken || strings.HasPrefix(info.Code, "packet-") || strings.HasPrefix(info.Code, "own-token"):
			if info.Error != "" { // ANS-1; and neither a packet nor a token question is an HTTP request
				t.Errorf("%s: the error %q", r, info.Error)
			}
		case info.Error != errorCode:
			t.Errorf("%s: the error %q with %d", r, info.Error, info.Status)
		}
		if r.Allowed() != (info.Status == 200) {
			t.Errorf("%s: allowed is %v with %d", r, r.Allowed(), info.Status)
		}
	}
}

func notPrintable(r rune) bool { return r < ' ' || r > '~' }

// startsUpper reports whether a text starts with a capital, other than that of an acronym.
func startsUpper(text string) bool {
	first, _, _ := strings.Cut(text, " ")
	return text[:1] != strings.ToLower(text[:1]) && first != strings.ToUpper(first)
}
