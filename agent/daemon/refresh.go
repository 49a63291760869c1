package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
)

const (
	// lookRest is the least time between two looks for servers that an administrator asks for.
	lookRest = 5 * time.Second
	// refreshPoll is how often it is seen whether a fetch has ended.
	refreshPoll = 50 * time.Millisecond
)

var errPending = errors.New("not done yet, and still being tried: \"nmos-authd status\" shows how it goes")

// Refresh is POST /refresh: keys are fetched and servers are looked for now, and not in their turn.
func (d *daemon) Refresh(ctx context.Context, issuer string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	before, found := d.store.Set(), d.finder.Found()
	gone := d.agent.Gone(before)
	names, since := d.store.Refresh(issuer)
	if issuer != "" && len(names) == 0 {
		return nil, fmt.Errorf("\"nmos-authd status\" lists the issuers: %w", admin.ErrUnknown)
	}
	who := askedBy(ctx)
	d.log.Info("fetching keys, "+asked(ctx), zap.Strings("issuers", names), zap.Int64("uid", who.UID))
	d.agent.Act(who, wire.Refresh, "refresh", told(ctx, issuer))
	looks := d.inForce.Load().Discovers() != config.DiscoveryOff
	if rested := time.Since(found.Looked) >= lookRest; looks && rested {
		d.finder.LookNow()
	} else {
		looks = false
	}
	r := status.Refresh{Issuers: []status.Refreshed{}}
	poll := time.NewTicker(refreshPoll)
	defer poll.Stop()
	for _, name := range names {
		done, err := d.store.Refreshed(name, since)
		for !done && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-poll.C:
			}
			done, err = d.store.Refreshed(name, since)
		}
		if !done {
			err = errPending
		}
		r.Issuers = append(r.Issuers, status.Refreshed{Issuer: name, Error: textOf(err)})
	}
	for looks && d.finder.Found().Looked.Equal(found.Looked) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
	}
	was, is := urls(found.Servers), urls(d.finder.Found().Servers)
	r.Found, r.Gone = without(is, was), without(was, is)
	after := d.store.Set()
	lost := d.agent.Gone(after)
	for name, n := range lost {
		lost[name] = max(n-gone[name], 0)
		r.Refused += lost[name]
	}
	for i := range r.Issuers {
		v := &r.Issuers[i]
		v.Keys, v.Refused = keyNames(after.Issuer([]byte(v.Issuer)), nil), lost[v.Issuer]
		was, is := before.Issuer([]byte(v.Issuer)), after.Issuer([]byte(v.Issuer))
		v.Added, v.Removed = keyNames(is, was), keyNames(was, is)
	}
	return json.Marshal(&r)
}

// keyNames returns the kids of the keys of an issuer that another set of its keys does not hold; of a key without one,
// the first half of its thumbprint.
func keyNames(of, without *keys.Issuer) []string {
	names := []string{}
	if of == nil {
		return names
	}
	for i := range of.Keys {
		k := &of.Keys[i]
		switch {
		case without != nil && without.Holds(&k.Thumbprint):
		case k.KID == "":
			names = append(names, hex.EncodeToString(k.Thumbprint[:16]))
		default:
			names = append(names, k.KID)
		}
	}
	return names
}

// without returns what another list does not have.
func without(list, other []string) (rest []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// urls returns by which URLs servers were found.
func urls(found []agent.FoundStatus) []string {
	all := make([]string, len(found))
	for i := range found {
		all[i] = found[i].URL
	}
	return all
}
