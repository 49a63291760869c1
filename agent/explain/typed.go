package explain

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// Defaults for claims that are left out and not configured.
const (
	typedIssuer = "https://authorization-server.example"
	typedName   = "what-if"
	typedLife   = time.Hour
)

// typed makes a token of Claims. They are judged to the letter; of the claims that every token must have, those that
// are left out are put in such that they are good.
func (s *state) typed() error {
	text := bytes.TrimSpace(s.Claims)
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &given); err != nil {
		return fmt.Errorf("the claims are not a plain JSON object: %w", err)
	}
	if text[0] != '{' { // "null"
		return errors.New("the claims are not a plain JSON object")
	}
	issuer := typedIssuer
	if servers := s.Config.Authorization.Servers; len(servers) > 0 {
		issuer = servers[0]
	}
	_, azp := given["azp"]
	fill := map[string]any{}
	for _, claim := range [...]struct {
		name string
		good any
	}{
		{"aud", s.Names}, {"client_id", typedName}, {"exp", s.Now.Add(typedLife).Unix()}, {"iss", issuer},
		{"sub", typedName},
	} {
		if _, is := given[claim.name]; !is && !(claim.name == "client_id" && azp) {
			fill[claim.name] = claim.good
			s.filled = append(s.filled, claim.name)
		}
	}
	payload := text
	if len(fill) > 0 {
		good, err := json.Marshal(fill)
		if err != nil {
			return err
		}
		payload = good
		if len(given) > 0 { // beside each other, since what was typed stays as it stands
			payload = append(append(good[:len(good)-1], ','), text[1:]...)
		}
	}
	var err error
	s.JWKS, s.Token, err = sign(payload)
	return err
}
