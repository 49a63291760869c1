// Package rows holds what is asked of the daemon and what is right: one table for each kind of question, each row under
// the rule that decides it. The agent's own tests ask them in the process, tinytest/clients asks them through every
// client.
//
// Limits: for tests only.
package rows

import (
	"strings"

	"nmosauthd/tinytest/mint"
)

// Senders is the target of a row that names none.
const Senders = "/x-nmos/connection/v1.1/single/senders"

// Config is what the rows need of a daemon's configuration, beside Inventory.
const Config = `[paths]
public = ["/meters", "/x-nmos/system", "/lamps"]
claims = ["/levels=events", "/patch=connection", "/streams=streamcompatibility", "/nodes=node", "/faders=console"]
control = ["/slot/2/ncp"]
`

// Question is a row of any of the tables, completed to a packet, and what its reply says.
type Question struct {
	Name   string
	Packet string
	First  string
	Reason string
	Path   *string  // nil: the row does not say; "": none
	WWW    *string  // www-authenticate behind the realm; nil: the row does not say; "-": none
	Denied []string // of a question about commands
}

// All are the rows of all tables, with tokens that sign has signed for this device.
func All(sign func(mint.Options) string) (all []Question) {
	answers, paths, resources, control := sign(AnswersToken), sign(PathsToken), sign(ResourcesToken), sign(ControlToken)
	add := func(name, packet, want string, path, www *string, denied []string) {
		i := strings.LastIndexByte(want, ' ')
		all = append(all, Question{name, packet, want[:i], want[i+1:], path, www, denied})
	}
	for _, r := range Answers {
		add(r.Name, Answer(r.Lines, answers), r.First+" "+r.Reason, nil, &r.WWW, nil)
	}
	for _, r := range Paths {
		packet := "decide 1\nmethod=" + r.Method + "\ntarget=" + r.Target + "\n"
		if !r.Tokenless {
			packet += "authorization=Bearer " + paths + "\n"
		}
		add(r.Name, packet, r.Want, &r.Path, nil, nil)
	}
	for _, r := range Resources {
		add(r.Name, "resource 1\n"+strings.ReplaceAll(r.Lines, "TOKEN", resources), r.Want, &r.Path, nil, nil)
	}
	for _, r := range Control {
		packet := "control 1\n" + strings.ReplaceAll(r.Lines, "TOKEN", "authorization=Bearer "+control+"\n")
		add(r.Name, packet, r.First+" "+r.Reason, nil, nil, r.Denied)
	}
	return all
}
