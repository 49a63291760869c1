package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-json-experiment/json/jsontext"
)

// LastGood holds the keys kept across restarts (KEY-3). Its encoded form is one line of JSON and one with that
// line's SHA-256, so that damage shows. A later release may add members, which this one ignores; one that changes
// the meaning of a member must raise the format, and this one then reports that it cannot read it.
type LastGood struct {
	Servers []string // issuers that discovery had found, in order, for older releases that read them from here
	Issuers []Held
}

// Held holds the keys of one issuer.
type Held struct {
	Name    string
	Keys    []Key
	Retired []string  // kids that have left the set
	Fetched time.Time // when the keys came; zero if unknown
}

// MaxLastGood is the maximum size of an encoded LastGood in bytes, when it is written and when it is read.
// Four keys and the kids of as many that were rotated take less than 4 KiB.
const MaxLastGood = 2 << 20

// format is raised when readers of the previous format would misread the file.
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
	Fetched string            `json:"fetched,omitempty"` // RFC 3339
}

// LastGood returns the keys held now, to be kept. servers are those that discovery found.
func (s *Set) LastGood(servers []string) LastGood {
	g := LastGood{Servers: servers}
	for _, i := range s.Issuers() {
		g.Issuers = append(g.Issuers, Held{Name: i.Name, Keys: i.Keys, Retired: i.retired, Fetched: i.Fetched})
	}
	return g
}

// Equal reports whether g and o hold the same keys, whenever they were fetched.
func (g LastGood) Equal(o LastGood) bool {
	return slices.Equal(g.Servers, o.Servers) && slices.EqualFunc(g.Issuers, o.Issuers, func(a, b Held) bool {
		return a.Name == b.Name && slices.Equal(a.Retired, b.Retired) && slices.EqualFunc(a.Keys, b.Keys, sameKey)
	})
}

func sameKey(a, b Key) bool { return a.KID == b.KID && a.Thumbprint == b.Thumbprint }

// Fit returns the part of g that fits into MaxLastGood bytes, and the issuers whose keys it leaves out: those that need
// the most, so that nobody who publishes much can have the keys of others forgotten (KEY-8).
func (g LastGood) Fit() (fitting LastGood, left []string) {
	sizes := make([]int, len(g.Issuers))
	total := len(`{"format":0,"servers":null,"issuers":null}`) + len("\n") + len(checksum(nil))
	for _, s := range g.Servers {
		quoted, _ := json.Marshal(s) // a string can always be marshalled
		total += len(quoted) + 1
	}
	for n, h := range g.Issuers {
		if form, err := h.form(); err == nil {
			text, _ := json.Marshal(form)
			sizes[n] = len(text) + 1
		}
		total += sizes[n]
	}
	if total <= MaxLastGood {
		return g, nil
	}
	fitting = LastGood{Servers: g.Servers, Issuers: slices.Clone(g.Issuers)}
	for total > MaxLastGood && len(sizes) > 0 {
		n := slices.Index(sizes, slices.Max(sizes))
		left = append(left, fitting.Issuers[n].Name)
		total -= sizes[n]
		sizes, fitting.Issuers = slices.Delete(sizes, n, n+1), slices.Delete(fitting.Issuers, n, n+1)
	}
	return fitting, left
}

func (h Held) form() (issuerForm, error) {
	i := issuerForm{Issuer: h.Name, Retired: h.Retired}
	if !h.Fetched.IsZero() {
		i.Fetched = h.Fetched.UTC().Format(time.RFC3339)
	}
	for _, k := range h.Keys {
		raw, err := jose.JSONWebKey{
			Key:       k.Public,
			KeyID:     k.KID,
			Algorithm: string(jose.RS512),
			Use:       "sig",
		}.MarshalJSON()
		if err != nil {
			return i, fmt.Errorf("keys: encoding key %q of %s: %w", k.KID, h.Name, err)
		}
		i.Keys = append(i.Keys, raw)
	}
	return i, nil
}

// JWKS returns the issuer's keys as a key set (RFC 7517 §5).
func (i *Issuer) JWKS() ([]byte, error) {
	form, err := Held{Keys: i.Keys}.form()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"keys": form.Keys})
}

// Encode returns the bytes to keep; equal values give equal bytes. More than DecodeLastGood reads is an error:
// see Fit.
func (g LastGood) Encode() ([]byte, error) {
	form := fileForm{Format: format, Servers: g.Servers}
	for _, h := range g.Issuers {
		i, err := h.form()
		if err != nil {
			return nil, err
		}
		form.Issuers = append(form.Issuers, i)
	}
	line, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	data := WithChecksum(line)
	if len(data) > MaxLastGood {
		return nil, fmt.Errorf("keys: the keys held take %d bytes, more than the %d that can be read back", len(data),
			MaxLastGood)
	}
	return data, nil
}

// WithChecksum appends a line with a checksum to a line of a state file.
func WithChecksum(line []byte) []byte { return append(append(line, '\n'), checksum(line)...) }

// Unmarshal reads the line that WithChecksum was given, which is JSON. The error is short, whatever the line holds.
func Unmarshal(data []byte, form any) error {
	line, sum, found := bytes.Cut(data, []byte("\n"))
	if !found || string(sum) != checksum(line) {
		return errors.New("damaged: the checksum is not that of the content")
	}
	if err := json.Unmarshal(line, form); err != nil { // it may quote any part of the line
		return fmt.Errorf("not JSON in the form expected: %+.100q", err)
	}
	return nil
}

func checksum(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:]) + "\n"
}

// DecodeLastGood reads the output of Encode. What cannot be used of one issuer, such as a key that this release does
// not accept, is left out and named in the second result; the keys of others remain. An error means that nothing can be
// used.
func DecodeLastGood(data []byte) (LastGood, []error, error) {
	if len(data) > MaxLastGood {
		return LastGood{}, nil, fmt.Errorf("the file of kept keys is over %d bytes", MaxLastGood)
	}
	var form fileForm
	if err := Unmarshal(data, &form); err != nil {
		return LastGood{}, nil, err
	}
	if form.Format != format {
		return LastGood{}, nil, fmt.Errorf("the file has format %d; this release reads %d", form.Format, format)
	}
	g := LastGood{Servers: form.Servers}
	var left []error
	for _, i := range form.Issuers {
		h := Held{Name: i.Issuer}
		for _, kid := range i.Retired {
			if len(kid) <= maxKID && len(h.Retired) < maxRetired {
				h.Retired = append(h.Retired, kid)
			}
		}
		if at, err := time.Parse(time.RFC3339, i.Fetched); err == nil {
			h.Fetched = at
		}
		for n, raw := range i.Keys[:min(len(i.Keys), MaxKeys)] {
			k, err := parseKey(jsontext.Value(raw))
			if err != nil {
				left = append(left, fmt.Errorf("key %d of %+.100q left out: %w", n+1, i.Issuer, err))
				continue
			}
			h.Keys = append(h.Keys, *k)
		}
		if len(h.Keys) == 0 {
			left = append(left, fmt.Errorf("no key of %+.100q", i.Issuer))
			continue
		}
		g.Issuers = append(g.Issuers, h)
	}
	return g, left, nil
}
