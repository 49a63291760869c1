// Package controller pretends to be a controller of an NMOS facility, such as a routing panel: it finds the
// authorization server by DNS-SD, registers itself there, has a person sign in by authorization code with PKCE, keeps
// and refreshes its token, finds senders and receivers in the IS-04 registry, connects them by IS-05 follows level
// meters by IS-07, and controls gains by IS-12.
//
//	c := controller.New(controller.Options{Resolver: r, Domain: "studio.example", Roots: roots, Name: "Panel 1",
//		Scope: "query connection events", Person: controller.Person{Name: "anna", Password: "…"}})
//	defer c.Close()
//	err := c.SignIn(ctx)
//	senders, err := c.Query(ctx, "senders")
//	err = c.Connect(ctx, senders[0], receivers[0])
//
// It knows nothing of the daemon: what it meets is devices and a registry, as any controller does. What they refuse is
// a [RefusedError].
//
// Limits: for tests and demonstrations. Its person's browser is in it, and types the password by itself.
package controller

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"nmosauthd/tinytest/dnssd"
)

// Options are what New needs to know.
type Options struct {
	Resolver dnssd.Resolver
	Domain   string
	Roots    *x509.CertPool
	Name     string // client_name, which people see when they sign in
	Scope    string // what it asks for
	Person   Person // who sits before it
	NoTokens bool   // it is of the time before authorization, and sends none
	Logf     func(format string, a ...any)
}

// Person is who signs in.
type Person struct {
	Name, Password string
	Deny           bool // does not agree
}

// Controller is a pretend controller. Close it. Its methods may be called from any number of goroutines.
type Controller struct {
	opt    Options
	client *http.Client

	mu       sync.Mutex // held while it signs in or refreshes
	server   metadata
	id       string // client_id
	callback *callback
	token    token
	registry string // the Query API's origin
}

// New returns a controller that has done nothing yet.
func New(o Options) *Controller {
	return &Controller{opt: o, client: o.Resolver.Client(o.Roots)}
}

// Close ends what the controller listens to.
func (c *Controller) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.callback == nil {
		return nil
	}
	return c.callback.close()
}

func (c *Controller) logf(format string, a ...any) {
	if c.opt.Logf != nil {
		c.opt.Logf(format, a...)
	}
}

// answerLimit is the longest answer that is read, in bytes.
const answerLimit = 1 << 20

// RefusedError is an answer that is not the one asked for.
type RefusedError struct {
	What   string // "GET https://…"
	Status int
	Reason string // what the answer says: of NMOS APIs the member debug, of OAuth the error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("controller: %s: %d %s", e.What, e.Status, e.Reason)
}

// Refused returns the status and the reason of a refusal; 0 if err is not one.
func Refused(err error) (status int, reason string) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Status, refused.Reason
	}
	return 0, ""
}

// do makes a request with the controller's token and returns the body. At 401 it refreshes the token once and tries
// again (CLI-14), at 503 it waits as long as it is told to.
func (c *Controller) do(ctx context.Context, method, url string, body any) ([]byte, error) {
	refreshed := false
	for {
		token, err := c.Token(ctx)
		if err != nil {
			return nil, err
		}
		text, retry, err := c.try(ctx, method, url, body, token)
		switch status, _ := Refused(err); {
		case status == http.StatusUnauthorized && token != "" && !refreshed:
			refreshed = true
			if c.refresh(ctx, token) == nil {
				continue
			}
		case status == http.StatusServiceUnavailable && retry > 0:
			c.logf("%v; again in %v", err, retry)
			select {
			case <-ctx.Done():
				return nil, errors.Join(err, ctx.Err())
			case <-time.After(retry):
			}
			continue
		}
		return text, err
	}
}

// try makes one request.
func (c *Controller) try(
	ctx context.Context, method, url string, body any, token string,
) (text []byte, retry time.Duration, err error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return nil, 0, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, url, &content)
	if err != nil {
		return nil, 0, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return nil, 0, err
	}
	if response.StatusCode >= 300 {
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			retry = time.Duration(seconds) * time.Second
		}
		return nil, retry, &RefusedError{method + " " + url, response.StatusCode, reason(text)}
	}
	return text, 0, nil
}

// reason is what an answer says of itself.
func reason(text []byte) string {
	var nmos struct{ Debug, Error string }
	_ = json.Unmarshal(text, &nmos) // or it says nothing
	if nmos.Debug != "" {
		return nmos.Debug
	}
	return strings.TrimSpace(nmos.Error)
}

// get reads a document.
func (c *Controller) get(ctx context.Context, url string, into any) error {
	text, err := c.do(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("controller: GET %s: %w", url, err)
	}
	return nil
}
