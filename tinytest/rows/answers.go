package rows

import (
	"strings"

	"nmosauthd/tinytest/mint"
)

// AnswersToken is what TOKEN stands for in Answers.
var AnswersToken = mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}}}

// Answers are questions of decide about GET [Senders], unless their lines say otherwise, by the ANS rule that they are
// about. TOKEN stands for a token by AnswersToken, ENCODED for the same in percent-encoding.
var Answers = []struct {
	Name   string
	Lines  string // of the packet
	First  string
	Reason string
	WWW    string // www-authenticate, behind the realm; "-": none
}{
	{"ANS-1/no-credentials", "", "deny 401", "no-token", ""},
	{"ANS-1/empty-header", "authorization=\n", "deny 401", "no-token", ""},
	{"ANS-1/basic", "authorization=Basic dTpw\n", "deny 401", "no-token", ""},
	{"ANS-1/negotiate-with-good-token", "authorization=Negotiate TOKEN\n", "deny 401", "no-token", ""},
	{"ANS-1/any-case", "authorization=bEaReR TOKEN\n", "allow 200", "ok", "-"},
	{"ANS-2/malformed", "authorization=Bearer x\n", "deny 401", "token-malformed",
		`,error=invalid_token,error_description="the token is not three segments of unpadded canonical base64url"`},
	{"ANS-2/not-json", "authorization=Bearer YQ.YQ.YQ\n", "deny 401", "token-json",
		`,error=invalid_token,error_description="the token's header or payload is not one plain JSON object"`},
	{"ANS-2/space-behind", "authorization=Bearer TOKEN \n", "deny 401", "token-malformed",
		`,error=invalid_token,error_description="the token is not three segments of unpadded canonical base64url"`},
	{"ANS-2/two-schemes", "authorization=Bearer TOKEN,Basic x\n", "deny 401", "token-malformed",
		`,error=invalid_token,error_description="the token is not three segments of unpadded canonical base64url"`},
	{"ANS-3/path", "method=PATCH\nauthorization=Bearer TOKEN\n", "deny 403", "path-not-granted",
		`,error=insufficient_scope,error_description="the token does not grant this method on this path"`},
	{"ANS-4/empty-token", "authorization=Bearer\n", "deny 400", "token-empty",
		`,error=invalid_request,error_description="the request carries an empty token"`},
	{"ANS-4/empty-token-space", "authorization=Bearer \n", "deny 400", "token-empty",
		`,error=invalid_request,error_description="the request carries an empty token"`},
	{"ANS-4/two-tokens", "authorization=Bearer TOKEN, Bearer TOKEN\n", "deny 400", "two-tokens",
		`,error=invalid_request,error_description="the request carries more than one token"`},
	{"ANS-4/header-and-query", "upgrade=websocket\nauthorization=Bearer TOKEN\ntarget=" + Senders +
		"?access_token=TOKEN\n", "deny 400", "two-tokens",
		`,error=invalid_request,error_description="the request carries more than one token"`},
	{"ANS-4/ambiguous-path", "authorization=Bearer TOKEN\ntarget=/x-nmos//connection\n", "deny 400", "path-ambiguous",
		`,error=invalid_request,error_description="two servers could read this path differently"`},
	{"ANS-6/method", "method=TRACE\n", "deny 405", "method", "-"},
	{"ANS-6/packet", "colour=red\n", "error 400", "packet-name", "-"},
	{"ANS-6/allowed", "authorization=Bearer TOKEN\n", "allow 200", "ok", "-"},

	{"ANS-9/handshake", "upgrade=websocket\ntarget=" + Senders + "?access_token=TOKEN\n", "allow 200", "ok", "-"},
	{"ANS-9/handshake-percent-encoded", "upgrade=websocket\ntarget=" + Senders + "?a=b&access_token=ENCODED\n",
		"allow 200", "ok", "-"},
	{"ANS-9/handshake-forged", "upgrade=websocket\ntarget=" + Senders + "?access_token=x.y.z\n", "deny 401",
		"token-malformed", `,error=invalid_token,error_description="the token is not three segments of unpadded canonical base64url"`},
	{"ANS-9/handshake-empty", "upgrade=websocket\ntarget=" + Senders + "?access_token=\n", "deny 400", "token-empty",
		`,error=invalid_request,error_description="the request carries an empty token"`},
	{"ANS-9/no-handshake", "target=" + Senders + "?access_token=TOKEN\n", "deny 401", "no-token", ""},
	{"ANS-9/other-upgrade", "upgrade=h2c\ntarget=" + Senders + "?access_token=TOKEN\n", "deny 401", "no-token", ""},
	{"ANS-9/other-method",
		"method=HEAD\nupgrade=websocket\ntarget=" + Senders + "?access_token=TOKEN\n", "deny 401", "no-token", ""},
	{"ANS-9/ignored-beside-header",
		"authorization=Bearer TOKEN\ntarget=" + Senders + "?access_token=x\n", "allow 200", "ok", "-"},
}

// Answer completes the lines of a row of Answers to a packet.
func Answer(lines, token string) string {
	packet := "decide 1\n"
	for _, line := range []string{"method=GET\n", "target=" + Senders + "\n"} {
		name, _, _ := strings.Cut(line, "=")
		if !strings.Contains("\n"+lines, "\n"+name+"=") {
			packet += line
		}
	}
	encoded := strings.NewReplacer(".", "%2e", "e", "%65", "J", "%4A").Replace(token)
	return packet + strings.NewReplacer("TOKEN", token, "ENCODED", encoded).Replace(lines)
}
