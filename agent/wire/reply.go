package wire

import (
	"slices"
	"strconv"
)

// Reply is the answer to one Request. Its slices belong to the session that made it and are valid until its next
// request. The zero value denies.
type Reply struct {
	Verb          Verb   // of the question; Ping answers "pong 1"
	Reason        Reason // decides the first line
	Enforced      Reason // observe mode: what enforce would have answered; else Undecided
	ID            []byte
	ClientID      []byte // set if a token was verified
	Subject       []byte
	Issuer        []byte
	ExpiresIn     int64     // whole seconds until the permission ends; only for allow with a token, else negative
	Path          []byte    // normalised; nil if the target has none
	RetryAfter    int       // whole seconds, for 503
	Configuration bool      // the request is one of IS-14's API, whose errors have a body of their own (CTL-67)
	Realm         string    // of the challenge; holds no quote, backslash, comma or control character
	Answers       []Answer  // decide-all, watch-token: one per target, in their order
	Commands      []Command // control: those asked about, in their order
	Verdicts      []Verdict // control: one per command, in their order; in observe mode, as enforce would have it
	ForAll        bool      // control: the token is why all are denied, or would be

	List []byte // may: whole lines, as protocol §12 has them

	// Of token.
	Scope       []byte // that it is good for
	TokenID     []byte // names it, and tells nothing of it
	Detail      []byte // why there is none, for people; of a packet's fault: the name that it is about
	AccessToken string // the token. Whoever appends the reply wipes the buffer
}

// Answer is the answer for one target of decide-all or watch-token. The zero value denies.
type Answer struct {
	Target   []byte // without its query, which may hold the token, and without control characters
	Allowed  bool
	Observed bool // it is denied, and let pass: [enforce] of the configuration (OPS-3)
}

// Status is the HTTP status of the reply.
func (r *Reply) Status() int { return r.Reason.Info().Status }

// Challenge reports whether the reply carries a WWW-Authenticate value: 401, 403, and the 400 that RFC 6750 defines.
func (r *Reply) Challenge() bool {
	i := r.Reason.Info()
	return i.Status == 401 || i.Error != ""
}

// AppendChallenge appends the WWW-Authenticate value. Its only commas are those between parameters, without a space
// after them, so that parsers that split at every comma can read it (ANS-6).
//
//go:noinline // for flash
func AppendChallenge(dst []byte, realm string, reason Reason) []byte {
	i := reason.Info()
	dst = append(dst, `Bearer realm="`...)
	dst = append(dst, realm...)
	dst = append(dst, '"')
	if i.Error == "" {
		return dst // RFC 6750 §3: no error if there were no credentials (ANS-1)
	}
	dst = append(dst, `,error=`...)
	dst = append(dst, i.Error...)
	dst = append(dst, `,error_description="`...)
	dst = append(dst, i.Text...)
	return append(dst, '"')
}

// Append appends the packet to dst. It allocates only if dst must grow.
func (r *Reply) Append(dst []byte) []byte {
	if r.Verb == Ping && r.Reason == OK {
		return AppendLine(append(dst, "pong 1\n"...), "id=", r.ID)
	}
	info := r.Reason.Info()
	dst = append(dst, r.Reason.Decision()...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(info.Status), 10)
	dst = append(dst, '\n')
	dst = AppendLine(dst, "id=", r.ID)
	dst = AppendLine(dst, "reason=", info.Code)
	if !r.Reason.Allowed() { // what the body of the error says to people (ANS-7), on this socket as on the other
		dst = AppendLine(dst, "error=", info.Text)
	}
	if r.Enforced != Undecided {
		dst = append(r.Enforced.Append(append(dst, "would="...)), '\n')
		dst = r.appendCommands(dst, "would=", r.Enforced)
	}
	dst = AppendLine(dst, "client-id=", r.ClientID)
	dst = AppendLine(dst, "subject=", r.Subject)
	dst = AppendLine(dst, "issuer=", r.Issuer)
	if r.Expires() {
		dst = appendNumber(dst, "expires-in=", r.ExpiresIn)
	}
	dst = AppendLine(dst, "path=", r.Path)
	for i := range r.Answers {
		if a := &r.Answers[i]; !a.Allowed && !a.Observed {
			dst = append(append(append(dst, "denied="...), a.Target...), '\n')
		}
	}
	if r.Enforced == Undecided {
		dst = r.appendCommands(dst, "denied=", r.Reason)
	}
	dst = append(dst, r.List...)
	if r.Challenge() {
		dst = append(dst, "www-authenticate="...)
		dst = AppendChallenge(dst, r.Realm, r.Reason)
		dst = append(dst, '\n')
	}
	if info.Status == 503 {
		dst = appendNumber(dst, "retry-after=", int64(max(r.RetryAfter, 1)))
	}
	dst = AppendLine(dst, "scope=", r.Scope)
	dst = AppendLine(dst, "token-id=", r.TokenID)
	dst = AppendLine(dst, "detail=", r.Detail)
	if r.AccessToken != "" && r.Reason == OwnToken {
		// The last line, for which there is room before it is appended: the buffer does not grow, and so leaves no copy
		// behind that nobody wipes.
		dst = slices.Grow(dst, len("access-token=\n")+len(r.AccessToken))
		dst = AppendLine(dst, "access-token=", r.AccessToken)
	}
	return dst
}

// Expires reports whether the reply says when the permission ends: if something is allowed by a token, which some
// commands may be where others are denied.
func (r *Reply) Expires() bool {
	return r.ExpiresIn >= 0 && (r.Reason.Allowed() || r.Verb == Control)
}

// appendCommands appends a line for each command that is denied, or would be in enforce mode; one for all of them if
// the token is the cause (CTL-84, CTL-88).
func (r *Reply) appendCommands(dst []byte, name string, all Reason) []byte {
	if r.Verb != Control || all.Allowed() {
		return dst
	}
	if r.ForAll {
		return append(append(dst, name...), "*\n"...)
	}
	for i := range r.Verdicts {
		if reason := r.Verdicts[i].Reason; !reason.Allowed() && (r.Enforced != Undecided || !r.Verdicts[i].Observed) {
			dst = append(r.Commands[i].appendDenied(append(dst, name...), reason), '\n')
		}
	}
	return dst
}

func appendNumber(dst []byte, name string, n int64) []byte {
	return append(strconv.AppendInt(append(dst, name...), n, 10), '\n')
}

// AppendLine appends a line of a reply, unless its value is empty.
//
//go:noinline // for flash
func AppendLine[T string | []byte](dst []byte, name string, value T) []byte {
	if len(value) == 0 {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, '\n')
}
