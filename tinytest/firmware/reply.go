package firmware

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrReply is wrapped by every error about a packet from the daemon that does not follow the protocol. A firmware must
// treat it as a denial.
var ErrReply = errors.New("firmware: the daemon's reply does not follow the protocol")

// Verdict is the first word of a reply. The zero value is not a verdict.
type Verdict string

// The verdicts (protocol §2).
const (
	Allow  Verdict = "allow"
	Deny   Verdict = "deny"
	Errors Verdict = "error"
	Pong   Verdict = "pong"
)

// Reply is one answer of the daemon. The zero value denies.
type Reply struct {
	Verdict Verdict
	Status  int // HTTP status; 0 for pong
	ID      string
	Reason  string // the stable code
	// observe mode: what enforce would have answered, such as "403 path-not-granted", or its lines
	Would           string
	ClientID        string
	Subject         string
	Issuer          string
	ExpiresIn       time.Duration // until the permission ends; only where Expires is true
	Expires         bool
	Path            string // normalised; "" if the question had none, or none that can be read in one way
	WWWAuthenticate string
	RetryAfter      int      // seconds; 0 for none
	Denied          []string // decide-all: the targets that were denied, without their queries; control: the lines
	AccessToken     string   // token: the device's own, which goes nowhere but into a request
	TokenID         string   // token: its name
	Scope           string   // token: what it is good for
	Detail          string   // token: why there is none
	Text            string   // the whole packet, "" if it holds a token
}

// Allowed reports whether the request may be served.
func (r Reply) Allowed() bool { return r.Verdict == Allow && r.Status == 200 }

// ParseReply reads one packet strictly. Names that it does not know are skipped, as the protocol may grow; whatever
// else is not as the protocol says is an error that wraps ErrReply.
func ParseReply(packet []byte) (Reply, error) {
	r, err := parseReply(string(packet))
	secret := bytes.Contains(packet, []byte("access-token="))
	switch {
	case err != nil && secret:
		return Reply{}, fmt.Errorf("%w, which holds a token", ErrReply)
	case err != nil:
		return Reply{}, fmt.Errorf("%w: %w in %.200q", ErrReply, err, packet)
	case secret:
		r.Text = ""
	}
	return r, nil
}

func parseReply(text string) (Reply, error) {
	r := Reply{Text: text}
	body, ended := strings.CutSuffix(text, "\n")
	switch {
	case !ended:
		return r, errors.New("no newline at the end")
	case !utf8.ValidString(text):
		return r, errors.New("not UTF-8")
	case strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && (c < 0x20 || c == 0x7f) }):
		return r, errors.New("a control character")
	}
	lines := strings.Split(body, "\n")
	if err := r.parseVerdict(lines[0]); err != nil {
		return r, err
	}
	seen := map[string]bool{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok || name == "":
			return r, fmt.Errorf("the line %q", line)
		case name == "denied":
			r.Denied = append(r.Denied, value)
			continue
		case name == "would" && seen[name]: // control: a line for each
			r.Would += "\n" + value
			continue
		case seen[name]:
			return r, fmt.Errorf("%s twice", name)
		}
		seen[name] = true
		if err := r.set(name, value); err != nil {
			return r, err
		}
	}
	return r, r.check()
}

// statuses are the first lines that the protocol has.
var statuses = map[Verdict][]int{Allow: {200}, Deny: {400, 401, 403, 405, 503}, Errors: {400}}

func (r *Reply) parseVerdict(line string) error {
	if line == "pong 1" {
		r.Verdict = Pong
		return nil
	}
	word, number, _ := strings.Cut(line, " ")
	status, err := strconv.Atoi(number)
	if err != nil || len(number) != 3 || !slices.Contains(statuses[Verdict(word)], status) {
		return fmt.Errorf("the first line %q", line)
	}
	r.Verdict, r.Status = Verdict(word), status
	return nil
}

func (r *Reply) set(name, value string) error {
	switch name {
	case "id":
		r.ID = value
	case "reason":
		r.Reason = value
	case "would":
		r.Would = value
	case "client-id":
		r.ClientID = value
	case "subject":
		r.Subject = value
	case "issuer":
		r.Issuer = value
	case "path":
		r.Path = value
	case "access-token":
		r.AccessToken = value
	case "token-id":
		r.TokenID = value
	case "scope":
		r.Scope = value
	case "detail":
		r.Detail = value
	case "www-authenticate":
		r.WWWAuthenticate = value
	case "expires-in":
		seconds, err := wholeSeconds(value)
		if err != nil {
			return fmt.Errorf("expires-in=%s", value)
		}
		r.ExpiresIn, r.Expires = time.Duration(min(seconds, int64(1<<63-1)/int64(time.Second)))*time.Second, true
	case "retry-after":
		seconds, err := wholeSeconds(value)
		if err != nil || seconds < 1 || seconds > 1<<31-1 {
			return fmt.Errorf("retry-after=%s", value)
		}
		r.RetryAfter = int(seconds)
	}
	return nil
}

// wholeSeconds reads digits only: no sign, no fraction.
func wholeSeconds(value string) (int64, error) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || strings.HasPrefix(value, "+") {
		return 0, strconv.ErrSyntax
	}
	return int64(n), nil
}

// check looks at what must go together.
func (r *Reply) check() error {
	switch {
	case r.Verdict == Pong:
		return nil
	case r.Reason == "" || strings.ToLower(r.Reason) != r.Reason || strings.Contains(r.Reason, " "):
		return fmt.Errorf("the reason %q", r.Reason)
	case (r.AccessToken != "") != (r.Verdict == Allow && r.Reason == "own-token"):
		return fmt.Errorf("%s for %s, with an access token: %t", r.Verdict, r.Reason, r.AccessToken != "")
	case strings.HasPrefix(r.Reason, "own-token-") && r.Status == 403: // nobody's request is answered: no challenge
		return nil
	case (r.Status == 401 || r.Status == 403) && r.WWWAuthenticate == "":
		return fmt.Errorf("%d without www-authenticate", r.Status)
	case r.WWWAuthenticate != "" && !strings.HasPrefix(r.WWWAuthenticate, "Bearer "):
		return fmt.Errorf("the challenge %q", r.WWWAuthenticate)
	case (r.Status == 503) != (r.RetryAfter > 0):
		return fmt.Errorf("%d with retry-after %d", r.Status, r.RetryAfter)
	case r.Expires && r.Verdict != Allow && !r.someDenied():
		return errors.New("expires-in in a denial")
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
		return fmt.Errorf("the path %q", r.Path)
	}
	return nil
}

// someDenied reports whether it is an answer to control of a token that is good, but not for everything.
func (r *Reply) someDenied() bool {
	return len(r.Denied) > 0 &&
		(strings.HasPrefix(r.Denied[0], "command ") || strings.HasPrefix(r.Denied[0], "subscribe "))
}
