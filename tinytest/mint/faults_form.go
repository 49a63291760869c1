package mint

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// TokenLimit is the default limit of a whole token in bytes (TOK-5).
const TokenLimit = 16 << 10

// formFaults break the compact serialization (TOK-1) or the size limit. The signature is good over the text as it
// stands wherever there is one, so a lenient decoder would accept the token.
func formFaults() []Case {
	return []Case{
		fault("token-empty", "ANS-4", "token-empty", func(*Token) string { return "" }),
		fault("token-over-limit", "TOK-5", "token-too-large", func(t *Token) string { return t.sized(TokenLimit + 1) }),
		fault("token-100-kb", "TOK-5", "token-too-large", func(t *Token) string { return t.sized(100_000) }).
			packet("packet-too-long"),

		fault("segments-1", "TOK-1", "token-malformed", func(t *Token) string {
			_, payload := t.segments()
			return payload
		}),
		fault("segments-2", "TOK-1", "token-malformed", func(t *Token) string {
			head, payload := t.segments()
			return head + "." + payload
		}),
		fault("segments-4", "TOK-1", "token-malformed",
			func(t *Token) string { return t.Sign() + "." + encode([]byte("{}")) }),
		fault("segments-5-jwe", "TOK-1", "token-malformed", jweForm),
		fault("dot-after", "TOK-1", "token-malformed", func(t *Token) string { return t.Sign() + "." }),
		fault("dot-before", "TOK-1", "token-malformed", func(t *Token) string { return "." + t.Sign() }),
		fault("segments-empty", "TOK-1", "token-malformed", func(*Token) string { return ".." }),
		fault("header-segment-empty", "TOK-1", "token-malformed", func(t *Token) string {
			_, payload := t.segments()
			return signText("."+payload, t.Key)
		}),
		fault("payload-segment-empty", "TOK-1", "token-malformed", func(t *Token) string {
			head, _ := t.segments()
			return signText(head+".", t.Key)
		}),
		fault("signature-segment-empty", "TOK-6", "signature", func(t *Token) string {
			head, payload := t.segments()
			return head + "." + payload + "."
		}).note("RFC 7515 lets the third segment be empty, for alg none; zero bytes sign nothing"),
		fault("json-serialization", "TOK-1", "token-malformed", jsonForm),
		fault("json-serialization-flat", "TOK-1", "token-malformed", flatForm),

		fault("header-padded", "TOK-1", "token-malformed", func(t *Token) string {
			_, payload := t.segments()
			head := t.Header.Bytes()
			for len(head)%3 == 0 {
				head = append(head, ' ')
			}
			return signText(base64.URLEncoding.EncodeToString(head)+"."+payload, t.Key)
		}),
		fault("payload-padded", "TOK-1", "token-malformed", func(t *Token) string {
			t.unaligned()
			head, _ := t.segments()
			return signText(head+"."+base64.URLEncoding.EncodeToString(t.Claims.Bytes()), t.Key)
		}),
		fault("signature-padded", "TOK-1", "token-malformed", func(t *Token) string {
			input, sig := cutSignature(t.Sign())
			return input + "." + sig + strings.Repeat("=", padding(sig))
		}),

		fault("payload-space", "TOK-1", "token-malformed", inPayload(" ")),
		fault("payload-tab", "TOK-1", "token-malformed", inPayload("\t")),
		fault("payload-newline", "TOK-1", "token-malformed", inPayload("\n")).packet("packet-form"),
		fault("payload-carriage-return", "TOK-1", "token-malformed", inPayload("\r")),
		fault("payload-nul", "TOK-1", "token-malformed", inPayload("\x00")).packet("packet-text"),
		fault("payload-non-ascii", "TOK-1", "token-malformed", inPayload("é")),
		fault("signature-space", "TOK-1", "token-malformed", func(t *Token) string {
			input, sig := cutSignature(t.Sign())
			return input + "." + sig[:4] + " " + sig[4:]
		}),
		fault("signature-carriage-return-after", "TOK-1", "token-malformed",
			func(t *Token) string { return t.Sign() + "\r" }),

		fault("payload-standard-alphabet", "TOK-1", "token-malformed", func(t *Token) string {
			t.Claims.Set("x-alphabet", "?????>>>>>") // holds _ and - in base64url, wherever it comes to stand
			head, payload := t.segments()
			return signText(head+"."+standardAlphabet(payload), t.Key)
		}),
		fault("signature-standard-alphabet", "TOK-1", "token-malformed", func(t *Token) string {
			for try := 0; ; try++ { // once in tens of thousands a signature has neither of the two characters
				t.Claims.Set("x-try", try)
				input, sig := cutSignature(t.Sign())
				if s := standardAlphabet(sig); s != sig {
					return input + "." + s
				}
			}
		}),
		fault("payload-trailing-bits", "TOK-1", "token-malformed", func(t *Token) string {
			t.unaligned()
			head, payload := t.segments()
			return signText(head+"."+trailingBits(payload), t.Key)
		}),
		fault("signature-trailing-bits", "TOK-1", "token-malformed", func(t *Token) string {
			input, sig := cutSignature(t.Sign())
			return input + "." + trailingBits(sig)
		}),
		fault("payload-one-character-over", "TOK-1", "token-malformed", func(t *Token) string {
			for len(t.Claims.Bytes())%3 != 0 {
				t.Claims.SetRaw("x-length", quote(strings.Repeat("x", len(t.Claims.Get("x-length")))))
			}
			head, payload := t.segments()
			return signText(head+"."+payload+"A", t.Key) // 4n+1 characters: no number of bytes encodes so
		}),
	}
}

