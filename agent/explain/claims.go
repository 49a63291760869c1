package explain

import (
	"slices"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/decide"
)

// Claims are x-nmos-* claims as an authorization server takes them: the claim's name, its permissions, their path specifiers.
type Claims map[string]map[string][]string

// Add makes the claims grant what n says. Specifiers are kept sorted, each once.
func (c Claims) Add(n decide.Need) {
	name := "x-nmos-" + string(n.API)
	if c[name] == nil {
		c[name] = map[string][]string{}
	}
	if n.Permission == "" {
		return
	}
	list := c[name][n.Permission]
	if at, found := slices.BinarySearch(list, string(n.Specifier)); !found {
		c[name][n.Permission] = slices.Insert(list, at, string(n.Specifier))
	}
}

// String returns the claims as JSON, in one line.
func (c Claims) String() string {
	text, _ := json.Marshal(c) // of strings in maps: cannot fail
	return string(text)
}
