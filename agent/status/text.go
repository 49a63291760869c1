package status

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"nmosauthd/agent/ascii"
)

// WriteText writes the snapshot for people. The first line is the daemon's health.
func (s *Status) WriteText(w io.Writer) error {
	t := &text{now: s.Time}
	t.b = append(append(t.b, s.Line()...), '\n')
	if len(s.Degraded) > 1 {
		for _, more := range s.Degraded[1:] {
			t.row("and", more)
		}
	}
	t.row("daemon", s.Version+", model "+s.Model+", started "+t.ago(s.Since)+" ago")
	t.row("names", strings.Join(s.Names, ", "))
	t.row("mode", s.Mode)
	if o := s.Observe; o != nil {
		t.row("", "begun by ", o.Who(), " at ", o.Since.String(), ", ends by itself in ", t.ago(o.Until),
			" at ", o.Until.String())
	}
	if len(s.NotEnforced) > 0 {
		t.row("", "but ", s.open(), " ([enforce]): what it would deny is recorded")
	}
	t.row("clock", s.Clock.State+", "+s.Clock.Why+"; "+s.Time.String())
	for i := range s.Servers {
		t.server(&s.Servers[i])
	}
	d := &s.Discovery
	t.row("discovery", d.Mode, t.some(d.Mode != "off", ", found "+strconv.Itoa(len(d.Found))),
		t.some(d.Looked != 0, ", last looked "+t.ago(d.Looked)+" ago"), t.some(d.Error != "", ": "+d.Error))
	var all, denied, would uint64
	for i := range s.Decisions {
		c := &s.Decisions[i]
		if strings.HasPrefix(c.Reason, "own-token") {
			continue // nobody's request was decided
		}
		all += c.Answered
		if c.Status != 200 {
			denied += c.Answered
			would += c.Would
		}
	}
	t.row("decisions", number(all), ", denied ", number(denied), t.some(would > 0, ", would deny "+number(would)))
	for i := range s.Decisions {
		if c := &s.Decisions[i]; c.Answered > 0 || c.Would > 0 {
			t.row("", number(c.Answered), " ", c.Reason, t.some(c.Would > 0, ", would be "+number(c.Would)))
		}
	}
	t.row("tokens", strconv.Itoa(s.Tokens.Held), " of ", strconv.Itoa(s.Tokens.Limit), " remembered; cache hits ",
		number(s.Tokens.Remembered), ", misses ", number(s.Tokens.Judged))
	for i := range s.Sockets {
		c := &s.Sockets[i]
		waiting := ""
		if c.Waiting > 0 {
			waiting = ", " + strconv.Itoa(c.Waiting) + " waiting"
		}
		t.row(
			"socket",
			c.Path,
			" (",
			c.Name,
			"), ",
			strconv.Itoa(c.Open),
			" of ",
			strconv.Itoa(c.Limit),
			" connections",
			waiting,
		)
	}
	for i := range s.Audit.Sinks {
		k := &s.Audit.Sinks[i]
		t.row(
			"audit",
			k.Name,
			", kept ",
			number(k.Kept),
			", dropped ",
			number(k.Dropped),
			", queued ",
			number(k.Queued),
			t.some(k.Head != "", ", chain "+k.Head),
			t.some(k.Error != "", "; "+k.Error),
		)
	}
	t.client(&s.Client)
	t.certs(&s.Certs, false)
	v := &s.Inventory
	t.row("inventory", t.some(v.Source == "", "none"), v.Source,
		t.some(v.Source != "", ", "+many(v.Resources, "resource")+", for "+t.ago(v.Since)),
		t.some(v.Error != "", "; refused: "+v.Error))
	k := &s.State
	t.row("state", t.some(k.Dir == "", "no folder"), k.Dir, t.some(k.Kept, ", kept"),
		t.some(!k.Kept && k.Dir != "" && k.Error == "", ", not yet written"), t.some(k.Error != "", ": "+k.Error))
	x := &s.Sandbox
	t.row("sandbox",
		t.some(x.Landlock > 0, "Landlock "+strconv.Itoa(x.Landlock)+" denies "+strings.Join(x.Denied, ", ")),
		t.some(len(x.NotDenied) > 0, "; not "+strings.Join(x.NotDenied, ", ")), x.Why)
	t.row("memory", number(s.Memory.Resident>>10), " KiB, of it heap ", number(s.Memory.Heap>>10), " KiB")
	for i := range s.Errors {
		e := &s.Errors[i]
		t.row("log", t.ago(e.Time), " ago, ", e.Level, t.some(e.Times > 1, ", "+strconv.Itoa(e.Times)+" times"), ": ",
			e.Text)
	}
	_, err := w.Write(t.b)
	return err
}

// WriteClient writes the part of WriteText about the device as an OAuth client.
func (s *Status) WriteClient(w io.Writer) error {
	t := &text{now: s.Time}
	t.client(&s.Client)
	_, err := w.Write(t.b)
	return err
}

