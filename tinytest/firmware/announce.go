package firmware

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"nmosauthd/tinytest/dnssd"
)

const registrationAPI = "/x-nmos/registration/v1.3"

// HeartbeatEvery is how often a node says that it is there (IS-04 Behaviour: Registration).
const HeartbeatEvery = 5 * time.Second

// Announcement says where a device announces itself.
type Announcement struct {
	Resolver  dnssd.Resolver // finds the registry, and knows its host
	Domain    string
	Roots     *x509.CertPool
	Heartbeat time.Duration // 0 means HeartbeatEvery
	// Announced is called whenever everything that the device has was announced; it must not wait.
	Announced func(registry string)
	Replaced  func() // called when a token that the registry had refused was replaced; it must not wait
}

// Announce keeps the device's resources in the registry that DNS-SD names, with tokens of the device's own that it has
// from the daemon, until the context ends. A registry that does not let the device in is an error immediately (CLI-14:
// with 403 there is nothing to try again); whatever else goes wrong is tried again.
func (d *Device) Announce(ctx context.Context, a Announcement) error {
	if a.Heartbeat == 0 {
		a.Heartbeat = HeartbeatEvery
	}
	wait := time.Second
	for {
		began := time.Now()
		err := d.announce(ctx, a)
		var refused *refusedError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused) && refused.status == http.StatusForbidden:
			return err
		case errors.Is(err, errForgotten):
			d.logf("%v", err)
			continue
		}
		d.logf("announcement: %v; again in %v", err, wait)
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait = min(2*wait, 30*time.Second)
		}
	}
}

// refusedError is an answer of the registry that is not good.
type refusedError struct {
	what   string
	status int
	body   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("firmware: %s: the registry answers %d: %s", e.what, e.status, e.body)
}

// errForgotten is how a heartbeat ends whose node the registry no longer has.
var errForgotten = errors.New("firmware: the registry has forgotten this node")

// registrar is the registry as the device sees it.
type registrar struct {
	*Device
	client *http.Client
	url    string // with the API
	secure bool   // it wants tokens (CLI-12)

	replaced func()
}

// announce registers everything once and goes on with heartbeats until something is wrong.
func (d *Device) announce(ctx context.Context, a Announcement) error {
	found, err := a.Resolver.Browse(ctx, "_nmos-register._tcp", a.Domain, "v1.3")
	if err != nil {
		return err
	}
	r := registrar{
		d, a.Resolver.Client(a.Roots), found[0].URL() + registrationAPI, found[0].Authorization(), a.Replaced,
	}
	changed := d.model.nextActivation()
	if err := r.registerAll(ctx); err != nil {
		return err
	}
	if a.Announced != nil {
		a.Announced(found[0].URL())
	}
	tick := time.NewTicker(a.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed: // IS-04: what changes is registered again
			changed = d.model.nextActivation()
			for _, item := range d.model.receivers() {
				if err := r.register(ctx, "receiver", item); err != nil {
					return err
				}
			}
		case <-tick.C:
			err := r.send(ctx, http.MethodPost, "/health/nodes/"+NodeID, nil, http.StatusOK)
			var refused *refusedError
			if errors.As(err, &refused) && refused.status == http.StatusNotFound {
				return errForgotten
			}
			if err != nil {
				return err
			}
		}
	}
}

// nextActivation is closed when a connection is made or ended the next time.
func (m *model) nextActivation() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.activated
}

func (r registrar) registerAll(ctx context.Context) error {
	if err := r.register(ctx, "node", r.model.self()); err != nil {
		return err
	}
	for _, c := range r.model.collections() {
		for _, item := range c.items() {
			if err := r.register(ctx, strings.TrimSuffix(c.name, "s"), item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r registrar) register(ctx context.Context, kind string, data object) error {
	body := object{"type": kind, "data": data}
	return r.send(ctx, http.MethodPost, "/resource", body, http.StatusOK, http.StatusCreated)
}

// send makes one request. A token that is refused with 401 is reported to the daemon, and the request made once more
// with another one (CLI-14).
func (r registrar) send(ctx context.Context, method, path string, body any, want ...int) error {
	refused := ""
	for {
		var token Reply
		if r.secure {
			var err error
			if token, err = r.OwnToken(ctx, "registration", refused); err != nil {
				return err
			}
		}
		status, text, err := r.try(ctx, method, path, body, token.AccessToken)
		switch {
		case err != nil:
			return err
		case slices.Contains(want, status):
			if refused != "" && r.replaced != nil {
				r.replaced()
			}
			return nil
		case status == http.StatusUnauthorized && r.secure && refused == "":
			r.logf("registry: %s %s: 401: %s", method, path, text)
			refused = token.TokenID
			continue
		}
		return &refusedError{method + " " + path, status, text}
	}
}

func (r registrar) try(ctx context.Context, method, path string, body any, token string) (int, string, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return 0, "", err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, &content)
	if err != nil {
		return 0, "", err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token) // CLI-13
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	return response.StatusCode, strings.TrimSpace(string(text)), err
}

// OwnToken asks the daemon for one of the device's own tokens, and again as long as it says that one may come.
// Refused is the name of a token that a server answered with 401; "" if none was.
func (d *Device) OwnToken(ctx context.Context, scope, refused string) (Reply, error) {
	for {
		lines := []string{"token 1", "scope=" + scope}
		if refused != "" {
			lines = append(lines, "refused="+refused)
		}
		reply, err := d.question(lines)
		switch {
		case err != nil:
			return Reply{}, err
		case reply.Allowed() && reply.AccessToken != "":
			return reply, nil
		case reply.Status != http.StatusServiceUnavailable:
			return Reply{}, fmt.Errorf("firmware: no token for %s: %d %s %s",
				scope, reply.Status, reply.Reason, reply.Detail)
		}
		d.logf("no token for %s yet: %s; again in %d s", scope, reply.Detail, reply.RetryAfter)
		select {
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		case <-time.After(time.Duration(reply.RetryAfter) * time.Second):
		}
	}
}
