package keys

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"filippo.io/bigmod"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a key set document (KEY-4, KEY-8, TOK-6).
const (
	MaxDocument = 256 << 10 // bytes
	MaxKeys     = 64
	maxKID      = 256  // bytes
	minKeyBits  = 2048 // RFC 7518 §3.3
	maxKeyBits  = 8192 // with longer keys, one forged token would cost the device too much
	// maxWork bounds the sum of bits² over a set: the cost of a signature check is bits², and a forged token is tried
	// against every key.
	maxWork = 512 << 20 // 128 keys of 2048 bits, 8 of 8192
)

// ErrUnneeded is reported by Parse for a key for another algorithm or purpose: every realm publishes such keys.
var ErrUnneeded = errors.New("a key for another purpose")

// unneeded is an ErrUnneeded with a reason.
type unneeded string

func (u unneeded) Error() string        { return string(u) }
func (u unneeded) Is(target error) bool { return target == ErrUnneeded }

// errNoKeys is for a well-formed document without a key that can verify an access token.
var errNoKeys = errors.New("the key set holds no RSA key that can verify RS512")

// Parse reads a JWK Set (RFC 7517 §5), or a bare array of keys (INFO-002's example), key by key: one that cannot be
// used is left out and named in the second result; the others remain (KEY-4). An error means that no key can
// be used.
func Parse(document []byte) ([]Key, []error, error) {
	if len(document) > MaxDocument {
		return nil, nil, fmt.Errorf("the key set is over %d bytes", MaxDocument)
	}
	raw, err := elements(bytes.TrimLeft(bytes.TrimPrefix(document, []byte("\ufeff")), " \t\r\n"))
	if err != nil {
		return nil, nil, err
	}
	if len(raw) > MaxKeys {
		return nil, nil, fmt.Errorf("the key set holds more than %d keys", MaxKeys)
	}
	var keys []Key
	var left []error
	for n, r := range raw {
		k, err := parseKey(r)
		if err != nil {
			left = append(left, fmt.Errorf("key %d left out: %w", n+1, err))
			continue
		}
		keys = append(keys, *k)
	}
	if fit := affordable(keys); len(fit) < len(keys) {
		left = append(left, fmt.Errorf("the last %d of %d good keys left out: trying them all would take too long",
			len(keys)-len(fit), len(keys)))
		keys = fit
	}
	if len(keys) == 0 {
		return nil, left, errNoKeys
	}
	return keys, left, nil
}

// affordable returns the first keys, as many as maxWork allows.
func affordable(keys []Key) []Key {
	work := 0
	for n := range keys {
		bits := keys[n].Public.N.BitLen()
		if work += bits * bits; work > maxWork {
			return keys[:n]
		}
	}
	return keys
}

// elements returns the keys of a document undecoded, and at most one more than is allowed.
func elements(document []byte) ([]jsontext.Value, error) {
	d := decoder(document)
	value, err := d.ReadValue()
	if err == nil {
		err = ended(d)
	}
	if err != nil {
		return nil, fmt.Errorf("the key set is not JSON in the form of RFC 7517: %w", err)
	}
	if value.Kind() == '{' {
		set, err := members(value, "keys")
		if err != nil {
			return nil, err
		}
		value = set["keys"]
	}
	if value.Kind() != '[' {
		return nil, errors.New(`the key set is neither an object with "keys" nor an array of keys`)
	}
	return array(value, MaxKeys+1), nil
}

// decoder reads JSON leniently: a key must not be lost because of members that are not used (KEY-4).
func decoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
}

// ended returns an error if anything but white space follows.
func ended(d *jsontext.Decoder) error {
	if d.PeekKind() == 0 {
		_, err := d.ReadToken()
		if err == io.EOF {
			return nil
		}
		return err
	}
	return errors.New("data after the end of the document")
}

// array returns the elements of a valid JSON array, the first ones if there are more than most.
func array(value jsontext.Value, most int) (all []jsontext.Value) {
	d := decoder(value)
	d.ReadToken()
	for len(all) < most && d.PeekKind() != ']' {
		element, err := d.ReadValue()
		if err != nil {
			return nil
		}
		all = append(all, element.Clone())
	}
	return all
}