func (t *text) client(v *Client) {
	switch {
	case !v.Enabled:
		t.folded("client", "off: [client] scopes is empty")
	case v.Issuer == "":
		t.folded("client", "no server is known yet")
	default:
		t.folded("client", v.Phase+" at "+v.Issuer)
	}
	if v.Trouble != "" {
		t.folded("", "for more than 5 min: "+v.Trouble)
	}
	if v.Error != "" {
		t.folded("", t.some(v.Failed != 0, "failed "+t.ago(v.Failed)+" ago: ")+v.Error)
	}
	for i := range v.Clients {
		c := &v.Clients[i]
		if c.Issuer != v.Issuer || !v.Enabled {
			t.folded("", "also known to "+c.Issuer)
		}
		switch {
		case c.ClientID != "":
			t.folded("", "as "+c.ClientID+t.some(c.Given, ", made by hand")+
				t.some(c.Since != 0, ", since "+c.Since.String())+
				", scope "+strconv.Quote(c.Scope)+", "+c.Method+t.some(c.Keys != "", ", keys by "+c.Keys)+
				t.rotation(c)+t.some(c.Expires != 0, ", secret until "+c.Expires.String()))
		case c.Attempted:
			t.folded("", "a registration was sent and not answered: one may be left at the server")
		}
	}
	for i := range v.Tokens {
		k := &v.Tokens[i]
		t.folded("", "token for "+k.Scope+": "+t.some(k.Ends != 0, "ends in "+t.ago(k.Ends))+
			t.some(k.Ends == 0, "none")+
			t.some(k.Ends != 0 && k.Granted != k.Scope, ", granted is "+k.Granted)+
			t.some(k.Next > t.now, ", next in "+t.ago(k.Next))+
			t.some(k.Error != "", "; failed "+t.ago(k.Failed)+" ago: "+k.Error))
	}
}

// rotation says how far the replacement of a key is.
func (t *text) rotation(c *ClientAt) string {
	step := map[string]string{
		"publish": "the new one is not published yet",
		"settle":  "the new one is published, and the next token tries it", "retire": "the new one signs",
	}[c.Rotation]
	return t.some(c.Rotation != "", ", the key is being replaced: "+step) +
		t.some(c.OldKeyEnds > t.now, ", the old one goes in "+t.ago(c.OldKeyEnds))
}

func (t *text) server(v *Server) {
	t.row("server", v.Issuer, " (", v.Origin, t.some(v.Domain != "", " in "+v.Domain), t.some(v.Used, ", used"), ")")
	if v.At != "" {
		t.row("", "named by ", v.At)
	}
	if v.Missing > 0 {
		t.row("", "no longer advertised, for ", t.ago(t.now-Time(v.Missing)), "; forgotten after 24 h, unless the last")
	}
	t.row("", many(len(v.KIDs), "key"), quoted(" ", v.KIDs), t.fetched(v),
		t.some(v.Next > t.now, ", next in "+t.ago(v.Next)))
	if v.Difference != "" {
		t.row("", v.Difference)
	}
	if v.Error != "" {
		t.row("", t.some(v.Failing, "failing, "), t.some(!v.Failing, "failed "), t.ago(v.Failed), " ago: ", v.Error)
	}
}

// fetched says when the keys of a server came. For those from before the restart it is a time of day, if it was today:
// how long that is ago depends on a clock that may not be set yet.
func (t *text) fetched(v *Server) string {
	when := v.Fetched.String()
	if day, clock, _ := strings.Cut(when, "T"); strings.HasPrefix(t.now.String(), day+"T") {
		when = clock
	}
	switch {
	case len(v.KIDs) == 0:
		return ""
	case v.Kept:
		return ", kept from before the restart" + t.some(v.Fetched != 0, ", fetched "+when)
	case v.Fetched != 0:
		return ", fetched " + t.ago(v.Fetched) + " ago"
	}
	return ""
}

// text collects the lines.
type text struct {
	b   []byte
	now Time
}

// row writes a line: a name, in a column of its own, and text.
func (t *text) row(name string, parts ...string) {
	t.b = append(t.b, (name + "            ")[:12]...)
	for _, p := range parts {
		t.b = ascii.AppendString(t.b, p)
	}
	t.b = bytes.TrimRight(t.b, " ")
	t.b = append(t.b, '\n')
}

// folded writes a row in lines of at most 80 columns, broken between words.
func (t *text) folded(name, s string) {
	const width = 80 - 12
	line := ""
	for _, word := range strings.Fields(string(ascii.AppendString(nil, s))) {
		if line != "" && len(line)+1+len(word) > width {
			t.row(name, line)
			name, line = "", ""
		}
		line += t.some(line != "", " ") + word
	}
	t.row(name, line)
}

// some returns s if is holds, else "".
func (t *text) some(is bool, s string) string {
	if is {
		return s
	}
	return ""
}

// ago returns the time between at and now, in the largest unit of which there are two.
func (t *text) ago(at Time) string {
	d := int64(max(t.now-at, at-t.now))
	switch {
	case d >= 2*86400:
		return strconv.FormatInt(d/86400, 10) + " days"
	case d >= 2*3600:
		return strconv.FormatInt(d/3600, 10) + " h"
	case d >= 2*60:
		return strconv.FormatInt(d/60, 10) + " min"
	}
	return strconv.FormatInt(d, 10) + " s"
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// HeldKeys says how many keys the running daemon holds.
func (s *Status) HeldKeys() string {
	n := 0
	for _, server := range s.Servers {
		n += len(server.KIDs)
	}
	switch n {
	case 0:
		return "the running daemon holds no keys"
	case 1:
		return "the running daemon holds 1 key and goes on deciding"
	}
	return "the running daemon holds " + strconv.Itoa(n) + " keys and goes on deciding"
}
