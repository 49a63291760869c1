package observe

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/token"
)

// Write writes the report for people.
func (r *Report) Write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Observed from %s to %s (%v); the mode is %s now.\n", clock(r.Since), clock(r.Until),
		r.Until.Sub(r.Since).Round(time.Second), r.Mode)
	fmt.Fprintf(&b, "%s: enforce would have denied %d and did deny %d.\n", count(r.Decisions, "decision"),
		r.Would, r.Denied)
	for _, more := range []struct {
		n    uint64
		text string
	}{
		{r.Off, "of them were not looked at, since the mode was off"},
		{r.Unlisted, "of them are for controllers that there was no room to list"},
		{r.Unseen, "more were not seen, since the audit dropped them"},
		{r.Waiting, "more the audit is still counting: they show within [audit] repeat"},
	} {
		if more.n > 0 {
			fmt.Fprintf(&b, "%d %s.\n", more.n, more.text)
		}
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		fmt.Fprintf(&b, "[enforce] %s: enforcing %s would have denied %d, of %s.\n", s.API, s.Access,
			s.Would, count(uint64(s.Controllers), "controller"))
	}
	for i := range r.Controllers {
		r.Controllers[i].write(&b)
	}
	if len(r.Controllers) == 0 {
		b.WriteString("No controller did anything that needs a token.\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func count(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05Z") }

func (c *Controller) write(b *bytes.Buffer) {
	switch c.Token {
	case Verified:
		fmt.Fprintf(b, "\nClient %+q of %+q", c.Client, c.Issuer)
	case None:
		fmt.Fprintf(b, "\nRequests without a token, asked about by %s", c.user())
	default:
		fmt.Fprintf(b, "\nRequests whose token was not verified, asked about by %s", c.user())
	}
	fmt.Fprintf(b, ": %s, %d denied or to be denied, last at %s\n", count(c.Decisions, "decision"), c.Would+c.Denied,
		clock(c.Last))
	for _, a := range c.Accesses {
		what := a.Path
		if a.Model != "" {
			what = a.Model + " " + what
		}
		if a.Resource != "" {
			what = strings.TrimSpace(a.Resource + " " + what)
		}
		fmt.Fprintf(b, "  %6d  %-20s %s %s\n", a.Decisions, a.Reason, plain(a.Access), plain(what))
	}
	for _, m := range c.Mend {
		fmt.Fprintf(b, "  %s: %s %s\n", m.Reason, m.Means, m.Do)
	}
	all := "  These claims permit all that it did, as far as claims can, and nothing else.\n" +
		"  They can replace those that its tokens have:\n"
	if len(c.Incomplete) > 0 {
		all = "  These claims permit what is known of what it did, as far as claims can, and nothing else:\n"
	}
	switch {
	case c.Token == None && len(c.Claims) > 0:
		all = "  With a token they need these claims, each of those who asked its part of them:\n"
	case len(c.Claims) > 0 && len(c.Add) > 0 && c.Add.String() != c.Claims.String():
		b.WriteString("  These claims are missing; add them to those that its tokens have:\n")
		claims(b, c.Add)
	}
	if len(c.Claims) > 0 {
		b.WriteString(all)
		claims(b, c.Claims)
		if c.TokenBytes > token.MaxBytes/3 {
			fmt.Fprintf(b,
				"  A token with them is about %d bytes long. This device reads %d, many web servers 8192 of all "+
					"headers.\n",
				c.TokenBytes, token.MaxBytes)
		}
	}
	for _, why := range c.Incomplete {
		fmt.Fprintf(b, "  Not complete: %s.\n", why)
	}
}

// user names the user who asked.
func (c *Controller) user() string {
	if c.UID == nil || *c.UID < 0 {
		return "an unknown user"
	}
	return fmt.Sprintf("user %d", *c.UID)
}

// claims writes claims as JSON to paste.
func claims(b *bytes.Buffer, c explain.Claims) {
	text, _ := json.MarshalIndent(c, "    ", "  ") // of strings in maps: cannot fail
	fmt.Fprintf(b, "    %s\n", text)
}

// plain escapes what a client sent, so that it cannot control a terminal.
func plain(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	if quoted == `"`+s+`"` {
		return s
	}
	return quoted
}
