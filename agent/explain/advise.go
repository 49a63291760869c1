package explain

import (
	"bytes"
	"fmt"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// verdict writes what a reason is.
func verdict(b *bytes.Buffer, r wire.Reason) {
	info := r.Info()
	word := "deny" // also for a record about a malformed packet
	if r.Allowed() {
		word = "allow"
	}
	fmt.Fprintf(b, "\n%s %d %s: %s\nrule %s (%s)\n", word, info.Status, info.Code, info.Text, info.Rule, info.Source)
}

// advise writes what a reason means and what to do. tokenAlone reports that nothing else was asked about.
func advise(b *bytes.Buffer, r wire.Reason, tokenAlone bool, access decide.Access, spots []spot) {
	advice := AdviceOn(r)
	switch {
	case r == wire.OK && tokenAlone:
		advice = aboutToken
	case r == wire.APINotGranted && len(spots) == 1 && access == decide.Write && spots[0].isBase():
		advice = WritingBase
	}
	b.WriteString("\n" + advice.Means + "\n")
	if advice.Do != "" {
		b.WriteString(advice.Do + "\n")
	}
}

// isGrant reports whether a reason is that the token's claims lack something.
func isGrant(r wire.Reason) bool {
	switch r {
	case wire.APINotGranted, wire.PathNotGranted, wire.ControlNotGranted, wire.SubtreeNotGranted:
		return true
	}
	return false
}

// isBase reports whether it is the base of an API, which can only be read.
func (s *spot) isBase() bool { return s.Kind == decide.Base || s.Kind == decide.Control }

// missing writes a claim that is missing, as JSON to paste.
func missing(b *bytes.Buffer, claim any) {
	text, _ := json.Marshal(claim) // of strings in maps: cannot fail
	fmt.Fprintf(b, "Missing: %s\n", text)
}

// missingFor writes the claims that grant an access to these paths, or why none does.
func missingFor(b *bytes.Buffer, access decide.Access, rules *decide.Rules, spots []spot) {
	claims := Claims{}
	var notes bytes.Buffer
	for i := range spots {
		spot := &spots[i]
		n, ok := rules.Needs(access, spot.Place)
		note := ""
		switch {
		case !ok && spot.isBase() && len(spots) == 1: // WritingBase covers it
		case !ok && spot.isBase():
			note = "No claim grants %s: the base of an API can only be read.\n"
		case !ok:
			note = "No claim grants %s: the configuration assigns none to that path.\n"
		case n.Wide && bytes.IndexByte(n.Specifier, '*') >= 0:
			note = "That is more than %s: a * in a claim stands for anything.\n"
		case n.Wide && (spot.Kind == decide.RolePaths || spot.Kind == decide.Control):
			note = "For %s alone any other specifier will do as well.\n"
		case n.Wide:
			note = "That is more than %s: without a model's prefix it holds in every device model.\n"
		case n.Both:
			notes.WriteString("Or the same in x-nmos-ncp; * stands for root.* there, too.\n")
		case n.Permission == "":
			fmt.Fprintf(&notes, "Or the name %s in scope.\n", n.API)
		}
		if note != "" {
			fmt.Fprintf(&notes, note, spot.path)
		}
		if !ok {
			continue
		}
		if access == decide.Read && spot.Socket().Kind != spot.Kind {
			fmt.Fprintf(&notes, "To open %s as a WebSocket needs the specifier * (PATH-14).\n", spot.path)
		}
		claims.Add(n)
	}
	if len(claims) > 0 {
		missing(b, claims)
	}
	b.Write(notes.Bytes())
}
