package explain

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// record is a line of the audit, and the reasons that it gives by their codes.
type record struct {
	audit.Line
	wouldWire  wire.Reason
	reasonWire wire.Reason
}

// Record explains a decision of a device with this configuration and these names by its line of the audit. Nothing is
// decided again: what was decided stands in the line. It returns the reason; for what observe mode let pass, that which
// enforce would have given.
func Record(w io.Writer, line []byte, config *config.Config, names []string) (wire.Reason, error) {
	var r record
	var err error
	if r.Line, err = audit.ParseLine(line); err != nil {
		return wire.Undecided, err
	}
	var known bool
	if r.reasonWire, known = reasonOf(r.Reason); !known {
		return wire.Undecided, audit.ErrForm
	}
	decided := r.reasonWire
	if r.Would != "" {
		if r.wouldWire, known = reasonOf(r.Would); !known {
			return wire.Undecided, fmt.Errorf("the record gives the reason %s, which this program does not know",
				show(r.Would))
		}
		decided = r.wouldWire
	}
	var b strings.Builder
	r.facts(&b)
	verdict(&b, decided)
	rules := config.Rules()
	access, spots := r.asked(&rules)
	advise(&b, decided, r.Question == "verify", access, spots...)
	closed := decided == wire.PathClosed || decided == wire.PathVersion
	switch {
	case decided == wire.Audience:
		missing(&b, map[string][]string{"aud": names})
	case decided == wire.APINotGranted, decided == wire.PathNotGranted, decided == wire.ControlNotGranted,
		decided == wire.SubtreeNotGranted,
		closed && len(r.Denied) > 1: // others may lack a claim
		if len(spots) == 0 {
			b.WriteString("The record does not hold all that was asked for, so the claim cannot be told.\n")
			break
		}
		missingFor(&b, access, &rules, spots...)
		b.WriteString("The record holds no token, so what else the token grants is not known here.\n")
	}
	_, err = io.WriteString(w, b.String())
	return decided, err
}

// reasonOf returns the reason of a code.
func reasonOf(code string) (wire.Reason, bool) {
	for r := range wire.Reason(wire.Reasons) {
		if r.String() == code {
			return r, true
		}
	}
	return wire.Undecided, false
}

// facts writes what the record says.
func (r *record) facts(b *strings.Builder) {
	fmt.Fprintf(b, "decision  %d at %s, clock %s\n", r.Seq, show(r.Time), show(r.Clock))
	common := map[string]string{
		"reason": "they have the user and the reason in common, and nothing else is known of any of them",
		"path":   "they have client and request in common",
		"client": "they have client and method in common",
	}[r.Joined]
	switch {
	case r.Joined != "":
		fmt.Fprintf(
			b,
			"          and others that came faster than each has a record of its own: %d,\n          from %d at %s "+
				"on;\n          %s\n",
			max(r.Count, 1),
			cmp.Or(r.First, r.Seq),
			show(cmp.Or(r.Since, r.Time)),
			cmp.Or(common, "joined by "+show(r.Joined)),
		)
		b.WriteString("          A number in between may be that of one of them, or of another record\n")
	case r.Count > 1:
		fmt.Fprintf(b, "          and equal ones: %d, from %d at %s on\n", r.Count, r.First, show(r.Since))
	}
	switch {
	case r.UID != nil && r.PID != nil:
		fmt.Fprintf(b, "asked by  user %d, process %d\n", *r.UID, *r.PID)
	case r.UID != nil:
		fmt.Fprintf(b, "asked by  user %d\n", *r.UID)
	}
	question := "unknown"
	if r.Question != "" {
		question = show(r.Question)
	}
	fmt.Fprintf(b, "question  %s", question)
	for _, part := range []struct{ name, text string }{
		{"method", r.Method}, {"path", r.Path}, {"kind", r.Kind}, {"name", r.Name}, {"access", r.Access},
		{"resource", r.Resource},
	} {
		if part.text != "" {
			fmt.Fprintf(b, ", %s %s", part.name, show(part.text))
		}
	}
	b.WriteByte('\n')
	for _, target := range r.Denied {
		fmt.Fprintf(b, "          denied %s\n", show(target))
	}
	for _, target := range r.Permitted {
		fmt.Fprintf(b, "          permitted %s\n", show(target))
	}
	switch {
	case r.Client != "":
		fmt.Fprintf(b, "token     client %s, subject %s, issuer %s", show(r.Client), show(r.Subject), show(r.Issuer))
		for _, part := range []struct{ name, text string }{{"jti", r.JTI}, {"digest", r.Digest}, {"kid", r.KeyID}} {
			if part.text != "" {
				fmt.Fprintf(b, ", %s %s", part.name, show(part.text))
			}
		}
		b.WriteByte('\n')
	case r.Question == "token":
		if r.Digest != "" {
			fmt.Fprintf(b, "token     the device's own, digest %s\n", show(r.Digest))
		}
	case r.Digest != "":
		fmt.Fprintf(b, "token     not verified, so nothing that it says is believed; digest %s\n", show(r.Digest))
	}
	if r.Claimed != "" {
		fmt.Fprintf(b, "          it claims to be of issuer %s (unverified: anybody can write that)\n", show(r.Claimed))
	}
	for _, name := range r.Cut {
		fmt.Fprintf(b, "          cut off, being long: %s\n", show(name))
	}
	if r.Would != "" {
		b.WriteString("\nObserve mode let it pass. Enforce would have said:\n")
	}
}

// asked returns what was asked for: of several paths those denied, if any were. There are none if the record does not
// hold them as they came.
func (r *record) asked(rules *decide.Rules) (access decide.Access, spots []spot) {
	access = decide.Read // of a source, where no method is given
	switch {
	case r.Access == "write":
		access = decide.Write
	case r.Access == "" && r.Method != "":
		access = decide.MethodAccess([]byte(r.Method))
	}
	targets := []string{r.Path}
	switch {
	case r.Question == "control": // the first command denied, of which the record holds class, method and role path
		targets[0] = r.object(rules)
	case len(r.Denied) > 0:
		targets = r.Denied
	}
	if slices.Contains(r.Cut, "path") || slices.Contains(r.Cut, "denied") ||
		strings.Contains(strings.Join(targets, ""), audit.Cleaned) {
		return access, nil
	}
	for _, target := range targets {
		path, ok := decide.Normalize(nil, []byte(target))
		if target != "" && target[0] != '/' && (r.Question == "control" || r.Question == "resource") {
			path, ok = []byte(target), true // a role path
		}
		if ok {
			spots = append(spots, spot{path, rules.Find(path)})
		}
	}
	return access, spots
}

// object returns the role path of a command, behind its model's prefix, or the path by which IS-14 has it.
func (r *record) object(rules *decide.Rules) string {
	switch prefix, _ := rules.Controls.Prefix([]byte(r.Name)); {
	case r.Path == "":
		return ""
	case r.Kind == "configuration":
		model := r.Name
		if model != "" {
			model += "/"
		}
		return "/x-nmos/configuration/v1.0/" + model + "rolePaths/" + url.PathEscape(r.Path)
	case len(prefix) > 0:
		return string(prefix) + ":" + r.Path
	}
	return r.Path
}