func formVariants() []Case {
	return []Case{
		good("base", "TOK-1", (*Token).Sign),
		good("token-at-limit", "TOK-5", func(t *Token) string { return t.sized(TokenLimit) }),
	}
}

// sized signs the token with a claim that fills it to n bytes. Base64 leaves out one length in four for a segment; the
// token then has the next length toward the limit's own side: below for n up to the limit, above for one over it.
func (t *Token) sized(n int) string {
	t.Claims.Set("x-fill", "")
	fill := (n - len(t.Sign())) * 3 / 4
	best := ""
	for extra := -4; extra <= 4; extra++ {
		t.Claims.Set("x-fill", strings.Repeat("x", max(0, fill+extra)))
		head, payload := t.segments()
		size := len(head) + len(payload) + 2 + base64.RawURLEncoding.EncodedLen(t.Key.Private.Size())
		if size <= n || n > TokenLimit {
			best = head + "." + payload
		}
		if size >= n {
			break
		}
	}
	return signText(best, t.Key)
}

// jweForm looks like an encrypted token (RFC 7516 §7.1).
func jweForm(t *Token) string {
	t.Header.Set("alg", "RSA-OAEP-256")
	t.Header.Set("enc", "A256GCM")
	head, payload := t.segments()
	return head + "." + encode(make([]byte, t.Key.Private.Size())) + "." + encode(
		make([]byte, 12)) + "." + payload + "." +
		encode(make([]byte, 16))
}

// jsonForm is the general JWS JSON serialization (RFC 7515 §7.2.1).
func jsonForm(t *Token) string {
	head, payload := t.segments()
	_, sig := cutSignature(t.Sign())
	return fmt.Sprintf(`{"payload":"%s","signatures":[{"protected":"%s","signature":"%s"}]}`, payload, head, sig)
}

// flatForm is the flattened JWS JSON serialization (RFC 7515 §7.2.2).
func flatForm(t *Token) string {
	head, payload := t.segments()
	_, sig := cutSignature(t.Sign())
	return fmt.Sprintf(`{"payload":"%s","protected":"%s","signature":"%s"}`, payload, head, sig)
}

// inPayload puts s into the payload's segment.
func inPayload(s string) maker {
	return func(t *Token) string {
		head, payload := t.segments()
		return signText(head+"."+payload[:8]+s+payload[8:], t.Key)
	}
}

func standardAlphabet(segment string) string {
	return strings.NewReplacer("-", "+", "_", "/").Replace(segment)
}

func cutSignature(token string) (input, sig string) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:]
}

func padding(segment string) int { return (4 - len(segment)%4) % 4 }

// trailingBits sets the lowest of the bits of the last character that encode nothing (RFC 4648 §3.5). It panics for a
// segment that has no such bits.
func trailingBits(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if padding(segment) == 0 {
		panic("mint: the segment has no unused bits")
	}
	last := len(segment) - 1
	return segment[:last] + string(alphabet[strings.IndexByte(alphabet, segment[last])|1])
}
