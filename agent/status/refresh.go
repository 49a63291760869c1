package status

import (
	"io"
	"strconv"
	"strings"
)

// Refresh is what a refresh of the keys has changed: POST /refresh. The names of its fields in JSON are stable.
type Refresh struct {
	Issuers []Refreshed `json:"issuers"`
	Found   []string    `json:"servers_found,omitempty"` // that were not there before
	Gone    []string    `json:"servers_gone,omitempty"`
	Refused int         `json:"tokens_refused"` // of all issuers
}

// Refreshed is an issuer whose keys were fetched.
type Refreshed struct {
	Issuer  string   `json:"issuer"`
	Error   string   `json:"error,omitempty"` // why they were not; those held stay valid
	Keys    []string `json:"keys"`            // held now, by their kids
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	// Refused is how many tokens that were remembered are refused from now on, since their key is gone.
	Refused int `json:"tokens_refused"`
}

// WriteText writes it for people.
func (r *Refresh) WriteText(w io.Writer) error {
	t := &text{}
	for i := range r.Issuers {
		v := &r.Issuers[i]
		t.row("server", v.Issuer)
		t.row("", many(len(v.Keys), "key"), quoted(" ", v.Keys))
		switch {
		case v.Error != "":
			t.row("", "NOT FETCHED: "+v.Error)
		case len(v.Added)+len(v.Removed) == 0:
			t.row("", "nothing changed")
		default:
			t.row("", t.some(len(v.Added) > 0, "added"), quoted(" ", v.Added),
				t.some(len(v.Added)*len(v.Removed) > 0, ", "), t.some(len(v.Removed) > 0, "removed"),
				quoted(" ", v.Removed))
		}
		if v.Refused > 0 {
			t.row("", "refused from now on: ", many(v.Refused, "token"), " that had been verified")
		}
	}
	for _, url := range r.Found {
		t.row("found", url)
	}
	for _, url := range r.Gone {
		t.row("gone", url)
	}
	t.row("tokens", many(r.Refused, "token"), " refused by this, of those remembered")
	_, err := w.Write(t.b)
	return err
}

// quoted returns names in quotes, with this before each.
func quoted(before string, names []string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(before + strconv.Quote(name))
	}
	return b.String()
}
