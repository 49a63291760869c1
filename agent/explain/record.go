package explain

import (
	"bytes"
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
	*audit.Line
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
	var b bytes.Buffer
	r.facts(&b)
	verdict(&b, decided)
	rules := config.Rules()
	access, spots := r.asked(&rules)
	advise(&b, decided, r.Question == "verify", access, spots)
	closed := decided == wire.PathClosed || decided == wire.PathVersion
	switch {
	case decided == wire.Audience:
		missing(&b, map[string][]string{"aud": names})
	case isGrant(decided), closed && len(r.Denied) > 1: // others may lack a claim
		if len(spots) == 0 {
			b.WriteString("The record does not hold all that was asked for, so the claim cannot be told.\n")
			break
		}
		missingFor(&b, access, &rules, spots)
		b.WriteString("The record holds no token, so what else the token grants is not known here.\n")
	}
	_, err = w.Write(b.Bytes())
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
func (r *record) facts(b *bytes.Buffer) {
	say(b, "decision  %d at %s, clock %s\n", r.Seq, r.Time, r.Clock)
	switch {
	case r.Joined != "":
		say(b, "          and others that came faster than each has a record of its own: %d,\n"+
			"          from %d at %s on;\n",
			max(r.Count, 1), cmp.Or(r.First, r.Seq), cmp.Or(r.Since, r.Time))
		switch r.Joined {
		case "reason":
			say(b, "          they have the user and the reason in common, and nothing else is known of any of them\n")
		case "path":
			say(b, "          they have client and request in common\n")
		case "client":
			say(b, "          they have client and method in common\n")
		default:
			say(b, "          joined by %s\n", r.Joined)
		}
		say(b, "          A number in between may be that of one of them, or of another record\n")
	case r.Count > 1:
		say(b, "          and equal ones: %d, from %d at %s on\n", r.Count, r.First, r.Since)
	}
	if r.UID != nil {
		say(b, "asked by  user %d", *r.UID)
		if r.PID != nil {
			say(b, ", process %d", *r.PID)
		}
		say(b, "\n")
	}
	if r.Question == "" {
		say(b, "question  unknown")
	} else {
		say(b, "question  %s", r.Question)
	}
	part(b, "method", r.Method)
	part(b, "path", r.Path)
	part(b, "kind", r.Kind)
	part(b, "name", r.Name)
	part(b, "access", r.Access)
	part(b, "resource", r.Resource)
	say(b, "\n")
	for _, target := range r.Denied {
		say(b, "          denied %s\n", target)
	}
	for _, target := range r.Permitted {
		say(b, "          permitted %s\n", target)
	}
	switch {
	case r.Client != "":
		say(b, "token     client %s, subject %s, issuer %s", r.Client, r.Subject, r.Issuer)
		part(b, "jti", r.JTI)
		part(b, "digest", r.Digest)
		part(b, "kid", r.KeyID)
		say(b, "\n")
	case r.Digest == "":
	case r.Question == "token":
		say(b, "token     the device's own, digest %s\n", r.Digest)
	default:
		say(b, "token     not verified, so nothing that it says is believed; digest %s\n", r.Digest)
	}
	if r.Claimed != "" {
		say(b, "          it claims to be of issuer %s (unverified: anybody can write that)\n", r.Claimed)
	}
	for _, name := range r.Cut {
		say(b, "          cut off, being long: %s\n", name)
	}
	if r.Would != "" {
		say(b, "\nObserve mode let it pass. Enforce would have said:\n")
	}
}

// say writes what a record says. Its texts are shown, since a client may have chosen them.
func say(b *bytes.Buffer, format string, values ...any) {
	for i, value := range values {
		if text, is := value.(string); is {
			values[i] = show(text)
		}
	}
	fmt.Fprintf(b, format, values...)
}

// part writes one more thing that a record says, if it does.
func part(b *bytes.Buffer, name, value string) {
	if value != "" {
		b.WriteString(", " + name + " " + show(value))
	}
}

// asked returns what was asked for: of several paths those denied, if any were. There are none if the record does not
// hold them as they came.
func (r *record) asked(rules *decide.Rules) (access decide.Access, spots []spot) {
	access = decide.Read // of a source, if no method is given
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

// ConfigurationPath returns the path by which IS-14 has an object of a device model, "" if there is one model.
func ConfigurationPath(model, role string) string {
	if model != "" {
		model += "/"
	}
	return "/x-nmos/configuration/v1.0/" + model + "rolePaths/" + url.PathEscape(role)
}

// object returns the role path of a command, behind its model's prefix, or the path by which IS-14 has it.
func (r *record) object(rules *decide.Rules) string {
	switch prefix, _ := rules.Controls.Prefix([]byte(r.Name)); {
	case r.Path == "":
		return ""
	case r.Kind == "configuration":
		return ConfigurationPath(r.Name, r.Path)
	case len(prefix) > 0:
		return string(prefix) + ":" + r.Path
	}
	return r.Path
}
