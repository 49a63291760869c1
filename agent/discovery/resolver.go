package discovery

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxAliases bounds the CNAMEs that are followed for one name.
	maxAliases = 8
	// secondPatience bounds the wait for an additional answer of a name server that has answered.
	secondPatience = 500 * time.Millisecond
)

var (
	// errNoServer means that no name server answers, so that further questions are useless.
	errNoServer = errors.New("no name server answers")
	errAliases  = errors.New("the CNAMEs lead in a circle or too far")
	errLocal    = errors.New("names in .local belong to mDNS, and no name server is asked for them")
)

// dnsServer is one name server, with what this discovery has seen of it.
type dnsServer struct {
	address string
	state   serverState
	reason  error // why it has not answered the last question
	plain   bool  // it has answered without EDNS0 what it did not answer with it
}

type serverState int

const (
	unknown serverState = iota
	heard               // it has sent an answer of some kind
	doubted             // it was silent, and has never sent anything: asked last
	dead                // so it was for a whole question: not asked again
)

// resolver puts the questions of one discovery to name servers. It keeps no answer. It is for one goroutine.
type resolver struct {
	dialer   *net.Dialer
	servers  []*dnsServer
	patience time.Duration // with one packet
	rounds   int           // how often a server that is silent is asked
	plain    *sync.Map     // addresses of servers that do not know EDNS0
	trace    tracer
}

// ask puts a question to one server after the other until one answers it, yes or no: that a name does not exist is not
// for the next server to contradict. Servers that are silent are asked again, since packets get lost, and then without
// EDNS0, since some servers and middleboxes drop what has it (RFC 6891 §6.2.6). But those that have never said a word
// are not asked again for every question, and nobody is asked once all are like that.
//
// Of the additional section only what lies within zone is returned: for that the server was asked.
func (r *resolver) ask(ctx context.Context, q question, zone string) (answer reply, by *dnsServer, err error) {
	if local(q.name) {
		return reply{}, nil, wrap(q.String(), errLocal)
	}
	waiting := r.inOrder()
	if len(waiting) == 0 {
		return reply{}, nil, errNoServer
	}
	for _, s := range r.servers {
		s.reason = nil
	}
	for round := range r.rounds {
		var silent []*dnsServer
		for _, s := range waiting {
			answer = r.askOne(ctx, s, q, zone, round == 0 && !s.plain)
			switch {
			case ctx.Err() != nil:
				return reply{}, nil, wrap(q.String(), ctx.Err())
			case answer.outcome.definite():
				if answer.plain && !s.plain {
					s.plain = true
					r.plain.Store(s.address, true)
				}
				return answer, s, nil
			case answer.outcome == Silent:
				silent = append(silent, s)
			}
			s.reason = answer.err
		}
		waiting = silent
	}
	var errs []string
	for _, s := range r.servers {
		if s.reason != nil {
			errs = append(errs, "name server "+s.address+": "+s.reason.Error())
			if s.state == doubted {
				s.state = dead
			}
		}
	}
	return reply{}, nil, errors.New(q.String() + ": " + strings.Join(errs, "; "))
}

// inOrder returns the servers to ask, as they are configured, those in doubt last.
func (r *resolver) inOrder() []*dnsServer {
	var first, last []*dnsServer
	for _, s := range r.servers {
		switch s.state {
		case unknown, heard:
			first = append(first, s)
		case doubted:
			last = append(last, s)
		}
	}
	return append(first, last...)
}

// askOne puts a question to one server.
func (r *resolver) askOne(ctx context.Context, s *dnsServer, q question, zone string, edns bool) reply {
	start := time.Now()
	answer := exchange(ctx, r.dialer, s.address, q, edns, r.patience)
	step := Step{
		Kind: StepAsked, Query: q.String(), Server: s.address, Network: answer.network,
		Outcome: answer.outcome, Took: time.Since(start), Err: answer.err,
	}
	if answer.outcome != Silent && answer.outcome != Unreachable {
		s.state = heard
	} else if s.state == unknown {
		s.state = doubted
	}
	m := answer.message
	step.show(m.answer, false, "")
	step.show(m.extra, true, zone)
	all := m.extra
	m.extra = nil
	for _, r := range all {
		if within(r.name, zone) {
			m.extra = append(m.extra, r)
		}
	}
	if ctx.Err() == nil {
		r.trace.step(step)
	}
	return answer
}