// members returns those of an object's members that have one of these names; the others are skipped.
// A null counts as absent. The same name twice is an error: it is ambiguous.
func members(object jsontext.Value, names ...string) (map[string]jsontext.Value, error) {
	if object.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	found := map[string]jsontext.Value{}
	d := decoder(object)
	d.ReadToken()
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, name) {
			continue
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("the object gives one member name twice: %q", name)
		}
		found[name] = value.Clone()
	}
	for name, value := range found {
		if value.Kind() == 'n' {
			delete(found, name)
		}
	}
	return found, nil
}

// parseKey reads one key, and only the members named here (KEY-4).
func parseKey(raw jsontext.Value) (*Key, error) {
	jwk, err := members(raw, "kty", "use", "key_ops", "alg", "kid", "n", "e")
	if err != nil {
		return nil, err
	}
	use, alg := "sig", string(jose.RS512) // null is as good as absent, "" is another
	var kty, kid, n, e string
	for _, m := range []struct {
		name string
		into *string
	}{{"kty", &kty}, {"use", &use}, {"alg", &alg}, {"kid", &kid}, {"n", &n}, {"e", &e}} {
		value, given := jwk[m.name]
		switch {
		case !given:
		case value.Kind() != '"':
			return nil, fmt.Errorf("%s is not a string", m.name)
		default:
			*m.into = text(value)
		}
	}
	ops, restricted := jwk["key_ops"]
	verifies := text(ops) == "verify" // AMWA's test suite sends a string instead of an array
	switch {
	case !restricted || ops.Kind() == '"':
	case ops.Kind() == '[':
		verifies = slices.ContainsFunc(array(ops, MaxKeys), func(op jsontext.Value) bool {
			return text(op) == "verify"
		})
	default:
		return nil, errors.New("key_ops is not an array")
	}
	switch {
	case kty == "":
		return nil, errors.New("kty is missing")
	case kty != "RSA":
		return nil, unneeded(fmt.Sprintf("kty is %+.20q, not RSA", kty))
	case use != "sig":
		return nil, unneeded(fmt.Sprintf("use is %+.20q, not sig", use))
	case alg != string(jose.RS512):
		return nil, unneeded(fmt.Sprintf("alg is %+.20q, not RS512", alg))
	case restricted && !verifies:
		return nil, unneeded("key_ops lacks verify")
	case len(kid) > maxKID:
		return nil, fmt.Errorf("kid has %d bytes, more than %d", len(kid), maxKID)
	}
	modulus, err := number("n", n)
	if err != nil {
		return nil, err
	}
	exponent, err := number("e", e)
	if err != nil {
		return nil, err
	}
	bits := modulus.BitLen()
	switch {
	case bits < minKeyBits || bits > maxKeyBits:
		return nil, fmt.Errorf("the modulus has %d bits, not %d to %d", bits, minKeyBits, maxKeyBits)
	case modulus.Bit(0) == 0 || exponent.BitLen() > 31 || exponent.Bit(0) == 0 || exponent.Int64() < 3:
		return nil, errors.New("invalid RSA modulus or exponent")
	}
	return newKey(kid, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())})
}

// text returns the text of a JSON string, and "" for everything else.
func text(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	text, _ := jsontext.AppendUnquote(nil, value) // the only error is invalid UTF-8, which has been replaced
	return string(text)
}

// number reads a Base64urlUInt (RFC 7518 §2). Padding, which some servers write, is accepted.
func number(name, text string) (*big.Int, error) {
	if text == "" {
		return nil, fmt.Errorf("%s is missing", name)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url: %w", name, err)
	}
	return new(big.Int).SetBytes(b), nil
}

func newKey(kid string, pub *rsa.PublicKey) (*Key, error) {
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	modulus, err := bigmod.NewModulus(pub.N.Bytes())
	if err != nil {
		return nil, err
	}
	k := &Key{KID: kid, Public: pub, modulus: modulus}
	copy(k.Thumbprint[:], sum)
	return k, nil
}
