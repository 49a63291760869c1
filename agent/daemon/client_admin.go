package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/oauth"
	"nmosauthd/agent/status"
)

// ownPatience is how long an administrator waits for what is done at the authorization server, at most: for a request
// that is on its way, and another one.
const ownPatience = 18 * time.Second

// RegisterClient is POST /client: the device is registered now, and not in its turn or in an hour.
func (d *daemon) RegisterClient(ctx context.Context, issuer string) error {
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	o := d.own
	if !d.inForce.Load().Client.Enabled() {
		return fmt.Errorf("[client] scopes is empty; set it and send SIGHUP: %w", admin.ErrFixed)
	}
	// What was forgotten stays so until it is known that this server is meant: a moment is enough to register.
	d.chooseClient(ctx)
	events := make(chan oauth.Event, 16)
	o.mu.Lock()
	chosen, broken := o.issuer, o.broken
	meant := issuer == "" || keys.TrimIssuer(issuer) == chosen
	if meant && broken == nil {
		o.halted = ""
		o.waiting = append(o.waiting, events)
	}
	o.mu.Unlock()
	defer o.stopWaiting(events)
	switch {
	case broken != nil:
		return broken
	case !meant:
		return errElsewhere(chosen)
	case chosen == "":
		return errors.New("no authorization server is known yet: \"nmos-authd discover\" shows why")
	}
	d.log.Info("registering as an OAuth client, as asked on the admin socket")
	d.chooseClient(ctx)
	o.Retry()
	poll := time.NewTicker(100 * time.Millisecond) // what is registered already, or was given, is not an event
	defer poll.Stop()
	for {
		if s := o.Status(); s.Phase == oauth.Registered && s.Issuer == chosen && isClientAt(&s, chosen) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("not done yet, and still being tried: \"nmos-authd client status\" shows how it goes")
		case <-poll.C:
		case e := <-events:
			if e.Kind == oauth.EventFailure && e.Scope == "" {
				return e.Err
			}
		}
	}
}

func isClientAt(s *oauth.Status, issuer string) bool {
	return slices.ContainsFunc(s.Clients, func(c oauth.ClientStatus) bool {
		return c.Issuer == issuer && c.ClientID != ""
	})
}

// errElsewhere says that an administrator named another server than that of the device.
func errElsewhere(chosen string) error {
	return fmt.Errorf("this device is a client of %q; for another server, set [client] issuer and send SIGHUP: %w",
		chosen, admin.ErrFixed)
}

// RotateClient is POST /client/key: the client's key is replaced (CLI-68). It returns when that has begun.
func (d *daemon) RotateClient(ctx context.Context, issuer string) error {
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	d.own.mu.Lock()
	chosen := d.own.issuer
	d.own.mu.Unlock()
	if issuer != "" && keys.TrimIssuer(issuer) != chosen {
		return errElsewhere(chosen)
	}
	d.log.Info("replacing the OAuth client's key, as asked on the admin socket", zap.String("issuer", chosen))
	err := d.own.RotateKey(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return errors.New("a request is on its way; try again")
	case errors.Is(err, oauth.ErrNoClient):
		return fmt.Errorf("%w; \"nmos-authd client status\" shows why: %w", err, admin.ErrUnknown)
	case errors.Is(err, oauth.ErrSameKey):
		return fmt.Errorf("%w: %w", err, admin.ErrFixed)
	}
	return err
}

// stopWaiting takes back who waits for what happens.
func (o *ownClient) stopWaiting(events chan<- oauth.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = slices.DeleteFunc(o.waiting, func(w chan<- oauth.Event) bool { return w == events })
}