// show adds records to a step. Additional ones that are not within zone are marked as ignored.
func (s *Step) show(records []*resource, additional bool, zone string) {
	for i, r := range records {
		if len(s.Records) >= maxShown {
			s.More += len(records) - i
			return
		}
		shown := StepRecord{Name: r.name, Type: kindName(r.kind), Data: r.data(), TTL: r.ttl, Additional: additional}
		if additional && !within(r.name, zone) {
			shown.Ignored = errors.New("the name is outside " + undot(zone) + ", which was asked about")
		}
		s.Records = append(s.Records, shown)
	}
}

// resolved is what a question came to, CNAMEs followed.
type resolved struct {
	records []*resource // of the kind asked for; their names may be those of aliases
	extra   []*resource // beside them, within the zone
	outcome Outcome
	ttl     time.Duration // how long it holds, yes or no; maxTTL if a "no" does not say
	by      *dnsServer
}

// resolve asks for the records of a name and follows CNAMEs, those in the answer first (RFC 1034 §3.6.2).
func (r *resolver) resolve(ctx context.Context, name string, kind uint16, zone string) (resolved, error) {
	ttl := maxTTL
	var passed []string
	for owner := canonical(name); ; {
		answer, by, err := r.ask(ctx, question{owner, kind}, zone)
		if err != nil {
			return resolved{}, err
		}
		asked := owner
		m := answer.message
		for {
			var records []*resource
			alias := ""
			for _, a := range m.answer {
				switch {
				case a.name != owner:
				case a.kind == kind:
					records = append(records, a)
					ttl = min(ttl, a.ttl)
				case a.kind == dns.TypeCNAME && alias == "":
					alias = canonical(a.target)
					ttl = min(ttl, a.ttl)
				}
			}
			if len(records) > 0 {
				for _, r := range records { // valid for the least TTL, that of the CNAMEs on the way included (DIS-2)
					r.ttl = ttl
				}
				return resolved{records, m.extra, Answered, ttl, by}, nil
			}
			if alias == "" {
				break
			}
			if passed = append(passed, owner); len(passed) > maxAliases || slices.Contains(passed, alias) {
				return resolved{}, wrap(question{canonical(name), kind}.String(), errAliases)
			}
			owner = alias
		}
		// NXDOMAIN is about the end of the chain (RFC 6604 §3), and an end that was asked for by its own name has been
		// answered.
		if owner == asked || answer.outcome == NoSuchName {
			outcome := answer.outcome
			if outcome == Answered { // with records of other names or types
				outcome = NoRecord
			}
			return resolved{outcome: outcome, ttl: min(cmp.Or(m.negative, maxTTL), ttl), by: by}, nil
		}
	}
}

// addresses asks for the addresses of a host, IPv4 first: media networks rarely route IPv6. If there are IPv4
// addresses, those of IPv6 are waited for shortly, since some name servers never answer that question. An outcome of
// NoSuchName or NoRecord comes without addresses.
func (r *resolver) addresses(ctx context.Context, host, zone string) (resolved, error) {
	four, err := r.resolve(ctx, host, dns.TypeA, zone)
	if err != nil && (errors.Is(err, errNoServer) || errors.Is(err, errLocal) || ctx.Err() != nil) {
		return resolved{}, err
	}
	second := *r
	if len(four.records) > 0 {
		second.servers, second.rounds, second.patience = []*dnsServer{four.by}, 1, min(secondPatience, r.patience)
	}
	six, err6 := second.resolve(ctx, host, dns.TypeAAAA, zone)
	switch {
	case len(four.records) > 0:
		four.records = append(four.records, six.records...)
		return four, nil
	case len(six.records) > 0:
		return six, nil
	case err != nil:
		return resolved{}, err
	}
	return six, err6
}
