package token

import "nmosauthd/agent/wire"

// Inspect decodes a token for people to look at: its header and payload unchanged, and OK or the first fault of its
// form and header. Nothing is verified, so nothing may be decided by it.
func Inspect(raw []byte) (header, payload []byte, fault wire.Reason) {
	if len(raw) > MaxBytes {
		return nil, nil, wire.TokenTooLarge
	}
	s, ok := split(raw, make([]byte, len(raw)))
	if !ok {
		return nil, nil, wire.TokenMalformed
	}
	h, _, ok := new(reader).header(s.header, nil)
	if !ok {
		h.fault = wire.TokenJSON
	}
	return s.header, s.payload, h.fault
}
