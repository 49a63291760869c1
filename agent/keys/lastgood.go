package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-json-experiment/json/jsontext"
)

// LastGood is what is kept of keys across restarts (KEY-3). Its encoded form is one line of JSON and one with that line's
// SHA-256, so that damage shows. A later release may add members, which this one passes over; one that changes the meaning of a
// member must raise the format, and this one then says that it cannot read it.
type LastGood struct {
	Servers []string // issuers that discovery had found, in order
	Issuers []Held
}

// Held is what was held of one issuer.
type Held struct {
	Name    string
	Keys    []Key
	Retired []string // kids that had left the set
}

// MaxLastGood is the most that an encoded LastGood can have, bytes: every followed issuer with a full set.
const MaxLastGood = 2 << 20

// format is raised when a reader of the format before would misread it.
const format = 1

type fileForm struct {
	Format  int          `json:"format"`
	Servers []string     `json:"servers"`
	Issuers []issuerForm `json:"issuers"`
}

type issuerForm struct {
	Issuer  string            `json:"issuer"`
	Keys    []json.RawMessage `json:"keys"` // RFC 7517
	Retired []string          `json:"retired,omitempty"`
}

// LastGood returns what is held now, to be kept. servers are those that discovery found.
func (s *Set) LastGood(servers []string) LastGood {
	g := LastGood{Servers: servers}
	for _, i := range s.Issuers() {
		g.Issuers = append(g.Issuers, Held{Name: i.Name, Keys: i.Keys, Retired: i.retired})
	}
	return g
}

// Encode returns the bytes to keep. What is the same gives the same bytes.
func (g LastGood) Encode() ([]byte, error) {
	form := fileForm{Format: format, Servers: g.Servers}
	for _, h := range g.Issuers {
		i := issuerForm{Issuer: h.Name, Retired: h.Retired}
		for _, k := range h.Keys {
			raw, err := jose.JSONWebKey{Key: k.Public, KeyID: k.KID, Algorithm: string(jose.RS512), Use: "sig"}.MarshalJSON()
			if err != nil {
				return nil, fmt.Errorf("keys: encoding key %q of %s: %w", k.KID, h.Name, err)
			}
			i.Keys = append(i.Keys, raw)
		}
		form.Issuers = append(form.Issuers, i)
	}
	line, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return append(append(line, '\n'), checksum(line)...), nil
}

func checksum(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:]) + "\n"
}

// DecodeLastGood reads what Encode made. An error says what is wrong with it; nothing of it is to be used then.
func DecodeLastGood(data []byte) (LastGood, error) {
	if len(data) > MaxLastGood {
		return LastGood{}, fmt.Errorf("it is over %d bytes", MaxLastGood)
	}
	line, sum, found := bytes.Cut(data, []byte("\n"))
	if !found || string(sum) != checksum(line) {
		return LastGood{}, errors.New("it is damaged: its checksum is not that of its content")
	}
	var form fileForm
	if err := json.Unmarshal(line, &form); err != nil {
		return LastGood{}, fmt.Errorf("it is not the JSON expected: %w", err)
	}
	if form.Format != format {
		return LastGood{}, fmt.Errorf("it has format %d, and this release reads %d", form.Format, format)
	}
	g := LastGood{Servers: form.Servers}
	for _, i := range form.Issuers {
		h := Held{Name: i.Issuer, Retired: slices.Clone(i.Retired[:min(len(i.Retired), maxRetired)])}
		for _, raw := range i.Keys[:min(len(i.Keys), MaxKeys)] {
			k, err := parseKey(jsontext.Value(raw))
			if err != nil {
				return LastGood{}, fmt.Errorf("a key of %.100q in it is none: %w", i.Issuer, err)
			}
			h.Keys = append(h.Keys, k)
		}
		if len(h.Keys) == 0 {
			return LastGood{}, fmt.Errorf("it holds no key of %.100q", i.Issuer)
		}
		g.Issuers = append(g.Issuers, h)
	}
	return g, nil
}
