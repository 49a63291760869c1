// Package wire is the packet protocol of authz.sock, described in PROTOCOL.md beside this file: it parses a request by
// borrowing from the caller's buffer, appends a reply to the caller's buffer, and holds the list of reason codes.
//
// It does no I/O and allocates nothing once a Request's slice of targets has grown. It is not safe for concurrent use
// of one Request. What a Request holds is valid until the buffer it was parsed from is written again.
package wire

import (
	"strconv"
	"strings"
)

// To add a reason:
//
//  1. a constant and its row below, and if it allows a word in Allowed, which is all that the wire, the audit and the
//     metrics need;
//  2. what it means to an operator and what to do about it, in agent/explain/advice.go;
//  3. the check that it ends, in agent/explain/checks.go, if a request or a token is at fault;
//  4. the code that gives it, with its test.
//
// Then run "go run ./scripts/manual", which writes the tables of PROTOCOL.md and OPERATING.md. The tests of agent/wire,
// agent/explain and scripts/manual name what was forgotten.

// Reason says why an answer is what it is. Its Code is stable: programs may compare it. The zero value denies.
type Reason uint8

// The reasons, in the order in which a request meets them. The order matters only for the tables in the documents.
const (
	Undecided Reason = iota // the zero value: nothing decided, so denied

	// Allowed.
	OK
	Public
	Observed
	ModeOff

	// The packet is malformed (protocol §1).
	PacketTooLong
	PacketForm
	PacketVerb
	PacketText
	PacketName
	PacketTwice
	PacketMissing
	PacketID
	PacketValue

	// The request.
	Method
	AmbiguousPath
	PathTooLong
	InventoryPending
	WatchLimit
	TwoTokens
	EmptyToken
	NoToken

	// The token's form.
	TokenTooLarge
	TokenMalformed
	TokenJSON
	TokenAlgorithm
	TokenCritical
	TokenType

	// Its issuer, keys and signature.
	IssuerMissing
	IssuerUntrusted
	KeysPending
	KeyUnknown
	Signature

	// Its claims, checked after the signature.
	SubjectMissing
	AudienceMissing
	ExpiryMissing
	TimeForm
	ClientMissing
	ClientConflict
	ScopeForm
	ClockUntrusted
	Expired
	IssuedLater
	NotYetValid
	Audience

	// What it permits.
	ResourceUnknown
	PathClosed
	PathVersion
	APINotGranted
	PathNotGranted
	ControlNotGranted
	SubtreeNotGranted

	// The device's own tokens: answers to a token question.
	OwnToken
	OwnTokenCaller
	OwnTokenScope
	OwnTokenPending

	Administration // no question was asked: the audit's word for what an administrator does

	// Reasons is the number of reasons. It must come last.
	Reasons int = iota
)

// Info is one row of the table of reasons.
type Info struct {
	Code   string // stable, lower case, on the wire after "reason="; "packet-…" if the fault is in the packet
	Status int    // HTTP status; 200 allows, and nothing else does
	Error  string // RFC 6750 §3.1 error code of the challenge, "" if none
	Text   string // one line for people; no comma and no quote, since it becomes error_description (ANS-6)
	Rule   string // the rule of the requirements that it applies
	Source string // where that rule comes from
}

