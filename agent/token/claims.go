package token

import (
	"bytes"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/wire"
)

// The state of a string claim while the payload is read.
type claim struct {
	span
	present, valid bool
}

// claims reads the payload into t in one pass. It returns false if the JSON is invalid; fault is then not set.
// Otherwise fault is OK or the first CLM rule, in their order, that the claims break: the caller may report it once the
// signature is verified, and not before (TOK-6).
func (r *reader) claims(document []byte, t *Token) (fault wire.Reason, ok bool) {
	t.Reset()
	r.audience = r.audience[:0]
	t.expires, t.issued, t.notBefore = noTime, noTime, noTime
	if !r.start(document) {
		return fault, false
	}
	var issuer, subject, clientID, azp, id claim
	hasAudience, hasExpiry, timesGood, scopeGood := false, false, true, true
	for {
		name, more, ok := r.member()
		if !ok {
			return fault, false
		}
		if !more {
			break
		}
		is := false
		switch string(name) {
		case "iss":
			ok = r.text(t, &issuer)
		case "sub":
			ok = r.text(t, &subject)
		case "client_id":
			ok = r.text(t, &clientID)
		case "azp":
			ok = r.text(t, &azp)
		case "jti":
			ok = r.text(t, &id)
		case "aud":
			hasAudience, ok = r.readAudience()
		case "exp":
			t.expires, hasExpiry, ok = r.time()
		case "iat":
			t.issued, is, ok = r.time()
			timesGood = timesGood && is
		case "nbf":
			t.notBefore, is, ok = r.time()
			timesGood = timesGood && is
		case "scope":
			scopeGood, ok = r.scope(t)
		default:
			if api, found := bytes.CutPrefix(name, nmosPrefix); found && IsAPI(api) {
				ok = r.permissions(t, api)
			} else {
				ok = r.skip()
			}
		}
		if !ok {
			return fault, false
		}
	}
	if !r.end() {
		return fault, false
	}
	t.issuer, t.subject, t.client = issuer.span, subject.span, clientID.span
	if !clientID.present {
		t.client = azp.span
	}
	if id.valid { // jti decides nothing, so an invalid one is ignored
		t.id = id.span
	}
	switch {
	case !issuer.valid || !isURL(t.Issuer()):
		fault = wire.IssuerMissing
	case !subject.valid:
		fault = wire.SubjectMissing
	case !hasAudience:
		fault = wire.AudienceMissing
	case !hasExpiry:
		fault = wire.ExpiryMissing
	case !timesGood:
		fault = wire.TimeForm
	case !clientID.present && !azp.present, clientID.present && !clientID.valid, azp.present && !azp.valid:
		fault = wire.ClientMissing
	case clientID.present && azp.present && !bytes.Equal(t.slice(clientID.span), t.slice(azp.span)):
		fault = wire.ClientConflict
	case !scopeGood:
		fault = wire.ScopeForm
	default:
		fault = wire.OK
	}
	return fault, true
}

var nmosPrefix = []byte("x-nmos-")

// IsAPI reports whether b can be the <api> of a path or claim: lower-case letters, digits and "-" (PATH-10).
func IsAPI(b []byte) bool {
	for _, c := range b {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return len(b) > 0
}

// isURL reports whether iss is a URL. Whoever trusts an issuer decides which URLs may be one (KEY-5).
func isURL(iss []byte) bool {
	scheme, rest, found := bytes.Cut(iss, []byte("://"))
	return found && isScheme(scheme) && len(rest) > 0
}

// open begins a record in the arena; close ends it.
func (t *Token) open(kind byte) (at int) {
	t.text = append(t.text, kind, 0, 0)
	return len(t.text)
}

func (t *Token) close(at int) span {
	n := len(t.text) - at // a payload is shorter than 64 KiB, and so is all of the arena
	t.text[at-2], t.text[at-1] = byte(n), byte(n>>8)
	return span{uint16(at), uint16(n)}
}

// text reads a claim that must be a non-empty string without control characters: these values are
// written into lines of replies and logs.
func (r *reader) text(t *Token, c *claim) (ok bool) {
	at := t.open(recordText)
	c.present = true
	t.text, c.valid, ok = r.appendString(t.text)
	if !c.valid || !ok {
		t.text = t.text[:at-recordHead]
		return ok
	}
	c.span = t.close(at)
	c.valid = c.len > 0 && !ascii.HasControl(t.slice(c.span))
	return true
}

// scope reads the scope claim, one string (CLM-10).
func (r *reader) scope(t *Token) (is, ok bool) {
	at := t.open(recordScope)
	t.text, is, ok = r.appendString(t.text)
	t.close(at)
	return is, ok
}

// readAudience reads aud, an array of strings or one string (CLM-3), into r.audience: entries of two bytes of length
// and that many bytes. They are matched by names, once the signature is verified: a forged token must not buy thousands
// of comparisons (TOK-6).
func (r *reader) readAudience() (is, ok bool) {
	if r.dec.PeekKind() != '[' {
		return r.entry()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return is, false
	}
	is = true
	for r.dec.PeekKind() != ']' {
		str, ok := r.entry()
		if !ok {
			return false, false
		}
		is = is && str
	}
	_, err := r.dec.ReadToken()
	return is, err == nil
}

// entry reads one entry of aud. One that is not a string becomes empty and matches nothing.
func (r *reader) entry() (is, ok bool) {
	at := len(r.audience)
	r.audience, is, ok = r.appendString(append(r.audience, 0, 0))
	n := len(r.audience) - at - 2 // a payload is shorter than 64 KiB
	r.audience[at], r.audience[at+1] = byte(n), byte(n>>8)
	return is, ok
}

// names reports whether an entry of the aud that was read last names this device (CLM-4).
func (r *reader) names(device Names) bool {
	for b := r.audience; len(b) > 0; {
		end := 2 + (int(b[0]) | int(b[1])<<8)
		if device.match(b[2:end]) {
			return true
		}
		b = b[end:]
	}
	return false
}

// permissions reads one x-nmos-<api> claim (CLM-11). If a type in it is wrong, nothing of it is kept.
func (r *reader) permissions(t *Token, api []byte) bool {
	start := len(t.text)
	at := t.open(recordAPI)
	t.text = append(t.text, api...)
	t.close(at)
	if r.dec.PeekKind() != '{' {
		t.text = t.text[:start]
		return r.skip()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return false
	}
	good := true
	for {
		name, more, ok := r.member()
		if !ok {
			return false
		}
		if !more {
			break
		}
		is := true
		switch string(name) {
		case "read":
			is, ok = r.specifiers(t, recordRead)
		case "write":
			is, ok = r.specifiers(t, recordWrite)
		default:
			ok = r.skip()
		}
		if !ok {
			return false
		}
		good = good && is
	}
	if !good {
		t.text = t.text[:start]
	}
	return true
}

// specifiers reads an array of strings into records.
func (r *reader) specifiers(t *Token, kind byte) (is, ok bool) {
	if r.dec.PeekKind() != '[' {
		return false, r.skip()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return is, false
	}
	is = true
	for r.dec.PeekKind() != ']' {
		var str bool
		at := t.open(kind)
		if t.text, str, ok = r.appendString(t.text); !ok {
			return is, false
		}
		t.close(at)
		is = is && str
	}
	_, err := r.dec.ReadToken()
	return is, err == nil
}
