package estserver

import (
	"fmt"
	"slices"

	"nmosauthd/tinytest/misbehave"
)

// Fault names one way to misbehave.
type Fault string

// Faults of any operation.
const (
	Hang             Fault = "hang"              // no answer until the client gives up or the server closes
	Slow             Fault = "slow"              // the right answer, one byte every Options.Drip
	Half             Fault = "half"              // Content-Length promises more than comes
	HalfBody         Fault = "half-body"         // half of the base64, with a Content-Length that agrees
	Endless          Fault = "endless"           // a body without end
	Huge             Fault = "huge"              // the right answer behind 8 MiB of line ends
	HTML             Fault = "html"              // 200 with a page for people
	Empty            Fault = "empty"             // 200 with nothing
	WrongType        Fault = "wrong-type"        // the right body as text/plain
	BadBase64        Fault = "bad-base64"        // letters that base64 does not have
	Garbage          Fault = "garbage"           // base64 of what is not ASN.1
	BER              Fault = "ber"               // the right answer with indefinite lengths
	NoCertificates   Fault = "no-certificates"   // a PKCS #7 that holds none
	NotFound         Fault = "not-found"         // 404
	Unauthorized     Fault = "unauthorized"      // 401 that asks for HTTP Basic, which is never given (CERT-26)
	Forbidden        Fault = "forbidden"         // 403
	ServerError      Fault = "server-error"      // 500
	Unavailable      Fault = "unavailable"       // 503 without Retry-After
	UnavailableUntil Fault = "unavailable-until" // 503 with Retry-After
	Redirect         Fault = "redirect"          // 307 to another path of this server, which answers
	RedirectHost     Fault = "redirect-host"     // 307 to another host, which answers
	RedirectHTTP     Fault = "redirect-http"     // 307 to plain HTTP, which answers
	RedirectLoop     Fault = "redirect-loop"     // 307 to itself
	Reset            Fault = "reset"             // TCP reset in place of an answer
)

// Faults of /cacerts.
const (
	OtherRoot  Fault = "other-root"   // a root that signed nothing here
	NoRoot     Fault = "no-root"      // the intermediate alone
	LeafAsRoot Fault = "leaf-as-root" // a self-signed certificate of a server
	WeakRoot   Fault = "weak-root"    // a root on curve P-224
	TooMany    Fault = "too-many"     // 33 certificates, the right ones among them
	EndedRoot  Fault = "ended-root"   // a root whose time is over
)

// Faults of /simpleenroll and /simplereenroll.
const (
	WrongCA        Fault = "wrong-ca"         // signed by an authority of which /cacerts says nothing
	ForgedCA       Fault = "forged-ca"        // the same, under the facility's names and key identifiers
	WrongNames     Fault = "wrong-names"      // other DNS names than those asked for
	WrongCN        Fault = "wrong-cn"         // another common name
	MoreNames      Fault = "more-names"       // one DNS name that was not asked for
	Wildcard       Fault = "wildcard"         // *.domain in place of the names
	OtherKey       Fault = "other-key"        // for a key that is not the device's
	NoServerUse    Fault = "no-server-use"    // extended key usage: client only
	NoClientUse    Fault = "no-client-use"    // extended key usage: server only
	NoUse          Fault = "no-use"           // no extended key usage
	CAInstead      Fault = "ca-instead"       // a certificate of an authority
	ShortLife      Fault = "short-life"       // good for a minute
	Ended          Fault = "ended"            // its time is over
	NotYet         Fault = "not-yet"          // its time begins next week
	Several        Fault = "several"          // the right certificate with its chain, root first
	SeveralLeaves  Fault = "several-leaves"   // the right one, and one for other names
	Deferred       Fault = "deferred"         // 202 with Retry-After
	DeferredDate   Fault = "deferred-date"    // 202 with Retry-After as a date
	DeferredBare   Fault = "deferred-bare"    // 202 without Retry-After
	DeferredForAge Fault = "deferred-for-age" // 202 with a Retry-After of 300 years
	Lost           Fault = "lost"             // issued, and then the connection is reset
)

// Faults of the handshake: from the next connection on.
const (
	CertOtherCA      Fault = "cert-other-ca"       // a server certificate of an authority that nobody knows
	CertOtherHost    Fault = "cert-other-host"     // one for another host
	CertEnded        Fault = "cert-ended"          // one whose time is over
	CertNotForServer Fault = "cert-not-for-server" // one for clients
	TLS11            Fault = "tls-1.1"             // TLS 1.1 at most
	RefuseClient     Fault = "refuse-client"       // an alert for every client certificate, and for none
	HangConnect      Fault = "hang-connect"        // accepts and is silent
	ResetConnect     Fault = "reset-connect"       // TCP reset
	PlainPort        Fault = "plain-port"          // speaks HTTP without TLS
)

// The faults by where they work. CACertsFaults leave the trust in the server in doubt, EnrolFaults the certificate that
// is issued.
var (
	AnyFaults = []Fault{
		Hang, Slow, Half, HalfBody, Endless, Huge, HTML, Empty, WrongType, BadBase64, Garbage, BER, NoCertificates,
		NotFound, Unauthorized, Forbidden, ServerError, Unavailable, UnavailableUntil, Redirect, RedirectHost,
		RedirectHTTP, RedirectLoop, Reset,
	}
	CACertsFaults = []Fault{OtherRoot, NoRoot, LeafAsRoot, WeakRoot, TooMany, EndedRoot}
	EnrolFaults   = []Fault{
		WrongCA, ForgedCA, WrongNames, WrongCN, MoreNames, Wildcard, OtherKey, NoServerUse, NoClientUse, NoUse,
		CAInstead, ShortLife, Ended, NotYet, Several, SeveralLeaves, Deferred, DeferredDate, DeferredBare,
		DeferredForAge, Lost,
	}
	HandshakeFaults = []Fault{
		CertOtherCA, CertOtherHost, CertEnded, CertNotForServer, TLS11, RefuseClient, HangConnect, ResetConnect,
		PlainPort,
	}
)

// turns are a fault and for how many requests, or connections, it is still good.
type turns = misbehave.Turns[Fault]

// Misbehave spoils every answer of an operation from now on: CACerts, CSRAttrs, Enrol or Reenrol. For a fault of the
// handshake the operation is ignored. An operation and the handshake have one fault each at a time; the last counts.
// It panics for a fault that the operation cannot have, since a test that misspells its fault tests nothing.
func (s *Server) Misbehave(operation string, f Fault) {
	s.MisbehaveTimes(operation, f, misbehave.EveryTime)
}

// MisbehaveTimes is Misbehave for the next n requests of the operation, or the next n connections.
func (s *Server) MisbehaveTimes(operation string, f Fault, n int) {
	enrol := operation == Enrol || operation == Reenrol
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case slices.Contains(HandshakeFaults, f):
		s.handshake = turns{Fault: f, Left: n}
		s.closeIdle()
	case slices.Contains(AnyFaults, f), operation == CACerts && slices.Contains(CACertsFaults, f),
		enrol && slices.Contains(EnrolFaults, f):
		s.faults[operation] = &turns{Fault: f, Left: n}
	default:
		panic(fmt.Sprintf("estserver: %q cannot misbehave by %q", operation, f))
	}
}

// Behave ends every misbehaviour. Requests that hang go on hanging.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	s.handshake = turns{}
	s.closeIdle()
}

// take returns the fault for the next request of an operation, "" if none, and counts it.
func (s *Server) take(operation string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.faults[operation]; m != nil {
		return m.Take()
	}
	return ""
}
