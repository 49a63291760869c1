package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
	"nmosauthd/agent/keys"
	"nmosauthd/platform"
)

// candidate is a server to try.
type candidate struct {
	issuer string
	from   string            // how it was found
	server *discovery.Server // nil if configured
}

// TryServers looks for servers as the daemon does, prints each step for people, tries the servers in order, and reports
// whether one can be used.
func TryServers(ctx context.Context, w io.Writer, c *config.Config) bool {
	p := &printer{w: w}
	client := NewClient(c, platform.NewClock().NotBefore, nil)
	var all []candidate
	for _, issuer := range c.Authorization.Servers {
		all = append(all, candidate{issuer: issuer, from: "configured"})
	}
	p.title("Looking (mode " + strconv.Quote(string(c.Discovers())) + ")")
	p.line(c.DiscoveryTrust())
	found, err := client.Discover(ctx, DiscoverOptions(c), p.step)
	for _, e := range config.Mistakes(err) {
		p.line("! " + e.Error())
	}
	for i := range found.Servers {
		s := &found.Servers[i]
		if slices.ContainsFunc(all, func(c candidate) bool { return c.issuer == s.IssuerURL() }) {
			continue // also configured
		}
		all = append(all, candidate{s.IssuerURL(), fmt.Sprintf("%q, found in %s: pri %d, priority %d, weight %d",
			discovery.InstanceName(s.Instance), s.Domain, s.Pri, s.Priority, s.Weight), s})
	}

	p.title("Trying, in this order")
	chosen := ""
	for i := range all {
		one := &all[i]
		p.line(strconv.Itoa(i+1) + "  " + one.issuer)
		p.line("   " + one.from)
		if p.try(ctx, client, one) && chosen == "" {
			chosen = one.issuer
		}
	}
	if len(all) == 0 {
		p.line("there is no server to try: none is configured or found")
		p.line("name one in [authorization] servers, or announce _nmos-auth._tcp")
	}

	p.title("Outcome")
	if c.Discovers() != config.DiscoveryOff {
		p.line("what was found holds for " + found.Again.Round(time.Second).String() + ", then the daemon looks again")
	}
	if chosen == "" {
		p.line("NO authorization server can be used")
		return false
	}
	p.line("the server that would be used: " + chosen)
	return true
}

// printer writes for a person at a terminal.
type printer struct {
	w     io.Writer
	query string // the question whose answers are being printed
}

// line prints one line, with control characters that the network sent escaped.
func (p *printer) line(text string) {
	text = strings.ReplaceAll(text, "\n", "; ") // between joined errors
	fmt.Fprintf(p.w, "  %s\n", ascii.Line(text))
}

func (p *printer) title(text string) { io.WriteString(p.w, "\n"+text+"\n") }

// step prints one step of a discovery.
func (p *printer) step(s discovery.Step) {
	if s.Kind != discovery.StepAsked {
		p.query = ""
	}
	switch s.Kind {
	case discovery.StepNote:
		p.line(s.Text)
	case discovery.StepAsked:
		p.asked(s)
	case discovery.StepLeftOut:
		p.line("left out  " + s.Subject + ": " + s.Err.Error())
	case discovery.StepFound:
		addresses := make([]string, len(s.Found.Addresses))
		for i, a := range s.Found.Addresses {
			addresses[i] = a.String()
		}
		p.line("found     " + discovery.InstanceName(s.Found.Instance) + ": " + s.Found.IssuerURL() + " at " +
			cmp.Or(strings.Join(addresses, ", "), "an address to be looked up"))
	}
}

// asked prints a question, once for all servers that are asked it, and the answer of one.
func (p *printer) asked(s discovery.Step) {
	if s.Query != p.query {
		p.query = s.Query
		p.line(s.Query + " ?")
	}
	answer := s.Outcome.String()
	if s.Err != nil {
		answer = s.Err.Error()
	}
	p.line("    " + s.Server + " (" + s.Network + ", " + short(s.Took) + "): " + answer)
	width := 0
	for _, r := range s.Records {
		width = max(width, min(len(r.Name), 60))
	}
	for _, r := range s.Records {
		use, why := "answer", ""
		if r.Additional {
			use = "beside"
		}
		if r.Ignored != nil {
			use, why = "unused", "  ("+r.Ignored.Error()+")"
		}
		p.line(fmt.Sprintf("        %s  %-*s  %5s  %-4s %s%s", use, width, r.Name, short(r.TTL), r.Type, r.Data, why))
	}
	if s.More > 0 {
		p.line("        and " + strconv.Itoa(s.More) + " records more")
	}
}

// short formats a duration in few characters.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", max(d.Milliseconds(), 1))
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// try fetches a server's metadata and keys, and reports whether the daemon could use it.
func (p *printer) try(ctx context.Context, client *discovery.Client, c *candidate) bool {
	var document discovery.Document
	var err error
	if c.server != nil {
		document, err = client.ServerKeySet(ctx, *c.server)
	} else {
		document, err = client.KeySet(ctx, c.issuer)
	}
	if err != nil {
		p.line("   CANNOT be used: " + strings.TrimPrefix(err.Error(), "discovery: "))
		return false
	}
	p.line("   metadata from " + document.MetadataURL)
	if document.Issuer != c.issuer {
		p.line("   its tokens are from the issuer " + document.Issuer)
	}
	from, _, _ := strings.Cut(document.JWKSURI, "?")
	set, left, err := keys.Parse(document.JWKS)
	for _, l := range left {
		p.line("   " + l.Error())
	}
	if err != nil {
		p.line("   CANNOT be used: keys from " + from + ": " + err.Error())
		return false
	}
	p.line("   keys from " + from + ": " + strconv.Itoa(len(set)) + " that can verify RS512")
	p.line("   can be used")
	return true
}
