package discovery

import (
	"fmt"
	"time"
)

// StepKind says what a Step is about, and which of its fields count.
type StepKind int

// The kinds of steps.
const (
	StepNote StepKind = iota + 1 // Text: where the search goes on, and why
	// Query, Server, Network, Outcome, Took, Records, Err: one question put to one server
	StepAsked
	StepLeftOut // Subject, Err: something was advertised and may not be used
	StepFound   // Found: a server was found
)

// Step is one step of a discovery, told as it happens, for whoever looks for the record that is wrong. All text in it
// is safe to print: what came from the network is escaped.
type Step struct {
	Kind    StepKind
	Text    string
	Query   string // type and name: "PTR _nmos-auth._tcp.example.com"
	Server  string // "192.0.2.53:53"; for mDNS the groups asked
	Network string // "udp", "tcp" or "mdns"
	Outcome Outcome
	Took    time.Duration
	Records []StepRecord // in the order of the answer; only the first maxShown
	More    int          // how many others there were
	Subject string       // instance or name
	Err     error        // StepAsked: why there is no answer; StepLeftOut: why it may not be used
	Found   *Server
}

// tracer is told the steps of a discovery; nil if nobody is.
type tracer func(Step)

func (t tracer) step(s Step) {
	if t != nil {
		t(s)
	}
}

func (t tracer) note(text string) { t.step(Step{Kind: StepNote, Text: text}) }

// leftOut tells what may not be used.
func (t tracer) leftOut(all []Skipped) {
	for _, s := range all {
		t.step(Step{Kind: StepLeftOut, Subject: s.Instance, Err: s.Reason})
	}
}

// StepRecord is one record of an answer. The texts are in presentation form.
type StepRecord struct {
	Name, Type, Data string
	TTL              time.Duration
	Additional       bool  // from the additional section
	Ignored          error // why it is not used; nil if it is
}

// maxShown bounds the records of one step.
const maxShown = 100

// Outcome is how a question was answered. It separates definite answers from failures: the cause of the former is in
// the zone, that of the latter in the network or the name server.
type Outcome int

// The outcomes.
const (
	Answered    Outcome = iota + 1
	NoSuchName          // NXDOMAIN: nothing has this name
	NoRecord            // the name exists, without records of this type
	Failed              // the name server says that it cannot or will not answer: SERVFAIL, REFUSED, …
	Garbled             // an answer came and cannot be used
	Silent              // nothing came in time
	Unreachable         // the question could not be sent, or nothing listens
)

// definite reports whether the question is answered, with yes or no.
func (o Outcome) definite() bool { return o == Answered || o == NoSuchName || o == NoRecord }

func (o Outcome) String() string {
	switch o {
	case Answered:
		return "answered"
	case NoSuchName:
		return "no such name (NXDOMAIN)"
	case NoRecord:
		return "no record of this type"
	case Failed:
		return "refused or failed"
	case Garbled:
		return "not understood"
	case Silent:
		return "no answer"
	case Unreachable:
		return "not reachable"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}
