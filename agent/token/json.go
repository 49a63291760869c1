package token

import (
	"bytes"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/wire"
)

// reader reads the two JSON objects of a token in one pass each. Only it and agent/inventory use jsontext, which
// refuses duplicate names, invalid UTF-8 and unpaired surrogates by itself (TOK-5, RFC 8725 §2.4). It is reused.
type reader struct {
	in   bytes.Buffer
	dec  jsontext.Decoder
	name []byte // scratch for names with escapes
	// audience is the aud of the payload read last; see readAudience.
	audience []byte
}

// start begins one document, which must be an object.
func (r *reader) start(document []byte) bool {
	r.in = *bytes.NewBuffer(document) // jsontext parses a bytes.Buffer in place
	r.dec.Reset(&r.in)
	t, err := r.dec.ReadToken()
	return err == nil && t.Kind() == '{'
}

// end reports whether the object was the whole document.
func (r *reader) end() bool {
	_, err := r.dec.ReadToken()
	return err == io.EOF
}

// member reads the next member's name. ok is false if the JSON is invalid; at the object's end more is false.
func (r *reader) member() (name []byte, more, ok bool) {
	if r.dec.PeekKind() == '}' {
		_, err := r.dec.ReadToken()
		return nil, false, err == nil
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, false, false
	}
	if !bytes.ContainsRune(v, '\\') {
		return v[1 : len(v)-1], true, true
	}
	r.name, err = jsontext.AppendUnquote(r.name[:0], v)
	return r.name, true, err == nil
}

// skip reads over a value of any kind and reports whether it is well formed and not nested too deep.
func (r *reader) skip() bool {
	depth := r.dec.StackDepth()
	for {
		if _, err := r.dec.ReadToken(); err != nil {
			return false
		}
		switch now := r.dec.StackDepth(); {
		case now > MaxDepth:
			return false
		case now == depth:
			return true
		}
	}
}

// appendString appends the text of a string to dst. If the value is of another kind, it is skipped and is is false.
func (r *reader) appendString(dst []byte) (text []byte, is, ok bool) {
	if r.dec.PeekKind() != '"' {
		return dst, false, r.skip()
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return dst, false, false
	}
	dst, err = jsontext.AppendUnquote(dst, v)
	return dst, true, err == nil
}

// time reads a NumericDate (RFC 7519 §2) in microseconds, held within ±maxTime. is is false if the value is not a
// number.
func (r *reader) time() (us int64, is, ok bool) {
	if r.dec.PeekKind() != '0' {
		return 0, false, r.skip()
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return 0, false, false
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0, false, true // such as 1e400, which cannot be compared
	}
	return int64(min(max(seconds*1e6, float64(noTime+1)), float64(maxTime-1))), true, true
}

// header holds the members used of the JOSE header (RFC 7515 §4.1). Keys inside it are never looked at (TOK-3).
type header struct {
	fault wire.Reason // OK, or the first of the rules TOK-2 to TOK-4 that it breaks
	kid   []byte
}

// header reads the JOSE header. text is scratch, which kid borrows from.
func (r *reader) header(document, text []byte) (h header, grown []byte, ok bool) {
	if !r.start(document) {
		return h, text, false
	}
	rs512, critical, typeKnown := false, false, true
	for {
		name, more, ok := r.member()
		if !ok {
			return h, text, false
		}
		if !more {
			break
		}
		at := len(text)
		is := false
		switch string(name) {
		case "alg":
			text, is, ok = r.appendString(text)
			rs512 = is && string(text[at:]) == "RS512"
		case "crit":
			critical = true
			ok = r.skip()
		case "typ":
			text, is, ok = r.appendString(text)
			typeKnown = is && accessTokenType(text[at:])
		case "kid":
			text, is, ok = r.appendString(text)
			ok = ok && is // RFC 7515 §4.1.4
			h.kid = text[at:]
		default:
			ok = r.skip()
		}
		if !ok {
			return h, text, false
		}
	}
	switch {
	case !rs512:
		h.fault = wire.TokenAlgorithm
	case critical:
		h.fault = wire.TokenCritical
	case !typeKnown:
		h.fault = wire.TokenType
	default:
		h.fault = wire.OK
	}
	return h, text, r.end()
}

// accessTokenType reports whether typ is that of an access token: JWT or at+jwt, in any case, with or without
// "application/" (TOK-4, RFC 7515 §4.1.9).
func accessTokenType(typ []byte) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && ascii.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return ascii.EqualFold(typ, "jwt") || ascii.EqualFold(typ, "at+jwt")
}
