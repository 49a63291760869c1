package token_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// mutator makes other tokens of tokens, the same ones for the same seed.
type mutator struct {
	*rand.Rand
	seeds []string
	key   *mint.Key
}

// interesting are bytes and words that mean something in a token.
var interesting = []string{
	".", "=", "-", "_", "+", "/", " ", "\n", "\r", "\x00", "%", ",", "A", "e", "\xff", "é", "..", "eyJ", `"`, `\`, "{",
	"}", "[", "]", ":", `"alg":"none"`, `"alg":"HS512"`, `"alg":"RS256"`, `,"crit":["exp"]`, `,"kid":"key-2"`,
	`,"sub":"x"`, `\u0061`, `\ud800`, "null", "1e999", "-0", "0", `"*"`, `"aud":`, `"exp":`,
}

func (m *mutator) pick(all []string) string { return all[m.IntN(len(all))] }

// span returns two places in a text, not far from each other.
func (m *mutator) span(text string) (from, to int) {
	from = m.IntN(len(text) + 1)
	return from, from + m.IntN(min(len(text)-from, 12)+1)
}

// edit changes a text in one place.
func (m *mutator) edit(text string) string {
	from, to := m.span(text)
	switch m.IntN(7) {
	case 0:
		if from < len(text) {
			return text[:from] + string([]byte{text[from] ^ 1<<m.IntN(8)}) + text[from+1:]
		}
		return text
	case 1:
		return text[:from] + m.pick(interesting) + text[to:]
	case 2:
		return text[:from] + text[to:]
	case 3:
		return text[:from] + text[from:to] + text[from:]
	case 4:
		return text[:from] + m.pick(interesting) + text[from:]
	case 5:
		return text[:from]
	}
	return text[:from] + strings.ToUpper(text[from:to]) + text[to:]
}

// token returns a token that was changed in one to three places, or not at all, and once in a hundred signed again.
func (m *mutator) token() string {
	raw := m.pick(m.seeds)
	for range m.IntN(4) {
		segments := strings.Split(raw, ".")
		i := m.IntN(len(segments))
		switch m.IntN(6) {
		case 0:
			raw = m.edit(raw)
			continue
		case 1: // a part of another token
			other := strings.Split(m.pick(m.seeds), ".")
			segments[i] = other[min(i, len(other)-1)]
		case 2: // the last character, whose lowest bits may mean nothing
			if n := len(segments[i]); n > 0 {
				const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				segments[i] = segments[i][:n-1] + alphabet[m.IntN(64):][:1]
			}
		default: // what is encoded
			text, err := base64.RawURLEncoding.DecodeString(segments[i])
			if err != nil {
				text = []byte(segments[i])
			}
			segments[i] = base64.RawURLEncoding.EncodeToString([]byte(m.edit(string(text))))
		}
		raw = strings.Join(segments, ".")
	}
	if m.IntN(100) == 0 {
		if at := strings.LastIndexByte(raw, '.'); at > 0 {
			return mint.SignText(raw[:at], m.key)
		}
	}
	return raw
}

// joseVerifies reports whether go-jose takes a token for one that one of the keys has signed, and its payload.
func joseVerifies(raw string, issuer *keys.Issuer) (payload string, ok bool) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS512})
	if err != nil {
		return "", false
	}
	for _, k := range issuer.Keys {
		if p, err := jws.Verify(k.Public); err == nil {
			return string(p), true
		}
	}
	return "", false
}

// mutated is how many tokens are tried: $NMOS_MUTATED if it is set ("make exhaust": ten million).
func mutated(t *testing.T) int {
	text := os.Getenv("NMOS_MUTATED")
	if text == "" {
		return 8_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		t.Fatalf("NMOS_MUTATED=%s: it takes a number of 1000 or more", text)
	}
	return n
}

// Tokens changed at random: what the agent verifies, go-jose verifies, and reads the same payload; what go-jose
// verifies, the agent refuses only for a rule that it has and go-jose has not. One in eight is judged by the slow twin,
// too.
func TestMutatedTokens(t *testing.T) {
	spec.Rules(t, "TOK-1", "TOK-2", "TOK-3", "TOK-5", "TOK-6")
	base := mint.New(mint.Options{Now: present})
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(base.Key, mint.CachedKey("key-2", 2048))}).Set()
	issuer := set.Issuer([]byte(mint.DefaultIssuer))
	seeds := []string{base.Sign()}
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			if tok := c.Make(base); len(tok) < 3000 {
				seeds = append(seeds, tok)
			}
		}
	}
	n := mutated(t)
	var mu sync.Mutex
	total, stricter := map[wire.Reason]int{}, map[wire.Reason]int{}
	var workers sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			m := &mutator{rand.New(rand.NewPCG(1, uint64(worker))), seeds, base.Key}
			v := newVerifier(token.Options{})
			counts, strict := map[wire.Reason]int{}, map[wire.Reason]int{}
			for i := range n / runtime.GOMAXPROCS(0) {
				raw := m.token()
				var tok token.Token
				got := v.Check([]byte(raw), clock, set, &tok).Reason
				counts[got]++
				if i%8 == 0 {
					compareToken(t, raw, got, &tok, set)
				}
				switch fault := against(raw, got, &tok, issuer, strict); {
				case t.Failed():
					return
				case fault != "":
					t.Errorf("%s\n%q", fault, raw)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for reason, n := range counts {
				total[reason] += n
				stricter[reason] += strict[reason]
			}
		})
	}
	workers.Wait()
	sum := 0
	for reason := range wire.Reason(wire.Reasons) {
		if total[reason] > 0 {
			t.Logf("FIGURES %-20s %9d, of which go-jose takes %d", reason, total[reason], stricter[reason])
		}
		sum += total[reason]
	}
	t.Logf("FIGURES %d tokens", sum)
	for _, reason := range []wire.Reason{wire.OK, wire.TokenMalformed, wire.TokenJSON, wire.TokenAlgorithm,
		wire.TokenCritical, wire.TokenType, wire.Signature, wire.KeyUnknown, wire.Expired, wire.Audience} {
		if !t.Failed() && total[reason] == 0 {
			t.Errorf("no token ends with %v: not what was meant", reason)
		}
	}
}

// against compares an answer with go-jose's.
func against(raw string, got wire.Reason, tok *token.Token, issuer *keys.Issuer,
	stricter map[wire.Reason]int) (fault string) {
	payload, verifies := "", false
	switch got {
	case wire.TokenMalformed, wire.TokenJSON, wire.TokenAlgorithm, wire.TokenCritical, wire.TokenType,
		wire.TokenTooLarge:
		if strings.Count(raw, ".") != 2 {
			return "" // go-jose is asked what could be one
		}
		if _, verifies = joseVerifies(raw, issuer); verifies {
			stricter[got]++
			// The twin says which rule of ours it breaks.
			if _, want := slowForm(raw); want != got {
				return fmt.Sprintf("go-jose takes it, the agent says %v, its twin %v", got, want)
			}
			if got == wire.TokenAlgorithm {
				return "go-jose takes it with RS512, the agent says it is another algorithm"
			}
		}
		return ""
	case wire.IssuerMissing:
		return ""
	case wire.KeyUnknown, wire.Signature:
		if string(tok.Issuer()) != issuer.Name {
			return ""
		}
		if _, verifies = joseVerifies(raw, issuer); verifies {
			return fmt.Sprintf("go-jose verifies it, the agent says %v", got)
		}
		return ""
	}
	s, _ := slowForm(raw)
	for _, read := range []string{"jwk", "x5c", "b64", "nonce"} { // which go-jose reads and the agent does not (TOK-3)
		if _, has := s.header[read]; has {
			return ""
		}
	}
	if payload, verifies = joseVerifies(raw, issuer); !verifies {
		return fmt.Sprintf("the agent says %v, go-jose does not verify it", got)
	}
	if want, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1]); payload != string(want) {
		return fmt.Sprintf("go-jose reads the payload %q", payload)
	}
	return ""
}
