package decide

import (
	"bytes"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/wire"
)

// Credentials finds the token of a request: in the Authorization header, or, for a WebSocket handshake only, in the
// query of a target (ANS-9, RFC 6750 §2). Several targets are the sources of one socket, whose handshake had one query:
// the same token may be on one or more of them. Without a token, fault is the reason; with one it is Undecided. The
// token borrows from the header or, decoded from a query, from scratch, which is returned as grown.
func Credentials(r *wire.Request, scratch []byte) (fault wire.Reason, tok, grown []byte) {
	fault, tok = bearer(r.Authorization)
	if !IsHandshake(r) {
		return fault, tok, scratch
	}
	var query []byte
	found := false
	for _, target := range r.Targets {
		value, n := queryToken(target)
		switch {
		case n == 0:
			continue
		case n > 1, found && !bytes.Equal(value, query), fault != wire.NoToken: // RFC 6750 §2: one token a request
			return wire.TwoTokens, nil, scratch
		}
		query, found = value, true
	}
	if !found {
		return fault, tok, scratch
	}
	decoded, ok := unescape(scratch[:0], query)
	switch {
	case !ok:
		return wire.TokenMalformed, nil, decoded
	case len(decoded) == 0:
		return wire.EmptyToken, nil, decoded
	}
	return wire.Undecided, decoded, decoded
}

// bearer reads the value of an Authorization header (RFC 6750 §2.1).
func bearer(value []byte) (wire.Reason, []byte) {
	tok, is := cutScheme(value)
	if !is {
		return wire.NoToken, nil
	}
	if len(tok) == 0 {
		return wire.EmptyToken, nil
	}
	// Two headers may arrive joined by a comma (RFC 9110 §5.3). Any other comma is refused with the token's form.
	if _, second, found := bytes.Cut(tok, []byte(",")); found {
		if _, is = cutScheme(bytes.TrimLeft(second, " \t")); is {
			return wire.TwoTokens, nil
		}
	}
	return wire.Undecided, tok
}

// cutScheme removes the case-insensitive scheme "Bearer" (RFC 9110 §11.1) and the spaces after it.
func cutScheme(value []byte) (rest []byte, is bool) {
	const scheme = "bearer"
	if len(value) < len(scheme) || !ascii.EqualFold(value[:len(scheme)], scheme) {
		return nil, false
	}
	rest = value[len(scheme):]
	if len(rest) > 0 && rest[0] != ' ' {
		return nil, false // another scheme, with a longer name
	}
	return bytes.TrimLeft(rest, " "), true
}

// IsHandshake reports whether the request opens a WebSocket (RFC 6455 §4.1). Upgrade may be a list of protocols.
func IsHandshake(r *wire.Request) bool {
	if len(r.Method) > 0 && string(r.Method) != "GET" { // decide-all may leave it out
		return false
	}
	upgrade := r.Upgrade
	for len(upgrade) > 0 {
		var one []byte
		one, upgrade, _ = bytes.Cut(upgrade, []byte(","))
		if ascii.EqualFold(bytes.Trim(one, " \t"), "websocket") {
			return true
		}
	}
	return false
}

// queryToken returns the first access_token of the target's query, still encoded, and how many there are.
func queryToken(target []byte) (value []byte, n int) {
	_, query, _ := bytes.Cut(target, []byte("?"))
	query, _, _ = bytes.Cut(query, []byte("#"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		name, v, _ := bytes.Cut(pair, []byte("="))
		if !bytes.Equal(name, []byte("access_token")) {
			continue
		}
		if n++; n == 1 {
			value = v
		}
	}
	return value, n
}

// unescape decodes percent-encoding. A "+" is kept: no token contains one, so it is refused either way.
func unescape(dst, b []byte) ([]byte, bool) {
	for len(b) > 0 {
		c := b[0]
		if c != '%' {
			dst, b = append(dst, c), b[1:]
			continue
		}
		c, ok := unhex(b)
		if !ok {
			return dst, false
		}
		dst, b = append(dst, c), b[3:]
	}
	return dst, true
}
