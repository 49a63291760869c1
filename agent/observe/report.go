package observe

import (
	"cmp"
	"sort"
	"strings"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Report is what was observed and what follows from it.
type Report struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	Mode  string    `json:"mode"` // of the daemon, now

	Decisions uint64 `json:"decisions"`
	Would     uint64 `json:"would_deny"` // of them, those that enforce would have denied
	Denied    uint64 `json:"denied"`     // of them, those that were
	Off       uint64 `json:"off"`        // of them, those not checked (mode off)
	Unseen    uint64 `json:"unseen"`     // more decisions, which the audit dropped
	Waiting   uint64 `json:"waiting"`    // more decisions, which the audit is still counting or sorting
	Unlisted  uint64 `json:"unlisted"`   // of Decisions, those for controllers that are not listed, for want of room

	// Stages say what enforcing more would deny, for each key of [enforce] in which anything was observed.
	Stages []Stage `json:"stages,omitempty"`

	Controllers []Controller `json:"controllers"`
}

// Stage is an access to an API, as [enforce] has it.
type Stage struct {
	API         string `json:"api"`
	Access      string `json:"access"`
	Would       uint64 `json:"would_deny"`
	Controllers uint64 `json:"controllers"`
}

// Controller is what one controller did: a client of an issuer; or, if no token was verified, all for whom one user's
// process asked.
type Controller struct {
	Token  Token  `json:"token"`
	Client string `json:"client,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	UID    *int64 `json:"uid,omitempty"`

	Decisions uint64    `json:"decisions"`
	Would     uint64    `json:"would_deny"`
	Denied    uint64    `json:"denied"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`

	// Add are the claims that it lacks for what was denied, and nothing broader: to be added to those that its tokens
	// have.
	Add explain.Claims `json:"add,omitempty"`
	// Claims are those for all that it did, whether denied or permitted, and nothing broader: they can replace what its
	// tokens have, unless Incomplete says why not. Neither is given for tokens that were refused: whose they are is not
	// known.
	Claims explain.Claims `json:"claims,omitempty"`
	// TokenBytes is about how long a token with Claims is.
	TokenBytes int      `json:"token_bytes,omitempty"`
	Incomplete []string `json:"incomplete,omitempty"`

	Mend     []Mend   `json:"mend,omitempty"`     // what no claim fixes
	Accesses []Access `json:"accesses,omitempty"` // those denied
}

// Mend is something that must be fixed by other means than a claim.
type Mend struct {
	Reason    string `json:"reason"`
	Decisions uint64 `json:"decisions"`
	Means     string `json:"means"`
	Do        string `json:"do"`
}

// Access is something that was denied, or would have been.
type Access struct {
	Access    string    `json:"access"` // read, write, verify, or a method that is neither
	Path      string    `json:"path,omitempty"`
	Model     string    `json:"model,omitempty"`    // of a role path, if the question names one of several
	Resource  string    `json:"resource,omitempty"` // what the inventory calls it, kind and name
	Reason    string    `json:"reason"`
	Decisions uint64    `json:"decisions"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// accessStats is an access with its figures.
type accessStats struct {
	access
	figures
}

// controllerStats is a controller with all that is held about it.
type controllerStats struct {
	controller
	stats []accessStats
}

// Report says what was observed, by the rules about paths as they are now.
func (o *Observer) Report(now time.Time, mode string, rules *decide.Rules, s audit.Stats) *Report {
	r, all := o.snapshot(now, mode, s)
	for i := range all {
		r.Controllers = append(r.Controllers, r.judge(&all[i], rules))
	}
	r.stages(all, rules)
	sort.Slice(r.Controllers, func(i, j int) bool { return r.Controllers[i].before(&r.Controllers[j]) })
	return r
}

// stages counts what would have been denied, by the keys of [enforce] that let it pass.
func (r *Report) stages(all []controllerStats, rules *decide.Rules) {
	var would, controllers [decide.APIs][2]uint64 // reading, writing
	for i := range all {
		var his [decide.APIs][2]uint64
		for n := range all[i].stats {
			a := &all[i].stats[n]
			path, _ := decide.NormalizeNamed(a.path)
			api, writes := rules.Stage(accessOf(a.verb), rules.Find(path))
			if !a.reason.Allowed() {
				his[api][bit(writes)] += a.would
			}
		}
		for api := range his {
			for w, n := range his[api] {
				would[api][w] += n
				controllers[api][w] += min(n, 1)
			}
		}
	}
	for api := range would {
		for w, access := range [...]string{"read", "write"} {
			if n := would[api][w]; n > 0 {
				r.Stages = append(r.Stages, Stage{decide.API(api).String(), access, n, controllers[api][w]})
			}
		}
	}
}

func bit(is bool) int {
	if is {
		return 1
	}
	return 0
}

// snapshot returns a copy of what is held, so that recording does not wait for the analysis.
func (o *Observer) snapshot(now time.Time, mode string, s audit.Stats) (r *Report, all []controllerStats) {
	o.mu.Lock()
	r = &Report{
		Since: now.Add(o.since.Sub(now)).UTC(), // by the clock as it is now: it may have been 1970 then
		Until: now.UTC(), Mode: mode,
		Decisions: o.total.decisions, Would: o.total.would, Denied: o.total.denied, Off: o.total.off,
		Unseen: s.Lost - min(o.lost, s.Lost), Waiting: s.Unseen, Unlisted: o.unlisted,
		Controllers: []Controller{},
	}
	index := map[*controller]int{}
	for _, c := range o.controllers {
		index[c] = len(all)
		all = append(all, controllerStats{*c, make([]accessStats, 0, c.accesses)})
	}
	for a, f := range o.accesses {
		c := &all[index[a.of]]
		c.stats = append(c.stats, accessStats{a, *f})
	}
	o.mu.Unlock()
	return r, all
}

// before sorts controllers: those with a token come first.
func (c *Controller) before(d *Controller) bool {
	switch {
	case c.Token != d.Token:
		return c.Token == Verified || c.Token == None && d.Token == Refused
	case c.Token != Verified:
		return *c.UID < *d.UID
	case c.Client != d.Client:
		return c.Client < d.Client
	}
	return c.Issuer < d.Issuer
}

func at(microseconds int64) time.Time { return time.UnixMicro(microseconds).UTC() }

// judge says what follows from what a controller did.
func (r *Report) judge(c *controllerStats, rules *decide.Rules) Controller {
	out := Controller{
		Token: c.token, Client: c.client, Issuer: c.issuer,
		Decisions: c.decisions, Would: c.would, Denied: c.denied, First: at(c.first), Last: at(c.last),
	}
	if c.token != Verified {
		out.UID = &c.uid
	}
	add, all := explain.Claims{}, explain.Claims{}
	mend := map[wire.Reason]uint64{}
	wide := false
	for i := range c.stats {
		a := &c.stats[i]
		need, grantable, inPath := needs(a.access, rules)
		if a.reason.Allowed() {
			switch {
			case !grantable: // public by now, or the token alone
			case need.Wide:
				wide = true
			default:
				all.Add(need)
			}
			continue
		}
		reason := a.reason
		byPath := isByPath(reason)
		switch {
		case grantable && byPath && reason != wire.APINotGranted && reason != wire.PathNotGranted &&
			reason != wire.ControlNotGranted && reason != wire.SubtreeNotGranted:
			reason = wire.PathNotGranted // of several targets another gave the reason; or the rules have changed
		case byPath && inPath != wire.OK:
			reason = inPath
		}
		out.Accesses = append(out.Accesses, Access{
			Access: a.verb, Path: a.path, Model: a.model, Resource: a.resource, Reason: reason.String(),
			Decisions: a.decisions, First: at(a.first), Last: at(a.last),
		})
		if !grantable || !byPath {
			mend[reason] += a.decisions
		}
		switch {
		case !grantable:
			if !byPath && inPath != wire.OK {
				mend[inPath] += a.decisions
			}
		case need.Wide:
			wide = true
		default:
			all.Add(need)
			if byPath || out.Token == None {
				add.Add(need)
			}
		}
	}
	if out.Token != Refused && len(all) > 0 {
		out.Add, out.Claims = add, all
		out.TokenBytes = tokenBytes(all)
	}
	for reason, n := range mend {
		out.Mend = append(out.Mend, mendOf(reason, n))
	}
	sort.Slice(out.Mend, func(i, j int) bool { return out.Mend[i].Reason < out.Mend[j].Reason })
	sort.Slice(out.Accesses, func(i, j int) bool { return out.Accesses[i].before(&out.Accesses[j]) })
	for _, why := range []struct {
		is   bool
		text string
	}{
		{wide, "it asked for something that needs a claim with a *, or one that gives more than that: such a claim " +
			"is left to you"},
		{out.TokenBytes > token.MaxBytes,
			"a token with all these claims is longer than this device reads: use wildcards"},
		{r.Off > 0, "while the mode was off, nobody looked at what was done"},
		{r.Unseen > 0, "the audit dropped decisions, and they may have been about it"},
		{c.unlisted > 0, "there was no room for some of what it did, or its path held a token"},
		{c.hidden > 0, "some questions were about more targets than a record has room for"},
	} {
		if why.is {
			out.Incomplete = append(out.Incomplete, why.text)
		}
	}
	return out
}

func (a *Access) before(b *Access) bool {
	return cmp.Or(
		strings.Compare(a.Path, b.Path), strings.Compare(a.Model, b.Model), strings.Compare(a.Resource, b.Resource),
		strings.Compare(a.Access, b.Access), strings.Compare(a.Reason, b.Reason),
	) < 0
}

// isByPath reports whether another path or claim would have had another answer.
func isByPath(r wire.Reason) bool {
	return r == wire.SubtreeNotGranted || !r.Allowed() && strings.HasPrefix(r.Info().Rule, "PATH-")
}

// needs returns the claim that grants an access. If none does, reason says why; it is OK if the path is not the cause.
func needs(a access, rules *decide.Rules) (n decide.Need, grantable bool, reason wire.Reason) {
	if a.path == "" {
		return n, false, wire.OK
	}
	prefix, known := rules.Controls.Prefix([]byte(a.model))
	if a.model != "" && !known {
		return n, false, wire.PathClosed // as control says of it to any token
	}
	path, ok := decide.NormalizeNamed(a.path)
	if !ok {
		return n, false, wire.AmbiguousPath
	}
	access := accessOf(a.verb)
	place := rules.Find(path)
	if place.Kind == decide.ModelObject && known {
		place.Model, place.Role = prefix, path
	}
	if early := decide.WithoutToken(access, place); !early.TokenNeeded() {
		if reason = early.Answer(); reason.Allowed() {
			reason = wire.OK
		}
		return n, false, reason
	}
	if n, grantable = rules.Needs(access, place); grantable {
		return n, true, wire.OK
	}
	return n, false, rules.Permit(access, place, new(token.Token)) // what it says to any
}

// mendOf returns what to do about a reason.
func mendOf(reason wire.Reason, decisions uint64) Mend {
	advice := explain.AdviceOn(reason)
	if reason == wire.APINotGranted { // a claim would fix it, except here
		advice = explain.WritingBase
	}
	return Mend{Reason: reason.String(), Decisions: decisions, Means: advice.Means, Do: advice.Do}
}

// tokenBytes is about how long a token is that has these claims, the usual others, and the signature of a key of 2048
// bits.
func tokenBytes(c explain.Claims) int {
	const head, others, signature = 80, 300, 342
	return head + (len(c.String())+others)*4/3 + signature
}
