package explain

import (
	"sort"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/decide"
)

// Claims are x-nmos-* claims as an authorization server takes them: the claim's name, its permissions, their path
// specifiers.
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
	if n.Both {
		n.Both = false
		c.Add(n)
		n.Permission = "write"
	}
	list := c[name][n.Permission]
	specifier := string(n.Specifier)
	at := sort.SearchStrings(list, specifier)
	if at < len(list) && list[at] == specifier {
		return
	}
	list = append(list, "")
	copy(list[at+1:], list[at:])
	list[at] = specifier
	c[name][n.Permission] = list
}

// String returns the claims as JSON, in one line.
func (c Claims) String() string {
	text, _ := json.Marshal(c) // of strings in maps: cannot fail
	return string(text)
}
