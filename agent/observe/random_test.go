package observe_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/observe"
	"nmosauthd/tinytest/spec"
)

// request is what somebody asks for.
type request struct{ method, target string }

func (q request) question() string {
	return "decide 1\nmethod=" + q.method + "\ntarget=" + q.target + "\n"
}

func pick(r *rand.Rand, words string) string {
	all := strings.Split(words, " ")
	return all[r.IntN(len(all))]
}

// anyTarget makes targets that are good, odd, or refused.
func anyTarget(r *rand.Rand) string {
	target := "/x-nmos/" + pick(r,
		"node node2 connection query registration events channelmapping streamcompatibility x-vendor Node no_de")
	switch r.IntN(12) {
	case 0:
		target = "/meters"
	case 1:
		target = pick(r, "/ui /admin /x-nmos /X-NMOS /x-nmos/ /%78-nmos/node/v1.0 * http://h/x-nmos/node/v1.0")
	case 2:
	default:
		target += "/" + pick(r, "v1.0 v1.0 v1.3 v12.34 %761.0 latest")
	}
	for range r.IntN(4) {
		target += "/" + pick(r, "a b A single %61 %2A * a*b %20 .. . %2e%2e a;b ~ %7E é %C3%A9 %2F \x01 a\x01b a\x7f "+
			" x<y a:b @ v1.0 %3F \\ a'b\"c")
	}
	return target + pick(r, "     / ?q=/x-nmos/node&* /?")
}

// anyMethod is one of those that read or write, or that do neither.
func anyMethod(r *rand.Rand) string {
	return pick(r, "GET GET HEAD PUT POST PATCH DELETE OPTIONS BREW get")
}

// access is what a claim can say of a request: "read events a/b", or "base events". It is "" if no claim permits it.
func (q request) access(rules *decide.Rules) string {
	path, ok := decide.Normalize(nil, []byte(q.target))
	if !ok {
		return ""
	}
	verb := map[decide.Access]string{decide.Read: "read", decide.Write: "write"}[decide.MethodAccess([]byte(q.method))]
	switch place := rules.Find(path); {
	case place.Kind == decide.Base && verb == "read":
		return "base " + string(place.API)
	case place.Kind == decide.Everything && verb != "":
		return fmt.Sprintf("%s %s *", verb, place.API)
	case place.Kind == decide.Resource && verb != "":
		return fmt.Sprintf("%s %s %s", verb, place.API, place.Rest)
	}
	return ""
}

// Whatever is asked for, in questions about one target or several: the claims that are suggested for it permit it and
// nothing else, and the report says that they are not complete only where a path holds a star.
func TestClaimsOfAnyRequests(t *testing.T) {
	spec.Rules(t, "OPS-3")
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 77))
		r := newRig(t, observe.DefaultLimits, audit.Options{Repeat: time.Hour})
		rules := r.config.Rules()
		had := []map[string]map[string][]string{
			{}, {"x-nmos-node": {"read": {"*"}, "write": {"a*"}}, "x-nmos-events": {"read": {"*"}}}}[seed%2]
		token := r.token("c", had)
		ask := r.asker(33)
		var did []request
		for range 1 + random.IntN(30) {
			q := request{anyMethod(random), anyTarget(random)}
			question := q.question()
			if did = append(did, q); random.IntN(5) == 0 {
				question = strings.Replace(question, "decide", "decide-all", 1)
				for range random.IntN(4) {
					q.target = anyTarget(random)
					did = append(did, q)
					question += "target=" + q.target + "\n"
				}
			}
			if got := ask(question, token); !strings.HasPrefix(got, "allow 200 ") {
				t.Fatalf("observe mode answers %q", got)
			}
		}
		seen := map[string]bool{} // what claims can say exactly
		wide := false
		for _, q := range did {
			access := q.access(&rules)
			if strings.Contains(access, "*") {
				wide = true
			} else if access != "" {
				seen[access], seen["base "+strings.Fields(access)[1]] = true, true
			}
		}
		var c observe.Controller
		all := r.report().Controllers
		if at := slices.IndexFunc(all, func(c observe.Controller) bool { return c.Client == "c" }); at >= 0 {
			c = all[at]
		}
		if (len(c.Incomplete) > 0) != wide {
			t.Errorf("seed %d: incomplete: %q; a star %v", seed, c.Incomplete, wide)
		}
		enforced := newRig(t, observe.DefaultLimits, audit.Options{})
		enforced.enforce()
		exact, more, before := enforced.token("c", c.Claims), enforced.token("c", merge(had, c.Add)),
			enforced.token("c", had)
		ask = enforced.asker(33)
		others := slices.Clone(did)
		for _, q := range did {
			others = append(others, request{"GET", q.target}, request{"PUT", q.target},
				request{anyMethod(random), anyTarget(random)})
		}
		for _, q := range others {
			want := seen[q.access(&rules)]
			if got := ask(q.question(), exact); strings.HasSuffix(got, " ok") != want {
				t.Errorf("seed %d: claims %v: %+q: %s, permitted before %v", seed, c.Claims, q, got, want)
			}
			want = want || strings.HasSuffix(ask(q.question(), before), " ok")
			if got := ask(q.question(), more); strings.HasSuffix(got, " ok") != want {
				t.Errorf("seed %d: %v added to %v: %+q: %s, permitted before %v", seed, c.Add, had, q, got, want)
			}
		}
	}
}
