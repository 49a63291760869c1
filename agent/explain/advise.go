package explain

import (
	"bytes"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// verdict writes what a reason is.
func verdict(w io.Writer, r wire.Reason) error {
	info := r.Info()
	word := "deny" // also for a record about a malformed packet
	if r.Allowed() {
		word = "allow"
	}
	_, err := fmt.Fprintf(w, "\n%s %d %s: %s\nrule %s (%s)\n", word, info.Status, info.Code, info.Text, info.Rule,
		info.Source)
	return err
}

// advise writes what a reason means and what to do. tokenAlone reports that nothing else was asked about.
func advise(
	w io.Writer,
	r wire.Reason,
	tokenAlone bool,
	access decide.Access,
	spots ...spot,
) error {
	advice := AdviceOn(r)
	switch {
	case r == wire.OK && tokenAlone:
		advice = aboutToken
	case r == wire.APINotGranted && len(spots) == 1 && access == decide.Write && isBase(spots[0].Place):
		advice = WritingBase
	}
	_, err := fmt.Fprintf(w, "\n%s\n", advice.Means)
	if err == nil && advice.Do != "" {
		_, err = fmt.Fprintf(w, "%s\n", advice.Do)
	}
	return err
}

// isBase reports whether a place is the base of an API, which can only be read.
func isBase(place decide.Place) bool {
	return place.Kind == decide.Base || place.Kind == decide.Control
}

// missing writes a claim that is missing, as JSON to paste.
func missing(w io.Writer, claim any) error {
	text, err := json.Marshal(claim)
	if err == nil {
		_, err = fmt.Fprintf(w, "Missing: %s\n", text)
	}
	return err
}

// missingFor writes the claims that grant an access to these paths, or why none does.
func missingFor(w io.Writer, access decide.Access, rules *decide.Rules, spots ...spot) (err error) {
	claims := Claims{}
	var notes []string
	for _, spot := range spots {
		path, place := spot.path, spot.Place
		n, ok := rules.Needs(access, place)
		switch {
		case !ok && isBase(place) && len(spots) == 1:
			continue // WritingBase covers it
		case !ok && isBase(place):
			notes = append(notes, fmt.Sprintf("No claim grants %s: the base of an API can only be read.", path))
			continue
		case !ok:
			notes = append(notes, fmt.Sprintf("No claim grants %s: the configuration assigns none to that path.", path))
			continue
		case n.Wide && bytes.IndexByte(n.Specifier, '*') >= 0:
			notes = append(notes, fmt.Sprintf("That is more than %s: a * in a claim stands for anything.", path))
		case n.Wide && (place.Kind == decide.RolePaths || place.Kind == decide.Control):
			notes = append(notes, fmt.Sprintf("For %s alone any other specifier will do as well.", path))
		case n.Wide:
			notes = append(notes,
				fmt.Sprintf("That is more than %s: without a model's prefix it holds in every device model.", path))
		case n.Both:
			notes = append(notes, "Or the same in x-nmos-ncp; * stands for root.* there, too.")
		case n.Permission == "":
			notes = append(notes, fmt.Sprintf("Or the name %s in scope.", n.API))
		}
		if access == decide.Read && place.Socket().Kind != place.Kind {
			notes = append(notes, fmt.Sprintf("To open %s as a WebSocket needs the specifier * (PATH-14).", path))
		}
		claims.Add(n)
	}
	if len(claims) > 0 {
		err = missing(w, claims)
	}
	for _, note := range notes {
		if err == nil {
			_, err = fmt.Fprintln(w, note)
		}
	}
	return err
}