// ForgetClient is DELETE /client: tokens are revoked and the registration is removed, each tried once (CLI-43, CLI-59).
// Until RegisterClient, or a restart, no client is registered there again: the device may be about to leave.
func (d *daemon) ForgetClient(ctx context.Context, issuer string) (left string, err error) {
	// It is done to its end even if the administrator hangs up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownPatience)
	defer cancel()
	o := d.own
	_, unreadable := o.Held(ctx)
	s := o.Status()
	var known []string
	for _, c := range s.Clients {
		known = append(known, c.Issuer)
	}
	if issuer = keys.TrimIssuer(issuer); issuer == "" {
		o.mu.Lock()
		issuer = o.issuer
		o.mu.Unlock()
		if !slices.Contains(known, issuer) && len(known) == 1 {
			issuer = known[0]
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", errors.New("a request is on its way; try again")
	case !slices.Contains(known, issuer) && (unreadable == nil || issuer == ""):
		return "", fmt.Errorf("\"nmos-authd client status\" lists the clients: %w", admin.ErrUnknown)
	}
	o.mu.Lock()
	if o.issuer == issuer {
		o.halted = issuer
	}
	o.mu.Unlock()
	d.chooseClient(ctx)
	d.log.Warn("the client is forgotten, as asked on the admin socket", zap.String("issuer", issuer))
	if err := o.Forget(ctx, issuer); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// troubleAfter is how long the client may fail before that is a trouble: servers are restarted.
const troubleAfter = 5 * time.Minute

// showClient fills in the device as an OAuth client.
func (d *daemon) showClient(s *status.Status, now time.Time) {
	o, c := d.own, d.inForce.Load()
	own := o.Status()
	o.mu.Lock()
	issuer, broken, halted, began := o.issuer, o.broken, o.halted, o.began
	o.mu.Unlock()
	v := &s.Client
	*v = status.Client{
		Enabled: c.Client.Enabled(), Phase: own.Phase.String(), Issuer: issuer,
		Error: textOf(own.Err), Failed: status.At(own.Failed, now),
		Clients: []status.ClientAt{}, Tokens: []status.ClientToken{},
		Registrations: o.counts.registrations.Load(), Fetched: o.counts.tokens.Load(),
		Failures: o.counts.failures.Load(),
	}
	if own.Err == nil {
		v.Failed = 0
	}
	switch {
	case !v.Enabled:
		v.Phase = "off"
	case broken != nil:
		v.Phase, v.Error, v.Failed = "broken", broken.Error(), 0
	case halted != "" && halted == issuer:
		v.Phase, v.Error, v.Failed = "forgotten", errHalted.Error(), 0
	}
	v.Registered = v.Enabled && v.Phase == oauth.Registered.String()
	for _, k := range own.Clients {
		v.Clients = append(v.Clients, status.ClientAt{
			Issuer: k.Issuer, ClientID: k.ClientID, Given: k.Given, Since: status.At(k.Since, now), Scope: k.Scope,
			Method: k.Method, Keys: k.Keys, KIDs: append([]string{}, k.KeyIDs...), Rotation: k.Rotation,
			OldKeyEnds: status.At(k.OldKeyEnds, now),
			Manageable: k.Manageable, Expires: status.At(k.Expires, now), Attempted: k.Attempted,
		})
	}
	for _, t := range own.Tokens {
		k := status.ClientToken{
			Scope: t.Scope, Granted: t.Granted, Error: textOf(t.Err), Failed: status.At(t.Failed, now),
		}
		if t.Err == nil {
			k.Failed = 0
		}
		if t.Left > 0 {
			k.Ends = status.At(now.Add(t.Left), now)
		}
		if t.Next > 0 {
			k.Next = status.At(now.Add(t.Next), now)
		}
		v.Tokens = append(v.Tokens, k)
	}
	v.Trouble = d.clientTrouble(v, &own, began, now)
}

// clientTrouble says what has been wrong for a while, "" if nothing. It is no fault of the health: decisions do not
// depend on the device's own tokens.
func (d *daemon) clientTrouble(v *status.Client, own *oauth.Status, began, now time.Time) string {
	switch {
	case !v.Enabled || v.Phase == "forgotten":
		return ""
	case v.Phase == "broken":
		return "the device is not a client: " + v.Error
	case !v.Registered && !began.IsZero() && now.Sub(began) >= troubleAfter:
		return "the device is not registered"
	}
	since := d.own.failingSince()
	for _, t := range own.Tokens {
		if at := since[t.Scope]; t.Err != nil && t.Left <= 0 && !at.IsZero() && now.Sub(at) >= troubleAfter {
			return "the device has no token for " + t.Scope
		}
	}
	return ""
}