const (
	invalidRequest    = "invalid_request"
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

var infos = [Reasons]Info{
	Undecided: {"undecided", 503, "", "no decision was reached", "ANS-5", "fail closed"},

	OK:       {"ok", 200, "", "the token permits it", "PATH-5", "IS-10 Access Tokens"},
	Public:   {"public", 200, "", "no token is needed here", "PATH-3", "IS-10 Resource Servers"},
	Observed: {"observe", 200, "", "observe mode allows everything", "OPS-3", "configuration"},
	ModeOff:  {"off", 200, "", "authorization is switched off", "OPS-3", "configuration"},

	PacketTooLong: {"packet-too-long", 400, "", "the packet is longer than the limit", "ANS-4", "protocol §1"},
	PacketForm: {"packet-form", 400, "",
		"the packet is not a first line and name=value lines each ended by a newline", "ANS-4", "protocol §1"},
	PacketVerb: {"packet-verb", 400, "",
		"the first line is not a known question in a known version", "ANS-4", "protocol §1"},
	PacketText: {"packet-text", 400, "", "the packet holds a NUL or is not UTF-8", "ANS-4", "protocol §1"},
	PacketName: {"packet-name", 400, "",
		"the packet holds a name that this question does not have", "ANS-4", "protocol §1"},
	PacketTwice: {"packet-twice", 400, "", "the packet gives one name twice", "ANS-4", "protocol §1"},
	PacketMissing: {"packet-missing", 400, "",
		"the packet lacks a name that this question needs", "ANS-4", "protocol §1"},
	PacketID: {"packet-id", 400, "",
		"the id is over 64 bytes or holds control characters", "ANS-4", "protocol §1"},
	PacketValue: {"packet-value", 400, "",
		"a value is not of the form or within the limits that its name has", "ANS-4", "protocol §1"},

	Method: {"method", 405, "", "NMOS APIs do not use this method", "PATH-1", "RFC 9110 §9"},
	AmbiguousPath: {"path-ambiguous", 400, invalidRequest,
		"two servers could read this path differently", "PATH-9", "RFC 3986"},
	PathTooLong: {"path-too-long", 400, invalidRequest,
		"the path is longer than the limit", "PATH-16", "our bound"},
	InventoryPending: {"inventory-pending", 503, "",
		"this device's inventory has not been read or pushed yet", "ANS-5", "fail closed"},
	WatchLimit: {"watch-limit", 503, "", "as many questions stand as may", "ANS-8", "our bound"},
	TwoTokens: {"two-tokens", 400, invalidRequest,
		"the request carries more than one token", "ANS-4", "RFC 6750 §2"},
	EmptyToken: {"token-empty", 400, invalidRequest,
		"the request carries an empty token", "ANS-4", "RFC 6750 §3.1"},
	NoToken: {"no-token", 401, "", "the request carries no token", "ANS-1", "RFC 6750 §3"},

	TokenTooLarge: {"token-too-large", 401, invalidToken,
		"the token is longer than the limit", "TOK-5", "RFC 8725 §2"},
	TokenMalformed: {"token-malformed", 401, invalidToken,
		"the token is not three segments of unpadded canonical base64url", "TOK-1", "RFC 7515 §7.1"},
	TokenJSON: {"token-json", 401, invalidToken,
		"the token's header or payload is not one plain JSON object", "TOK-5", "RFC 7515 §4"},
	TokenAlgorithm: {"token-algorithm", 401, invalidToken,
		"the token is not signed with RS512", "TOK-2", "IS-10 Access Tokens"},
	TokenCritical: {"token-critical", 401, invalidToken,
		"the token's header names a critical extension", "TOK-3", "RFC 7515 §4.1.11"},
	TokenType: {"token-type", 401, invalidToken,
		"the token's typ is not that of an access token", "TOK-4", "RFC 9068 §4"},

	IssuerMissing: {"issuer-missing", 401, invalidToken,
		"the token's iss is missing or not a URL", "CLM-1", "IS-10 Access Tokens"},
	IssuerUntrusted: {"issuer-untrusted", 401, invalidToken,
		"this device does not trust the token's issuer", "KEY-5", "IS-10 Resource Servers"},
	KeysPending: {"keys-pending", 503, "",
		"the issuer's keys are being fetched", "ANS-5", "IS-10 Resource Servers"},
	KeyUnknown: {"key-unknown", 401, invalidToken,
		"the token's key is not in its issuer's key set", "KEY-6", "IS-10 Resource Servers"},
	Signature: {"signature", 401, invalidToken,
		"the token's signature does not verify", "TOK-6", "RFC 7515 §5.2"},

	SubjectMissing: {"subject-missing", 401, invalidToken,
		"the token's sub is missing or empty", "CLM-2", "IS-10 Access Tokens"},
	AudienceMissing: {"audience-missing", 401, invalidToken,
		"the token's aud is missing or not a list of strings", "CLM-3", "IS-10 Access Tokens"},
	ExpiryMissing: {"expiry-missing", 401, invalidToken,
		"the token's exp is missing or not a number", "CLM-7", "RFC 7519 §4.1.4"},
	TimeForm: {"time-form", 401, invalidToken,
		"the token's iat or nbf is not a number", "CLM-8", "IS-10 Access Tokens"},
	ClientMissing: {"client-missing", 401, invalidToken, "the token names no client", "CLM-9", "IS-10 Access Tokens"},
	ClientConflict: {"client-conflict", 401, invalidToken,
		"the token's client_id and azp differ", "CLM-9", "IS-10 Access Tokens"},
	ScopeForm: {"scope-form", 401, invalidToken,
		"the token's scope is not one string", "CLM-10", "RFC 6749 §3.3"},
	ClockUntrusted: {"clock-untrusted", 503, "", "this device does not know the time yet", "OPS-1", "IS-10 Time"},
	Expired:        {"token-expired", 401, invalidToken, "the token has expired", "CLM-7", "RFC 7519 §4.1.4"},
	IssuedLater: {"token-issued-later", 401, invalidToken,
		"the token was issued in the future", "CLM-8", "IS-10 Access Tokens"},
	NotYetValid: {"token-not-yet-valid", 401, invalidToken,
		"the token is not valid yet", "CLM-8", "RFC 7519 §4.1.5"},
	Audience: {"audience", 403, insufficientScope,
		"the token is meant for other devices", "CLM-6", "AMWA nmos-testing"},

	ResourceUnknown: {"resource-unknown", 403, insufficientScope,
		"the device's inventory has no such resource or no such access to it", "PATH-11", "closed by default"},
	PathClosed: {"path-closed", 403, insufficientScope,
		"this path is closed on this device", "PATH-11", "closed by default"},
	PathVersion: {"path-version", 403, insufficientScope,
		"the path does not start with an NMOS API and version", "PATH-10", "NMOS APIs"},
	APINotGranted: {"api-not-granted", 403, insufficientScope,
		"the token grants nothing in this API", "PATH-4", "IS-10 Resource Servers"},
	PathNotGranted: {"path-not-granted", 403, insufficientScope,
		"the token does not grant this method on this path", "PATH-5", "IS-10 Access Tokens"},

	ControlNotGranted: {"control-not-granted", 403, insufficientScope,
		"a control socket needs the whole model under both read and write", "PATH-15", "a channel that can write"},
	SubtreeNotGranted: {"subtree-not-granted", 403, insufficientScope,
		"the token grants this object and not everything below it", "CTL-64", "IS-14 API requests"},

	// No challenge: nobody's request is answered.
	OwnToken: {"own-token", 200, "", "the reply carries the device's own token", "CLI-69", "our choice"},
	OwnTokenCaller: {"own-token-caller", 403, "",
		"this caller may not have the device's own tokens", "CLI-69", "configuration"},
	OwnTokenScope: {"own-token-scope", 403, "",
		"this device is not configured to have a token with this scope", "CLI-10", "BCP-003-02"},
	Administration: {"administration", 200, "", "an administrator had it done", "OPS-2", "our choice"},

	OwnTokenPending: {"own-token-pending", 503, "",
		"the device has no token of its own that can be used yet", "CLI-69", "our choice"},
}

// Info returns the row of r, or that of Undecided if r is out of range.
func (r Reason) Info() *Info {
	if int(r) >= Reasons {
		r = Undecided
	}
	return &infos[r]
}

// String returns the stable code.
func (r Reason) String() string { return r.Info().Code }

// Append appends the status and the code, "403 path-closed".
func (r Reason) Append(dst []byte) []byte {
	info := r.Info()
	dst = append(strconv.AppendInt(dst, int64(info.Status), 10), ' ')
	return append(dst, info.Code...)
}

// Allowed reports whether the answer is allow: a reason that is not named here denies, whatever its row says.
func (r Reason) Allowed() bool {
	switch r {
	case OK, Public, Observed, ModeOff, OwnToken, Administration:
		return true
	}
	return false
}

// Decision is the first word of the reply: "allow", "deny", or "error" if the fault is in the packet.
func (r Reason) Decision() string {
	switch {
	case r.Allowed():
		return "allow"
	case strings.HasPrefix(r.Info().Code, "packet-"):
		return "error"
	}
	return "deny"
}
