package audit

import "nmosauthd/agent/wildcard"

// Filter says which records somebody wants to see. In a pattern "*" stands for any text; an empty one matches all.
type Filter struct {
	Denied bool   // those that deny, or would in enforce mode
	Client string // pattern of the client
	Path   string // pattern of the path; also of the kind/name of a resource
}

// Match reports whether r is wanted.
func (f *Filter) Match(r *Record) bool {
	if f.Denied && !r.denies() || f.Client != "" && !wildcard.Match([]byte(f.Client), r.Text(Client)) {
		return false
	}
	if f.Path == "" || wildcard.Match([]byte(f.Path), r.Text(Path)) {
		return true
	}
	if wildcard.Match([]byte(f.Path), r.Text(Resource)) {
		return true
	}
	return len(r.Text(Kind)) > 0 && wildcard.Match([]byte(f.Path),
		[]byte(string(r.Text(Kind))+"/"+string(r.Text(Name))))
}
